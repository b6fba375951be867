"""Two gateways on Erlang/OTP's megaco at one controller of ours: packages, leave, hand-off, overload, lost contexts."""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio

from pcscf.errors import GatewayUnavailable
from pcscf.iq.association import Heartbeat
from pcscf.iq.media import Media, TcpStart
from pcscf.iq.notifications import BearerReleased, Connected
from pcscf.iq.operations import Limits
from pcscf.iq.overload import Urgency
from pcscf.iq.status import GatewayStatus
from pcscf.iq.supervision import Supervision
from pcscf.runtime.iq import Gateways, IqConfig
from tests.support.peers import require_peer
from tests.unit.iq.plans import answered_by_core, answered_by_ue, from_core, from_ue

ONE, TWO = "[127.0.0.1]:2951", "[127.0.0.1]:2952"
BASE = "g-root-ipdc-hangterm-it"
PATIENCE = 20.0


@pytest.fixture(scope="module")
def beams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_peer("erl", "erlc", "megaco")
    folder = tmp_path_factory.mktemp("beams")
    source = Path(__file__).parent / "erlang" / "megaco_gateway.erl"
    subprocess.run(["erlc", "-Werror", "-o", folder, source], check=True)
    return folder


class Erlang:
    """One gateway. What it prints comes to `lines`."""

    def __init__(self, mid: str, process: asyncio.subprocess.Process) -> None:
        self.mid = mid
        self.process = process
        self.lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().strip())

    async def says(self, line: str) -> None:
        """Wait for a line; it and what came before are then forgotten."""
        async with asyncio.timeout(PATIENCE):
            while line not in self.lines:
                await asyncio.sleep(0.01)
        del self.lines[:self.lines.index(line) + 1]

    async def does(self, command: str, answer: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        await self.says(answer)

    async def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), PATIENCE)
        await self._reading


