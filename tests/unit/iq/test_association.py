"""The table of gateways: registration, leave, loss, strangers."""

from __future__ import annotations

import pytest

from pcscf.h248.message import ErrorDescriptor, Services
from pcscf.iq.association import Association, Gateway, Heartbeat
from pcscf.iq.overload import Urgency
from pcscf.iq.selection import Needs, candidates
from pcscf.iq.states import (
    METHODS,
    TRANSITIONS,
    AssociationEvent,
    Change,
    GatewayState,
    Leaving,
    Left,
    Lost,
    Registered,
    Restarted,
    Resumed,
    Updated,
    change_of,
)

MID = "[192.0.2.1]:2945"
PEER = ("192.0.2.1", 40001)
OTHER = "[192.0.2.2]:2945"
RESTART = Services(method="Restart", reason="901 Cold Boot", version=2, profile="iqprofile/1")


def table(profiles: frozenset[str] = frozenset()) -> Association:
    return Association(
        lambda _mid, address: address.startswith("192.0.2."), heartbeat=Heartbeat(10.0, 3), profiles=profiles
    )


def registered() -> Association:
    association = table()
    association.service_change(MID, PEER, RESTART, 0.0)
    association.take_events()
    return association


def gateway(association: Association) -> Gateway:
    found = association.gateway(MID)
    assert found is not None
    return found


def able(association: Association, now: float) -> list[Gateway]:
    return candidates(association, Needs(frozenset(), frozenset()), Urgency.NORMAL, now)


REASONS = {"Restart": "901 Cold Boot", "Graceful": "905 Termination taken out of service"}


def change(association: Association, method: str, now: float = 1.0, **more: object) -> Services | ErrorDescriptor:
    reason = REASONS.get(method, "900 Service Restored")
    services = Services(method=method, reason=reason, version=2, **more)  # type: ignore[arg-type]
    return association.service_change(MID, PEER, services, now)


def test_registration_gets_version_and_profile() -> None:
    association = table()
    reply = association.service_change(MID, PEER, RESTART, 0.0)
    assert reply == Services(version=2, profile="iqprofile/1")
    assert association.take_events() == [Registered(MID)]
    assert [each.mid for each in able(association, 0.0)] == [MID]
    assert gateway(association).peer == PEER


@pytest.mark.parametrize(("version", "code"), [(None, 0), (1, 406), (2, 0), (3, 0)])
def test_version_negotiation(version: int | None, code: int) -> None:
    services = Services(method="Restart", reason="901 Cold Boot", version=version)
    reply = table().service_change(MID, PEER, services, 0.0)
    assert (reply.code if isinstance(reply, ErrorDescriptor) else 0) == code
    if isinstance(reply, Services):
        assert reply.version == 2


def test_profile_is_checked_only_where_some_are_named() -> None:
    strict = table(frozenset({"iqprofile/2"}))
    assert strict.service_change(MID, PEER, RESTART, 0.0) == ErrorDescriptor(459, "Unsupported or Unknown Profile")
    assert able(strict, 0.0) == []
    assert isinstance(table(frozenset({"iqprofile/1"})).service_change(MID, PEER, RESTART, 0.0), Services)


def test_a_stranger_changes_nothing() -> None:
    association = registered()
    gateway(association).contexts[7] = ("ip/1/1/1", "ip/1/2/2")
    for method in ("Restart", "Disconnected", "Forced", "Graceful"):
        services = Services(method=method, reason="900", version=2)
        reply = association.service_change(MID, ("203.0.113.66", 2944), services, 1.0)
        assert isinstance(reply, ErrorDescriptor)
        assert reply.code == 402
    assert association.heard(MID, ("203.0.113.66", 2944), 1.0) == ErrorDescriptor(
        504, "Command Received from unauthorised entity"
    )
    assert association.take_events() == []
    assert gateway(association).contexts == {7: ("ip/1/1/1", "ip/1/2/2")}
    assert gateway(association).peer == PEER


def test_another_admitted_address_cannot_take_a_gateway_down() -> None:
    association = registered()
    reply = association.service_change(MID, ("192.0.2.2", 1), Services(method="Forced", reason="905"), 1.0)
    assert isinstance(reply, ErrorDescriptor)
    assert able(association, 1.0) != []
    assert isinstance(association.heard(MID, ("192.0.2.2", 1), 1.0), ErrorDescriptor)


def test_before_registration_nothing_is_served() -> None:
    association = table()
    for method in ("Forced", "Graceful"):
        reply = change(association, method)
        assert isinstance(reply, ErrorDescriptor)
        assert reply.code == 505
    heard = association.heard(MID, PEER, 0.0)
    assert isinstance(heard, ErrorDescriptor)
    assert heard.code == 505


def test_unknown_method() -> None:
    reply = change(registered(), "Explode")
    assert isinstance(reply, ErrorDescriptor)
    assert reply.code == 449


