"""a=connection of a further offer and its answer: what keeps a BFCP connection, and what replaces it (RFC 4145 §5)."""

from __future__ import annotations

import pytest

from pcscf.config.policy import MediaPolicy
from pcscf.iq.media import legs
from pcscf.mediasec.model import Direction, LinePlan, MediaPlan
from pcscf.mediasec.plan import decide, settle
from tests.unit.mediasec.descriptions import (
    ALL_AGREED,
    AUDIO,
    CORE_ADDRESS,
    REQUESTED,
    UE_FINGERPRINT,
    description,
    msrp,
)

FROM_UE, FROM_CORE = Direction.OFFER_FROM_UE, Direction.OFFER_FROM_CORE
OTHER_FINGERPRINT = UE_FINGERPRINT.replace("sha-256 00", "sha-256 FF")


def line(
    *, secure: bool, setup: str, connection: str = "", port: int = 50_000, fingerprint: str = UE_FINGERPRINT
) -> tuple[str, ...]:
    return (
        f"m=application {port} {'TCP/TLS/BFCP' if secure else 'TCP/BFCP'} *", f"a=setup:{setup}",
        *([f"a=connection:{connection}"] if connection else []), *([fingerprint, REQUESTED] if secure else []),
    )  # fmt: skip


def of_ue(setup: str, connection: str = "", *, answer: str, answered: str = "", previous: MediaPlan | None = None,
          port: int = 50_000, far: int = 50_000, fingerprint: str = UE_FINGERPRINT) -> MediaPlan:  # fmt: skip
    offer = description(*line(secure=True, setup=setup, connection=connection, port=port, fingerprint=fingerprint))
    plan = decide(MediaPolicy(), ALL_AGREED, offer, FROM_UE, previous=previous)
    back = description(*line(secure=False, setup=answer, connection=answered, port=far), address=CORE_ADDRESS)
    return settle(plan, back)


def of_core(setup: str, connection: str = "", *, answer: str, answered: str = "", previous: MediaPlan | None = None) -> MediaPlan:
    offer = description(*line(secure=False, setup=setup, connection=connection), address=CORE_ADDRESS)
    plan = decide(MediaPolicy(), ALL_AGREED, offer, FROM_CORE, previous=previous)
    return settle(plan, description(*line(secure=True, setup=answer, connection=answered)))


def only(plan: MediaPlan) -> LinePlan:
    (one,) = plan.lines
    assert one.access is not None
    assert one.core is not None
    return one


FIRST = of_ue("active", "new", answer="passive", answered="new")


@pytest.mark.parametrize(("offered", "answered", "number"), [
    ("existing", "existing", 1), ("existing", "new", 2), ("new", "new", 2), ("new", "", 2), ("new", "existing", 2),
    ("", "", 1), ("existing", "", 1), ("", "existing", 1), ("", "new", 2),
])  # fmt: skip
def test_which_connection_an_exchange_leaves(offered: str, answered: str, number: int) -> None:
    again = only(of_ue("active", offered, answer="passive", answered=answered, previous=FIRST))
    assert again.connection == number
    assert again.standing is None
    assert again.renewal is None


def test_the_first_exchange_has_the_first_connection_whatever_it_says() -> None:
    for offered, answered in (("", ""), ("existing", "new"), ("new", "existing")):
        assert only(of_ue("active", offered, answer="passive", answered=answered)).connection == 1


def test_existing_ignores_addresses_and_roles_of_the_exchange() -> None:
    before = only(FIRST)
    after = only(of_ue("actpass", "existing", answer="active", answered="existing", previous=FIRST, port=9, far=9))
    assert after.access is not None
    assert after.core is not None
    for one, other in ((before.access, after.access), (before.core, after.core)):
        assert one is not None
        assert (one.tcp, one.tls, one.peer_address) == (other.tcp, other.tls, other.peer_address)


def test_existing_keeps_the_tls_role_when_the_other_side_offers() -> None:
    after = only(of_core("actpass", "existing", answer="passive", answered="existing", previous=FIRST))
    assert after.access is not None
    assert (after.access.tls, after.access.tcp, after.access.setup) == ("server", "accept", "actpass")


def test_new_gives_the_client_s_role_to_who_offers() -> None:
    after = only(of_core("actpass", "new", answer="passive", answered="new", previous=FIRST))
    assert after.access is not None
    assert (after.access.tls, after.access.tcp, after.connection) == ("client", "connect", 2)
    back = only(of_ue("active", "new", answer="passive", answered="new", previous=MediaPlan(FROM_CORE, (after,))))
    assert back.access is not None
    assert (back.access.tls, back.access.tcp, back.connection) == ("server", "accept", 3)


def test_without_the_attribute_another_address_or_certificate_is_another_connection() -> None:
    for moved in ({"far": 50_002}, {"port": 50_002}, {"fingerprint": OTHER_FINGERPRINT}):
        again = only(of_ue("active", answer="passive", previous=FIRST, **moved))  # type: ignore[arg-type]
        assert again.connection == 2, moved


