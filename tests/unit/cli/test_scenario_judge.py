"""What scenarios claim: all hold for a good run, and each falls when what it rests on is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pcscf.cli.proof import Check
from pcscf.cli.scenario.judge import End, Evidence, contexts_left, judge
from pcscf.cli.scenario.library import Entry, load_scenarios
from pcscf.cli.scenario.model import Scenario
from pcscf.cli.scenario.report import write_junit
from pcscf.cli.scenario.seen import Seen
from pcscf.cli.scenario.sipp import Statistics
from pcscf.cli.scenario.stage import Outcome
from pcscf.observe.trace import GATEWAY, TraceEvent

HERE = Path(__file__)   # any file that is there


def scenario(*checks: Mapping[str, Any], **more: Any) -> Scenario:
    start = [{"as": "core", "sipp": str(HERE)}, {"as": "ue", "sipp": str(HERE)}]
    claims = [{"says": f"claim {number}", **check} for number, check in enumerate(checks, 1)]
    return Scenario.model_validate({"title": "t", "about": "a", "start": start, "checks": claims, **more})


def seen(way: Any, method: str, *lines: str, status: int | None = None, **facts: Any) -> Seen:
    return Seen(way, method, status, (f"{status or method} x", *lines), **facts)


def iq(direction: Any, flow: str, *commands: str, kind: str = "reply", errors: tuple[int, ...] = ()) -> TraceEvent:
    facts = {"kind": kind, "commands": list(commands), "errors": list(errors)}
    return TraceEvent(1.0, "pcscf", "gw", direction, "Iq", flow, "text", facts)


INVITE = seen("received", "INVITE", "Via: a", "m=message 9 TCP/MSRP *", "a=setup:active")
ADDED = iq("in", "context 1", "Add ip/1", "Add ip/2")
GIVEN_BACK = iq("in", "context 1", "Subtract *")
REGISTERED = iq("out", "", "ServiceChange ROOT")
DONE = End(0, Statistics(1, 1, 0, 0, 0, 1.0))
GOOD = Evidence(
    {"core": [INVITE, seen("received", "ACK"), seen("received", "BYE")], "ue": [seen("received", "INVITE", "x", status=200)]},
    {"core": DONE, "ue": DONE},
    [REGISTERED, ADDED, iq("in", "context 1", "Modify ip/1", "Modify ip/2"), GIVEN_BACK],
    0, "all is well",
)
CLAIMS = scenario(
    {"message": {
        "at": "core", "receives": "INVITE", "times": 1, "contains": ["m=message * TCP/MSRP *"], "lacks": ["a=fingerprint:*"]}},
    {"message": {"at": "core", "receives": "CANCEL", "times": 0}},
    {"message": {"at": "ue", "receives": "any", "lacks": "P-Charging-Vector:*"}},
    {"gateway": {"contexts": 1, "add": 2, "modify": 2, "subtract": 1}},
    {"gateway": {"left": 0}},
    {"leaks": "none"},
)


def failed(evidence: Evidence, claims: Scenario = CLAIMS) -> set[str]:
    return {check.name for check in judge(claims, evidence) if not check.ok}


def at(role: str, *messages: Seen) -> Evidence:
    return replace(GOOD, messages={**GOOD.messages, role: list(messages)})


def also(role: str, message: Seen) -> Evidence:
    return at(role, *GOOD.messages[role], message)


def ending(role: str, end: End) -> Evidence:
    return replace(GOOD, ends={**GOOD.ends, role: end})


def on_iq(*events: TraceEvent) -> Evidence:
    return replace(GOOD, events=list(events))


def test_a_good_run_holds() -> None:
    assert failed(GOOD) == set()
    assert len(judge(CLAIMS, GOOD)) == 9


def test_silence_proves_only_what_must_not_come() -> None:
    assert {check.name for check in judge(CLAIMS, Evidence()) if check.ok} == {"check-2"}


@pytest.mark.parametrize(
    ("evidence", "claim"),
    [
        (at("core", seen("received", "ACK")), {"check-1"}),
        (also("core", replace(INVITE, lines=(*INVITE.lines, "a=other"))), {"check-1"}),
        (at("core", replace(INVITE, way="sent"), seen("received", "ACK")), {"check-1"}),
        (at("core", replace(INVITE, lines=("INVITE x", "m=message 9 TCP/TLS/MSRP *"))), {"check-1"}),
        (at("core", replace(INVITE, lines=(*INVITE.lines, "A=Fingerprint:sha-256 AA"))), {"check-1"}),
        (also("core", seen("received", "CANCEL")), {"check-2"}),
        (at("ue"), {"check-3"}),
        (also("ue", seen("received", "BYE", "P-Charging-Vector: icid-value=1")), {"check-3"}),
        (on_iq(REGISTERED, ADDED, GIVEN_BACK), {"check-4"}),
        (on_iq(*GOOD.events, iq("in", "context 2", "Add ip/3"), iq("in", "context 2", "Subtract ip/3")), {"check-4"}),
        (on_iq(*GOOD.events[:-1]), {"check-4", "check-5"}),
        (on_iq(*GOOD.events[:-1], replace(GIVEN_BACK, facts={**GIVEN_BACK.facts, "errors": [430]})), {"check-4", "check-5"}),
        (on_iq(*GOOD.events[:-1], replace(GIVEN_BACK, dir="out")), {"check-4"}),
        (on_iq(), {"check-4", "check-5"}),
        (also("core", seen("received", "BYE", "more", security=["Require"])), {"check-6"}),
        (also("core", seen("received", "UPDATE", media=[{"proto": "TCP/MSRP", "fingerprint": "x"}])), {"check-6"}),
        (also("core", seen("received", "UPDATE", media=[{"proto": "TCP/MSRP", "e2ae": "applied"}])), {"check-6"}),
        (ending("ue", End(1, Statistics(1, 0, 1, 0, 1, 1.0))), {"sipp-ue"}),
        (ending("ue", End(0, Statistics(1, 0, 0, 0, 0, 1.0))), {"sipp-ue"}),
        (ending("ue", End(0, Statistics(2, 1, 1, 0, 0, 1.0))), {"sipp-ue"}),
        (ending("ue", End(0)), {"sipp-ue"}),
        (ending("core", End(None)), {"sipp-core"}),
        (replace(GOOD, ends={}), {"sipp-core", "sipp-ue"}),
        (replace(GOOD, pcscf=None), {"pcscf"}),
        (replace(GOOD, pcscf=1), {"pcscf"}),
        (replace(GOOD, log="x\nTraceback (most recent call last):"), {"pcscf"}),
        (replace(GOOD, log="[error] procedure-failed"), {"pcscf"}),
    ],
)
def test_a_claim_falls_with_what_it_rests_on(evidence: Evidence, claim: set[str]) -> None:
    assert failed(evidence) == claim


def test_a_claim_about_some_of_the_messages() -> None:
    """Re-INVITE is INVITE: what it is about tells them apart."""
    held = seen("received", "INVITE", "Via: b", "m=message 9 TCP/MSRP *", "a=sendonly")
    about = {"at": "core", "receives": "INVITE", "having": "a=SEND*"}
    claims = scenario(
        {"message": {**about, "times": 1, "lacks": "a=setup:*"}}, {"message": {**about, "contains": "m=message * TCP/MSRP *"}})
    assert failed(also("core", held), claims) == set()
    assert failed(GOOD, claims) == {"check-1", "check-2"}
    assert failed(also("core", replace(held, lines=(*held.lines, "a=setup:active"))), claims) == {"check-1"}
    (told, _, *_) = [check.seen for check in judge(claims, GOOD) if not check.ok]
    assert "with a=SEND*" in told


def test_a_retransmission_is_the_same_message() -> None:
    assert failed(also("core", INVITE)) == set()


def ended(octets: str, kind: str = "closed", node: str = GATEWAY) -> TraceEvent:
    return TraceEvent(1.0, node, "peer", "in", "TCP", "context 1", "text", {"kind": kind, "octets": octets})


@pytest.mark.parametrize(
    ("events", "holds"),
    [
        ([ended("160"), ended("40")], True), ([ended("160"), ended("0")], False), ([ended("160")], False),
        ([ended("160"), ended("40", kind="tls-failed")], False), ([ended("160"), ended("40", node="pcscf")], False),
        ([ended("1"), ended("2"), ended("3")], False),
    ],
)  # fmt: skip
def test_what_the_gateway_heard(events: list[TraceEvent], holds: bool) -> None:
    claim = scenario({"gateway": {"heard": 2}})
    assert ("check-1" not in failed(on_iq(*GOOD.events, *events), claim)) is holds


def test_counts_are_per_call() -> None:
    load = {"calls": 3, "rate": 1, "ceiling": 1}
    three = scenario({"message": {"at": "core", "receives": "INVITE", "times": 1}}, {"gateway": {"add": 2}}, load=load)
    assert failed(GOOD, three) == {"sipp-core", "sipp-ue", "check-1", "check-2"}
    ends = dict.fromkeys(("core", "ue"), End(0, Statistics(3, 3, 0, 0, 0, 2.0)))
    messages = {"core": [replace(INVITE, lines=(f"INVITE {number}",)) for number in range(3)]}
    evidence = Evidence(messages, ends, [iq("in", f"context {n}", "Add a", "Add b") for n in range(3)], 0)
    assert failed(evidence, three) == set()
    assert "1.5 calls/s" in next(check.seen for check in judge(three, evidence) if check.name == "sipp-ue")


def test_who_must_be_left_in_peace() -> None:
    start = [{"as": "core", "sipp": str(HERE), "idle": True}, {"as": "ue", "sipp": str(HERE)}]
    idle = scenario({"message": {"at": "core", "receives": "any", "times": 0}}, start=start)
    quiet = replace(GOOD, messages={"ue": []}, ends={"core": End(None), "ue": DONE})
    assert failed(quiet, idle) == set()
    assert failed(replace(quiet, messages={"core": [INVITE]}), idle) == {"sipp-core", "check-1"}
    assert failed(replace(quiet, ends={"core": End(255), "ue": DONE}), idle) == {"sipp-core"}


def test_a_gateway_that_comes_anew_has_nothing_of_the_old_one() -> None:
    assert set(contexts_left([REGISTERED, ADDED])) == {"context 1"}
    assert contexts_left([REGISTERED, ADDED, REGISTERED]) == {}
    other = iq("in", "context 2", "Add ip/7")
    assert set(contexts_left([REGISTERED, ADDED, REGISTERED, other])) == {"context 2"}


@pytest.mark.parametrize("entry", load_scenarios(), ids=lambda entry: entry.name)
def test_no_scenario_holds_when_nothing_happens(entry: Entry) -> None:
    checks = judge(entry.scenario, Evidence())
    assert not all(check.ok for check in checks)
    positive = [check for check, claim in zip(checks[-1 - len(entry.scenario.checks):-1], entry.scenario.checks, strict=True)
                if not _is_about_absence(claim.model_dump(exclude_none=True))]
    assert positive
    assert [check.what for check in positive if check.ok] == []


def _is_about_absence(claim: dict[str, Any]) -> bool:
    counted = {**claim.get("message", {}), **claim.get("gateway", {})}
    return counted.get("times") == 0 or counted.get("contexts") == 0


def test_junit_names_what_did_not_hold(tmp_path: Path) -> None:
    entry = load_scenarios(["cancel"])[0]
    checks = [Check("one", "held <&>", True, "seen"), Check("two", "fell\x1b[0m", False, "a \x00 control")]
    file = tmp_path / "junit.xml"
    write_junit([Outcome(entry, "udp", checks, 1.25, "ended early"), Outcome(entry, "tcp", checks[:1], 1.0, "")], file)
    suites = list(ElementTree.parse(file).getroot())
    assert [[suite.get(key) for key in ("name", "tests", "failures", "errors")] for suite in suites] == [
        ["cancel.udp", "3", "1", "1"], ["cancel.tcp", "1", "0", "0"]]
    assert [case.get("name") for case in suites[0] if case.find("failure") is not None] == ["fell�[0m"]
    assert [error.get("message") for error in suites[0].iter("error")] == ["ended early"]
