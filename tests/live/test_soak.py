"""Sessions by the hundred while the gateway and the P-CSCF are killed at random: at the end nothing is left over.

SOAK_SESSIONS, SOAK_KILLS and SOAK_SEED make it longer, or repeat it; `make soak` runs 10,000 sessions.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from pcscf.errors import PcscfError
from pcscf.lab.call import Call, Manners
from pcscf.lab.medium import MediaFailedError, NotTakenError, SessionClosedError
from pcscf.lab.party import Party
from pcscf.lab.ue import Ue
from tests.support.fleet import control, free_port, states
from tests.support.processes import Pcscf, Stage, pcscf, stage, until, within

SESSIONS = int(os.environ.get("SOAK_SESSIONS", "300"))
KILLS = int(os.environ.get("SOAK_KILLS", "3"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
SETTLED = max(40, SESSIONS // 6)
"""Sessions after which a process has made what it makes once, caches and pools, and as many transactions stand as ever will."""
AT_ONCE = 6
REFRESH = 50
"""Sessions of everybody after which one UE refreshes its registration: each does, long before it would end."""
GROWTH = 16 * 1024 * 1024
"""Octets by which the memory of the P-CSCF may differ between then and the end, once its transactions have ended."""
BRIEF = (
    "realms.access.timers={t1: 0.2, t2: 0.8, t4: 1}", "realms.core.timers={t1: 0.2, t2: 0.8, t4: 1}",
    "gateways.timers={t_max: 4, long: 5}", "timers.tombstone=1", "timers.iq_reply=3",
)
"""What is kept for repeated messages is forgotten within seconds, so that the test need not wait for it."""


@pytest.fixture
async def around() -> AsyncIterator[Stage]:
    async with stage() as made:
        yield made


@dataclass
class Life:
    """What one P-CSCF process went through. `results`: how sessions ended."""

    running: Pcscf
    ues: list[Ue]
    party: Party
    random: Random
    results: Counter[str] = field(default_factory=Counter)
    standing: list[Call] = field(default_factory=list)

    async def sessions(self, count: int, kills: set[int]) -> None:
        """So many sessions, AT_ONCE at a time; before some of them the gateway is killed."""
        numbers = iter(range(count))

        async def caller(ue: Ue) -> None:
            for number in numbers:
                if number in kills:
                    self.running.gateway().kill()
                await self._session(ue, number)
                if number % REFRESH == REFRESH - 1:
                    await ue.register()

        await asyncio.gather(*(caller(ue) for ue in self.ues))

    async def _session(self, ue: Ue, number: int) -> None:
        try:
            async with asyncio.timeout(30.0):
                call = await ue.call(self.party.uri, ue.proxy_uri)
                self.standing.append(call)
                if self.random.random() < 0.7:
                    await call.send_text(f"message {number}")
                    await call.receive_text()
                if self.random.random() < 0.8 or len(self.standing) > 30:
                    await self._end(self.standing.pop(self.random.randrange(len(self.standing))))
        except (PcscfError, MediaFailedError, NotTakenError, SessionClosedError, ConnectionError, TimeoutError) as error:
            self.results[type(error).__name__] += 1
        else:
            self.results["good"] += 1

    async def end_all(self) -> None:
        while self.standing:
            await self._end(self.standing.pop())

    async def _end(self, call: Call) -> None:
        if not call.ended.is_set():
            await call.hang_up()


def memory(pid: int) -> int:
    """Octets of resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def nothing_left(running: Pcscf) -> None:
    """Neither side has a context, or anything under way, and the gateway holds no socket of one."""
    told: dict[str, dict[str, object]] = {}

    async def reached() -> None:
        nonlocal told
        while True:
            told = await states(running)
            if all((each["sessions"], each["reserving"], each["releasing"]) == (0, 0, 0) for each in told.values()):
                return
            await asyncio.sleep(0.1)

    await within(reached(), f"an end of all sessions: {told}")
    gateway = running.gateway()
    await until(lambda: gateway.media_sockets() == 0, gateway.media_sockets)


async def begin(around: Stage, running: Pcscf, party: Party, random: Random, name: str) -> Life:
    ues = [await around.new_ue(running.listeners["gm-tls"], name=name) for _ in range(AT_ONCE)]
    return Life(running, ues, party, random)


@pytest.mark.timeout(0)
async def test_nothing_leaks_while_processes_are_killed(tmp_path: Path, around: Stage) -> None:
    random = Random(SEED)
    settings = (
        f"gateways.iq.port={free_port()}", "gateways.patience=10", "gateways.embedded.restart_after=0.1",
        "gateways.embedded.restart_after_max=0.5", "gateways.embedded.grace=20", "log.level=info", *BRIEF)
    party = await around.new_party(Manners(reply="Got it: {text}"))
    first, second = SESSIONS // 3, SESSIONS - SESSIONS // 3

    async with pcscf(tmp_path / "run", around.core.address, *settings) as running:
        running.leaves_gateway = True
        life = await begin(around, running, party, random, "alice")
        await life.sessions(first, set(random.sample(range(first), KILLS // 3)))
        assert life.results["good"] >= first * 0.8, life.results
        gateway = running.gateway()
        running.process.kill()   # with sessions up
        assert await running.finish() == -signal.SIGKILL
        assert gateway.is_alive()

    async with pcscf(tmp_path / "run", around.core.address, *settings) as running:
        running.gateways.append(gateway)
        assert running.gateway() == gateway, "the next P-CSCF takes over the gateway"
        await nothing_left(running)   # what the sessions of before had there is cleared, though nobody knows them
        life = await begin(around, running, party, random, "carol")
        await life.sessions(SETTLED, set())
        await life.end_all()
        await nothing_left(running)
        before = running.descriptors(), memory(running.pid)
        await life.sessions(second, set(random.sample(range(second), KILLS - KILLS // 3)))
        await life.end_all()
        await nothing_left(running)
        assert life.results["good"] >= second * 0.8, life.results
        await until(
            lambda: running.descriptors() <= before[0] + 1 and memory(running.pid) < before[1] + GROWTH,
            lambda: f"{running.descriptors() - before[0]} descriptors and {(memory(running.pid) - before[1]) >> 20} MiB more")
        counts = (await control(running, do="status"))["gateways"][0]["counts"]
        assert counts["reserved"] >= second * 0.8, counts
