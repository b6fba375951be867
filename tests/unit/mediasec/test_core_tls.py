"""TLS inside the core by policy (TS 33.328 §7.2.1 NOTE 4): both legs end at the gateway, each with a certificate to check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pcscf.config.policy import MediaPolicy
from pcscf.mediasec.explain import FINGERPRINT, as_object, explain
from pcscf.mediasec.model import Agreed, Capabilities, Direction, LinePlan, Mode
from pcscf.mediasec.plan import decide, settle
from pcscf.sdp.lines import Sdp
from tests.unit.mediasec.descriptions import (
    ALL_AGREED,
    CORE_ADDRESS,
    CORE_FINGERPRINT,
    CORE_HASH,
    EVERYTHING,
    NOTHING_AGREED,
    REQUESTED,
    UE_ADDRESS,
    UE_FINGERPRINT,
    UE_HASH,
    WEAK_HASH,
    bfcp,
    description,
    fax,
    msrp,
)

FROM_UE, FROM_CORE = Direction.OFFER_FROM_UE, Direction.OFFER_FROM_CORE
ACTIVE, ACTPASS, PASSIVE = "a=setup:active", "a=setup:actpass", "a=setup:passive"
BARE = MediaPolicy()
POLICY = replace(BARE, **{name: replace(getattr(BARE, name), core="tls") for name in ("msrp", "bfcp", "fax")})
OURS = " ".join(FINGERPRINT)
MEDIA = {"msrp": (msrp, "TCP/TLS/MSRP"), "bfcp": (bfcp, "TCP/TLS/BFCP"), "fax": (fax, "UDP/TLS/UDPTL")}


def of_ue(*lines: str) -> Sdp:
    return description(*lines, address=UE_ADDRESS)


def of_core(*lines: str) -> Sdp:
    return description(*lines, address=CORE_ADDRESS)


def line_of(
    direction: Direction, offer: Sdp, answer: Sdp | None = None, *, agreed: Agreed = ALL_AGREED, policy: MediaPolicy = POLICY,
    capabilities: Capabilities = EVERYTHING,
) -> LinePlan:
    plan = decide(policy, agreed, offer, direction, capabilities)
    return (plan if answer is None else settle(plan, answer)).lines[0]


@pytest.mark.parametrize("medium", MEDIA)
def test_each_side_gets_the_gateways_own_certificate(medium: str) -> None:
    build, secure = MEDIA[medium]
    offer = of_ue(*build(ACTPASS, UE_FINGERPRINT, REQUESTED))
    answer = of_core(*build(PASSIVE, CORE_FINGERPRINT, "a=3ge2ae:applied"))
    out = explain(POLICY, ALL_AGREED, FROM_UE, offer)
    back = explain(POLICY, ALL_AGREED, FROM_UE, offer, answer)
    for explanation in (out, back):
        [section] = explanation.sent.media if explanation.sent else []
        assert section.proto == secure
        assert section.values("fingerprint") == (OURS,)
        assert not section.has("3ge2ae")
    [line] = back.plan.lines
    assert (line.rule, line.mode) == ("AA4", Mode.TERMINATE)
    assert "towards the core" in out.plan.lines[0].reason
    assert line.access is not None
    assert line.core is not None
    assert line.access.peer_fingerprints == (("sha-256", UE_HASH),)
    assert line.core.peer_fingerprints == (("sha-256", CORE_HASH),)
    assert (line.access.tls, line.core.tls) == ("server", "client")
    assert as_object(back)["lines"][0]["gateway"]["core"]["tls"] == "client"


@pytest.mark.parametrize("medium", MEDIA)
def test_an_offer_of_the_core_ends_at_the_gateway(medium: str) -> None:
    build, secure = MEDIA[medium]
    offer, answer = of_core(*build(ACTPASS, CORE_FINGERPRINT)), of_ue(*build(ACTIVE, UE_FINGERPRINT))
    out = explain(POLICY, ALL_AGREED, FROM_CORE, offer)
    back = explain(POLICY, ALL_AGREED, FROM_CORE, offer, answer)
    assert (out.plan.lines[0].rule, out.plan.lines[0].mode) == ("C8", Mode.PROTECT)
    for explanation, e2ae in ((out, ("applied",)), (back, ())):
        [section] = explanation.sent.media if explanation.sent else []
        assert (section.proto, section.values("fingerprint"), section.values("3ge2ae")) == (secure, (OURS,), e2ae)
    [line] = back.plan.lines
    assert line.access is not None
    assert line.core is not None
    assert line.core.peer_fingerprints == (("sha-256", CORE_HASH),)
    assert line.access.peer_fingerprints == (("sha-256", UE_HASH),)
    assert {line.access.tls, line.core.tls} <= {"server", "client"}


@pytest.mark.parametrize(("answer", "rule"), [
    (msrp(PASSIVE, secure=False), "AA3"),
    (msrp(PASSIVE), "AA8"),
    (msrp(PASSIVE, f"a=fingerprint:sha-1 {WEAK_HASH}"), "AA8"),
    (msrp(ACTPASS, CORE_FINGERPRINT), "AA3"),
    (msrp(port=0), "AA2"),
])
def test_an_answer_without_what_was_offered_ends_the_line(answer: tuple[str, ...], rule: str) -> None:
    offer = of_ue(*msrp(ACTIVE, UE_FINGERPRINT, REQUESTED))
    line = line_of(FROM_UE, offer, of_core(*answer))
    assert (line.rule, line.mode, line.gateway) == (rule, Mode.RELEASED, False)


@pytest.mark.parametrize(("lines", "how", "rule", "mode"), [
    ((ACTPASS, CORE_FINGERPRINT), {"policy": BARE}, "C4", Mode.PASS),
    ((ACTPASS, CORE_FINGERPRINT), {"agreed": NOTHING_AGREED}, "C4", Mode.PASS),
    ((ACTPASS, CORE_FINGERPRINT, "a=key-mgmt:mikey AQAAbcd="), {}, "C4", Mode.PASS),
    ((ACTPASS, CORE_FINGERPRINT), {"capabilities": Capabilities(frozenset())}, "C4", Mode.PASS),
    ((ACTPASS,), {}, "C5", Mode.PASS),
    ((ACTPASS, f"a=fingerprint:sha-1 {WEAK_HASH}"), {}, "C8", Mode.DISABLED),
])
def test_what_is_not_the_cores_own(lines: tuple[str, ...], how: dict[str, Any], rule: str, mode: Mode) -> None:
    line = line_of(FROM_CORE, of_core(*msrp(*lines)), **how)
    assert (line.rule, line.mode, line.core_protected) == (rule, mode, False)


@pytest.mark.parametrize(("direction", "offer"), [
    (FROM_UE, msrp(ACTIVE, UE_FINGERPRINT)), (FROM_UE, msrp(secure=False)), (FROM_CORE, msrp(secure=False)),
])
def test_what_the_gateway_does_not_end_is_not_protected_anew(direction: Direction, offer: tuple[str, ...]) -> None:
    assert not line_of(direction, description(*offer)).core_protected


def test_a_later_offer_finds_the_core_as_it_was_left() -> None:
    """Policy may change meanwhile; a line put out of use keeps its transports."""
    offer, answer = of_ue(*msrp(ACTIVE, UE_FINGERPRINT, REQUESTED)), of_core(*msrp(PASSIVE, CORE_FINGERPRINT))
    before = settle(decide(POLICY, ALL_AGREED, offer, FROM_UE, EVERYTHING), answer)
    again = decide(BARE, NOTHING_AGREED, offer, FROM_UE, EVERYTHING, previous=before)
    assert (again.lines[0].mode, again.lines[0].core_protected) == (Mode.TERMINATE, True)
    theirs = decide(BARE, NOTHING_AGREED, of_core(*msrp(PASSIVE, CORE_FINGERPRINT)), FROM_CORE, EVERYTHING, previous=before)
    assert (theirs.lines[0].rule, theirs.lines[0].core_protected) == ("C8", True)
    closed = explain(BARE, NOTHING_AGREED, FROM_UE, of_ue(*msrp(port=0)), previous=before)
    assert closed.sent is not None
    assert closed.sent.media[0].proto == "TCP/TLS/MSRP"


def test_a_session_that_the_core_began_in_the_clear_stays_so_until_the_core_says_otherwise() -> None:
    plain, answer = of_core(*msrp(ACTPASS, secure=False)), of_ue(*msrp(ACTIVE, UE_FINGERPRINT))
    before = settle(decide(POLICY, ALL_AGREED, plain, FROM_CORE, EVERYTHING), answer)
    refresh = explain(POLICY, ALL_AGREED, FROM_UE, of_ue(*msrp(ACTIVE, UE_FINGERPRINT)), previous=before)
    assert (refresh.plan.lines[0].rule, refresh.plan.lines[0].core_protected) == ("A1", False)
    assert refresh.sent is not None
    assert refresh.sent.media[0].proto == "TCP/MSRP"
    [line] = decide(POLICY, ALL_AGREED, of_core(*msrp(ACTPASS, CORE_FINGERPRINT)), FROM_CORE, EVERYTHING, previous=before).lines
    assert (line.rule, line.core_protected) == ("C8", True)


def test_a_path_of_ours_has_the_scheme_of_its_leg() -> None:
    policy = replace(POLICY, msrp=replace(POLICY.msrp, sessmatch=True))
    offer = of_ue(*msrp(ACTIVE, UE_FINGERPRINT, REQUESTED, cema=False))
    sent = explain(policy, ALL_AGREED, FROM_UE, offer).sent
    assert sent is not None
    assert (sent.media[0].value("path") or "").startswith("msrps://")
