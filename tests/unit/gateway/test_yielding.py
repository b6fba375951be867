"""The client that lets its peer be the client: both readings of RFC 8856 §8 come to a session, and trust is the same."""

from __future__ import annotations

import pytest

from pcscf.gateway.cause import Cause
from pcscf.gateway.endpoint import Established, Failed, TlsContext, TlsEndpoint, TlsRole
from pcscf.gateway.yielding import YieldingEndpoint
from tests.unit.gateway.test_endpoint import GATEWAY, UE, WRONG, prints, settle


def yielding(expects: object = None) -> YieldingEndpoint:
    return YieldingEndpoint(TlsContext(GATEWAY), WRONG if expects is WRONG else prints(UE), 0.3)


def ue(role: TlsRole) -> TlsEndpoint:
    return TlsEndpoint(TlsContext(UE), role, prints(GATEWAY))


def test_it_says_nothing_before_its_time() -> None:
    ours = yielding()
    assert ours.take_network() == b""
    assert ours.take_plain() == b""
    assert not ours.established
    assert not ours.pending
    assert ours.events == []
    with pytest.raises(RuntimeError):
        ours.send(b"early")


@pytest.mark.parametrize("role", list(TlsRole))
def test_either_role_of_the_peer_comes_to_a_session(role: TlsRole) -> None:
    ours, peer = yielding(), ue(role)
    if role is TlsRole.SERVER:
        ours.begin()
    settle(ours, peer)
    assert ours.established
    assert peer.established
    assert [type(event) for event in ours.events] == [Established]
    ours.send(b"to the ue")
    peer.send(b"to the core")
    settle(ours, peer)
    assert (ours.take_plain(), peer.take_plain()) == (b"to the core", b"to the ue")


def test_time_that_comes_after_the_peer_changes_nothing() -> None:
    ours, peer = yielding(), ue(TlsRole.CLIENT)
    ours.receive_data(peer.take_network())
    ours.begin()
    settle(ours, peer)
    assert ours.established


@pytest.mark.parametrize("role", list(TlsRole))
def test_the_wrong_certificate_is_refused_in_either_role(role: TlsRole) -> None:
    ours, peer = yielding(WRONG), ue(role)
    if role is TlsRole.SERVER:
        ours.begin()
    settle(ours, peer)
    assert not ours.established
    failed = [event for event in ours.events if isinstance(event, Failed)]
    assert [event.cause for event in failed] == [Cause.FINGERPRINT_MISMATCH]
    assert failed[0].alert == "sent bad_certificate"
    assert ours.take_plain() == b""


def test_what_is_not_tls_fails() -> None:
    ours = yielding()
    ours.receive_data(b"GET / HTTP/1.0\r\n\r\n")
    assert [type(event) for event in ours.events] == [Failed]


@pytest.mark.parametrize("begun", [False, True])
def test_a_discarded_one_stays_silent(begun: bool) -> None:
    ours = yielding()
    if begun:
        ours.begin()
    ours.discard()
    ours.begin()
    ours.receive_data(ue(TlsRole.CLIENT).take_network())
    assert ours.take_network() == b""
    assert ours.events == []
