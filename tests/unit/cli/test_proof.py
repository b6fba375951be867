"""The demo's claims: all hold for a good run, and each falls when what it rests on is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pcscf.cli.proof import Evidence, prove
from pcscf.observe.trace import TraceEvent

OURS, THEIRS = "sha-256 AA:01", "sha-256 BB:02"


def event(node: str, direction: str, proto: str, flow: str, **facts: object) -> TraceEvent:
    return TraceEvent(1.0, node, "peer", "in" if direction == "in" else "out", proto, flow, "text", facts)


def iq(flow: str, *commands: str) -> TraceEvent:
    return event("pcscf", "in", "Iq", flow, kind="reply", commands=list(commands), errors=[])


EVENTS = {
    "register": event("ue", "out", "SIP", "reg", method="REGISTER", security=["Security-Client"]),
    "register-in": event("pcscf", "in", "SIP", "reg", method="REGISTER", security=["Security-Client"]),
    "register-core": event("core", "in", "SIP", "reg", method="REGISTER", security=[]),
    "invite-core": event("core", "in", "SIP", "one", method="INVITE", security=[], media=[{"proto": "TCP/MSRP", "port": "9"}]),
    "add-1": iq("context 1", "Add ip/a/1", "Add ip/c/1"),
    "tls": event("agw", "in", "TLS", "context 1", kind="tls-established", fingerprint="SHA-256 aa:01", own=THEIRS),
    "subtract-1": iq("context 1", "Subtract ip/a/1", "Subtract ip/c/1"),
    "add-2": iq("context 2", "Add ip/a/2", "Add ip/c/2"),
    "tls-failed": event("agw", "in", "TLS", "context 2", kind="tls-failed"),
    "subtract-2": iq("context 2", "Subtract *"),
}
ALICE: list[dict[str, Any]] = [
    {"event": "registered", "expires": 600, "security_server": ["msrp-tls;mediasec", "bfcp-tls;mediasec"]},
    {"event": "answered", "call_id": "one"},
    {
        "event": "media",
        "call_id": "one",
        "own_fingerprint": OURS,
        "tls": {"version": "TLSv1.3", "cipher": "TLS_AES_256_GCM_SHA384", "fingerprint": THEIRS},
    },
    {"event": "received", "call_id": "one", "text": "there"},
    {"event": "ended", "call_id": "one", "by": "us", "reason": ""},
]
EVE: list[dict[str, Any]] = [
    {"event": "answered", "call_id": "two"},
    {"event": "ended", "call_id": "two", "by": "peer", "reason": "SIP;cause=488"},
]
BOB: list[dict[str, Any]] = [
    {"event": "received", "call_id": "one", "text": "here"},
    {"event": "ended", "call_id": "one", "by": "peer", "reason": ""},
    {"event": "ended", "call_id": "two", "by": "peer", "reason": "SIP;cause=488"},
]
GOOD = Evidence(list(EVENTS.values()), ALICE, EVE, BOB, "here", "there")


def failed(evidence: Evidence) -> set[str]:
    return {check.name for check in prove(evidence) if not check.ok}


def without(name: str, **changed: TraceEvent) -> Evidence:
    return replace(GOOD, events=[each for key, each in EVENTS.items() if key != name] + list(changed.values()))


def changed(told: list[dict[str, Any]], name: str, **facts: object) -> list[dict[str, Any]]:
    return [{**each, **facts} if each["event"] == name else each for each in told]


def test_a_good_run_proves_everything() -> None:
    assert failed(GOOD) == set()
    assert (GOOD.registration, GOOD.session, GOOD.refused) == ("reg", "one", "two")


def test_nothing_is_proven_by_silence() -> None:
    checks = prove(Evidence([], [], [], [], "here", "there"))
    assert [check.name for check in checks if check.ok] == []


@pytest.mark.parametrize(
    ("evidence", "claim"),
    [
        (replace(GOOD, alice=ALICE[1:]), {"registered", "mediasec-agreed"}),
        (replace(GOOD, alice=changed(ALICE, "registered", security_server=["bfcp-tls;mediasec"])), {"mediasec-agreed"}),
        (replace(GOOD, bob=changed(BOB, "received", text="other")), {"text-there"}),
        (replace(GOOD, alice=changed(ALICE, "received", text="other")), {"text-back"}),
        (replace(GOOD, alice=changed(ALICE, "media", tls={})), {"tls", "gateway-fingerprint"}),
        (replace(GOOD, alice=changed(ALICE, "media", own_fingerprint="sha-256 CC:03")), {"ue-fingerprint"}),
        (without("tls"), {"gateway-fingerprint", "ue-fingerprint"}),
        (without("invite-core"), {"plain-behind"}),
        (
            without(
                "",
                more=replace(
                    EVENTS["invite-core"], facts={"method": "INVITE", "media": [{"proto": "TCP/MSRP", "fingerprint": OURS}]}
                ),
            ),
            {"plain-behind"},
        ),
        (replace(GOOD, alice=changed(ALICE, "ended", by="peer")), {"session-ended"}),
        (without("tls-failed"), {"mismatch-refused"}),
        (replace(GOOD, bob=[*BOB, {"event": "received", "call_id": "two", "text": "x"}]), {"nothing-delivered"}),
        (without("", more=event("party", "in", "MSRP", "two")), {"nothing-delivered"}),
        (replace(GOOD, eve=changed(EVE, "ended", reason="")), {"released-both-ways"}),
        (replace(GOOD, bob=BOB[:2]), {"released-both-ways"}),
        (without("", more=event("core", "in", "SIP", "x", security=["Security-Verify"])), {"nothing-leaked"}),
        (without("subtract-2"), {"no-contexts-left"}),
        (without("subtract-1", more=iq("context 1", "Subtract ip/a/1")), {"no-contexts-left"}),
    ],
)
def test_each_claim_rests_on_something(evidence: Evidence, claim: set[str]) -> None:
    assert failed(evidence) == claim