def test_a_restart_loses_the_contexts() -> None:
    association = registered()
    gateway(association).contexts[7] = ("a", "b")
    gateway(association).releasing.add(8)
    change(association, "Restart")
    assert association.take_events() == [Restarted(MID, (7,))]
    assert (gateway(association).contexts, gateway(association).releasing) == ({}, set())


@pytest.mark.parametrize("method", ["Disconnected", "Failover", "HandOff"])
def test_a_gateway_that_comes_back_keeps_its_contexts(method: str) -> None:
    association = registered()
    gateway(association).contexts[7] = ("a", "b")
    association.service_change(MID, ("192.0.2.1", 50000), Services(method=method, reason="900", version=2), 5.0)
    assert association.take_events() == [Resumed(MID)]
    assert 7 in gateway(association).contexts
    assert gateway(association).peer == ("192.0.2.1", 50000)


def test_graceful_leave() -> None:
    association = registered()
    assert change(association, "Graceful", delay=30) == Services()
    assert association.take_events() == [Leaving(MID, 30)]
    assert able(association, 1.0) == []
    assert association.gateway(MID) is not None
    assert association.next_timer() == 11.0
    for now in (11.0, 21.0):
        association.handle_timer(now)
        association.alive(gateway(association), now)
    association.handle_timer(31.0)
    assert association.take_events() == [Left(MID, (), "the gateway left service")]
    assert association.gateway(MID) is None


def test_a_leave_can_be_taken_back() -> None:
    association = registered()
    change(association, "Graceful", delay=30)
    gateway(association).contexts[7] = ("a", "b")
    association.service_change(MID, PEER, Services(method="Restart", reason="918 Cancel Graceful"), 2.0)
    assert association.take_events()[1:] == [Registered(MID)]
    assert 7 in gateway(association).contexts


def test_forced_leave_loses_the_contexts() -> None:
    association = registered()
    gateway(association).contexts[7] = ("a", "b")
    assert change(association, "Forced") == Services()
    assert association.take_events() == [Left(MID, (7,), "the gateway left service")]
    assert association.gateway(MID) is None


def test_silence_is_audited_and_then_a_loss() -> None:
    association = registered()
    audits = []
    for now in range(41):
        association.handle_timer(float(now))
        audits += [now for _ in association.take_audits()]
    assert audits == [10, 20, 30]
    assert association.take_events() == [Lost(MID, (), "the gateway has been silent for 40 s")]
    assert able(association, 41.0) == []
    change(association, "Disconnected", now=60.0)
    assert association.take_events() == [Resumed(MID)]


def test_a_sign_of_life_in_time_is_enough() -> None:
    association = registered()
    for now in range(200):
        association.handle_timer(float(now))
        if now % 35 == 0:
            association.heard(MID.upper(), PEER, float(now))
    assert association.take_events() == []


@pytest.mark.parametrize(
    ("address", "goes_to"),
    [
        ("", PEER),
        ("2950", ("192.0.2.1", 2950)),
        ("[192.0.2.7]:2951", ("192.0.2.7", 2951)),
        ("[203.0.113.7]:2951", PEER),  # not admitted: nobody aims our requests at a third party
        ("<gw.example>:2944", PEER),
        ("99999", PEER),
    ],
)
def test_service_change_address(address: str, goes_to: tuple[str, int]) -> None:
    association = table()
    services = Services(method="Restart", reason="901", version=2, address=address)
    association.service_change(MID, PEER, services, 0.0)
    assert gateway(association).peer == goes_to


def test_adopted_contexts_survive_a_return_and_not_a_restart() -> None:
    for method, expected in (("Disconnected", [Resumed(MID)]), ("Restart", [Restarted(MID, (7,))])):
        association = table()
        association.adopt(MID, 7, ("a", "b"))
        assert association.gateway(MID) is None
        change(association, method)
        assert association.take_events() == expected
        assert (7 in gateway(association).contexts) == (method == "Disconnected")


def test_the_table_of_gateways_is_bounded() -> None:
    association = table()
    for number in range(256):
        association.service_change(f"agw{number}", PEER, RESTART, 0.0)
    full = association.service_change("agw256", PEER, RESTART, 0.0)
    assert isinstance(full, ErrorDescriptor)
    assert full.code == 510
    association.service_change("agw3", PEER, Services(method="Forced", reason="905"), 0.0)
    assert isinstance(association.service_change("agw256", PEER, RESTART, 0.0), Services)


EVENTS: dict[type[AssociationEvent], AssociationEvent] = {
    Registered: Registered(MID), Restarted: Restarted(MID, (7,)), Resumed: Resumed(MID), Updated: Updated(MID),
    Leaving: Leaving(MID, 0),
}  # fmt: skip


def in_state(state: GatewayState) -> Association:
    """An association with a context, brought to `state` by messages alone."""
    association = registered()
    gateway(association).contexts[7] = ("a", "b")
    match state:
        case GatewayState.LEAVING:
            change(association, "Graceful")
        case GatewayState.LOST:
            for now in (10.0, 20.0, 30.0, 40.0):
                association.handle_timer(now)
        case GatewayState.ABSENT:
            change(association, "Forced")
    association.take_events()
    return association


