"""SIPp at both ends, the real P-CSCF and Kamailio between them: nothing of our lab takes part. Signalling alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from pcscf.lab import tls
from pcscf.lab.net import Target, host_port
from pcscf.lab.tap import Address
from tests.support.kamailio import PARTY, free_port, kamailio
from tests.support.peers import require_peer
from tests.support.processes import DOMAIN, PASSWORD, PATIENCE, Pcscf, pcscf

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCENARIOS = Path(__file__).parent / "sipp"
PLAIN = {"profile": "TCP/MSRP", "scheme": "msrp", "setup": "passive", "protection": "sendrecv"}


class Site(NamedTuple):
    pcscf: Pcscf
    core: Address
    party: Address


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    require_peer("kamailio", "sipp")
    folder = tmp_path_factory.mktemp("sipp")
    party = ("127.0.0.1", free_port())
    async with kamailio(folder / "core", party) as core, pcscf(folder / "pcscf", core) as running:
        yield Site(running, core, party)


class Sipp:
    """One run of one scenario, from or at `port`, for a single call."""

    def __init__(self, process: asyncio.subprocess.Process, scenario: str, folder: Path) -> None:
        self._process = process
        self._scenario = scenario
        self._folder = folder

    async def finish(self) -> None:
        """It ends by itself, and found everything as its scenario wants it."""
        async with asyncio.timeout(PATIENCE):
            told, _ = await self._process.communicate()
        errors = "".join(path.read_text(errors="replace") for path in self._folder.glob("*_errors.log"))
        assert self._process.returncode == 0, f"{self._scenario}: {errors}\n{told.decode(errors='replace')[-2500:]}"

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.communicate()


@asynccontextmanager
async def sipp(folder: Path, scenario: str, port: int, to: Target | None = None, **keys: str) -> AsyncIterator[Sipp]:
    """Run `scenario`; `keys` fill its words in brackets. Without `to` it waits for a request, and is ready when this returns."""
    folder.mkdir(exist_ok=True)
    filled = {"domain": DOMAIN, "password": PASSWORD, **keys}
    transport = {"udp": "u1", "tcp": "t1"}[to.transport if to else "udp"]
    text = (SCENARIOS / f"{scenario}.xml").read_text()
    for name, value in filled.items():   # within regular expressions and credentials SIPp itself fills nothing in
        text = text.replace(f"[{name}]", value)
    file = folder / f"{scenario}.xml"
    file.write_text(text)
    process = await asyncio.create_subprocess_exec(
        "sipp", *([host_port(to[1:])] if to else []), "-sf", file, "-i", "127.0.0.1", "-p", str(port), "-t", transport, "-m", "1",
        "-nostdin", "-trace_err", "-timeout", str(round(PATIENCE)), "-timeout_error",
        cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )
    run = Sipp(process, scenario, folder)
    try:
        if to is None:
            await _bound(port)
        yield run
    finally:
        await run.end()


async def _bound(port: int) -> None:
    """Wait until somebody has this UDP port of 127.0.0.1."""
    wanted = f"0100007F:{port:04X}"
    async with asyncio.timeout(PATIENCE):
        while not any(wanted in line.split()[1:2] for line in Path("/proc/net/udp").read_text().splitlines()):
            await asyncio.sleep(0.02)


def fingerprint() -> str:
    return " ".join(tls.self_signed("sipp").fingerprint())


@pytest.mark.parametrize("gm", ["udp", "tcp"])
@pytest.mark.interop("sipp+kamailio", "registration, INVITE with TCP/TLS/MSRP, BYE: SIPp UE to SIPp in the core; Gm over {gm}")
async def test_a_ue_registers_and_calls(site: Site, gm: str, tmp_path: Path) -> None:
    async with sipp(tmp_path / "bob", "answers", site.party[1], user=PARTY, **PLAIN) as bob:
        listener = site.pcscf.listeners[f"gm-{gm}"]
        keys = {"user": "alice", "target": PARTY, "fingerprint": fingerprint()}
        async with sipp(tmp_path / "alice", "ue_calls", free_port(), listener, **keys) as alice:
            await alice.finish()
        await bob.finish()
    await site.pcscf.nothing_left()


@pytest.mark.interop("sipp+kamailio", "registration, then INVITE from SIPp in the core, answered by the SIPp UE; Gm over udp")
async def test_a_ue_registers_and_is_called(site: Site, tmp_path: Path) -> None:
    port = free_port()
    async with sipp(tmp_path / "carol", "ue_registers", port, site.pcscf.listeners["gm-udp"], user="carol") as registering:
        await registering.finish()
    protected = {
        "profile": "TCP/TLS/MSRP", "scheme": "msrps", "setup": "active", "protection": f"fingerprint:{fingerprint()}",
    }
    async with sipp(tmp_path / "carol", "answers", port, user="carol", **protected) as carol:
        core = Target("udp", *site.core)
        async with sipp(tmp_path / "bob", "core_calls", site.party[1], core, user=PARTY, target="carol") as bob:
            await bob.finish()
        await carol.finish()
    await site.pcscf.nothing_left()
