"""The gateway's four pairs of roles against the openssl program: TCP accepted or opened, TLS server or client (RFC 8856 §8).

openssl ties its TLS role to TCP: s_client opens, s_server waits. A splice between two TCP connections sets them free.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from pcscf.gateway.certificate import Identity
from tests.live.test_gateway_openssl import STRANGER, UE, UE_PRINT, OpenSsl, files, openssl, s_server
from tests.support.gatewaybed import Bench, Local, add, bench
from tests.support.peers import require_peer

Tcp = Literal["accept", "connect"]
Tls = Literal["server", "client"]
ROLES = [("accept", "server"), ("accept", "client"), ("connect", "server"), ("connect", "client")]


@pytest.fixture(autouse=True)
def present() -> None:
    require_peer("openssl")


class Splice:
    """A port whose first two connections are joined; or the first one and one that is opened with `dial`."""

    def __init__(self) -> None:
        self._streams: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self._pumps: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0

    def came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.put_nowait((reader, writer))

    async def dial(self, port: int) -> None:
        self._streams.put_nowait(await asyncio.open_connection("127.0.0.1", port))

    async def join(self) -> None:
        async with asyncio.timeout(10):
            one, other = await self._streams.get(), await self._streams.get()
        self._writers = [one[1], other[1]]
        self._pumps = [asyncio.create_task(_pump(one[0], other[1])), asyncio.create_task(_pump(other[0], one[1]))]

    async def close(self) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for writer in self._writers:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
        writer.write_eof()


@asynccontextmanager
async def splice() -> AsyncIterator[Splice]:
    made = Splice()
    listening = await asyncio.start_server(made.came, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        await made.close()
        listening.close()


@asynccontextmanager
async def against(
    gateway: Bench, tcp: Tcp, tls: Tls, folder: Path, identity: Identity | None,
) -> AsyncIterator[tuple[OpenSsl, Local]]:  # fmt: skip
    """openssl in the opposite roles, joined with the gateway's access side; and the core side, where the gateway waits."""
    async with splice() as between:
        access_side, core_side = await gateway.open(
            add("access", ours="passive" if tcp == "accept" else "active", theirs="active" if tcp == "accept" else "passive",
                peer=("127.0.0.1", between.port), fingerprints=[UE_PRINT], secure=True,
                signals=",".join(name for name, wanted in (
                    ("tcpbcc/EstBNC", tcp == "connect"), ("tlsbsc/EstBNC", tls == "client")) if wanted)),
            add("core", ours="passive", theirs="active"),
        )  # fmt: skip
        if tcp == "accept":
            await between.dial(access_side.port)
        if tls == "client":
            async with s_server(folder, identity, *(("-tls1_2",) if identity is None else ())) as (run, port):
                await between.dial(port)
                await between.join()
                yield run, core_side
        else:
            shown = files(identity, folder) if identity is not None else []
            async with openssl("s_client", "-connect", f"127.0.0.1:{between.port}", *shown) as run:
                await between.join()
                yield run, core_side


@pytest.mark.interop("openssl", "BFCP roles: gateway TCP {tcp}, TLS {tls}; right certificate, data both ways")
@pytest.mark.parametrize(("tcp", "tls"), ROLES)
async def test_the_right_certificate_passes(tcp: Tcp, tls: Tls, tmp_path: Path) -> None:
    async with bench() as gateway, against(gateway, tcp, tls, tmp_path, UE) as (run, core_side):
        reader, writer = await asyncio.open_connection(*core_side.address)
        run.say(b"from the ue\n")
        async with asyncio.timeout(5):
            assert await reader.readline() == b"from the ue\n"
        writer.write(b"from the core\n")
        await run.until(b"from the core\n")
        assert (await gateway.until("tls-established")).facts["fingerprint"] == UE_PRINT
        writer.close()


@pytest.mark.interop("openssl", "BFCP roles: gateway TCP {tcp}, TLS {tls}; wrong certificate, refused, no octet passes")
@pytest.mark.parametrize(("tcp", "tls"), ROLES)
async def test_a_wrong_certificate_is_refused(tcp: Tcp, tls: Tls, tmp_path: Path) -> None:
    async with bench() as gateway, against(gateway, tcp, tls, tmp_path, STRANGER) as (run, core_side):
        await refused(gateway, run, core_side, b"alert bad certificate", "TLS certificate fingerprint mismatch")


@pytest.mark.interop("openssl", "BFCP roles: gateway TCP {tcp}, TLS {tls}; no certificate, refused, no octet passes")
@pytest.mark.parametrize(("tcp", "tls"), ROLES)
async def test_no_certificate_is_refused(tcp: Tcp, tls: Tls, tmp_path: Path) -> None:
    told, cause = {
        "server": (b"alert certificate required", "TLS peer sent no certificate"),
        "client": (b"no shared cipher", "no common TLS version or cipher suite"),
    }[tls]
    async with bench() as gateway, against(gateway, tcp, tls, tmp_path, None) as (run, core_side):
        await refused(gateway, run, core_side, told, cause)


async def refused(gateway: Bench, run: OpenSsl, core_side: Local, told: bytes, cause: str) -> None:
    run.say(b"from the ue\n")
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(*core_side.address)
        writer.write(b"from the core\n")
        assert await reader.read() == b""
        writer.close()
    await run.until(told)
    assert b"from the core" not in run.printed
    assert (await gateway.iq.notified())["g/cause"]["Failurecause"] == cause
