"""Iq over TLS with OpenSSL's programs at the other end: who gets in, and who does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from pcscf.gateway.config import GatewayConfig, Realm
from pcscf.gateway.server import Gateway
from pcscf.h248.codec import decode_untrusted
from pcscf.h248.message import TransactionReply, TransactionRequest
from pcscf.h248.tpkt import PacketReader, packet
from pcscf.runtime.iq import Gateways, IqConfig
from pcscf.transport.model import TlsFiles
from tests.support.gatewaybed import FAST
from tests.support.iqcertificates import Authority
from tests.support.kamailio import free_port
from tests.support.peers import require_peer

HERE = "127.0.0.1"
MID = "[127.0.0.1]:2945"
PATIENCE = 10.0
REGISTER = packet(f'!/1 {MID}\nT=7{{C=-{{SC=ROOT{{SV{{MT=RS,RE="901 Cold Boot",V=2,PF=iqprofile/1}}}}}}}}'.encode())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    require_peer("openssl")
    return Authority(tmp_path)


@asynccontextmanager
async def controller(files: TlsFiles) -> AsyncIterator[Gateways]:
    gateways = Gateways(
        IqConfig((HERE, 0), lambda *_: True, kinds=("tls",), tls=files), random=Random(7), clock=asyncio.get_running_loop().time,
        on_bearer_released=lambda *_: None, on_contexts_lost=lambda *_: None,
    )  # fmt: skip
    await gateways.start()
    try:
        yield gateways
    finally:
        await gateways.stop()


@asynccontextmanager
async def openssl(*arguments: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("openssl", *arguments, stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def shown(files: TlsFiles) -> tuple[str | Path, ...]:
    return "-cert", files.certificate, "-key", files.certificate


async def message(process: asyncio.subprocess.Process) -> bytes:
    """The first message that the other end sends; b"" when it sends none."""
    assert process.stdout is not None
    packets = PacketReader()
    async with asyncio.timeout(PATIENCE):
        while data := await process.stdout.read(65536):
            for found in packets.feed_untrusted(data):
                return found
    return b""


async def registers(gateways: Gateways, files: TlsFiles, *options: str | Path) -> bool:
    """Whether somebody with s_client and these options is taken as a gateway."""
    connect = ("-connect", f"{HERE}:{gateways.address[1]}", "-quiet", "-no_ign_eof", "-CAfile", files.ca)
    async with openssl("s_client", *connect, *options) as client:
        assert client.stdin is not None
        client.stdin.write(REGISTER)
        answer = await message(client)
    if not answer:
        return False
    [reply] = decode_untrusted(answer).transactions
    assert isinstance(reply, TransactionReply)
    assert reply.error is None
    return gateways.registered == (MID,)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.interop("openssl", "Iq over {version}: s_client with the gateway's certificate registers at our controller")
async def test_a_gateway_with_its_certificate(authority: Authority, version: str) -> None:
    files = authority.issue(HERE)
    async with controller(authority.issue(HERE)) as gateways:
        assert await registers(gateways, files, *shown(files), version)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.interop("openssl", "Iq over {version}: s_client without a certificate, or with another's, does not register")
async def test_nobody_else(authority: Authority, version: str, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other").issue(HERE)
    nameless, elsewhere = authority.issue(), authority.issue("192.0.2.1")
    async with controller(authority.issue(HERE)) as gateways:
        for options in ((), shown(other), shown(nameless), shown(elsewhere)):
            assert not await registers(gateways, authority.issue(HERE), *options, version), options
        assert gateways.registered == ()


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
@pytest.mark.interop("openssl", "Iq over {version}: s_client with the right certificate does not register")
async def test_old_tls(authority: Authority, version: str) -> None:
    files = authority.issue(HERE)
    async with controller(authority.issue(HERE)) as gateways:
        assert not await registers(gateways, files, *shown(files), version, "-cipher", "ALL:@SECLEVEL=0")


@asynccontextmanager
async def gateway(port: int, files: TlsFiles) -> AsyncIterator[Gateway]:
    realms = (Realm("access", (HERE,), ((42000, 46999),)),)
    made = Gateway(GatewayConfig(MID, ((HERE, port),), realms, transport="tls", tls=files, timers=FAST))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.interop("openssl", "Iq over {version}: our gateway registers at s_server, and not where the address is another's")
async def test_a_controller_with_its_certificate(authority: Authority, version: str) -> None:
    for files, is_right in ((authority.issue(HERE), True), (authority.issue("192.0.2.1"), False)):
        port = free_port()
        asked = ("-accept", f"{HERE}:{port}", "-quiet", "-Verify", "1", "-verify_return_error", "-CAfile", files.ca)
        async with openssl("s_server", *asked, *shown(files), version) as server, gateway(port, authority.issue(HERE)) as agw:
            assert server.stdin is not None
            if is_right:
                [request] = decode_untrusted(await message(server)).transactions
                assert isinstance(request, TransactionRequest)
                server.stdin.write(packet(f"!/1 [127.0.0.1]:2944\nP={request.id}{{C=-{{SC=ROOT{{SV{{V=2}}}}}}}}".encode()))
                async with asyncio.timeout(PATIENCE):
                    await agw.registered.wait()
            else:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(message(server), 1)
                assert not agw.registered.is_set()