class Controller:
    def __init__(self, supervision: Supervision) -> None:
        self.sent: list[bytes] = []
        self.connected: asyncio.Queue[Connected] = asyncio.Queue()
        self.lost: list[tuple[str, tuple[int, ...]]] = []
        self.broken: list[tuple[str, int, BearerReleased]] = []
        self.gateways = Gateways(
            IqConfig(
                ("127.0.0.1", 0), lambda mid, _: mid in (ONE, TWO), heartbeat=Heartbeat(0.5, 3, compare=1.0),
                limits=Limits(deadline=2.0, attempt=0.5), supervision=supervision),
            random=Random(7), clock=asyncio.get_running_loop().time,
            on_bearer_released=lambda *told: self.broken.append(told),
            on_connected=lambda _mid, what: self.connected.put_nowait(what),
            on_contexts_lost=lambda mid, contexts, _why: self.lost.append((mid, contexts)),
            tap=lambda direction, wire, _: self.sent.append(wire) if direction == "out" else None)

    def status(self, mid: str) -> GatewayStatus:
        return next(each for each in self.gateways.status() if each.mid == mid)

    async def known(self, mid: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while all(each.mid != mid or each.packages is None for each in self.gateways.status()):
                await asyncio.sleep(0.01)

    async def sessions(self, count: int, urgency: Urgency = Urgency.NORMAL) -> list[Media]:
        return [await self.gateways.reserve(from_ue(), urgency=urgency) for _ in range(count)]

    async def release(self, media: list[Media]) -> None:
        for each in media:
            await self.gateways.release(each)


def where(media: list[Media]) -> Counter[str]:
    return Counter(each.gateway for each in media)


@asynccontextmanager
async def erlang(beams: Path, controller: Controller, mid: str, *packages: str) -> AsyncIterator[Erlang]:
    process = await asyncio.create_subprocess_exec(
        *("erl", "-noshell", "-pa", beams, "-run", "megaco_gateway", "main", str(controller.gateways.address[1])),
        *("compact", "udp", mid.rpartition(":")[2], ",".join([*BASE.split("-"), *packages])),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    made = Erlang(mid, process)
    try:
        await made.says("registered")
        await controller.known(mid)
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def controlling(supervision: Supervision) -> AsyncIterator[Controller]:
    made = Controller(supervision)
    await made.gateways.start()
    try:
        yield made
    finally:
        await made.gateways.stop()


@pytest_asyncio.fixture
async def controller() -> AsyncIterator[Controller]:
    async with controlling(Supervision(begins_tls=True)) as made:
        yield made


@pytest.mark.interop("megaco", "two gateways of our controller: packages audited, sessions go to the one that has them")
async def test_only_the_one_with_the_packages_serves(beams: Path, controller: Controller) -> None:
    async with erlang(beams, controller, ONE, "tcpbcc"), erlang(beams, controller, TWO, "tcpbcc", "tlsbsc", "ocp") as able:
        assert controller.status(ONE).packages == ("g", "hangterm", "ipdc", "it", "root", "tcpbcc")
        assert controller.status(TWO).realms is None   # it refuses AuditCapability, which was optional
        media = await controller.sessions(4)
        assert where(media) == {TWO: 4}
        await able.does("leave", "left")
        assert controller.lost == [(TWO, tuple(each.context for each in media))]
        with pytest.raises(GatewayUnavailable, match="realms and packages"):
            await controller.sessions(1)


@pytest.mark.interop("megaco", "two gateways of our controller: Graceful, Cancel Graceful, Forced, restart")
async def test_one_leaves_and_the_other_takes_over(beams: Path, controller: Controller) -> None:
    async with erlang(beams, controller, ONE, "tcpbcc", "tlsbsc") as one, erlang(beams, controller, TWO, "tcpbcc", "tlsbsc"):
        first = await controller.sessions(4)
        assert where(first) == {ONE: 2, TWO: 2}
        await one.does("graceful 60", "graceful")
        assert where(await controller.sessions(2)) == {TWO: 2}
        (media, *_) = [each for each in first if each.gateway == ONE]
        assert (await controller.gateways.configure(media, answered_by_core(from_ue()))).context == media.context
        await one.does("stay", "registered")
        assert where(await controller.sessions(2)) == {ONE: 2}
        assert controller.lost == []
        await one.does("restart", "registered")
        assert [mid for mid, _ in controller.lost] == [ONE]
        assert len(controller.lost[0][1]) == 4
        assert where(await controller.sessions(4)) == {ONE: 4}
        await one.does("leave", "left")
        assert where(await controller.sessions(2)) == {TWO: 2}


@pytest.mark.interop("megaco", "as gateway of our controller: Failover, Service Restored, contexts compared")
async def test_it_comes_back_and_is_compared(beams: Path, controller: Controller) -> None:
    async with erlang(beams, controller, ONE, "tcpbcc", "tlsbsc") as one:
        kept, gone = await controller.sessions(2)
        for command in ("failover", "restored", "disconnected"):
            await one.does(command, "registered")
        assert [context for _, context in sorted(await controller.gateways.audit())] == [kept.context, gone.context]
        assert controller.lost == []
        await one.does("forget", "ready")
        async with asyncio.timeout(PATIENCE):   # the next comparison finds out
            while len(controller.broken) < 2:
                await asyncio.sleep(0.05)
        assert {context for _, context, _ in controller.broken} == {kept.context, gone.context}
        await controller.release([kept, gone])


@pytest.mark.interop("megaco", "as gateway of our controller: reports that TCP is up, is told to begin TLS (EstBNC)")
async def test_tls_begins_at_our_signal(beams: Path, controller: Controller) -> None:
    async with erlang(beams, controller, ONE, "tcpbcc", "tlsbsc") as one:
        plan = from_core("actpass")
        media = await controller.gateways.reserve(plan)
        media = await controller.gateways.configure(media, answered_by_ue(plan, "passive"))
        assert media.tls_clients == {0}
        assert not any(b"EstBNC" in each for each in controller.sent)
        await one.does("connected", "acknowledged")
        what = await asyncio.wait_for(controller.connected.get(), PATIENCE)
        assert (what.context, what.stream) == (media.context, 1)
        one.lines.clear()
        await controller.gateways.begin_tls(ONE, what)
        await one.says(f"modify {media.context}")
        assert sum(b"tlsbsc/EstBNC" in each for each in controller.sent) == 1
        await controller.release([media])


@pytest.mark.interop("megaco", "as gateway of our controller: told to open TCP (EstBNC), at once or after its report")
@pytest.mark.parametrize("start", ["interlinked", "answer"])
async def test_tcp_begins_at_our_signal(beams: Path, start: TcpStart) -> None:
    async with (
        controlling(Supervision(begins_tls=True, tcp_start=start)) as controller,
        erlang(beams, controller, ONE, "tcpbcc", "tlsbsc") as one,
    ):
        plan = from_core("active")
        settled = answered_by_ue(plan, "passive")
        media = await controller.gateways.reserve(plan)
        assert not any(b"EstBNC" in each for each in controller.sent)
        media = await controller.gateways.configure(media, settled)
        peer = b"m=message 7654"
        if start == "interlinked":
            assert not any(b"EstBNC" in each or peer in each for each in controller.sent), "it could open"
            await one.does("connected", "acknowledged")   # the core's side, which was modified last
            what = await asyncio.wait_for(controller.connected.get(), PATIENCE)
            assert what.termination.lower() == media.core_termination.lower()
            one.lines.clear()
            media = await controller.gateways.begin_tcp(media, settled, what)
            await one.says(f"modify {media.context}")
        [ordered] = [each for each in controller.sent if b"tcpbcc/EstBNC" in each]
        assert peer in ordered
        assert b"a=setup:passive" in ordered
        assert media.held == frozenset()
        assert media.tls_clients == {0}
        assert not any(b"tlsbsc/EstBNC" in each for each in controller.sent), "not before TCP is up"
        await controller.release([media])


@pytest.mark.interop("megaco", "as gateway of our controller: ordered to register anew (HandOff to the same controller)")
async def test_an_ordered_registration(beams: Path, controller: Controller) -> None:
    async with erlang(beams, controller, ONE, "tcpbcc", "tlsbsc") as one:
        media = await controller.sessions(1)
        await controller.gateways.order_registration(ONE)
        await one.says("handoff")
        assert controller.lost == []
        await controller.release(media)
        await one.says(f"subtract {media[0].context}")


@pytest.mark.interop("megaco", "as gateway of our controller: handed off, and told that its controller ends")
async def test_it_is_sent_away(beams: Path, controller: Controller) -> None:
    async with (
        erlang(beams, controller, ONE, "tcpbcc", "tlsbsc") as one,
        erlang(beams, controller, TWO, "tcpbcc", "tlsbsc") as two,
    ):
        media = await controller.sessions(2)
        await controller.gateways.send_away("")
        await one.says("forced")
        await two.says("forced")
        await controller.gateways.hand_off(ONE, "[127.0.0.1]:2944")
        assert controller.lost == [(ONE, (next(each.context for each in media if each.gateway == ONE),))]


@pytest.mark.interop("megaco", "two gateways of our controller: 510 and mg_overload move and throttle new sessions")
async def test_overload(beams: Path, controller: Controller) -> None:
    async with (
        erlang(beams, controller, ONE, "tcpbcc", "tlsbsc", "ocp") as one,
        erlang(beams, controller, TWO, "tcpbcc", "tlsbsc", "ocp") as two,
    ):
        await one.does("refuse 510", "ready")
        media = await controller.sessions(3)
        assert where(media) == {TWO: 3}   # the first was refused by the one, and no more went there
        assert controller.status(ONE).suspect
        assert controller.status(ONE).counts["refused 510"] == 1
        await one.does("overload", "acknowledged")
        await two.does("overload", "acknowledged")
        assert controller.status(TWO).share < 1.0
        results: Counter[str] = Counter()
        for _ in range(8):
            try:
                media += await controller.sessions(1)
                results["served"] += 1
            except GatewayUnavailable as error:
                results[error.what] += 1
        assert results.keys() <= {"served", "the gateways have too much to do"}
        media += await controller.sessions(4, Urgency.EMERGENCY)
        await controller.release(media)
        assert await controller.gateways.audit() == []
