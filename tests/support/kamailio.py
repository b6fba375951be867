"""Kamailio as the SIP core of live tests: a registrar and proxy with its configuration in tests/interop/kamailio.cfg."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pcscf.lab.net import host_port
from pcscf.lab.tap import Address
from tests.support.peers import find_program
from tests.support.processes import DOMAIN, LOOK, PASSWORD, PATIENCE

TEMPLATE = Path(__file__).parents[1] / "interop" / "kamailio.cfg"
PARTY = "bob"
END_PATIENCE = 10.0   # seconds between SIGTERM and SIGKILL

_OPTIONS = (
    "OPTIONS sip:{where} SIP/2.0\r\nVia: SIP/2.0/UDP {ours};branch=z9hG4bKready\r\nMax-Forwards: 5\r\n"
    "From: <sip:probe@{ours}>;tag=1\r\nTo: <sip:{where}>\r\nCall-ID: ready\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


@asynccontextmanager
async def kamailio(folder: Path, party: Address, *, transport: str = "udp") -> AsyncIterator[Address]:
    """A core on UDP and TCP at one port; the address. party: where calls to PARTY go. transport: what its Service-Route names."""
    folder.mkdir(parents=True)
    address = ("127.0.0.1", free_port())
    filled = {
        "PORT": str(address[1]), "DOMAIN": DOMAIN, "PASSWORD": PASSWORD, "PARTY": PARTY, "PARTY_ADDRESS": f"@{host_port(party)}",
        "SERVICE_ROUTE": "" if transport == "udp" else f";transport={transport}",
    }
    config = folder / "kamailio.cfg"
    config.write_text(re.sub(r"@([A-Z_]+)@", lambda name: filled[name[1]], TEMPLATE.read_text()))
    log = folder / "kamailio.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(find_program("kamailio") or "kamailio", "-f", config, "-DD", "-E", "-m", "64", "-M", "8"),
            *("-w", folder, "-Y", folder, "-P", folder / "pid"),
            stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )
    try:
        await _ready(process, address, log)
        yield address
        assert process.returncode is None, log.read_text(errors="replace")[-3000:]
    finally:
        await _end(process)


async def _ready(process: asyncio.subprocess.Process, address: Address, log: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        probe.setblocking(False)
        question = _OPTIONS.format(where=host_port(address), ours=host_port(probe.getsockname())).encode()
        try:
            async with asyncio.timeout(PATIENCE):
                while process.returncode is None:
                    try:
                        probe.sendto(question, address)
                        await asyncio.sleep(LOOK)
                        if probe.recv(4096).startswith(b"SIP/2.0 200"):
                            break
                    except (BlockingIOError, ConnectionRefusedError):
                        continue
                while process.returncode is None:   # its TCP processes come up last
                    try:
                        _, writer = await asyncio.open_connection(*address)
                    except ConnectionRefusedError:
                        await asyncio.sleep(LOOK)
                    else:
                        writer.close()
                        return
        except TimeoutError:
            pass
    raise AssertionError(f"Kamailio does not come up: {log.read_text(errors='replace')[-3000:]}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM to the main process, which ends its children."""
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), END_PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()


def free_port() -> int:
    """A port that is free for TCP and UDP."""
    while True:
        with socket.socket() as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            stream.bind(("127.0.0.1", 0))
            try:
                datagram.bind(stream.getsockname())
            except OSError:
                continue
            port: int = stream.getsockname()[1]
            return port
