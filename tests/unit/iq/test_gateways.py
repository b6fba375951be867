"""The Iq socket: scripted gateways over UDP on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import cast

import pytest

from pcscf.errors import GatewayUnavailable
from pcscf.h248.message import CommandName, ErrorDescriptor, TransactionRequest
from pcscf.iq.association import Peer
from pcscf.iq.notifications import BearerReleased
from pcscf.iq.operations import Limits
from pcscf.runtime.iq import Gateways, IqConfig
from tests.unit.iq.plans import answered_by_core, from_ue
from tests.unit.iq.scripted import Answer, ScriptedGateway


class UdpGateway(asyncio.DatagramProtocol):
    """A scripted gateway on a socket."""

    def __init__(self, controller: Peer) -> None:
        self.controller = controller
        self.script = ScriptedGateway("127.0.0.1")
        self.heard: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.append(data)
        for answer in self.script.answers(data):
            self.transport.sendto(answer, addr)

    def say(self, data: bytes) -> None:
        self.transport.sendto(data, self.controller)


class Bench:
    """`seed`: of the TransactionIDs. A controller that starts anew has other ones."""

    def __init__(self, seed: int = 1) -> None:
        self.broken: list[tuple[str, int, BearerReleased]] = []
        self.lost: list[str] = []
        self.wire: list[tuple[str, bytes, Peer]] = []
        loop = asyncio.get_running_loop()
        self.gateways = Gateways(
            IqConfig(("127.0.0.1", 0), lambda _mid, address: address == "127.0.0.1", limits=Limits(deadline=0.5)),
            random=Random(seed),
            clock=loop.time,
            on_bearer_released=lambda mid, context, what: self.broken.append((mid, context, what)),
            on_contexts_lost=lambda mid, _contexts, _why: self.lost.append(mid),
            tap=lambda direction, data, peer: self.wire.append((direction, data, peer)),
        )

    async def gateway(self) -> UdpGateway:
        loop = asyncio.get_running_loop()
        _, far = await loop.create_datagram_endpoint(lambda: UdpGateway(self.gateways.address), ("127.0.0.1", 0))
        far.say(far.script.service_change())
        await self.gateways.wait_registered(5.0)
        return far


@asynccontextmanager
async def bench() -> AsyncIterator[tuple[Bench, UdpGateway]]:
    made = Bench()
    await made.gateways.start()
    far = await made.gateway()
    try:
        yield made, far
    finally:
        await made.gateways.stop()
        far.transport.close()
        await asyncio.sleep(0)


def is_add(request: TransactionRequest) -> bool:
    return any(command.name is CommandName.ADD for action in request.actions for command in action.commands)


async def until(condition: object, far: UdpGateway) -> None:
    async with asyncio.timeout(5.0):
        while far.script.contexts != condition:
            await asyncio.sleep(0.01)


async def test_a_session() -> None:
    async with bench() as (made, far):
        assert made.gateways.registered == (far.script.mid,)
        media = await made.gateways.reserve(from_ue())
        assert list(far.script.contexts) == [media.context]
        assert await made.gateways.audit() == [(far.script.mid, media.context)]
        settled = await made.gateways.configure(media, answered_by_core(from_ue()))
        assert settled.access == media.access
        await made.gateways.release(settled)
        assert far.script.contexts == {}
    sent = [data for direction, data, _ in made.wire if direction == "out"]
    assert sent == far.heard


async def test_nobody_registered() -> None:
    made = Bench()
    await made.gateways.start()
    try:
        with pytest.raises(GatewayUnavailable, match="no gateway"):
            await made.gateways.reserve(from_ue())
        with pytest.raises(TimeoutError):
            await made.gateways.wait_registered(0.01)
    finally:
        await made.gateways.stop()


async def test_before_start_and_after_stop() -> None:
    made = Bench()
    with pytest.raises(GatewayUnavailable, match="not open"):
        await made.gateways.reserve(from_ue())
    async with bench() as (other, _):
        media = await other.gateways.reserve(from_ue())
    await other.gateways.release(media)
    with pytest.raises(GatewayUnavailable, match="not open"):
        await other.gateways.configure(media, from_ue())


async def test_stop_ends_every_wait() -> None:
    async with bench() as (made, far):
        far.script.script = lambda _request: None
        waiting = asyncio.create_task(made.gateways.reserve(from_ue()))
        await asyncio.sleep(0.05)
        await made.gateways.stop()
        with pytest.raises(GatewayUnavailable, match="not open"):
            await waiting


async def test_a_gateway_that_does_not_answer_costs_the_deadline() -> None:
    async with bench() as (made, far):
        far.script.script = lambda _request: None
        with pytest.raises(GatewayUnavailable, match="did not answer"):
            await made.gateways.reserve(from_ue())


async def test_a_cancelled_reservation_is_given_back() -> None:
    async with bench() as (made, far):
        reached = asyncio.Event()

        def slow(request: TransactionRequest) -> Answer:
            if is_add(request) and not reached.is_set():
                reached.set()
                return None  # the repetition is answered
            return far.script.obey(request)

        far.script.script = slow
        waiting = asyncio.create_task(made.gateways.reserve(from_ue()))
        await reached.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(5.0):
            while not far.script.asked(CommandName.SUBTRACT):
                await asyncio.sleep(0.01)
        assert far.script.contexts == {}


async def test_cancelled_in_the_very_moment_of_success() -> None:
    async with bench() as (made, far):
        waiting = asyncio.create_task(made.gateways.reserve(from_ue()))
        await asyncio.sleep(0)
        for answer in far.script.answers(made.wire[-1][1]):
            made.gateways.receive(answer, made.wire[-1][2])
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until({}, far)


async def test_release_never_raises() -> None:
    async with bench() as (made, far):
        media = await made.gateways.reserve(from_ue())
        far.script.script = lambda _request: ErrorDescriptor(500, "no")
        await made.gateways.release(media)
        await made.gateways.release(media)
        far.script.script = None
        await until({}, far)


async def test_broken_bearers_and_lost_gateways_are_told() -> None:
    async with bench() as (made, far):
        media = await made.gateways.reserve(from_ue())
        event = "20261122T04220137:tcpbcc/BNCChange { Stream = 1, Type = Rel }"
        notify = f"Notify = {media.core_termination} {{ ObservedEvents = 2 {{ {event} }} }}"
        far.say(far.script.request(f"Context = {media.context} {{ {notify} }}"))
        far.say(far.script.service_change("Forced", "905 Termination taken out of service"))
        async with asyncio.timeout(5.0):
            while not made.lost:
                await asyncio.sleep(0.01)
        assert made.broken == [
            (far.script.mid, media.context, BearerReleased(media.context, media.core_termination, 1, "tcp", "")),
        ]
        assert made.lost == [far.script.mid]
        assert made.gateways.registered == ()


@pytest.mark.parametrize("code", [402, 504])
async def test_a_gateway_that_obeys_another_controller_is_lost(code: int) -> None:
    """What it says to anything that it is asked; the sessions that it had cannot be reached any more."""
    async with bench() as (made, far):
        await made.gateways.reserve(from_ue())
        far.script.script = lambda _request: ErrorDescriptor(code, "Unauthorized")
        with pytest.raises(GatewayUnavailable, match=f"refused to reserve: {code}"):
            await made.gateways.reserve(from_ue())
        assert made.lost == [far.script.mid]
        assert made.gateways.registered == ()
        with pytest.raises(GatewayUnavailable, match="no gateway is registered"):
            await made.gateways.reserve(from_ue())
        far.script.script = None
        far.say(far.script.service_change("HandOff", "903 MGC Directed Change"))
        await made.gateways.wait_registered(5.0)   # it may come back


async def test_a_restart_tells_of_lost_sessions_only_where_there_were_some() -> None:
    async with bench() as (made, far):
        far.say(far.script.service_change())
        async with asyncio.timeout(5.0):
            while len(far.script.asked(CommandName.MODIFY)) < 2:  # what follows each registration
                await asyncio.sleep(0.01)
        assert made.lost == []
        await made.gateways.reserve(from_ue())
        far.script.contexts.clear()
        far.say(far.script.service_change())
        async with asyncio.timeout(5.0):
            while not made.lost:
                await asyncio.sleep(0.01)
        await made.gateways.reserve(from_ue())


async def test_a_restored_session_keeps_its_context() -> None:
    async with bench() as (made, far):
        media = await made.gateways.reserve(from_ue())
    made = Bench(seed=2)
    await made.gateways.start()
    try:
        made.gateways.adopt([media])
        loop = asyncio.get_running_loop()
        _, again = await loop.create_datagram_endpoint(lambda: UdpGateway(made.gateways.address), ("127.0.0.1", 0))
        again.script = far.script
        again.say(again.script.service_change("Disconnected", "900 Service Restored"))
        await made.gateways.wait_registered(5.0)
        await made.gateways.release(media)
        assert again.script.contexts == {}
        again.transport.close()
    finally:
        await made.gateways.stop()


async def test_a_known_gateway_is_told_of_a_new_start() -> None:
    loop = asyncio.get_running_loop()
    _, far = await loop.create_datagram_endpoint(lambda: UdpGateway(("127.0.0.1", 9)), ("127.0.0.1", 0))
    known = far.transport.get_extra_info("sockname")
    gateways = Gateways(
        IqConfig(("127.0.0.1", 0), lambda _mid, _address: True, mid="<controller.example>", restore=(known,)),
        random=Random(1), clock=loop.time, on_bearer_released=lambda *_: None, on_contexts_lost=lambda *_: None,
    )  # fmt: skip
    await gateways.start()
    try:
        async with asyncio.timeout(5.0):
            while not far.script.asked(CommandName.SERVICE_CHANGE):
                await asyncio.sleep(0.01)
        assert far.heard[0].startswith(b"!/2 <controller.example>")
    finally:
        await gateways.stop()
        far.transport.close()
        await asyncio.sleep(0)
