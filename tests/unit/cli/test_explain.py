from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pcscf.cli.explain import difference, structured
from pcscf.cli.main import main
from pcscf.config.load import POLICIES
from pcscf.config.tree import MAX_SIZE
from pcscf.sdp.lines import parse_sdp_untrusted

HASH = ":".join(f"{(7 * octet + 3) % 256:02X}" for octet in range(32))
WEAK = ":".join(f"{octet:02X}" for octet in range(20))


def sdp(*lines: str, address: str = "192.0.2.61") -> str:
    return "\r\n".join(("v=0", f"o=- 5 1 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0", *lines, ""))


def chat(*attributes: str, proto: str = "TCP/TLS/MSRP", port: int = 2855) -> tuple[str, ...]:
    return (f"m=message {port} {proto} *", "a=path:msrp://192.0.2.61:2855/a7;tcp", "a=msrp-cema", *attributes)


ASKED = sdp(*chat("a=setup:active", f"a=fingerprint:sha-256 {HASH}", "a=3ge2ae:requested"))
OPEN = sdp(*chat("a=setup:actpass", proto="TCP/MSRP"))
ANSWER = sdp(*chat("a=setup:passive", proto="TCP/MSRP", port=7000), address="198.51.100.88")
AGREED = {"ue": ["msrp-tls"], "net": ["msrp-tls"]}


def case(**keys: Any) -> dict[str, Any]:
    return {"direction": "offer-from-ue", "in": ASKED, **AGREED, **keys}


class Ran:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(what: dict[str, Any] | str, *options: str) -> Ran:
        file = tmp_path / "case.json"
        file.write_text(what if isinstance(what, str) else json.dumps(what))
        with pytest.raises(SystemExit) as raised:
            main(["explain", str(file), *options])
        told = capsys.readouterr()
        return Ran(int(raised.value.code or 0), told.out, told.err)

    return run


def test_one_object_for_machines(explain: Any) -> None:
    ran = explain(case(id="mine", row="A1", expect={}, note="for the reader"), "--json")
    assert (ran.status, ran.err) == (0, "")
    told = json.loads(ran.out)
    assert set(told) == {"action", "sdp", "lines", "structured"}
    assert told["action"] == "forward"
    assert told["lines"] == [
        {
            "index": 0,
            "mode": "terminate",
            "rule": "A1",
            "reason": "the UE asked for protection to the edge and both sides agreed msrp-tls: TLS ends at the gateway",
            "gateway": {"access": {"tcp": "accept", "tls": "server"}, "core": {"tcp": None}},
        }
    ]
    sent = told["sdp"].split("\r\n")
    assert "m=message 9 TCP/MSRP *" in sent
    assert "c=IN IP4 198.51.100.7" in sent
    assert not any("fingerprint" in line or "3ge2ae" in line for line in sent)
    assert told["structured"]["media"][0]["protocol"] == "TCP/MSRP"


def test_an_answer_is_decided_by_its_offer(explain: Any) -> None:
    previous = {"direction": "offer-from-ue", "sdp": ASKED}
    ran = explain(case(direction="answer-to-ue", previous_offer=previous, **{"in": ANSWER}), "--json")
    [line] = json.loads(ran.out)["lines"]
    assert (line["mode"], line["rule"]) == ("terminate", "AA1")
    assert line["gateway"] == {"access": {"tcp": "accept", "tls": "server"}, "core": {"tcp": "connect"}}
    assert "m=message 30000 TCP/TLS/MSRP *" in json.loads(ran.out)["sdp"]


@pytest.mark.parametrize(
    ("policy", "offer", "outcome"),
    [
        ({}, OPEN, ("forward", "A7", True)),
        ({"default": {"anchor_plain": False}}, OPEN, ("forward", "A7", False)),
        ({"default": {"downgrade": "refuse"}}, OPEN, ("reject", "A7", True)),
        ({"default": {"downgrade": "refuse"}, "msrp": {"downgrade": "count"}}, OPEN, ("forward", "A7", True)),
        ({"msrp": {"min_hash": "sha-512"}}, ASKED, ("reject", "A3", False)),
    ],
)
def test_the_policy_of_the_case(explain: Any, policy: Any, offer: str, outcome: tuple[str, str, bool]) -> None:
    told = json.loads(explain(case(policy=policy, **{"in": offer}), "--json").out)
    [line] = told["lines"]
    assert (told["action"], line["rule"], line["gateway"] is not None) == outcome
    assert (told["action"] == "reject") == (told.get("status") == 488) == (told["sdp"] is None)
    assert (told["structured"] is None) == (told["sdp"] is None)


