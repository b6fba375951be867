from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pcscf.cli.main import main
from pcscf.config.load import POLICIES, load_config

HASH = ":".join(f"{(11 * octet + 1) % 256:02X}" for octet in range(32))
TESTS = f"""\
policy: site.yaml
tests:
  - name: asked for and agreed
    binding: {{access: udp, ue: [msrp-tls]}}
    offer:
      from: ue
      sdp: |
        v=0
        o=- 5 1 IN IP4 192.0.2.61
        s=-
        c=IN IP6 2001:db8::61
        t=0 0
        m=message 2855 TCP/TLS/MSRP *
        a=path:msrps://[2001:db8::61]:2855/a7;tcp
        a=msrp-cema
        a=setup:actpass
        a=fingerprint:sha-256 {HASH}
        a=3ge2ae:requested
    expect:
      action: forward
      lines: [{{mode: terminate, rule: A1, gateway: true, reason: both sides agreed}}]
      contains:
        - m=message 41000 TCP/MSRP *
        - "a=path:msrps://[2001:db8::61]:*"
      lacks: a=fingerprint*
"""


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    (tmp_path / "site.yaml").write_text((POLICIES / "lab.yaml").read_text())

    def run_tests(text: str, name: str = "my.test.yaml") -> tuple[int, str, str]:
        file = tmp_path / name
        file.write_text(text)
        with pytest.raises(SystemExit) as raised:
            main(["policy", "test", str(file)])
        told = capsys.readouterr()
        return int(raised.value.code or 0), told.out.replace(f"{tmp_path}/", ""), told.err.replace(f"{tmp_path}/", "")

    return run_tests


@pytest.mark.parametrize("name", ["default", "lab", "rcs", "strict"])
def test_the_configurations_that_come_with_the_package_decide_as_their_tests_say(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_config(POLICIES / f"{name}.yaml").home_domain == "ims.example"
    with pytest.raises(SystemExit, match="0"):
        main(["policy", "test", str(POLICIES / f"{name}.test.yaml")])
    told = capsys.readouterr().out
    assert "✗" not in told
    assert told.endswith(", all hold\n")


def test_every_configuration_that_comes_with_the_package_has_tests() -> None:
    names = {each.name for each in POLICIES.glob("*.yaml")}
    assert {name.replace(".yaml", ".test.yaml") for name in names if not name.endswith(".test.yaml")} <= names


def test_every_check_is_shown_and_summed_up(run: Any) -> None:
    status, out, err = run(TESTS)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "my.test.yaml (site.yaml)",
        "  ✓ asked for and agreed",
        "      ✓ action forward",
        "      ✓ m-lines: 1",
        "      ✓ line 0: mode terminate",
        "      ✓ line 0: rule A1",
        "      ✓ line 0: gateway true",
        "      ✓ line 0: reason both sides agreed",
        "      ✓ contains m=message 41000 TCP/MSRP *",
        "      ✓ contains a=path:msrps://[2001:db8::61]:*",
        "      ✓ lacks a=fingerprint*",
        "tests: 1, checks: 9, all hold",
    ]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("action: forward", "action: reject", "my.test.yaml:20: it is forward"),
        ("action: forward", "status: 488", "my.test.yaml:20: it is none"),
        ("mode: terminate", "mode: pass", "my.test.yaml:21: it is terminate, rule A1: the UE asked"),
        ("rule: A1", "rule: A2", "my.test.yaml:21: it is terminate, rule A1"),
        ("gateway: true", "gateway: false", "✗ line 0: gateway false"),
        ("reason: both", "reason: neither", "✗ line 0: reason neither sides"),
        ("lines: [{", "lines: [{}, {", "my.test.yaml:21: it is 1"),
        ("41000 TCP/MSRP", "41000 TCP/TLS", "my.test.yaml:23: no such line leaves"),
        ("lacks: a=fingerprint*", "lacks: [m=?essage*]", "my.test.yaml:25: it has m=message 41000 TCP/MSRP *"),
        ("setup:actpass", "setup:actpass\n        a=key-mgmt:mikey AQ==", "it is pass, rule A6"),
    ],
)
def test_what_fails_is_told_with_its_line(run: Any, before: str, after: str, told: str) -> None:
    status, out, err = run(TESTS.replace(before, after, 1))
    assert (status, err) == (1, "")
    assert told in out
    assert "✗ asked for and agreed" in out
    assert ", failed: " in out


