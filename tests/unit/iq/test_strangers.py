"""Somebody at another address with the name of a registered gateway, and a gateway that comes back elsewhere."""

from __future__ import annotations

import pytest

from pcscf.h248.codec import decode_untrusted, encode_compact
from pcscf.h248.message import Message, TransactionAck, TransactionReply
from pcscf.h248.peer import ConnectionPeer, Peer
from pcscf.h248.transaction import StrangerRefused
from pcscf.iq.operations import Done, Failed
from tests.unit.iq.plans import answered_by_core, from_ue
from tests.unit.iq.scripted import ScriptedGateway, Wire

ELSEWHERE = [("192.0.2.66", 40001), ("198.51.100.1", 40001), ConnectionPeer("192.0.2.66", 40001)]
"""Admitted for a name of its own, not admitted at all, and admitted over a connection."""


@pytest.mark.parametrize("peer", ELSEWHERE)
@pytest.mark.parametrize("method", ["Restart", "Disconnected", "Forced", "Graceful"])
def test_the_name_of_a_gateway_from_another_address_changes_nothing(peer: Peer, method: str) -> None:
    real = ScriptedGateway()
    wire = Wire(real)
    asked = wire.controller.reserve(from_ue(), wire.now)
    wire.run(0.0)
    [done] = [each for each in wire.take() if isinstance(each, Done)]
    assert done.operation == asked
    assert done.media is not None
    forger = ScriptedGateway(*peer)
    forger.mid = real.mid
    wire.controller.receive(forger.service_change(method), peer, wire.now)
    forged = encode_compact(Message(real.mid, (TransactionAck(((1, 0xFFFFFFFF),)),)))
    wire.controller.receive(forged, peer, wire.now)
    [(answer, back)] = wire.controller.take_output()
    [reply] = decode_untrusted(answer).transactions
    assert isinstance(reply, TransactionReply)
    assert reply.error is not None
    assert (reply.error.code, back) == (504, peer)
    told = wire.controller.take_events()
    assert [type(event) for event in told] == [StrangerRefused]

    gateway = wire.controller.association.gateway(real.mid)
    assert gateway is not None
    assert gateway.peer == real.peer
    wire.controller.configure(done.media, answered_by_core(from_ue()), wire.now)
    wire.run(5.0)
    assert [type(event) for event in wire.take()] == [Done]


def test_what_is_under_way_follows_a_gateway_to_its_new_connection() -> None:
    real = ScriptedGateway()
    real.peer = ConnectionPeer(*real.peer)
    wire = Wire(real)
    wire.take()
    wire.delay = lambda _data, from_controller: None if from_controller else 0.0   # the connection is broken
    wire.controller.reserve(from_ue(), wire.now)
    wire.run(1.0)
    assert [event for event in wire.take() if isinstance(event, Done | Failed)] == []
    del wire.gateways[real.peer]
    real.peer = ConnectionPeer("192.0.2.1", 50000)
    wire.gateways[real.peer] = real
    wire.delay = lambda _data, _from_controller: 0.0
    wire.say(real, real.service_change("Disconnected", "900 Service Restored"))
    wire.run(1.5)
    [done] = [event for event in wire.take() if isinstance(event, Done | Failed)]
    assert isinstance(done, Done)
    assert len(real.contexts) == 1
