"""Several certificates and several hashes in one description (RFC 8122 §5): what counts, what passes, what is stated."""

from __future__ import annotations

import pytest

from pcscf.config.policy import MediaPolicy, MediumPolicy
from pcscf.iq import procedures
from pcscf.iq.procedures import Realms
from pcscf.mediasec.model import LinePlan, MediaPlan, Mode
from pcscf.mediasec.plan import Direction, decide, settle
from pcscf.mediasec.rewrite import StreamMedia, rewrite_answer, rewrite_offer
from tests.unit.mediasec.descriptions import (
    ACCESS_SIDE,
    ALL_AGREED,
    CORE_ADDRESS,
    CORE_SIDE,
    NOTHING_AGREED,
    REQUESTED,
    bfcp,
    description,
    fax,
    msrp,
)

FROM_UE, FROM_CORE = Direction.OFFER_FROM_UE, Direction.OFFER_FROM_CORE


def octets(first: int, count: int) -> str:
    return ":".join(f"{(first + (first | 1) * each) % 256:02X}" for each in range(count))


ECDSA, RSA, STRONG, OTHER = octets(1, 32), octets(77, 32), octets(5, 64), octets(200, 32)
SHA1, MD5 = octets(9, 20), octets(3, 16)
MANY = (
    f"a=fingerprint:sha-1 {SHA1}", f"a=fingerprint:SHA-256 {ECDSA.lower()}", f"a=fingerprint:sha-256 {RSA}",
    f"a=fingerprint:md5 {MD5}", f"a=fingerprint:sha-256 {ECDSA}", f"a=fingerprint:sha-512 {STRONG}",
    "a=fingerprint:sha-3-999 AB:CD",
)  # fmt: skip
USABLE = (("sha-512", STRONG), ("sha-256", ECDSA), ("sha-256", RSA))


def of_the_peer(line: LinePlan) -> tuple[tuple[str, str], ...]:
    assert line.access is not None
    return line.access.peer_fingerprints


def lines_for(medium: str) -> tuple[str, ...]:
    lines = {"msrp": msrp, "bfcp": bfcp, "fax": fax}[medium]
    return lines("a=setup:actpass", *MANY, REQUESTED)


@pytest.mark.parametrize("medium", ["msrp", "bfcp", "fax"])
def test_every_usable_one_goes_to_the_gateway_and_none_to_the_core(medium: str) -> None:
    offer = description(*lines_for(medium))
    plan = decide(MediaPolicy(), ALL_AGREED, offer, FROM_UE)
    assert of_the_peer(plan.lines[0]) == USABLE
    access = str(procedures.reserve(plan, Realms())[0].commands[0])
    for name, value in USABLE:
        assert f"a=fingerprint:{name} {value}" in access
    for value in (SHA1, MD5):
        assert value not in access
    sent = rewrite_offer(plan, offer, CORE_SIDE)
    assert "fingerprint" not in sent.to_bytes().decode()


@pytest.mark.parametrize("medium", ["msrp", "bfcp", "fax"])
def test_the_same_of_an_answer(medium: str) -> None:
    plain = {"msrp": msrp, "bfcp": bfcp, "fax": fax}[medium]("a=setup:actpass", secure=False)
    plan = decide(MediaPolicy(), ALL_AGREED, description(*plain, address=CORE_ADDRESS), FROM_CORE)
    answer = description(*{"msrp": msrp, "bfcp": bfcp, "fax": fax}[medium]("a=setup:active", *MANY))
    settled = settle(plan, answer)
    assert (settled.lines[0].mode, of_the_peer(settled.lines[0])) == (Mode.PROTECT, USABLE)
    assert "fingerprint" not in rewrite_answer(settled, answer, CORE_SIDE).to_bytes().decode()


def test_old_hashes_count_where_policy_lets_them() -> None:
    policy = MediaPolicy(msrp=MediumPolicy(min_hash="sha-1"))
    plan = decide(policy, ALL_AGREED, description(*lines_for("msrp")), FROM_UE)
    assert of_the_peer(plan.lines[0]) == (*USABLE, ("sha-1", SHA1))


@pytest.mark.parametrize(
    ("lines", "direction", "rule"),
    [
        (msrp("a=setup:active", *MANY), FROM_UE, "A4"), (bfcp("a=setup:active", *MANY), FROM_CORE, "C4"),
        (fax("a=setup:actpass", *MANY), FROM_UE, "A4"), (("m=audio 5004 UDP/TLS/RTP/SAVPF 0", *MANY), FROM_UE, "A12"),
        (("m=audio 5004 UDP/TLS/RTP/SAVPF 0", "a=ice-ufrag:x", *MANY), FROM_CORE, "C4"),
        (("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", *MANY), FROM_CORE, "C4"),
    ],
)  # fmt: skip
def test_where_protection_passes_all_of_them_pass_in_their_order(
    lines: tuple[str, ...], direction: Direction, rule: str
) -> None:
    offer = description(*lines)
    plan = decide(MediaPolicy(), NOTHING_AGREED, offer, direction)
    assert plan.lines[0].rule == rule
    sent = rewrite_offer(plan, offer, CORE_SIDE if direction is FROM_UE else ACCESS_SIDE)
    assert tuple(line for line in sent.media[0].lines if "fingerprint" in line) == MANY


def test_those_of_the_session_count_for_lines_without_their_own() -> None:
    offer = description(
        f"a=fingerprint:sha-256 {OTHER}", f"a=fingerprint:sha-256 {RSA}", *msrp("a=setup:active", REQUESTED),
        *bfcp("a=setup:active", f"a=fingerprint:sha-256 {ECDSA}", REQUESTED), "m=audio 5004 UDP/TLS/RTP/SAVPF 0")  # fmt: skip
    plan = decide(MediaPolicy(), ALL_AGREED, offer, FROM_UE)
    assert of_the_peer(plan.lines[0]) == (("sha-256", OTHER), ("sha-256", RSA))
    assert of_the_peer(plan.lines[1]) == (("sha-256", ECDSA),)
    sent = rewrite_offer(plan, offer, CORE_SIDE)
    assert not sent.session.has("fingerprint")
    assert [section.values("fingerprint") for section in sent.media] == [
        (), (), (f"sha-256 {OTHER}", f"sha-256 {RSA}")]


@pytest.mark.parametrize("value", [f"sha-256 {ECDSA}:00", f"sha-256 {ECDSA[:-3]}", "sha-256", f"sha-1 {SHA1}", f"md5 {MD5}"])
def test_nothing_usable_among_many_is_nothing(value: str) -> None:
    offer = description(*msrp("a=setup:active", f"a=fingerprint:{value}", f"a=fingerprint:md2 {MD5}", REQUESTED))
    plan: MediaPlan = decide(MediaPolicy(), ALL_AGREED, offer, FROM_UE)
    assert (plan.action, plan.lines[0].rule) == ("reject", "A3")


def test_every_certificate_of_the_gateway_is_stated() -> None:
    """One line per certificate and hash that it may show (RFC 8122 §5.1)."""
    offer = description(*fax("a=setup:actpass", secure=False), address=CORE_ADDRESS)
    ours = StreamMedia("203.0.113.5", 20_000, (("sha-256", ECDSA), ("sha-256", RSA), ("sha-512", STRONG)), "t" * 22)
    sent = rewrite_offer(decide(MediaPolicy(), ALL_AGREED, offer, FROM_CORE), offer, {0: ours})
    assert sent.media[0].values("fingerprint") == (f"sha-256 {ECDSA}", f"sha-256 {RSA}", f"sha-512 {STRONG}")
