"""UEs behind a NAT of the kernel: their SDP says where they think they are, and media find the way all the same."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pcscf.gateway.config import Realm
from pcscf.gateway.endpoint import PlainEndpoint, TlsRole
from tests.live.test_gateway_datagrams import End, drops, ends, told
from tests.live.test_gateway_dtls import SLOW
from tests.live.test_gateway_openssl import files, openssl
from tests.live.test_gateway_relay import UE, UE_PRINT, Peer, listening, tls
from tests.support.gatewaybed import FAST, Bench, Local, add, add_datagrams, bench, modify
from tests.support.nat import Nat, behind_nat
from tests.support.peers import require_peer

PORT = 7000
LATCH = "ipnapt/latch{napt=LATCH}"


@pytest.fixture(scope="module")
def nat() -> Iterator[Nat]:
    with behind_nat() as made:
        yield made


@asynccontextmanager
async def gateway_at(nat: Nat, **how: object) -> AsyncIterator[Bench]:
    realms = (Realm("access", (nat.gateway,), ((42000, 42999),)), Realm("core", ("127.0.0.1",), ((43000, 43999),)))
    async with bench(realms=realms, **how) as gateway:   # type: ignore[arg-type]
        yield gateway


async def received(one: socket.socket) -> bytes:
    async with asyncio.timeout(5):
        return await asyncio.get_running_loop().sock_recv(one, 2048)


def says(nat: Nat, core: End, *, signals: str = "") -> tuple[str, str]:
    """What a P-CSCF asks for a UE whose SDP has its private address."""
    near = add_datagrams("access", peer=(nat.inside, PORT), signals=signals)
    return near, add_datagrams("core", peer=core.address)


async def test_latching_finds_the_ue_behind_its_nat(nat: Nat) -> None:
    async with gateway_at(nat) as gateway, ends(1) as (core,):
        near, far = await gateway.open(*says(nat, core, signals=LATCH))
        with nat.socket(socket.SOCK_DGRAM, PORT) as ue:
            ue.sendto(b"from behind", near.address)
            assert await core.receive() == b"from behind"
            core.send(b"to behind", far)
            assert await received(ue) == b"to behind"
        seen = (await gateway.until("udp-latched")).facts["remote"]
        host, port = seen.split()
        assert host == nat.outside
        assert int(port) != PORT


async def test_without_latching_nothing_comes_of_it(nat: Nat) -> None:
    """What shows that the NAT is one: the address of the SDP leads nowhere, and what comes does not come from it."""
    async with gateway_at(nat) as gateway, ends(1) as (core,):
        near, _ = await gateway.open(*says(nat, core))
        with nat.socket(socket.SOCK_DGRAM, PORT) as ue:
            ue.sendto(b"from behind", near.address)
            await drops(gateway, 1)


async def test_relatching_follows_the_ue_to_another_mapping(nat: Nat) -> None:
    async with gateway_at(nat) as gateway, ends(1) as (core,):
        near, far = await gateway.open(*says(nat, core, signals=LATCH))
        with nat.socket(socket.SOCK_DGRAM, PORT) as before, nat.socket(socket.SOCK_DGRAM, PORT + 2) as after:
            before.sendto(b"one", near.address)
            assert await core.receive() == b"one"
            after.sendto(b"too early", near.address)
            await drops(gateway, 1)
            await told(gateway, near, modify(near.termination, signals="ipnapt/latch{napt=RELATCH}"))
            after.sendto(b"two", near.address)
            assert await core.receive() == b"two"
            core.send(b"back", far)
            assert await received(after) == b"back"


async def test_rtp_and_rtcp_are_latched_each_for_itself(nat: Nat) -> None:
    async with gateway_at(nat) as gateway, ends(2) as (core,):
        near, far = await gateway.open(
            add_datagrams("access", peer=(nat.inside, PORT), transport="RTP/AVP", signals=LATCH),
            add_datagrams("core", peer=core.address, transport="RTP/AVP"))
        with nat.socket(socket.SOCK_DGRAM, PORT) as rtp, nat.socket(socket.SOCK_DGRAM, PORT + 1) as rtcp:
            for index, one in enumerate((rtp, rtcp)):
                one.sendto(b"up %d" % index, (near.host, near.port + index))
                assert await core.receive(rtcp=index) == b"up %d" % index
                core.send(b"down %d" % index, far, rtcp=index, offset=index)
                assert await received(one) == b"down %d" % index


async def test_dtls_that_the_ue_opens(nat: Nat, tmp_path: Path) -> None:
    require_peer("openssl")
    async with gateway_at(nat, timers=SLOW) as gateway, ends(1) as (core,):
        near, far = await gateway.open(
            add_datagrams("access", peer=(nat.inside, PORT), secure=True, fingerprints=[UE_PRINT]),
            add_datagrams("core", peer=core.address))
        program, *rest = nat.command(
            "openssl", "s_client", "-dtls1_2", "-connect", f"{near.host}:{near.port}", *files(UE, tmp_path))
        async with openssl(*rest, program=program) as run:
            run.say(b"from behind\n")
            assert await core.receive() == b"from behind\n"
            core.send(b"to behind\n", far)
            await run.until(b"to behind\n")


async def connected(nat: Nat, near: Local, *, secure: bool) -> Peer:
    """A connection of the UE, out of its namespace."""
    one = nat.socket(socket.SOCK_STREAM)
    try:
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().sock_connect(one, near.address)
    except OSError:
        one.close()
        raise
    reader, writer = await asyncio.open_connection(sock=one)
    peer = Peer(reader, writer, tls(TlsRole.CLIENT, near) if secure else PlainEndpoint())
    if secure:
        await peer.handshake()
    return peer


@pytest.mark.parametrize("secure", [True, False])
async def test_a_connection_that_the_ue_opens(nat: Nat, secure: bool) -> None:
    async with gateway_at(nat) as gateway, listening() as core:
        near, _ = await gateway.open(
            add("access", ours="passive", theirs="active", peer=(nat.inside, PORT), secure=secure,
                fingerprints=[UE_PRINT] if secure else (), host=nat.gateway, signals=LATCH),
            add("core", ours="active", theirs="passive", peer=core.address),
        )  # fmt: skip
        ue = await connected(nat, near, secure=secure)
        inside = await core.accept()
        ue.send(b"from behind")
        assert await inside.read(11) == b"from behind"
        inside.send(b"to behind")
        assert await ue.read(9) == b"to behind"
        assert (await gateway.until("tcp-accepted")).facts["remote"].split()[0] == nat.outside
        await ue.close()
        await inside.close()


@pytest.mark.parametrize(("mask", "admitted"), [("outside", True), ("inside", False)])
async def test_a_source_filter_sees_the_nat(nat: Nat, mask: str, admitted: bool) -> None:
    async with gateway_at(nat) as gateway:
        [near] = await gateway.open(
            add("access", ours="passive", theirs="active", peer=(nat.inside, PORT), host=nat.gateway,
                control=f',gm/saf=ON,gm/sam="[{getattr(nat, mask)}]"'))
        with contextlib.suppress(ConnectionResetError):   # of the one who is refused, at once or a moment later
            ue = await connected(nat, near, secure=False)
            ue.writer.transport.abort()
        await gateway.until("tcp-accepted" if admitted else "tcp-refused")


async def test_merge_two_ends_behind_the_nat(nat: Nat) -> None:
    """Neither can be reached from outside: the gateway is passive on both legs and joins what comes."""
    realms = (Realm("access", (nat.gateway,), ((42000, 42999),)),)
    async with bench(realms=realms, timers=FAST) as gateway:
        one, other = await gateway.open(*(
            add("access", ours="passive", theirs="active", peer=(nat.inside, PORT), host=nat.gateway) for _ in range(2)))
        first = await connected(nat, one, secure=False)
        second = await connected(nat, other, secure=False)
        first.send(b"hello")
        assert await second.read(5) == b"hello"
        second.send(b"hello yourself")
        assert await first.read(14) == b"hello yourself"
        await first.close()
        await second.close()
