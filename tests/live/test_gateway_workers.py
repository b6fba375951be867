"""Several gateway processes behind one controller: started, supervised and ended by one command, and as children of a P-CSCF."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pcscf.gateway.endpoint import TlsRole
from pcscf.h248.message import CommandName, TransactionRequest
from pcscf.lab.call import Manners
from pcscf.runtime.embedded import running_gateways
from tests.live.test_gateway_relay import UE_PRINT, Peer, dial, listening, tls
from tests.support.gatewaybed import Controller, Local, add, controller, local_of
from tests.support.kamailio import free_port
from tests.support.processes import Stage, converse, pcscf, stage, within

ACCESS = add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True)
PATIENCE = 30.0


class Site:
    """`pcscf gateway` with workers, and its controller. `registered`: where each worker speaks Iq, by when it registered."""

    def __init__(self, process: asyncio.subprocess.Process, iq: Controller, folder: Path, config: Path) -> None:
        self.process = process
        self.iq = iq
        self.folder = folder
        self.config = config
        self.registered: list[tuple[str, int]] = []

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.02)

    async def reserve(self, worker: tuple[str, int], *adds: str) -> Local:
        reply = await self.iq.ask(f"Context=${{{','.join(adds)}}}", to=worker)
        [action] = reply.actions
        return local_of(action.context, action.commands[0])

    @property
    def pids(self) -> list[int]:
        return running_gateways(self.folder)


@asynccontextmanager
async def workers(folder: Path, count: int = 2) -> AsyncIterator[Site]:
    iq, http = await controller(), free_port()
    config = folder / "gateway.json"
    config.write_text(json.dumps({
        "mid": "gw", "iq": {"port": 0}, "controllers": [f"127.0.0.1:{iq.address[1]}"], "workers": count,
        "http": {"port": http}, "registration": {"wait": 0.01, "retry": 0.2, "retry_max": 0.5},
        "realms": {name: {"addresses": "127.0.0.1", "ports": ports}
                   for name, ports in (("access", "33400-33499"), ("core", "33500-33599"))},
    }))  # fmt: skip
    site = Site(await start(config, folder), iq, folder, config)
    heard = iq.datagram_received

    def noted(data: bytes, addr: tuple[str, int]) -> None:
        before = iq.requests.qsize()
        heard(data, addr)
        if iq.requests.qsize() > before and _registers(iq.requests._queue[-1][0]):   # type: ignore[attr-defined]
            site.registered.append((addr[0], addr[1]))

    iq.datagram_received = noted   # type: ignore[method-assign]
    try:
        await site.until(lambda: len(set(site.registered)) == count)
        yield site
    finally:
        if site.process.returncode is None:
            site.process.terminate()
            await site.process.wait()
        iq.close()
        await site.until(lambda: not site.pids)


async def start(config: Path, folder: Path) -> asyncio.subprocess.Process:
    with (folder / "log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pcscf", "gateway", str(config), stderr=log, env={**os.environ, "XDG_RUNTIME_DIR": str(folder)})


async def test_two_workers_serve_one_controller(tmp_path: Path) -> None:
    """Contexts on both, with ports of their own; one is killed: the other goes on, and the killed one is back."""
    async with workers(tmp_path) as site, listening() as core:
        calls: list[tuple[Peer, Peer]] = []
        locals_: list[Local] = []
        for worker in sorted(set(site.registered)):
            near = await site.reserve(worker, ACCESS, add("core", ours="active", theirs="passive", peer=core.address))
            ue = await dial(near.address, tls(TlsRole.CLIENT, near))
            await ue.handshake()
            calls.append((ue, await core.accept()))
            locals_.append(near)
            await conversed(*calls[-1])
        assert sorted(local.port < 33450 for local in locals_) == [False, True]
        assert locals_[0].fingerprint != locals_[1].fingerprint
        shown = await status(site)
        assert [json.loads(line)["contexts"] for line in shown.splitlines()] == [1, 1]
        assert {json.loads(line)["mid"] for line in shown.splitlines()} == {"gw_0", "gw_1"}

        victim = next(json.loads(line)["process"] for line in shown.splitlines() if json.loads(line)["mid"] == "gw_0")
        os.kill(victim, signal.SIGKILL)
        await site.until(lambda: len(site.registered) >= 3)
        living = next(call for call, local in zip(calls, locals_, strict=True) if local.port >= 33450)
        await conversed(*living)
        again = await site.reserve(site.registered[-1], ACCESS)
        assert again.port < 33450
        for ue, far in calls:
            await ue.close()
            await far.close()
        site.process.terminate()
        assert await site.process.wait() == 0
        assert not site.pids


async def test_a_supervisor_that_is_killed_leaves_its_workers_to_the_next(tmp_path: Path) -> None:
    async with workers(tmp_path) as site, listening() as core:
        near = await site.reserve(
            site.registered[0], ACCESS, add("core", ours="active", theirs="passive", peer=core.address))
        ue = await dial(near.address, tls(TlsRole.CLIENT, near))
        await ue.handshake()
        far = await core.accept()
        before = set(site.pids)
        assert len(before) == 2
        site.process.kill()
        await site.process.wait()
        await conversed(ue, far)
        site.process = await start(site.config, tmp_path)
        await site.until(lambda: (tmp_path / "log").read_text().count("gateway adopted") == 2)
        assert set(site.pids) == before
        await conversed(ue, far)
        await ue.close()
        await far.close()


async def test_sighup_reaches_all(tmp_path: Path) -> None:
    async with workers(tmp_path) as site:
        both = sorted(set(site.registered))
        before = [(await site.reserve(worker, ACCESS)).fingerprint for worker in both]
        site.process.send_signal(signal.SIGHUP)
        await site.until(lambda: (tmp_path / "log").read_text().count("certificates renewed") == 2)
        after = [(await site.reserve(worker, ACCESS)).fingerprint for worker in both]
        assert len({*before, *after}) == 4


async def conversed(ue: Peer, far: Peer) -> None:
    ue.send(b"from the ue")
    assert await far.read(11) == b"from the ue"
    far.send(b"from the core")
    assert await ue.read(13) == b"from the core"


async def status(site: Site) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pcscf", "gateway", "status", "--json", str(site.config), stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode()


@pytest.fixture
async def around() -> AsyncIterator[Stage]:
    async with stage() as made:
        yield made


async def test_a_pcscf_with_two_embedded_workers(tmp_path: Path, around: Stage) -> None:
    """Both register, and sessions run while either is killed."""
    folder = tmp_path / "run"
    async with pcscf(folder, around.core.address, "gateways.embedded.workers=2", "gateways.patience=20") as running:
        async with asyncio.timeout(PATIENCE):
            while len(running_gateways(folder / "run")) < 2:
                await asyncio.sleep(0.05)
        party = await around.new_party(Manners(reply="Got it: {text}"))
        ue = await around.new_ue(running.listeners["gm-tls"])
        calls = [await converse(ue, party, f"call {number}") for number in range(4)]
        for call in calls:
            await within(call.hang_up(), "the answer to BYE")
        os.kill(running_gateways(folder / "run")[0], signal.SIGKILL)
        call = await converse(ue, party, "with one")
        await within(call.hang_up(), "the answer to BYE")


def _registers(request: TransactionRequest) -> bool:
    return any(command.name is CommandName.SERVICE_CHANGE for action in request.actions for command in action.commands)