@pytest.mark.parametrize(
    ("name", "keys", "rule"),
    [
        ("rcs.yaml", {"user_agent": "Some-RCS/2", "ue": [], "net": []}, "A2"),
        ("strict.yaml", {"ue": [], "net": []}, "A2"),
        ("strict.yaml", {"ue": ["msrp-tls"], "net": None}, "A1"),
        ("lab.yaml", {"access": "udp", "realm": "access", "identity": "sip:a@ims.example", "net": None}, "A1"),
        ("default.yaml", {"access": "udp", "net": None}, "A2"),
    ],
)
def test_a_configuration_supplies_policy_and_agreement(explain: Any, name: str, keys: Any, rule: str) -> None:
    given = {key: value for key, value in case(**keys).items() if value is not None}
    ran = explain(given, "--json", "--policy", str(POLICIES / name))
    [line] = json.loads(ran.out)["lines"]
    assert line["rule"] == rule


def test_a_configuration_takes_the_place_of_the_case_s_policy(explain: Any) -> None:
    given = case(policy={"msrp": {"require": True}}, **{"in": OPEN})
    assert json.loads(explain(given, "--json").out)["action"] == "reject"
    assert json.loads(explain(given, "--json", "--policy", str(POLICIES / "lab.yaml")).out)["action"] == "forward"


def test_a_person_sees_rule_reason_and_difference(explain: Any) -> None:
    ran = explain(case())
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[0] == "The offer of the UE goes on to the core."
    assert any("terminate, rule A1: the UE asked" in line for line in lines)
    assert any("towards the UE accepts TCP and is TLS server" in line for line in lines)
    assert "- m=message 2855 TCP/TLS/MSRP *" in lines
    assert "+ m=message 9 TCP/MSRP *" in lines
    assert "  s=-" in lines


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (case(policy={"msrp": {"require": True}}, **{"in": OPEN}), "The offer of the UE is refused with 488: msrp must be"),
        (case(**{"in": OPEN}), "(counted as a downgrade)"),
        (
            case(
                direction="answer-to-core",
                previous_offer={"direction": "offer-from-core", "sdp": ANSWER.replace("passive", "actpass")},
                **{"in": OPEN},
            ),
            "The answer of the UE ends the session: both sides get BYE.\n",
        ),
        (
            case(direction="answer-to-ue", previous_offer={"direction": "offer-from-ue", "sdp": ASKED}, **{"in": sdp()}),
            "0  not in the answer\n   released, rule AA7",
        ),
        (case(**{"in": sdp("m=image 6000 udptl t38")}), "towards the UE speaks UDP; towards the core speaks UDP"),
        (case(**{"in": sdp("m=audio 6000 RTP/AVP 0", "a=rtcp-mux")}), "RTP/AVP, RTCP on the same port if that is answered;"),
        (case(**{"in": sdp("m=audio 6000 RTP/AVP 0", "a=ice-ufrag:x")}), "way: past the gateway\n   without the gateway"),
        (
            case(seen_at="203.0.113.9", **{"in": sdp("m=audio 6000 RTP/AVP 0")}),
            "towards the UE speaks RTP/AVP with who sends first from 203.0.113.9 or 192.0.2.61;",
        ),
    ],
)
def test_a_person_sees_every_outcome(explain: Any, given: Any, told: str) -> None:
    ran = explain(given)
    assert ran.status == 0
    assert told in ran.out


