"""The demo's claims: all hold for a good run, and each falls when what it rests on is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pcscf.cli.proof import Evidence
from pcscf.cli.scenes import SCENES, prove
from pcscf.observe.trace import LINK, TraceEvent

GATEWAY = "sha-256 BB:02"
PLAIN = {"proto": "TCP/MSRP", "port": "9"}
PROTECTED = {"proto": "TCP/TLS/MSRP", "port": "12000", "e2ae": "applied", "fingerprint": GATEWAY}
AGREED = ["msrp-tls;mediasec", "bfcp-tls;mediasec"]

Event = dict[str, Any]


def event(node: str, direction: str, proto: str, flow: str, **facts: object) -> TraceEvent:
    return TraceEvent(1.0, node, "peer", "in" if direction == "in" else "out", proto, flow, "text", facts)


def register(node: str, direction: str, user: str, **facts: object) -> TraceEvent:
    known = {"method": "REGISTER", "to": f"sip:{user}@ims.example", "security": [], **facts}
    return event(node, direction, "SIP", f"reg-{user}", **known)


def invite(node: str, call: str, **line: str) -> TraceEvent:
    return event(node, "in", "SIP", call, method="INVITE", security=[], media=[line])


def iq(flow: str, *commands: str) -> TraceEvent:
    return event("pcscf", "in", "Iq", flow, kind="reply", commands=list(commands), errors=[])


def link(call: str, number: int) -> TraceEvent:
    return event("pcscf", "out", LINK, call, also=[f"context {number}"])


def tls(number: int, ue: str) -> TraceEvent:
    return event("agw", "in", "TLS", f"context {number}", kind="tls-established", version="TLSv1.3", fingerprint=f"SHA-256 {ue}",
                 own="SHA-256 bb:02")


def tcp(number: int, kind: str) -> TraceEvent:
    return event("agw", "in", "TCP", f"context {number}", kind=kind)


CONTEXTS = {"one": (1,), "two": (2,), "four": (4,), "five": (5, 6), "six": (7,), "eight": (9,), "nine": (10,), "ten": (11,),
            "eleven": (12,), "twelve": (13,)}
ENDS = {"nine": "TCP/TLS/MSRP", "twelve": "UDP/TLS/UDPTL"}
EVENTS = {
    "register": register("ue", "out", "alice", security=["Security-Client"]),
    "register-in": register("pcscf", "in", "alice", security=["Security-Client"]),
    "register-core": register("core", "in", "alice"),
    "heidi-in": register("pcscf", "in", "heidi"),
    "heidi-out": register("pcscf", "out", "heidi", status=200),
    "core-one": invite("core", "one", **PLAIN),
    "offer-eight": invite("pcscf", "eight", proto="TCP/TLS/MSRP", port="9"),
    "core-eight": invite("core", "eight", **PLAIN),
    "told-eight": replace(iq("context 9"), text="C=9 {Modify ip/a/9 TCP/TLS/MSRP, Modify ip/c/9 TCP/MSRP}"),
    "core-four": invite("core", "four", **PLAIN),
    "core-five": invite("core", "five", **PLAIN),
    "offer-four": invite("ue", "four", **PROTECTED),
    "offer-five": invite("ue2", "five", **PROTECTED),
    **{f"link-{number}": link(call, number) for call, numbers in CONTEXTS.items() for number in numbers},
    **{f"add-{number}": iq(f"context {number}", f"Add ip/a/{number}", f"Add ip/c/{number}") for number in range(1, 14)},
    **{f"subtract-{number}": iq(f"context {number}", "Subtract *") for number in range(2, 14)},
    "subtract-1": iq("context 1", "Subtract ip/a/1", "Subtract ip/c/1"),
    "tls-one": tls(1, "aa:01"),
    "tls-failed": event("agw", "in", "TLS", "context 2", kind="tls-failed"),
    "tls-four": tls(4, "cc:03"),
    "tls-eight": tls(9, "11:09"),
    "tls-frank": tls(5, "ff:06"),
    "tls-grace": tls(6, "dd:07"),
    "tcp-accepted": tcp(7, "tcp-accepted"),
    "tcp-connected": tcp(7, "tcp-connected"),
    **{f"offer-{call}": invite("ue", call, proto=proto, port="12000", fingerprint="sha-256 11:0A")
       for call, proto in ENDS.items()},
    "core-ten": invite("core", "ten", proto="TCP/BFCP", port="9"),
    "offer-ten": invite("ue", "ten", **{**PROTECTED, "proto": "TCP/TLS/BFCP"}),
    "tls-ten": tls(11, "13:0C"),
    "core-eleven": invite("core", "eleven", proto="udptl", port="9"),
    "offer-eleven": invite("ue", "eleven", **{**PROTECTED, "proto": "UDP/TLS/UDPTL"}),
    "tls-eleven": replace(tls(12, "14:0D"), proto="DTLS"),
    **{f"carried-10-{kind}": tcp(10, kind) for kind in ("tcp-accepted", "tcp-connected")},
    **{f"carried-13-{side}": event("agw", "in", "UDP", "context 13", kind="closed", transport="UDP", octets="7130")
       for side in ("access", "core")},
}


def caller(call: str, said: str, *, own: str = "", met: str = GATEWAY, by: str = "us") -> list[Event]:
    shown = {"version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "fingerprint": met} if own else {}
    return [
        {"event": "answered", "call_id": call},
        {"event": "media", "call_id": call, "own_fingerprint": own, "tls": shown},
        {"event": "sent", "call_id": call, "text": said},
        {"event": "received", "call_id": call, "text": f"Got it: {said}"},
        {"event": "ended", "call_id": call, "by": by, "reason": ""},
    ]


def callee(call: str, heard: str, *, own: str = "", met: str = GATEWAY) -> list[Event]:
    media = caller(call, "", own=own, met=met)[1]
    return [media, {"event": "received", "call_id": call, "text": heard}]


def registered(*entries: str) -> Event:
    return {"event": "registered", "expires": 600, "security_server": list(entries)}


def between(call: str, one: str, other: str) -> dict[str, list[Event]]:
    """Caller and callee of a call that they protect themselves."""
    return {
        one: caller(call, "for you", own="sha-256 11:0A", met="sha-256 12:0B"),
        other: callee(call, "for you", own="sha-256 12:0B", met="sha-256 11:0A"),
    }


RELEASED = {"event": "ended", "call_id": "two", "by": "peer", "reason": "SIP;cause=488"}
WORDS: dict[str, list[Event]] = {
    "alice": [registered(*AGREED), *caller("one", "here", own="sha-256 AA:01")],
    "eve": [{"event": "answered", "call_id": "two"}, RELEASED],
    "bob": [
        {"event": "received", "call_id": "one", "text": "here"},
        {"event": "ended", "call_id": "one", "by": "peer", "reason": ""},
        {"event": "received", "call_id": "six", "text": "as ever"},
        {"event": "received", "call_id": "eight", "text": "my path"},
        RELEASED,
    ],
    "dave": caller("four", "hello"),
    "carol": callee("four", "hello", own="sha-256 CC:03"),
    "frank": caller("five", "hi", own="sha-256 FF:06"),
    "grace": callee("five", "hi", own="sha-256 DD:07"),
    "heidi": [registered(), *caller("six", "as ever")],
    "ivan": caller("eight", "my path", own="sha-256 11:09"),
    "mallory": [registered(*AGREED), {"event": "refused", "call_id": "seven", "status": 488, "warning": "399 x \"agreed\""}],
    **between("nine", "judy", "walter"),
    "peggy": caller("ten", "the floor, please"),
    "oscar": callee("ten", "the floor, please", own="sha-256 13:0C"),
    "trent": caller("eleven", "a page"),
    "sybil": callee("eleven", "a page", own="sha-256 14:0D"),
    **between("twelve", "victor", "wendy"),
}
GOOD = Evidence(list(EVENTS.values()), WORDS)


def failed(evidence: Evidence) -> set[str]:
    return {check.name for check in prove(evidence) if not check.ok}


def without(name: str, *more: TraceEvent) -> Evidence:
    return replace(GOOD, events=[*(each for key, each in EVENTS.items() if key != name), *more])


def instead(name: str, **facts: object) -> Evidence:
    changed = replace(EVENTS[name], facts={**EVENTS[name].facts, **facts})
    return replace(GOOD, events=[changed if key == name else each for key, each in EVENTS.items()])


def also(*more: TraceEvent) -> Evidence:
    return without("", *more)


def silent(who: str, name: str) -> Evidence:
    return replace(GOOD, words={**WORDS, who: [each for each in WORDS[who] if each["event"] != name]})


def saying(who: str, name: str, call: str = "", **facts: object) -> Evidence:
    told = [
        {**each, **facts} if each["event"] == name and call in {"", each.get("call_id")} else each for each in WORDS[who]
    ]
    return replace(GOOD, words={**WORDS, who: told})


def between_the_ends(name: str, call: str, one: str, other: str, context: int) -> list[tuple[Evidence, set[str]]]:
    """What each claim about a call that the ends protect themselves rests on."""
    offer = {"proto": ENDS[call], "port": "9", "fingerprint": "sha-256 11:0A"}
    offered, met, unread = (f"{name}-ends-{what}" for what in ("offered", "met", "unread"))
    cases = [
        (without(f"offer-{call}"), {offered}),
        (instead(f"offer-{call}", media=[{**offer, "proto": "TCP/MSRP"}]), {offered}),
        (instead(f"offer-{call}", media=[{**offer, "e2ae": "applied"}]), {offered}),
        (instead(f"offer-{call}", media=[{**offer, "fingerprint": GATEWAY}]), {offered}),
        (saying(one, "media", tls={"fingerprint": GATEWAY}), {met}),
        (saying(other, "media", tls={"fingerprint": GATEWAY}), {met}),
        (saying(other, "media", own_fingerprint="sha-256 EE:05"), {met}),
        (saying(one, "media", tls={}), {met, unread}),
        (also(link(call, 99), tls(99, "11:0A")), {unread}),
        (saying(other, "received", text="other"), {f"{name}-ends-text-there"}),
        (saying(one, "received", text="other"), {f"{name}-ends-text-back"}),
    ]
    return [*cases, *((without(key), {unread}) for key in EVENTS if key.startswith(f"carried-{context}-"))]


def test_a_good_run_proves_everything() -> None:
    assert failed(GOOD) == set()
    assert [scene.key(GOOD) for scene in SCENES] == [
        "reg-alice", "one", "two", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    ]


def test_nothing_is_proven_by_silence() -> None:
    checks = prove(Evidence([], {}))
    assert [check.name for check in checks if check.ok] == []


def test_no_two_claims_share_a_name() -> None:
    names = [check.name for check in prove(GOOD)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("evidence", "claim"),
    [
        (silent("alice", "registered"), {"registered", "mediasec-agreed"}),
        (saying("alice", "registered", security_server=["bfcp-tls;mediasec"]), {"mediasec-agreed"}),
        (instead("register", security=[]), {"mediasec-agreed"}),
        (saying("bob", "received", "one", text="other"), {"text-there"}),
        (silent("alice", "sent"), {"text-there", "text-back"}),
        (saying("alice", "received", text="other"), {"text-back"}),
        (saying("alice", "media", tls={}), {"tls", "gateway-fingerprint"}),
        (saying("alice", "media", own_fingerprint="sha-256 CC:03"), {"ue-fingerprint"}),
        (without("tls-one"), {"gateway-fingerprint", "ue-fingerprint"}),
        (without("link-1"), {"gateway-fingerprint", "ue-fingerprint"}),
        (without("core-one"), {"plain-behind"}),
        (also(invite("core", "one", **PLAIN, fingerprint=GATEWAY)), {"plain-behind"}),
        (also(invite("core", "one", **PROTECTED)), {"plain-behind"}),
        (saying("alice", "ended", by="peer"), {"session-ended"}),
        (without("tls-failed"), {"mismatch-refused"}),
        (replace(GOOD, words={**WORDS, "bob": [*WORDS["bob"], {"event": "received", "call_id": "two", "text": "x"}]}),
         {"nothing-delivered"}),
        (also(event("party", "in", "MSRP", "two")), {"nothing-delivered"}),
        (saying("eve", "ended", reason=""), {"released-both-ways"}),
        (saying("bob", "ended", "two", by="us"), {"released-both-ways"}),
        (without("core-four"), {"msrp-edge-plain"}),
        (without("offer-four"), {"msrp-edge-offered"}),
        (instead("offer-four", media=[{**PROTECTED, "e2ae": "requested"}]), {"msrp-edge-offered"}),
        (instead("offer-four", media=[PLAIN]), {"msrp-edge-offered"}),
        (instead("offer-four", media=[{name: value for name, value in PROTECTED.items() if name != "fingerprint"}]),
         {"msrp-edge-offered"}),
        (without("tls-four"), {"msrp-edge-tls"}),
        (saying("carol", "media", tls={}), {"msrp-edge-tls"}),
        (saying("carol", "media", own_fingerprint="sha-256 DD:07"), {"msrp-edge-tls"}),
        (instead("tls-four", own="sha-256 EE:05"), {"msrp-edge-tls"}),
        (saying("carol", "received", text="other"), {"msrp-edge-text-there"}),
        (saying("dave", "received", text="other"), {"msrp-edge-text-back"}),
        (without("link-6"), {"both-contexts", "both-tls"}),
        (without("offer-five"), {"both-offered"}),
        (without("tls-grace"), {"both-tls"}),
        (instead("tls-grace", fingerprint="sha-256 FF:06"), {"both-tls"}),
        (also(tls(6, "dd:08")), {"both-tls"}),
        (without("tls-grace", tls(5, "dd:07")), {"both-tls"}),
        (instead("core-five", media=[PROTECTED]), {"both-plain-between"}),
        (saying("grace", "received", text="other"), {"both-text-there"}),
        (saying("frank", "received", text="other"), {"both-text-back"}),
        (saying("heidi", "registered", security_server=AGREED), {"plain-unannounced"}),
        (instead("heidi-out", security=["Security-Server"]), {"plain-unannounced"}),
        (silent("heidi", "registered"), {"plain-unannounced"}),
        (without("tcp-accepted"), {"plain-anchored"}),
        (also(tls(7, "aa:01")), {"plain-anchored"}),
        (saying("bob", "received", "six", text="other"), {"plain-text-there"}),
        (saying("heidi", "received", text="other"), {"plain-text-back"}),
        (saying("mallory", "registered", security_server=[]), {"downgrade-refused"}),
        (saying("mallory", "refused", status=486), {"downgrade-refused"}),
        (saying("mallory", "refused", warning=""), {"downgrade-refused"}),
        (silent("mallory", "refused"), {"downgrade-refused", "downgrade-stopped"}),
        (also(invite("core", "seven", **PLAIN)), {"downgrade-stopped"}),
        (also(link("seven", 8)), {"downgrade-stopped"}),
        (without("core-eight"), {"aware-offered"}),
        (instead("core-eight", media=[{**PLAIN, "cema": ""}]), {"aware-offered"}),
        (without("told-eight"), {"aware-told"}),
        (without("told-eight", replace(iq("context 9"), text="C=9 {Modify ip/a/9 TCP/TLS, Modify ip/c/9 TCP}")), {"aware-told"}),
        (without("tls-eight"), {"aware-tls"}),
        (saying("bob", "received", "eight", text="other"), {"aware-text-there"}),
        (saying("ivan", "received", text="other"), {"aware-text-back"}),
        *between_the_ends("msrp", "nine", "judy", "walter", 10),
        (without("core-ten"), {"bfcp-edge-plain"}),
        (instead("core-ten", media=[{"proto": "TCP/MSRP"}]), {"bfcp-edge-plain"}),
        (without("offer-ten"), {"bfcp-edge-offered"}),
        (instead("offer-ten", media=[PROTECTED]), {"bfcp-edge-offered"}),
        (without("tls-ten"), {"bfcp-edge-tls"}),
        (saying("oscar", "media", own_fingerprint="sha-256 DD:07"), {"bfcp-edge-tls"}),
        (saying("oscar", "received", text="other"), {"bfcp-edge-text-there"}),
        (saying("peggy", "received", text="other"), {"bfcp-edge-text-back"}),
        (without("core-eleven"), {"t38-edge-plain"}),
        (instead("core-eleven", media=[{"proto": "udptl", "fingerprint": GATEWAY}]), {"t38-edge-plain"}),
        (without("offer-eleven"), {"t38-edge-offered"}),
        (instead("offer-eleven", media=[{"proto": "udptl"}]), {"t38-edge-offered"}),
        (without("tls-eleven"), {"t38-edge-tls"}),
        (instead("tls-eleven", own=""), {"t38-edge-tls"}),
        (saying("sybil", "media", own_fingerprint="sha-256 DD:07"), {"t38-edge-tls"}),
        (saying("sybil", "received", text="other"), {"t38-edge-text-there"}),
        (saying("trent", "received", text="other"), {"t38-edge-text-back"}),
        *between_the_ends("t38", "twelve", "victor", "wendy", 13),
        (instead("carried-13-core", octets="0"), {"t38-ends-unread"}),
        (also(event("core", "in", "SIP", "x", security=["Security-Verify"])), {"nothing-leaked"}),
        (without("subtract-2"), {"no-contexts-left"}),
        (without("subtract-1", iq("context 1", "Subtract ip/a/1")), {"no-contexts-left"}),
    ],
)
def test_each_claim_rests_on_something(evidence: Evidence, claim: set[str]) -> None:
    assert failed(evidence) == claim


def test_every_claim_can_fail() -> None:
    cases = test_each_claim_rests_on_something.pytestmark[0].args[1]
    assert {check.name for check in prove(GOOD)} == set().union(*(claim for _, claim in cases))
