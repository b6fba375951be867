"""Each way in which an association begins, moves and ends, between our controllers and our gateway on loopback (RFC 3525 §11)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import pytest

from pcscf.errors import GatewayUnavailable
from pcscf.gateway.config import GatewayConfig, Realm
from pcscf.gateway.server import Gateway
from pcscf.h248.codec import decode_untrusted
from pcscf.h248.message import Services, TransactionRequest
from pcscf.h248.transaction import H248Timers
from pcscf.iq.association import Heartbeat
from pcscf.iq.media import Media
from pcscf.iq.operations import Limits
from pcscf.runtime.iq import Gateways, IqConfig
from tests.support.fleet import HERE, free_port
from tests.support.gatewaybed import FAST
from tests.unit.iq.plans import answered_by_core, from_ue

MID = "[127.0.0.1]:2945"
PATIENCE = 15.0
TIMERS = H248Timers(t_max=1.0, max_sends=4)
REALMS = (Realm("access", (HERE,), ((42000, 46999),)), Realm("core", (HERE,), ((42000, 46999),)))


@dataclass
class Site:
    """A controller. `said`: method and code of each ServiceChange that it got; `lost`: gateways with contexts."""

    port: int
    gateways: Gateways = field(init=False)
    said: list[str] = field(default_factory=list)
    lost: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    profiles: frozenset[str] = frozenset()
    restore: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        self.gateways = Gateways(
            IqConfig(
                (HERE, self.port), lambda mid, _: mid == MID, heartbeat=Heartbeat(0.3, 3, silence=0.5), timers=TIMERS,
                limits=Limits(deadline=0.4, profiles=self.profiles), restore=self.restore),
            random=Random(self.port), clock=asyncio.get_running_loop().time, on_bearer_released=lambda *_: None,
            on_contexts_lost=lambda mid, contexts, _why: self.lost.append((mid, contexts)), tap=self._tap)

    @property
    def address(self) -> tuple[str, int]:
        return HERE, self.port

    def _tap(self, direction: str, wire: bytes, _peer: object) -> None:
        if direction == "in":
            for transaction in decode_untrusted(wire).transactions:
                if isinstance(transaction, TransactionRequest):
                    for command in transaction.actions[0].commands:
                        self.said += [
                            f"{each.method} {each.reason[:3]}" for each in command.descriptors if isinstance(each, Services)]

    async def session(self) -> Media:
        media = await self.gateways.reserve(from_ue())
        return await self.gateways.configure(media, answered_by_core(from_ue()))

    async def serves(self) -> None:
        await self.gateways.wait_registered(PATIENCE)


@asynccontextmanager
async def site(**more: object) -> AsyncIterator[Site]:
    made = Site(free_port(), **more)  # type: ignore[arg-type]
    await made.gateways.start()
    try:
        yield made
    finally:
        await made.gateways.stop()


@asynccontextmanager
async def gateway(*controllers: Site, port: int = 0) -> AsyncIterator[Gateway]:
    made = Gateway(
        GatewayConfig(MID, tuple(each.address for each in controllers), REALMS, bind=(HERE, port), timers=FAST, h248=TIMERS))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def test_it_comes_and_takes_its_leave() -> None:
    async with site() as one:
        async with gateway(one):
            await one.serves()
            media = await one.session()
        assert one.said == ["Restart 901", "Forced 905"]
        assert one.lost == [(MID, (media.context,))]
        assert one.gateways.registered == ()


async def test_a_graceful_leave_lets_its_sessions_end() -> None:
    async with site() as one, gateway(one) as agw:
        await one.serves()
        media = await one.session()
        leaving = asyncio.create_task(agw.stop(drain=5.0))
        await until(lambda: one.gateways.registered == ())
        with pytest.raises(GatewayUnavailable, match="realms and packages"):
            await one.session()
        assert one.lost == []
        await one.gateways.release(media)
        await asyncio.wait_for(leaving, PATIENCE)
        assert one.said == ["Restart 901", "Graceful 905", "Forced 905"]
        assert one.lost == []   # nothing of ours went with it


async def test_it_starts_anew() -> None:
    async with site() as one:
        async with gateway(one) as agw:
            await one.serves()
            media = await one.session()
            agw.close()   # killed
        async with gateway(one):
            await until(lambda: bool(one.lost))
            assert one.lost == [(MID, (media.context,))]
            await one.gateways.release(await one.session())
        assert one.said == ["Restart 901", "Restart 901", "Forced 905"]


async def test_it_loses_its_controller_and_goes_to_the_next() -> None:
    """The inactivity timer fires, nobody answers, and the next of the list gets the gateway: it clears what it does not know."""
    async with site() as one, site() as two, gateway(one, two) as agw:
        await one.serves()
        await one.session()
        await one.gateways.stop()
        await two.serves()
        assert two.said == ["Failover 909"]
        await until(lambda: agw.table.contexts == {})
        await two.gateways.release(await two.session())


async def test_it_loses_its_controller_and_finds_it_again() -> None:
    """With the sessions that both still have; it was asked before it noticed, or noticed by itself."""
    async with site() as one, gateway(one) as agw:
        await one.serves()
        media = await one.session()
        await one.gateways.stop()
        again = Site(one.port)
        await asyncio.sleep(0.7)
        await again.gateways.start()
        again.gateways.adopt([media])
        try:
            await again.serves()
            assert again.said[-1] == "Disconnected 900"
            await asyncio.sleep(1.0)   # compared, and nothing was amiss
            assert list(agw.table.contexts) == [media.context]
            assert again.lost == []
            await again.gateways.release(media)
            assert agw.table.contexts == {}
        finally:
            await again.gateways.stop()


async def test_a_controller_that_starts_anew_tells_the_gateways_that_it_knows() -> None:
    port = free_port()
    async with site() as one, gateway(one, port=port):
        await one.serves()
        await one.gateways.stop()
        again = Site(one.port, restore=((HERE, port),))
        await again.gateways.start()
        try:
            async with asyncio.timeout(0.45):   # before the gateway's own timer can have fired
                await again.gateways.wait_registered(PATIENCE)
            assert again.said == ["Disconnected 900"]
        finally:
            await again.gateways.send_away("")
            await again.gateways.stop()


async def test_a_hand_off_moves_it() -> None:
    async with site() as one, site() as two, gateway(one, two) as agw:
        await one.serves()
        media = await one.session()
        await one.gateways.hand_off(MID, f"[{HERE}]:{two.port}")
        await two.serves()
        assert one.lost == [(MID, (media.context,))]
        assert two.said == ["HandOff 903"]
        await until(lambda: agw.controller == two.address)
        await until(lambda: agw.table.contexts == {})   # the other controller knows no session of it
        with pytest.raises(GatewayUnavailable, match="no gateway is registered"):
            await one.session()


async def test_an_ordered_registration() -> None:
    async with site() as one, gateway(one) as agw:
        await one.serves()
        media = await one.session()
        await one.gateways.order_registration(MID)
        await until(lambda: one.said == ["Restart 901", "HandOff 903"])
        await one.serves()
        await asyncio.sleep(0.6)
        assert one.lost == []
        assert list(agw.table.contexts) == [media.context]
        await one.gateways.release(media)


async def test_a_controller_that_stands_down_sends_who_registers_to_another() -> None:
    async with site() as one, site() as two:
        one.gateways.stand_down(f"[{HERE}]:{two.port}")
        async with gateway(one, two) as agw:
            await two.serves()
            await until(lambda: agw.controller == two.address)
        assert one.said == ["Restart 901"]
        assert two.said == ["Restart 901", "Forced 905"]


async def test_a_controller_that_ends_says_so() -> None:
    async with site() as one, site() as two, gateway(one, two) as agw:
        await one.serves()
        await one.session()
        await one.gateways.send_away("")
        await one.gateways.stop()
        await two.serves()
        assert agw.table.contexts == {}


async def test_a_profile_that_is_not_spoken_here() -> None:
    async with site(profiles=frozenset({"other/1"})) as one, site(profiles=frozenset({"iqprofile/1"})) as two:
        async with gateway(one, two) as agw:
            await two.serves()
            await until(lambda: agw.controller == two.address)
        assert one.gateways.registered == ()
