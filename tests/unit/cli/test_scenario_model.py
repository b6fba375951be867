"""`scenario.yaml`: those that come with the package can be used, and every mistake in one is told with its line."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pcscf.cli.main import main
from pcscf.cli.scenario.library import SCENARIOS, Entry, load_scenarios
from pcscf.cli.scenario.model import ONE_CALL
from pcscf.config.load import ConfigErrors
from pcscf.errors import ConfigError

SHIPPED = load_scenarios()
GOOD = """\
title: a title
about: what happens
start:
  - {as: core, sipp: uas.xml}
  - {as: ue, sipp: uac.xml}
checks:
  - says: something came
    message: {at: core, receives: INVITE, times: 1}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "01-mine"
    made.mkdir()
    for name in ("uac.xml", "uas.xml"):
        (made / name).write_text("<scenario/>")
    return made


def load(folder: Path, text: str) -> Entry:
    (folder / "scenario.yaml").write_text(text)
    (entry,) = load_scenarios(folder=folder.parent)
    return entry


def test_the_names_are_those_that_are_promised() -> None:
    assert [entry.name for entry in SHIPPED] == [
        "register-mediasec", "register-494", "not-registered-403", "msrp-originating", "msrp-terminating", "msrp-both-protected",
        "cancel", "caller-bye", "callee-bye", "no-answer", "gateway-lost", "plain-ue", "downgrade-refused", "load",
        "delayed-offer", "prack", "bfcp-dial-in", "bfcp-dial-out", "voice", "voice-behind-nat", "fax-originating",
        "fax-terminating", "hold", "add-a-medium", "fork-early-answer", "fork-two-answers", "voice-to-fax", "fax-refused",
    ]
    assert [entry.folder.name[:3] for entry in SHIPPED] == [f"{number:02}-" for number in range(1, len(SHIPPED) + 1)]


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_a_scenario_plays_what_stands_in_its_folder(entry: Entry) -> None:
    played = {player.sipp.name for player in entry.scenario.start if player.sipp is not None}
    assert {file.name for file in entry.folder.glob("*.xml")} == played == {"uac.xml", "uas.xml"}
    for name in played:
        text = (entry.folder / name).read_text()
        ElementTree.fromstring(text)
        # how a person plays it, where SIPp needs to find what it sends
        assert f"-sf scenarios/{entry.folder.name}/{name} " in text or "in this folder, with `pcscf run" in text
    assert (entry.scenario.load is not None) == (entry.name == "load")


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_a_scenario_claims_that_nothing_leaks_or_that_nothing_came(entry: Entry) -> None:
    claims = entry.scenario.checks
    counted = [(claim.message.at, claim.message.selector, claim.message.times) for claim in claims if claim.message is not None]
    assert ("core", "any", 0) in counted or any(claim.leaks for claim in claims)


def test_a_good_one_is_read(folder: Path) -> None:
    entry = load(folder, GOOD)
    assert (entry.name, entry.scenario.amount) == ("mine", ONE_CALL)


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("title: a title\n", "", 0, "title: is missing"),
        ("title:", "titel:", 1, "titel: unknown key"),
        ("sipp: uac.xml", "sipp: other.xml", 5, "there is no file"),
        ("as: ue,", "as: phone,", 5, "cannot be 'phone'"),
        ("{as: ue, sipp: uac.xml}", "{as: ue}", 5, "plays nothing"),
        ("{as: ue, sipp: uac.xml}", "{as: core, sipp: uac.xml}", 0, "cast is not complete"),
        ("{as: core, sipp: uas.xml}", "{as: core, lab: core}", 4, "has users"),
        ("{as: core, sipp: uas.xml}", "{as: core, sipp: uas.xml, users: [a]}", 4, "takes its users"),
        ("at: core,", "at: ue2,", 0, "nobody plays ue2"),
        ("receives: INVITE", "receives: invite", 8, "names no message"),
        ("receives: INVITE", "receives: 200 ok", 8, "names no message"),
        ("receives: INVITE, times", "times", 8, "names no direction"),
        ("receives: INVITE", "receives: INVITE, sends: BYE", 8, "names no direction, or both"),
        (", times: 1}", "}", 8, "claims nothing"),
        ("times: 1}", "times: 0, lacks: x}", 8, "that are not there"),
        ("    message: {at: core, receives: INVITE, times: 1}\n", "", 7, "is checked by nothing"),
        ("INVITE, times: 1}\n", "INVITE, times: 1}\n    leaks: none\n", 7, "in several ways"),
        ("message: {at: core, receives: INVITE, times: 1}", "gateway: {}", 8, "claims nothing"),
        ("message: {at: core, receives: INVITE, times: 1}", "gateway: {left: 1}", 8, "left"),
        ("checks:", "set: [nonsense]\nchecks:", 6, "is not KEY.PATH=VALUE"),
        ("checks:", "fault: {kill: core, after: {at: ue, receives: BYE}}\nchecks:", 6, "cannot be 'core'"),
        ("checks:", "fault: {kill: gateway, after: {at: ue2, receives: BYE}}\nchecks:", 0, "fault: nobody plays ue2"),
        ("checks:", "load: {calls: 0, rate: 1, ceiling: 1}\nchecks:", 6, "at least 1"),
    ],
)
def test_a_mistake_is_told_with_its_line(folder: Path, old: str, new: str, line: int, what: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigErrors) as raised:
        load(folder, GOOD.replace(old, new))
    told = [error for error in raised.value.errors if what in error.what]
    assert told, str(raised.value)
    assert told[0].hint
    assert told[0].file == str(folder / "scenario.yaml")
    assert line in {0, told[0].line}


def test_a_setting_that_the_configuration_refuses_is_told_before_anything_starts(folder: Path) -> None:
    with pytest.raises(ConfigErrors, match="unknown key"):
        load(folder, GOOD.replace("checks:", "set: [nonsense=1]\nchecks:"))


@pytest.mark.parametrize("name", ["cancel", "07-cancel", "07"])
def test_a_scenario_is_found_by_name_and_number(name: str) -> None:
    assert [entry.name for entry in load_scenarios([name])] == ["cancel"]


def test_the_order_is_that_of_the_folders() -> None:
    assert [entry.name for entry in load_scenarios(["cancel", "01", "cancel"])] == ["register-mediasec", "cancel"]


def test_a_name_that_is_none_is_told_with_what_may_be_meant(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["scenario", "run", "cancle", "load", "qqqq"])
    assert raised.value.code == 2
    told = capsys.readouterr().err
    assert "no scenario cancle" in told
    assert "did you mean cancel?" in told
    assert "no scenario qqqq" in told
    assert "scenario list" in told


def test_a_folder_without_scenarios_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no scenarios here"):
        load_scenarios(folder=tmp_path)


def test_sipp_that_is_missing_is_told_with_its_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as raised:
        main(["scenario", "run", "cancel"])
    assert raised.value.code == 2
    assert "sip-tester" in capsys.readouterr().err


def test_a_junit_file_that_cannot_be_written_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "sipp").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "sipp").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as raised:
        main(["scenario", "run", "cancel", "--junit", str(tmp_path / "nowhere" / "junit.xml")])
    assert raised.value.code == 2
    assert "there is no folder" in capsys.readouterr().err


def test_the_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["scenario", "list"])
    assert not raised.value.code
    told = capsys.readouterr().out
    assert re.findall(r"\b(\d\d-[a-z0-9-]+)", told) == [entry.folder.name for entry in SHIPPED]


def test_the_scenarios_stand_in_the_package() -> None:
    assert SCENARIOS.is_dir()
    assert (SCENARIOS / "README.md").is_file()
