"""tshark as a reader of captures: dissected frames, and what it finds wrong with them."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import PATIENCE

_FIELDS = (
    "frame.number", "frame.protocols", "tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport", "sctp.srcport",
    "sctp.dstport", "sip.Method", "sip.Status-Code", "msrp.method", "tls.handshake.type", "sctp.data_payload_proto_id",
    "_ws.expert.message",
)
_CHECKED = [
    *(word for name in ("ip", "tcp", "udp") for word in ("-o", f"{name}.check_checksum:TRUE")), "-o", "sctp.checksum:CRC 32c",
]


class Frame(NamedTuple):
    """One frame. layers: names of the protocols, the outermost first."""

    number: int
    layers: tuple[str, ...]
    ports: frozenset[int]
    sip: str      # method or status of a SIP message
    msrp: str     # method of an MSRP request
    tls: tuple[str, ...]   # types of handshake messages
    payloads: tuple[str, ...]   # payload protocol identifiers of SCTP's DATA chunks
    notes: str    # what tshark remarks


def dissect(capture: Path, decode_as: Iterable[str] = (), *, checksums: bool = True) -> list[Frame]:
    """Every frame. decode_as: rules like "udp.port==2944,megaco". checksums: a loopback device fills none in."""
    rules = [word for rule in decode_as for word in ("-d", rule)]
    fields = [word for name in _FIELDS for word in ("-e", name)]
    checked = _CHECKED if checksums else []
    command = ["tshark", "-n", "-r", capture, *rules, *checked, "-T", "fields", "-E", "separator=/t", *fields]
    done = subprocess.run(command, check=True, capture_output=True, text=True, errors="replace")
    return [_frame(line.split("\t")) for line in done.stdout.splitlines()]


def _frame(cells: list[str]) -> Frame:
    number, layers, *ports = cells[:8]
    method, status, msrp, tls, payloads, notes = cells[8:]
    return Frame(
        int(number), tuple(layers.split(":")), frozenset(int(port) for port in ports if port), method or status, msrp,
        tuple(tls.split(",")) if tls else (), tuple(payloads.split(",")) if payloads else (), notes,
    )


def malformed(frames: Iterable[Frame]) -> Iterator[str]:
    """What tshark holds against frames: not what it cannot make out, but what breaks its own protocol."""
    for frame in frames:
        if "_ws.malformed" in frame.layers or "hecksum" in frame.notes:
            yield f"frame {frame.number} ({':'.join(frame.layers)}): {frame.notes}"


@asynccontextmanager
async def loopback(capture: Path) -> AsyncIterator[None]:
    """Capture the loopback device meanwhile. Raises PermissionError where this user may not."""
    process = await asyncio.create_subprocess_exec(
        "dumpcap", "-i", "lo", "-f", "tcp or udp or sctp", "-B", "16", "-w", capture,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        told = b""
        async with asyncio.timeout(PATIENCE):
            while b"File:" not in told:
                if not (some := await process.stderr.read(4096)):
                    raise PermissionError(told.decode(errors="replace"))
                told += some
        yield
        await asyncio.sleep(0.5)   # what crossed the device last is still on its way to the file
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()   # it goes on telling how many packets there were