def test_a_peer_does_not_steer_the_terminal(explain: Any) -> None:
    ran = explain(case(**{"in": sdp(*chat(proto="\x1b[31mTCP/MSRP"), "a=x:\x1b]0;title\x07")}))
    assert "\x1b" not in ran.out
    assert "\\x1b]0;title\\x07" in ran.out


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("[]", "must hold one JSON object"),
        ("{", "case.json:1: is not JSON: Expecting property name"),
        ("9" * 5000, "is not JSON that can be read"),
        ("[" * 100_000, "is nested too deeply"),
        (" " * (MAX_SIZE + 1), "this is hardly a case"),
        ("{}", "direction: is missing\n    Write offer-from-ue, answer-to-ue,"),
        (case(direction="from-ue"), "direction: cannot be 'from-ue'\n    write offer-from-ue, answer-to-ue,"),
        ({"direction": "offer-from-ue"}, "in: is missing\n    Write the SDP"),
        (case(ue="msrp-tls"), "ue: must be a list\n"),
        (case(net=["msrp_tls"]), "net.0: cannot be 'msrp_tls'\n    write msrp-tls, bfcp-tls or udptl-dtls"),
        (case(policy={"msrp": {"min_hsh": "sha-1"}}), "policy.msrp.min_hsh: unknown key\n    did you mean `min_hash`?"),
        (case(policy={"msrp": {"min_hash": "md5"}}), "policy.msrp.min_hash: cannot be 'md5'"),
        (case(policy={"default": {"require": "yes"}}), "policy.default.require: must be true or false"),
        (case(**{"in": "v=1"}), "in: SDP line 1: does not begin with v=0\n"),
        (case(**{"in": sdp("m=message")}), "in: SDP line 6: m= needs media"),
        (case(**{"in": "v=0\r\ns=\ud800"}), "in: holds half of a surrogate pair"),
        (case(direction="answer-to-ue"), "previous_offer: is missing, and an answer is decided by its offer"),
        (
            case(direction="answer-to-ue", previous_offer={"direction": "offer-from-core", "sdp": OPEN}),
            "previous_offer.direction: answer-to-ue does not answer an offer-from-core\n    write offer-from-ue",
        ),
        (
            case(direction="answer-to-ue", previous_offer={"direction": "offer-from-ue", "sdp": "v=2"}),
            "previous_offer.sdp: SDP line 1",
        ),
        (case(previous_offer={"direction": "offer-from-ue", "sdp": OPEN}), "previous_offer: an offer answers nothing"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(explain: Any, given: Any, told: str) -> None:
    ran = explain(given, "--json")
    assert (ran.status, ran.out) == (2, "")
    assert told in ran.err
    assert "case.json:" in ran.err
    assert "Traceback" not in ran.err


def test_octets_that_are_not_utf_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "case.json"
    file.write_bytes(b'{"in": "\xff"}')
    with pytest.raises(SystemExit, match="2"):
        main(["explain", str(file)])
    assert "is not UTF-8 text" in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["explain", str(tmp_path / "none.json")])
    assert "none.json: cannot be read: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"realm": "acess"}, "realm: 'acess' is not an access realm\n    write one of: visited, access"),
        ({}, "realm: is missing, and there are several\n    write one of: visited, access"),
    ],
)
def test_the_realm_must_be_one_of_the_configuration(explain: Any, tmp_path: Path, keys: Any, told: str) -> None:
    two = tmp_path / "two.yaml"
    site = (POLICIES / "lab.yaml").read_text().replace("gm-tcp: {realm: access", "gm-tcp: {realm: visited")
    two.write_text(site.replace("realms:\n", "realms:\n  visited: {side: access}\n"))
    ran = explain(case(**keys), "--policy", str(two))
    assert ran.status == 2
    assert told in ran.err


def test_the_case_of_the_how_to(explain: Any) -> None:
    page = (POLICIES.resolve().parent / "docs/howto/explain.md").read_text()
    ran = explain(page.partition("```json\n")[2].partition("```")[0])
    assert (ran.status, ran.err) == (0, "")
    assert "plain, rule A7" in ran.out


