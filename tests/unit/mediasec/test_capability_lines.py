"""Capability lines (RFC 5939): they offer nothing that the plan does not know, and a wish for the edge stays at the edge."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pcscf.config.policy import MediaPolicy
from pcscf.mediasec.plan import Direction, decide
from pcscf.mediasec.rewrite import rewrite_offer, without_e2ae
from pcscf.sdp.lines import Sdp
from tests.unit.mediasec.descriptions import (
    ACCESS_SIDE,
    ALL_AGREED,
    CORE_SIDE,
    EVERYTHING,
    NOTHING_AGREED,
    REQUESTED,
    UE_FINGERPRINT,
    attribute_lines,
    description,
    msrp,
)

FROM_UE, FROM_CORE = Direction.OFFER_FROM_UE, Direction.OFFER_FROM_CORE
WISH, KEY, TRANSPORT, CHOICE = (
    "a=acap:2 3GE2AE:requested", "a=acap:1 crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x", "a=tcap:1 RTP/SAVP", "a=pcfg:1 t=1 a=1,2")

OTHERS = b"a=3ge2aes:x\r\ni=3ge2ae\r\na=x:3ge2ae\r\na=acap:1 x:3ge2ae\r\n"


def sent(offer: Sdp, direction: Direction = FROM_UE, policy: MediaPolicy = MediaPolicy()) -> Sdp:  # noqa: B008 - immutable
    plan = decide(policy, ALL_AGREED if direction is FROM_UE else NOTHING_AGREED, offer, direction, EVERYTHING)
    return rewrite_offer(plan, offer, CORE_SIDE if direction is FROM_UE else ACCESS_SIDE)


@pytest.mark.parametrize("direction", [FROM_UE, FROM_CORE])
@pytest.mark.parametrize("head", ["m=audio 5004 RTP/AVP 0", "m=image 5004 TCP t38", "m=audio 0 RTP/AVP 0"])
def test_the_wish_goes_and_every_other_capability_stays_where_it_was(head: str, direction: Direction) -> None:
    offer = description(head, KEY, WISH, TRANSPORT, "a=acap:3 3ge2aextra:x", CHOICE)
    assert attribute_lines(sent(offer, direction).media[0]) == [KEY, TRANSPORT, "a=acap:3 3ge2aextra:x", CHOICE]


def test_a_wish_of_the_whole_session_goes_too() -> None:
    out = sent(description(WISH, KEY, "m=audio 5004 RTP/AVP 0"))
    assert attribute_lines(out.session) == [KEY]


def test_a_plain_line_that_could_be_protected_end_to_end_keeps_what_it_offers_the_far_end() -> None:
    """A7: the plan decides about the actual configuration; the wish for the edge is no business of the far end's."""
    offer = description(*msrp("a=tcap:1 TCP/TLS/MSRP", WISH, "a=pcfg:1 t=1 a=2", secure=False))
    out = attribute_lines(sent(offer).media[0])
    assert "a=tcap:1 TCP/TLS/MSRP" in out
    assert WISH not in out


def test_where_the_gateway_reads_the_frames_there_is_nothing_else_to_offer() -> None:
    offer = description(*msrp("a=tcap:1 TCP/TLS/MSRP", "a=pcfg:1 t=1", secure=False, cema=False))
    out = attribute_lines(sent(offer).media[0])
    assert [line for line in out if "cap:" in line or "pcfg" in line] == []


def test_a_line_that_ends_at_the_gateway_offers_nothing_else() -> None:
    """A13."""
    offer = description(*msrp(UE_FINGERPRINT, REQUESTED, "a=tcap:1 TCP/MSRP", KEY, WISH, "a=pcfg:1 t=1", "a=creq:med-v0"))
    out = attribute_lines(sent(offer).media[0])
    assert [line for line in out if line.partition(":")[0] in {"a=tcap", "a=acap", "a=pcfg", "a=creq"}] == []


def test_a_line_without_capabilities_is_not_copied() -> None:
    offer = description("m=audio 5004 RTP/AVP 0", KEY)
    assert sent(offer, policy=replace(MediaPolicy(), anchor_plain=False)) is offer


@pytest.mark.parametrize(("before", "after"), [
    (b"v=0\r\na=3ge2ae:requested\r\nm=x\r\n", b"v=0\r\nm=x\r\n"),
    (b"a=3GE2AE\r\nb", b"b"),
    (b"a=x\na=3ge2ae: applied\na=y\n", b"a=x\na=y\n"),
    (b"a=x\r\na=3ge2ae:requested", b"a=x\r\n"),
    (b"a=acap:4 3ge2ae:requested\r\na=x", b"a=x"),
    (OTHERS, OTHERS),
    (b"\xff\x00 a=3ge2ae", b"\xff\x00 a=3ge2ae"),
])
def test_a_description_that_nobody_negotiates(before: bytes, after: bytes) -> None:
    assert without_e2ae(before) == after