def test_before_the_answer_the_gateway_keeps_what_stands() -> None:
    offer = description(*line(secure=True, setup="passive", connection="new", port=50_002, fingerprint=OTHER_FINGERPRINT))
    plan = decide(MediaPolicy(), ALL_AGREED, offer, FROM_UE, previous=FIRST)
    [(_, access, core)] = list(legs(plan))
    assert (access, core) == (only(FIRST).access, only(FIRST).core)


@pytest.mark.parametrize("connection", ["", "existing"])
def test_after_holdconn_there_is_nothing_to_keep(connection: str) -> None:
    held = of_ue("holdconn", answer="holdconn")
    again = only(of_ue("active", connection, answer="passive", answered=connection, previous=held))
    assert again.access is not None
    assert (again.connection, again.access.tcp) == (2, "accept")


@pytest.mark.parametrize("closed_by", ["offer", "answer", "fault"])
def test_a_line_that_was_closed_opens_with_another_connection(closed_by: str) -> None:
    if closed_by == "answer":
        closed = of_ue("active", answer="passive", far=0, previous=FIRST)
    else:
        offer = description(*line(
            secure=True, setup="active", port=0 if closed_by == "offer" else 9,
            fingerprint=UE_FINGERPRINT if closed_by == "offer" else "a=label:1"), *AUDIO)
        plan = decide(MediaPolicy(), ALL_AGREED, offer, FROM_UE, previous=FIRST)
        closed = settle(plan, description(*line(secure=False, setup="passive", port=0), *AUDIO, address=CORE_ADDRESS))
    assert not closed.lines[0].gateway
    assert closed.lines[0].connection > only(FIRST).connection
    again = only(of_ue("active", "new", answer="passive", answered="new", previous=closed))
    assert again.connection > closed.lines[0].connection


def test_msrp_knows_no_connection_attribute() -> None:
    lines = msrp("a=setup:active", "a=connection:new", UE_FINGERPRINT, REQUESTED)
    back = description(*msrp("a=setup:passive", "a=connection:new", secure=False), address=CORE_ADDRESS)
    first = settle(decide(MediaPolicy(), ALL_AGREED, description(*lines), FROM_UE), back)
    again = settle(decide(MediaPolicy(), ALL_AGREED, description(*lines), FROM_UE, previous=first), back)
    assert only(again).connection == 1


def test_msrp_that_was_closed_opens_with_another_connection() -> None:
    """Nothing in its SDP would say so (RFC 6135 §4.4): the port that was 0 does."""
    lines = description(*msrp("a=setup:active", UE_FINGERPRINT, REQUESTED))
    back = description(*msrp("a=setup:passive", secure=False), address=CORE_ADDRESS)
    none = description(*msrp("a=setup:passive", secure=False, port=0), address=CORE_ADDRESS)
    first = settle(decide(MediaPolicy(), ALL_AGREED, lines, FROM_UE), back)
    closing = description(*msrp("a=setup:active", UE_FINGERPRINT, REQUESTED, port=0))
    asked = decide(MediaPolicy(), ALL_AGREED, closing, FROM_UE, previous=first)
    assert [one for one, _, _ in legs(asked)] == list(first.lines)   # until the answer is here
    closed = settle(asked, none)
    assert closed.lines[0].connection == 2
    assert not list(legs(closed))
    again = settle(decide(MediaPolicy(), ALL_AGREED, lines, FROM_UE, previous=closed), back)
    assert only(again).connection == 3
    declined = settle(decide(MediaPolicy(), ALL_AGREED, lines, FROM_UE, previous=first), none)
    assert declined.lines[0].connection == 2


def test_a_first_answer_that_declines_a_line_ends_nothing() -> None:
    """Another far end may have taken it: what that one has must live on."""
    none = description(*msrp("a=setup:passive", secure=False, port=0), address=CORE_ADDRESS)
    plan = decide(MediaPolicy(), ALL_AGREED, description(*msrp("a=setup:active", UE_FINGERPRINT, REQUESTED)), FROM_UE)
    assert settle(plan, none).lines[0].connection == 1


def test_a_line_of_others_that_was_closed_opens_with_another_connection() -> None:
    def lines(port: int) -> tuple[str, ...]:
        return (f"m=image {port} TCP t38", "a=setup:actpass")

    def exchange(port: int, previous: MediaPlan | None) -> MediaPlan:
        plan = decide(MediaPolicy(), ALL_AGREED, description(*lines(port)), FROM_UE, previous=previous)
        return settle(plan, description(*lines(port), address=CORE_ADDRESS))

    first = exchange(9, None)
    assert first.lines[0].gateway
    again = exchange(9, first)
    closed = exchange(0, again)
    assert [plan.lines[0].connection for plan in (first, again, closed)] == [1, 1, 1]
    assert exchange(9, closed).lines[0].connection == 2
    assert exchange(9, exchange(9, closed)).lines[0].connection == 2