def test_standard_input_as_a_process() -> None:
    arguments = [sys.executable, "-m", "pcscf", "explain", "--json", "-"]
    good = subprocess.run(arguments, input=json.dumps(case()), capture_output=True, text=True, check=False)
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["action"] == "forward"
    bad = subprocess.run(arguments, input="nonsense", capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("standard input:1: is not JSON")


def test_standard_input_in_place(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(case()).encode())))
    with pytest.raises(SystemExit, match="0"):
        main(["explain", "-"])
    assert "rule A1" in capsys.readouterr().out


def test_the_structured_view_is_json_whatever_a_value_reads_like() -> None:
    view = structured(parse_sdp_untrusted(b"v=0\r\nm=audio 9 RTP/AVP 0\r\na=mid:nan\r\na=ptime:1e999\r\n"))
    assert json.dumps(view, allow_nan=False)
    assert view["media"][0]["mid"] == "NaN"
    assert structured(None) is None


def test_the_difference_keeps_order_and_drops_nothing() -> None:
    before = parse_sdp_untrusted(b"v=0\r\ns=a\r\nt=0 0\r\n")
    after = parse_sdp_untrusted(b"v=0\r\ns=b\r\nt=0 0\r\na=x\r\n")
    assert difference(before, after) == [
        (" ", "v=0"), ("-", "s=a"), ("+", "s=b"), (" ", "t=0 0"), ("+", "a=x"),
    ]  # fmt: skip
    assert difference(before, before) == [(" ", "v=0"), (" ", "s=a"), (" ", "t=0 0")]


UNCHECKED = sdp(*chat("a=setup:active", "a=3ge2ae:requested"))
LATER = sdp(*chat("a=setup:actpass", proto="TCP/MSRP", port=7000), address="198.51.100.88")
PLAIN_CALL = [{"direction": "offer-from-ue", "sdp": OPEN}, {"direction": "answer-to-ue", "sdp": ANSWER}]
PROTECTED_CALL = [{"direction": "offer-from-ue", "sdp": ASKED}, {"direction": "answer-to-ue", "sdp": ANSWER}]


@pytest.mark.parametrize(("history", "mode"), [
    ([], "plain"),
    (PLAIN_CALL, "plain"),
    (PROTECTED_CALL, "protect"),
    (PROTECTED_CALL[:1], "plain"),                                             # refused: it changes nothing
    ([*PROTECTED_CALL, {"direction": "offer-from-ue", "sdp": OPEN}], "protect"),
    ([*PROTECTED_CALL, *PLAIN_CALL], "plain"),                                 # the UE gave it up itself
])
def test_what_a_session_negotiated_before_decides_with(explain: Any, history: list[dict[str, str]], mode: str) -> None:
    asked = {"direction": "offer-from-core", "in": LATER, "ue": [], "net": ["msrp-tls"], "history": history}
    told = json.loads(explain(asked, "--json").out)
    assert [line["mode"] for line in told["lines"]] == [mode]


def test_an_answer_after_a_history(explain: Any) -> None:
    answer = sdp(*chat("a=setup:active", f"a=fingerprint:sha-256 {HASH}"))
    asked = {
        "direction": "answer-to-core", "in": answer, "history": PROTECTED_CALL,
        "previous_offer": {"direction": "offer-from-core", "sdp": LATER},
    }
    (line,) = json.loads(explain(asked, "--json").out)["lines"]
    assert (line["mode"], line["rule"]) == ("protect", "CA1")


@pytest.mark.parametrize(("history", "said"), [
    (PLAIN_CALL[1:], "answer-to-ue after nothing"),
    ([PLAIN_CALL[0], {"direction": "answer-to-core", "sdp": ANSWER}], "answer-to-core after offer-from-ue"),
    ([PLAIN_CALL[0], {"direction": "answer-to-ue", "sdp": "v=1"}], "does not begin with v=0"),
    ([{"direction": "offer-from-ue", "sdp": UNCHECKED}, PLAIN_CALL[1]], "this offer is refused"),
    ([PROTECTED_CALL[0], {"direction": "answer-to-ue", "sdp": ASKED}], "this answer ends the session"),
])
def test_a_history_that_cannot_have_been(explain: Any, history: list[dict[str, str]], said: str) -> None:
    ran = explain(case(history=history))
    assert ran.status == 2
    assert said in " ".join(ran.err.split())
