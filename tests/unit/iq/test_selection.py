"""Which gateway a new session uses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pcscf.h248.codec import decode_untrusted
from pcscf.h248.message import TransactionReply
from pcscf.iq.association import Gateway
from pcscf.iq.inventory import packages_untrusted, realms_untrusted
from pcscf.iq.overload import Urgency
from pcscf.iq.procedures import Realms
from pcscf.iq.selection import Needs, can_serve, candidates, needs_of
from pcscf.iq.states import GatewayState
from pcscf.mediasec.model import MediaPlan
from tests.unit.iq.plans import from_core, from_ue

ANY = Needs(frozenset(), frozenset())
NORMAL, EMERGENCY = Urgency.NORMAL, Urgency.EMERGENCY


def gateway(name: str, sessions: int = 0, state: GatewayState = GatewayState.REGISTERED, **more: object) -> Gateway:
    found = Gateway(name, ("192.0.2.1", 1), state, **more)  # type: ignore[arg-type]
    found.contexts = dict.fromkeys(range(sessions), ("a", "b"))
    return found


def order(*gateways: Gateway, needs: Needs = ANY, urgency: Urgency = NORMAL) -> list[str]:
    return [each.mid for each in candidates(gateways, needs, urgency, 10.0)]


def test_the_one_with_the_least_sessions_for_its_weight() -> None:
    assert order(gateway("a", 3), gateway("b", 2), gateway("c", 4)) == ["b", "a", "c"]
    assert order(gateway("a", 30, weight=10), gateway("b", 4)) == ["a", "b"]
    assert order(gateway("a", 2), gateway("b", 1, reserving=2)) == ["a", "b"]


def test_shares_follow_the_weights() -> None:
    """Many sessions one after the other: each gateway ends up with its part."""
    gateways = [gateway("a", weight=1), gateway("b", weight=2), gateway("c", weight=5)]
    for number in range(800):
        candidates(gateways, ANY, NORMAL, 0.0)[0].contexts[number] = ("x", "y")
    assert [len(each.contexts) for each in gateways] == [100, 200, 500]


def test_the_busy_the_suspect_and_the_overloaded_come_later() -> None:
    assert order(gateway("a", busy_until=11.0), gateway("b", 9)) == ["b", "a"]
    assert order(gateway("a", busy_until=9.0), gateway("b", 9)) == ["a", "b"]
    assert order(gateway("a", is_suspect=True), gateway("b", 9)) == ["b", "a"]
    overloaded = gateway("a", 5)
    overloaded.throttle.overloaded(10.0)
    assert order(overloaded, gateway("b", 9), gateway("c", 11)) == ["b", "a", "c"]


@pytest.mark.parametrize(
    "other",
    [
        gateway("x", state=GatewayState.LEAVING), gateway("x", is_drained=True), gateway("x", state=GatewayState.LOST),
        gateway("x", state=GatewayState.ABSENT), gateway("x", serves_at=11.0),
    ],
)  # fmt: skip
def test_who_takes_no_sessions(other: Gateway) -> None:
    assert order(other, gateway("b", 99)) == ["b"]


def test_an_emergency_may_use_who_is_leaving_when_nobody_else_is_there() -> None:
    leaving, drained = gateway("l", state=GatewayState.LEAVING), gateway("d", is_drained=True)
    assert order(leaving, drained, gateway("b", 99), urgency=EMERGENCY)[0] == "b"
    assert set(order(leaving, drained, gateway("x", state=GatewayState.LOST), urgency=EMERGENCY)) == {"l", "d"}


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [(from_ue(), {"tlsbsc", "tcpbcc"}), (from_core(), {"tlsbsc", "tcpbcc"})],
)
def test_what_a_session_needs(plan: MediaPlan, wanted: set[str]) -> None:
    assert needs_of(plan, Realms("Access", "Core")) == Needs(frozenset({"access", "core"}), frozenset(wanted))


def test_fax_needs_dtls() -> None:
    (line,) = from_ue().lines
    assert line.access is not None
    assert line.core is not None
    fax = replace(line, access=replace(line.access, transport="UDP/DTLS"), core=replace(line.core, transport="UDP"))
    plan = replace(from_ue(), lines=(fax,))
    needs = needs_of(plan, Realms())
    assert needs.packages == {"dtlsbsc"}
    assert not can_serve(gateway("a", packages=frozenset({"tcpbcc", "tlsbsc"})), needs)
    assert can_serve(gateway("a", packages=frozenset({"tcpbcc", "dtlsbsc"})), needs)
    assert can_serve(gateway("a"), needs)  # it told nothing: its refusal would


def test_realms_are_those_of_the_configuration_or_those_it_tells() -> None:
    needs = Needs(frozenset({"access", "core"}), frozenset())
    assert can_serve(gateway("a"), needs)
    assert can_serve(gateway("a", realms=frozenset({"access", "core", "more"})), needs)
    assert not can_serve(gateway("a", realms=frozenset({"core"})), needs)
    assert not can_serve(gateway("a", without_realms={"access"}), needs)


def test_an_inventory_in_any_spelling() -> None:
    text = (
        "MEGACO/2 [192.0.2.1]:2945\nReply = 1 { Context = - { AuditValue = ROOT { Packages { G-1, TLS-1, dtlssc-2, own-7 } }, "
        'AuditCapability = ROOT { Media { Stream = 1 { LocalControl { ipdc/realmid = {"Access", "core"} } } } } } }'
    )
    (reply,) = decode_untrusted(text.encode()).transactions
    assert isinstance(reply, TransactionReply)
    assert packages_untrusted(reply.actions) == {"g", "tlsbsc", "dtlsbsc", "own"}
    assert realms_untrusted(reply.actions) == {"access", "core"}
    assert packages_untrusted(()) is None
    assert realms_untrusted(()) is None
