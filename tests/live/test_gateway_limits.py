"""What keeps one peer from taking what belongs to all: limits of handshakes and memory, slow readers, floods."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from pcscf.gateway.cause import Cause
from pcscf.gateway.config import GatewayLimits
from pcscf.gateway.connection import READ_SIZE
from pcscf.gateway.credentials import Credentials
from pcscf.gateway.dtls import DtlsEndpoint
from pcscf.gateway.endpoint import TlsRole
from pcscf.gateway.status import status_of
from tests.live import test_gateway_dtls as over_dtls
from tests.live.test_gateway_datagrams import ends, swap
from tests.live.test_gateway_openssl import files, openssl
from tests.live.test_gateway_relay import UE_PRINT, Listener, Peer, dial, listening, protected_call, tls
from tests.support.gatewaybed import Bench, Local, add, add_datagrams, bench, on_both_loops
from tests.support.peers import require_peer

SECURE = add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True)


async def until(condition: object, within: float = 10) -> None:
    async with asyncio.timeout(within):
        while not condition():   # type: ignore[operator]
            await asyncio.sleep(0.01)


@on_both_loops
async def test_a_handshake_beyond_the_limit_waits_for_its_turn() -> None:
    async with bench(limits=GatewayLimits(half_open=2), timers=over_dtls.SLOW) as gateway:
        sides = [(await gateway.open(SECURE))[0] for _ in range(3)]
        silent = [await dial(side.address) for side in sides[:2]]
        await until(lambda: gateway.kinds().count("tcp-accepted") == 2)
        third = await dial(sides[2].address, tls(TlsRole.CLIENT, sides[2]))   # the kernel takes it
        third.flush()
        await asyncio.sleep(0.2)
        assert gateway.kinds().count("tcp-accepted") == 2
        now = status_of(gateway.gateway)
        assert now.half_open == 2
        assert now.handshakes_waited > 0
        await silent[0].close()
        await third.handshake()
        await until(lambda: status_of(gateway.gateway).half_open == 1)
        await gateway.ask(f"Context={sides[1].context}{{W-Subtract=*{{Audit{{}}}}}}")
        assert status_of(gateway.gateway).half_open == 0
        for one in (*silent[1:], third):
            await one.close()


@on_both_loops
async def test_handshakes_beyond_the_rate_come_later() -> None:
    async with bench(limits=GatewayLimits(handshake_rate=3), timers=over_dtls.SLOW) as gateway:
        sides = [(await gateway.open(SECURE))[0] for _ in range(5)]

        async def whole(side: Local) -> float:
            peer = await dial(side.address, tls(TlsRole.CLIENT, side))
            await peer.handshake()
            await peer.close()
            return asyncio.get_running_loop().time()

        began = asyncio.get_running_loop().time()
        ended = await asyncio.gather(*(whole(side) for side in sides))
        assert max(ended) - began >= (5 - 3) / 3 - 0.05
        await until(lambda: status_of(gateway.gateway).half_open == 0)


async def test_the_gateway_as_client_waits_too() -> None:
    only_one = GatewayLimits(half_open=1)
    async with bench(limits=only_one, timers=over_dtls.SLOW) as gateway, listening() as one, listening() as other:
        calls = [
            (await gateway.open(add(
                "access", ours="active", theirs="passive", peer=far.address, fingerprints=[UE_PRINT], secure=True,
                signals="tcpbcc/EstBNC,tlsbsc/EstBNC")))[0]
            for far in (one, other)
        ]
        first = await one.accept()
        await asyncio.sleep(0.2)
        assert other.arrived.empty()
        await first.close()
        second = await other.accept(tls(TlsRole.SERVER, calls[1]))
        await second.handshake()
        await second.close()


async def test_over_dtls_the_client_hello_comes_again(tmp_path: object) -> None:
    require_peer("openssl")
    async with bench(limits=GatewayLimits(half_open=1), timers=over_dtls.SLOW) as gateway, over_dtls.core() as far:
        [tcp] = await gateway.open(SECURE)
        silent = await dial(tcp.address)
        await gateway.until("tcp-accepted")
        access_side, core_side = await over_dtls.reserve(gateway, far)
        async with openssl(*over_dtls.client(access_side, *files(over_dtls.UE, tmp_path))) as run:   # type: ignore[arg-type]
            await asyncio.sleep(0.3)
            assert "tls-established" not in gateway.kinds()
            await silent.close()
            await over_dtls.echoed(run, far, core_side)


async def test_who_asks_for_cookies_keeps_nobody_out() -> None:
    """Thousands of first flights without a cookie take nothing from those who return one."""
    only_one = GatewayLimits(half_open=1, handshake_rate=1)
    async with bench(limits=only_one, timers=over_dtls.SLOW) as gateway, over_dtls.core() as far:
        access_side, _ = await over_dtls.reserve(gateway, far)
        [hello] = DtlsEndpoint(Credentials((over_dtls.UE,)).dtls, TlsRole.CLIENT, (), mtu=1400, peer=b"gw").take_network()
        for _ in range(50):
            far.send(hello, access_side.address)
        await asyncio.sleep(0.1)
        assert status_of(gateway.gateway).half_open == 0
        [tcp] = await gateway.open(SECURE)
        peer = await dial(tcp.address, tls(TlsRole.CLIENT, tcp))
        await peer.handshake()
        await peer.close()


@on_both_loops
async def test_the_slowest_reader_makes_room_when_memory_is_used_up() -> None:
    """Room for one slow reader: a second one costs the first its connection, and those who read go on."""
    write_buffer = 65_536
    limits = GatewayLimits(write_buffer=write_buffer, buffered=write_buffer + READ_SIZE)
    async with bench(limits=limits) as gateway, protected_call(gateway) as (ue, core, _, _), listening() as sink:
        slow = [await stuck(gateway, sink) for _ in range(2)]
        await until(lambda: gateway.gateway.relay.statistics.failures[Cause.SLOW_PEER] == 1, 30)
        notified = await gateway.iq.notified()
        assert notified["g/cause"]["Generalcause"] == "UR"
        assert notified[""]["termination"] == slow[0][2].termination
        ue.send(b"still here")
        assert await core.read(10) == b"still here"
        core.send(b"and here")
        assert await ue.read(8) == b"and here"
        for one, other, _ in slow:
            one.writer.transport.abort()
            other.writer.transport.abort()
        await asyncio.sleep(0.05)


async def stuck(gateway: Bench, core: Listener) -> tuple[Peer, Peer, Local]:
    """A call whose core does not read what the UE sends."""
    near, far = await gateway.open(
        add("access", ours="passive", theirs="active"), add("core", ours="active", theirs="passive", peer=core.address))
    ue = await dial(near.address)
    inside = await core.accept()
    inside.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    inside.writer.transport.pause_reading()
    relay = gateway.gateway.relay
    before = len(relay._congested)
    ue.send(os.urandom(16_000_000))
    await until(lambda: len(relay._congested) > before or relay.statistics.failures[Cause.SLOW_PEER], 30)
    return ue, inside, far


FLOOD = """
import socket, sys
where, octets = (sys.argv[1], int(sys.argv[2])), b"f" * 1200
kind = socket.SOCK_STREAM if sys.argv[3] == "tcp" else socket.SOCK_DGRAM
with socket.socket(socket.AF_INET, kind) as flood:
    flood.connect(where)
    print("begun", flush=True)
    while True:
        try:
            flood.send(octets * 50 if sys.argv[3] == "tcp" else octets)
        except ConnectionRefusedError:
            pass
