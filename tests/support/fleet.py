"""Gateways of their own as processes, and P-CSCFs that know them."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pcscf.lab.tap import Address
from tests.support.processes import LOOK, PATIENCE, Pcscf, until, within

HERE = "127.0.0.1"


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A port that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HERE, 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class OwnGateway:
    """A `pcscf gateway`. `known`: as it stands in `gateways.known`. iq: more about its end of Iq."""

    mid: str
    address: Address
    folder: Path
    controllers: list[Address]
    process: asyncio.subprocess.Process | None = None
    starts: int = field(default=0)
    iq: Mapping[str, Any] = field(default_factory=dict)

    def known(self, **more: object) -> dict[str, Any]:
        return {"mid": self.mid, "address": f"{self.address[0]}:{self.address[1]}", **more}

    async def start(self) -> None:
        file = self.folder / "gateway.json"
        media = {"addresses": [HERE], "ports": "12000-31999"}
        file.write_text(json.dumps({
            "mid": self.mid, "iq": {"address": self.address[0], "port": self.address[1], **self.iq},
            "controllers": [f"{host}:{port}" for host, port in self.controllers], "realms": {"access": media, "core": media},
            "registration": {"wait": 0.01, "retry": 0.1, "retry_max": 0.5}, "http": {"port": 0},
        }))
        self.starts += 1
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "pcscf", "gateway", str(file), "--log-level", "debug"),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=log, start_new_session=True)

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """SIGTERM: it takes its leave."""
        assert self.process is not None
        self.process.terminate()
        await within(self.process.wait(), "the end of a gateway")

    async def close(self) -> None:
        if self.process is not None and self.process.returncode is None:
            await self.kill()


@asynccontextmanager
async def own_gateways(
    folder: Path, names: list[str], *controllers: Address, iq: Mapping[str, Mapping[str, Any]] | None = None
) -> AsyncIterator[list[OwnGateway]]:
    """Gateways of these names, each started; they find their controllers in the order given. iq: more about Iq, by name."""
    made = []
    for name in names:
        place = folder / name
        place.mkdir()
        made.append(OwnGateway(name, (HERE, free_port()), place, list(controllers), iq=(iq or {}).get(name, {})))
    try:
        for each in made:
            await each.start()
        yield made
    finally:
        for each in made:
            await each.close()


def known(*gateways: dict[str, Any]) -> str:
    """The setting of a P-CSCF that knows these gateways and has none of its own."""
    return f"gateways.known={json.dumps(gateways)}"


async def control(pcscf: Pcscf, **question: object) -> dict[str, Any]:
    """What its operator's socket answers."""
    path = next((pcscf.folder / "run").glob("*/control-*.sock"))
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(json.dumps(question).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await within(reader.readline(), "the answer of the control socket"))
        return answer
    finally:
        writer.close()


async def states(pcscf: Pcscf) -> dict[str, dict[str, Any]]:
    """How its gateways are, by mId."""
    return {each["mid"]: each for each in (await control(pcscf, do="status"))["gateways"]}


async def registered(pcscf: Pcscf, *gateways: OwnGateway) -> None:
    """Wait until these serve, and have told what they can do."""
    async with asyncio.timeout(PATIENCE):
        while True:
            now = await states(pcscf)
            if all(each.mid in now and now[each.mid]["state"] == "registered" and now[each.mid]["packages"] for each in gateways):
                return
            await asyncio.sleep(LOOK)


async def sessions(pcscf: Pcscf, **wanted: int) -> None:
    """Wait until the gateways have so many sessions, and nothing is under way."""
    seen: dict[str, dict[str, Any]] = {}

    async def reached() -> None:
        nonlocal seen
        while True:
            seen = await states(pcscf)
            if all(seen[mid]["sessions"] == number and not seen[mid]["releasing"] for mid, number in wanted.items()):
                return
            await asyncio.sleep(LOOK)

    await within(reached(), f"{wanted}")


__all__ = ["OwnGateway", "control", "free_port", "known", "own_gateways", "registered", "sessions", "states", "until"]