@pytest.mark.parametrize("expected", ["contains: v=0", "lacks: a=none"])
def test_where_nothing_leaves_nothing_is_said_of_its_lines(run: Any, expected: str) -> None:
    text = TESTS.replace("a=fingerprint", "a=x").partition("    expect:")[0] + f"    expect: {{{expected}}}\n"
    status, out, _ = run(text)
    assert (status, "nothing leaves" in out) == (1, True)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("from: ue", "from: eu", "my.test.yaml:6: tests.0.offer.from: cannot be 'eu'\n    write ue or core"),
        ("from: ue", "form: ue", "my.test.yaml:6: tests.0.offer.form: unknown key\n    did you mean `from`?"),
        ("rule: A1", "rul: A1", "my.test.yaml:21: tests.0.expect.lines.0.rul: unknown key\n    did you mean `rule`?"),
        ("mode: terminate", "mode: ends", "my.test.yaml:21: tests.0.expect.lines.0.mode: cannot be 'ends'"),
        ("m=message 2855", "m=message port", "my.test.yaml:7: offer: SDP line 6: 'port' is not a port"),
        ("access: udp", "realm: nowhere", "my.test.yaml:4: realm: 'nowhere' is not an access realm"),
        ("access: udp", "access: sctp", "my.test.yaml:4: tests.0.binding.access: cannot be 'sctp'"),
        ("policy: site.yaml", "policy: none.yaml", "none.yaml: cannot be read: no such file or directory"),
        ("name: asked", "nam: asked", "my.test.yaml:3: tests.0.nam: unknown key"),
        ("    expect:", "    answer: v=1\n    expect:", "my.test.yaml:19: answer: SDP line 1: does not begin with v=0"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line(run: Any, before: str, after: str, told: str) -> None:
    status, out, err = run(TESTS.replace(before, after, 1))
    assert status == 2
    assert told in err
    assert "checks: " not in out


def test_the_test_of_the_how_to(run: Any) -> None:
    page = (POLICIES.resolve().parent / "docs/howto/explain.md").read_text()
    text = page.partition("```yaml\n")[2].partition("```")[0]
    status, out, err = run(f"policy: {POLICIES / 'strict.yaml'}\n{text}")
    assert (status, err) == (0, "")
    assert "checks: 5, all hold" in out


@pytest.mark.parametrize("expected", ["{}", "{lines: []}", "{action: null}"])
def test_a_test_must_expect_something(run: Any, expected: str) -> None:
    status, _, err = run(TESTS.partition("    expect:")[0] + f"    expect: {expected}\n")
    assert (status, "tests.0.expect: expects nothing" in err) == (2, True)


def test_the_configuration_stands_beside_unless_it_is_named(run: Any) -> None:
    text = TESTS.replace("policy: site.yaml\n", "")
    assert run(text, "site.test.yaml")[0] == 0
    status, _, err = run(text, "site-tests.yaml")
    hint = "add `policy: FILE`, or call the file X.test.yaml beside X.yaml"
    assert (status, err) == (2, f"site-tests.yaml: names no policy\n    {hint}\n")


def test_all_files_are_read_before_any_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "one.test.yaml", tmp_path / "two.test.yaml"]
    for file in files:
        file.write_text("tests: []\n")
    with pytest.raises(SystemExit, match="2"):
        main(["policy", "test", str(POLICIES / "lab.test.yaml"), *map(str, files)])
    told = capsys.readouterr()
    assert told.out == ""
    assert [line.rpartition("/")[2] for line in told.err.splitlines() if "must not be empty" in line] == [
        "one.test.yaml:1: tests: must not be empty",
        "two.test.yaml:1: tests: must not be empty",
    ]


def test_the_files_that_a_configuration_names_need_not_be_there(run: Any, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(site.read_text().replace("certificate: lab", "certificate: elsewhere.pem"))
    assert run(TESTS)[0] == 0
