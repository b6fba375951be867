"""Our controller and a gateway on Erlang/OTP's megaco: register, reserve, configure, notify, audit, release, leave."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from pcscf.errors import GatewayUnavailable
from pcscf.iq.association import Heartbeat
from pcscf.iq.notifications import BearerReleased
from pcscf.runtime.iq import Gateways, IqConfig
from tests.support.peers import require_peer
from tests.unit.iq.plans import BFCP_TLS, answered_by_core, answered_by_ue, from_core, from_ue, protection

MID = "[127.0.0.1]:2945"
PATIENCE = 20.0


@pytest.fixture(scope="module")
def beams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_peer("erl", "erlc", "megaco")
    folder = tmp_path_factory.mktemp("beams")
    source = Path(__file__).parent / "erlang" / "megaco_gateway.erl"
    subprocess.run(["erlc", "-Werror", "-o", folder, source], check=True)
    return folder


class Peer:
    """The Erlang gateway, and the controller that it registers with."""

    def __init__(self) -> None:
        self.broken: asyncio.Queue[tuple[str, int, BearerReleased]] = asyncio.Queue()
        self.lost: list[str] = []
        self.gateways = Gateways(
            IqConfig(("127.0.0.1", 0), lambda mid, _: mid == MID, heartbeat=Heartbeat(0.5, 3)),
            random=Random(7),
            clock=asyncio.get_running_loop().time,
            on_bearer_released=lambda *told: self.broken.put_nowait(told),
            on_gateway_lost=self.lost.append,
        )
        self.lines: list[str] = []

    async def open(self, beams: Path) -> None:
        await self.gateways.start()
        port = str(self.gateways.address[1])
        self.process = await asyncio.create_subprocess_exec(
            *("erl", "-noshell", "-pa", beams, "-run", "megaco_gateway", "main", port),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await self.expect("registered")
        await self.gateways.wait_registered(PATIENCE)

    async def expect(self, *wanted: str) -> None:
        """These lines come, in this order; audits of ROOT may stand between them."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            for line in wanted:
                while (told := (await self.process.stdout.readline()).decode().strip()) == "audit 0":
                    self.lines.append(told)
                assert told == line

    def command(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), PATIENCE)
        await self.gateways.stop()


@asynccontextmanager
async def peer(beams: Path) -> AsyncIterator[Peer]:
    made = Peer()
    await made.open(beams)
    try:
        yield made
    finally:
        await made.close()


async def test_a_session_offered_by_the_ue(beams: Path) -> None:
    async with peer(beams) as erlang:
        plan = from_ue("active", BFCP_TLS + protection("passive"))
        media = await erlang.gateways.reserve(plan)
        context = media.context
        assert media.gateway == MID
        assert set(media.access) == set(media.core) == {0, 1}
        assert len({stream.port for side in (media.access, media.core) for stream in side.values()}) == 4
        assert media.access[0].fingerprints[0][1].startswith("12:34:56")
        settled = await erlang.gateways.configure(media, answered_by_core(plan, "passive"))
        assert settled.core == media.core
        assert await erlang.gateways.audit() == [(MID, context)]
        await erlang.gateways.release(settled)
        await erlang.expect(*[f"add {context}"] * 2, *[f"modify {context}"] * 2, f"subtract {context}")
        assert await erlang.gateways.audit() == []


async def test_a_session_offered_by_the_core_and_its_broken_bearer(beams: Path) -> None:
    async with peer(beams) as erlang:
        plan = from_core("actpass")
        media = await erlang.gateways.reserve(plan)
        media = await erlang.gateways.configure(media, answered_by_ue(plan, "passive"))
        assert media.tls_clients == {0}
        await erlang.expect(*[f"add {media.context}"] * 2, *[f"modify {media.context}"] * 2)
        erlang.command("notify")
        gateway, context, released = await asyncio.wait_for(erlang.broken.get(), PATIENCE)
        await erlang.expect("acknowledged")
        assert (gateway, context, released.line, released.kind) == (MID, media.context, 0, "tls")
        await erlang.gateways.release(media)
        await erlang.expect(f"subtract {context}")


async def test_the_heartbeat_keeps_the_association(beams: Path) -> None:
    async with peer(beams) as erlang:
        await asyncio.sleep(1.2)
        media = await erlang.gateways.reserve(from_ue())
        await erlang.expect(f"add {media.context}")
        assert "audit 0" in erlang.lines
        assert erlang.lost == []


async def test_it_comes_back_and_it_leaves(beams: Path) -> None:
    async with peer(beams) as erlang:
        media = await erlang.gateways.reserve(from_ue())
        await erlang.expect(*[f"add {media.context}"] * 2)
        erlang.command("disconnected")
        await erlang.expect("registered")
        media = await erlang.gateways.configure(media, answered_by_core(from_ue()))
        await erlang.expect(*[f"modify {media.context}"] * 2)
        erlang.command("leave")
        await erlang.expect("left")
        assert erlang.lost == [MID]
        with pytest.raises(GatewayUnavailable):
            await erlang.gateways.reserve(from_ue())