"""


@pytest.mark.parametrize("kind", ["udp", "tcp"])
async def test_a_flood_does_not_starve_others(kind: str) -> None:
    """As fast as another process can, into a stream that goes nowhere (udp) or to a fast reader (tcp): other calls go on."""
    async with bench() as gateway, protected_call(gateway) as (ue, core, _, _), ends(1, 1) as (one, other), listening() as sink:
        if kind == "udp":
            target, _ = await gateway.open(
                add_datagrams("access", peer=("127.0.0.1", 9)), add_datagrams("core", peer=("127.0.0.1", 9)))
        else:
            target, _ = await gateway.open(
                add("access", ours="passive", theirs="active"), add("core", ours="active", theirs="passive", peer=sink.address))
        near, far = await gateway.open(add_datagrams("access", peer=one.address), add_datagrams("core", peer=other.address))
        flood = subprocess.Popen(
            [sys.executable, "-c", FLOOD, target.host, str(target.port), kind], stdout=subprocess.PIPE)
        drain = None
        try:
            assert flood.stdout is not None
            await asyncio.to_thread(flood.stdout.readline)
            if kind == "tcp":
                inside = await sink.accept()
                drain = asyncio.create_task(drained(inside))
            before = status_of(gateway.gateway).passed[kind].received
            for number in range(50):
                ue.send(b"%06d" % number)
                assert await core.read(6) == b"%06d" % number
                await swap(one, near, other, far)
            assert status_of(gateway.gateway).passed[kind].received > before
            [fresh] = await gateway.open(SECURE)
            late = await dial(fresh.address, tls(TlsRole.CLIENT, fresh))
            await late.handshake()
            await late.close()
        finally:
            flood.kill()
            flood.communicate()
            if drain is not None:
                drain.cancel()
                inside.writer.transport.abort()


async def drained(peer: Peer) -> None:
    while await peer.reader.read(1_000_000):
        pass


async def test_contexts_beyond_the_limit_get_412_and_the_others_go_on() -> None:
    async with bench(limits=GatewayLimits(contexts=1)) as gateway, protected_call(gateway) as (ue, core, near, _):
        reply = await gateway.ask(f"Context=${{{SECURE}}}")
        assert reply.actions[0].error is not None
        assert reply.actions[0].error.code == 412
        ue.send(b"goes on")
        assert await core.read(7) == b"goes on"
        await gateway.ask(f"Context={near.context}{{W-Subtract=*{{Audit{{}}}}}}")
        await gateway.open(SECURE)