def happen(association: Association, change_: Change) -> Services | ErrorDescriptor | None:
    """Make that change happen, as the wire, time or an operator does."""
    found = next(iter(association))
    for (method, code), meant in METHODS.items():
        if meant is change_:
            services = Services(method=method, reason=f"{code or '901'} as it is", version=2)
            return association.service_change(MID, PEER, services, 50.0)
    match change_:
        case Change.UPDATE:
            return association.service_change(MID, PEER, Services(method="Restart", reason="917 Capabilities Change"), 50.0)
        case Change.SILENCE:
            for number in range(1, 9):
                association.handle_timer(50.0 + 10.0 * number)
        case Change.DELAY_OVER:
            found.leaves_at = 50.0 if found.state is GatewayState.LEAVING else None
            association.next_timer()
            association.handle_timer(50.0)
        case Change.DEATH:
            association.died(MID)
        case _:
            association.move(found, change_)
    return None


@pytest.mark.parametrize("state", GatewayState)
@pytest.mark.parametrize("change_", Change)
def test_every_row_of_the_table(state: GatewayState, change_: Change) -> None:
    association = in_state(state)
    reply = happen(association, change_)
    found = next(iter(association))
    row = TRANSITIONS.get((state, change_))
    if row is None:
        assert found.state is state
        assert association.take_events() == []
        assert not isinstance(reply, Services)
        return
    then, event = row
    assert found.state is then
    assert isinstance(reply, Services | None)
    told = association.take_events()
    # The contexts of a gateway that is LOST or ABSENT went with the event that said so.
    gone = state in (GatewayState.LOST, GatewayState.ABSENT)
    if event in (Lost, Left):
        (lost,) = told
        assert type(lost) is event
        assert lost.contexts == (7,)
    elif event is Restarted and gone:
        assert told == [Restarted(MID, ())]
    else:
        assert told == ([EVENTS[event]] if event is not None else [])
    keeps = not gone and event not in (Lost, Left, Restarted)
    assert (7 in found.contexts) is keeps


def test_transitions_name_every_change() -> None:
    assert {change for _, change in TRANSITIONS} == set(Change)
    assert {state for state, _ in TRANSITIONS} == set(GatewayState)


@pytest.mark.parametrize(
    ("method", "reason", "meant"),
    [
        ("Restart", "901 Cold Boot", Change.RESTART),
        ("Restart", "902 Warm Boot", Change.RESTART),
        ("Restart", "900 Service Restored", Change.RESUME),  # an audit tells what it still has
        ("Restart", "915 State Loss", Change.RESTART),
        ("Restart", "918 Cancel Graceful", Change.CANCEL_GRACEFUL),
        ("Disconnected", "900 Service Restored", Change.RESUME),
        ("Failover", "909 MGC Impending Failure", Change.RESUME),
        ("Failover", "919 Warm Failover", Change.RESUME),
        ("Failover", "920 Cold Failover", Change.RESTART),
        ("HANDOFF", "903 MGC Directed Change", Change.RESUME),
        ("Graceful", "905 Termination taken out of service", Change.GRACEFUL),
        ("Forced", "908 MG Impending Failure", Change.FORCED),
        ("Restart", "916 Packages Change", Change.UPDATE),
        ("Restart", "917", Change.UPDATE),
        ("Explode", "901", None),
    ],
)
def test_what_a_service_change_means(method: str, reason: str, meant: Change | None) -> None:
    assert change_of(Services(method=method, reason=reason)) is meant


def test_a_restart_with_a_delay_serves_after_it() -> None:
    association = registered()
    change(association, "Restart", delay=20)
    assert able(association, 20.0) == []
    assert [each.mid for each in able(association, 21.0)] == [MID]


def test_while_we_stand_down_registrations_are_sent_to_another_controller() -> None:
    association = registered()
    association.successor = "[192.0.2.8]:2944"
    assert change(association, "Disconnected") == Services(mgc_id_to_try="[192.0.2.8]:2944")
    assert association.take_events() == []
    assert change(association, "Graceful", delay=5) == Services()  # who is leaving may go on doing so


def test_contexts_are_compared_now_and_then() -> None:
    association = registered()
    due = []
    for now in range(0, 1000, 5):
        association.handle_timer(float(now))
        association.alive(gateway(association), float(now))
        due += [now for _ in association.take_comparisons()]
    assert due == [300, 600, 900]


def test_a_suspect_gateway_is_audited_at_once() -> None:
    association = registered()
    association.suspect(gateway(association), 3.0)
    assert association.next_timer() == 3.0
    association.handle_timer(3.0)
    assert [each.mid for each in association.take_audits()] == [MID]
    assert gateway(association).is_suspect
    association.alive(gateway(association), 3.1)
    assert not gateway(association).is_suspect
