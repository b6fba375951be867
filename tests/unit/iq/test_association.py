"""The table of gateways: registration, leave, loss, strangers."""

from __future__ import annotations

import pytest

from pcscf.h248.message import ErrorDescriptor, Services
from pcscf.iq.association import (
    TRANSITIONS,
    Association,
    Change,
    Gateway,
    GatewayState,
    Heartbeat,
    Leaving,
    Lost,
    Registered,
    Restarted,
    Resumed,
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


def change(association: Association, method: str, now: float = 1.0, **more: object) -> Services | ErrorDescriptor:
    services = Services(method=method, reason="900 Service Restored", version=2, **more)  # type: ignore[arg-type]
    return association.service_change(MID, PEER, services, now)


def test_registration_gets_version_and_profile() -> None:
    association = table()
    reply = association.service_change(MID, PEER, RESTART, 0.0)
    assert reply == Services(version=2, profile="iqprofile/1")
    assert association.take_events() == [Registered(MID)]
    assert [each.mid for each in association.candidates(0.0)] == [MID]
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
    assert strict.candidates(0.0) == []
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
    assert association.candidates(1.0) != []
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
    assert association.candidates(1.0) == []
    assert association.gateway(MID) is not None
    assert association.next_timer() == 11.0
    for now in (11.0, 21.0):
        association.handle_timer(now)
        association.alive(gateway(association), now)
    association.handle_timer(31.0)
    assert association.take_events() == [Lost(MID, (), "the gateway left service")]
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
    assert association.take_events() == [Lost(MID, (7,), "the gateway left service")]
    assert association.gateway(MID) is None


def test_silence_is_audited_and_then_a_loss() -> None:
    association = registered()
    audits = []
    for now in range(41):
        association.handle_timer(float(now))
        audits += [now for _ in association.take_audits()]
    assert audits == [10, 20, 30]
    assert association.take_events() == [Lost(MID, (), "the gateway has been silent for 40 s")]
    assert association.candidates(41.0) == []
    change(association, "Disconnected", now=60.0)
    assert association.take_events() == [Resumed(MID)]


def test_a_sign_of_life_in_time_is_enough() -> None:
    association = registered()
    for now in range(200):
        association.handle_timer(float(now))
        if now % 35 == 0:
            association.heard(MID.upper(), PEER, float(now))
    assert association.take_events() == []


def test_the_least_loaded_gateway_first_and_the_busy_one_last() -> None:
    association = registered()
    association.service_change(OTHER, ("192.0.2.2", 40001), RESTART, 0.0)
    gateway(association).contexts[7] = ("a", "b")
    assert [each.mid for each in association.candidates(0.0)] == [OTHER, MID]
    association.candidates(0.0)[0].busy_until = 5.0
    assert [each.mid for each in association.candidates(4.0)] == [MID, OTHER]
    assert [each.mid for each in association.candidates(6.0)] == [OTHER, MID]


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


def test_transitions_name_every_change() -> None:
    assert {change for _, change in TRANSITIONS} == set(Change)
    assert {state for state, _ in TRANSITIONS} == set(GatewayState)
