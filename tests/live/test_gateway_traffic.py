"""What a controller may say about traffic, on real sockets: rates, code points, silence, latching on TCP, statistics."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys

import pytest

from pcscf.gateway.endpoint import TlsRole
from pcscf.h248.message import Statistics, TransactionReply
from tests.live.test_gateway_datagrams import ends, swap, told
from tests.live.test_gateway_relay import UE, UE_PRINT, dial, listening, protected_call, tls
from tests.support.gatewaybed import EVENTS, add, add_datagrams, bench, modify, on_both_loops
from tests.support.processes import require_ipv6

POLICED = ",tman/pol=ON,tman/sdr=20000,tman/mbs=4000"


async def arrived(end: socket.socket, wait: float = 0.3) -> list[bytes]:
    """All that comes until nothing comes for a while."""
    loop, found = asyncio.get_running_loop(), []
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(wait):
                found.append(await loop.sock_recv(end, 65536))
    return found


async def test_datagrams_beyond_the_rate_are_dropped_and_counted() -> None:
    async with bench() as gateway, ends(1, 1) as (ue, core):
        near, far = await gateway.open(
            add_datagrams("access", peer=ue.address, control=POLICED), add_datagrams("core", peer=core.address))
        for _ in range(20):
            ue.send(b"x" * 1000, near)
        count = len(await arrived(core.sockets[0]))
        assert 4 <= count <= 10      # the burst, and what the rate gives while they come
        passed = gateway.gateway.relay.passed()["udp"]
        assert (passed.policed, passed.dropped) == (20 - count, 20 - count)
        for _ in range(20):
            core.send(b"y" * 1000, far)     # nobody polices this side
        assert len(await arrived(ue.sockets[0])) == 20
        await told(gateway, near, f"Modify={near.termination}{{Media{{Stream=1{{LocalControl{{tman/pol=OFF}}}}}}}}")
        for _ in range(20):
            ue.send(b"z" * 1000, near)
        assert len(await arrived(core.sockets[0])) == 20


@pytest.mark.parametrize(("variation", "least", "most"), [(0, 1, 3), (5_000_000, 10, 13)])
async def test_the_delay_variation_of_the_peak_rate(variation: int, least: int, most: int) -> None:
    """20 datagrams of 1000 octets at once, where the peak is 20,000 a second: half a second of it, or none (tman/dvt)."""
    async with bench() as gateway, ends(1, 1) as (ue, core):
        control = f",tman/pol=ON,tman/pdr=20000,tman/dvt={variation}"
        near, _ = await gateway.open(
            add_datagrams("access", peer=ue.address, control=control), add_datagrams("core", peer=core.address))
        for _ in range(20):
            ue.send(b"x" * 1000, near)
        assert least <= len(await arrived(core.sockets[0])) <= most
        body = f"Modify={near.termination}{{Media{{Stream=1{{LocalControl{{tman/dvt=soon}}}}}}}}"
        reply = await gateway.ask(f"Context={near.context}{{{body}}}")
        error = reply.actions[0].commands[0].error
        assert error is not None
        assert (error.code, error.text) == (449, "Unsupported or Unknown Parameter or Property Value: tman/dvt=soon")


@on_both_loops
async def test_a_tcp_peer_beyond_the_rate_is_slowed_down_and_loses_nothing() -> None:
    rate, size = 200_000, 140_000
    async with bench() as gateway, listening() as core:
        near, _ = await gateway.open(
            add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True,
                control=f",tman/pol=ON,tman/sdr={rate},tman/mbs=20000"),
            add("core", ours="active", theirs="passive", peer=core.address),
        )  # fmt: skip
        ue = await dial(near.address, tls(TlsRole.CLIENT, near))
        await ue.handshake()
        far = await core.accept()
        data = os.urandom(size)
        began = asyncio.get_running_loop().time()
        ue.send(data)
        assert await far.read(size) == data
        # The last read may hold 64 KiB before it is paid for.
        assert asyncio.get_running_loop().time() - began >= (size - 20_000 - 65_536) / rate
        assert gateway.gateway.relay.passed()["tls"].policed >= 1
        far.send(data)
        assert await ue.read(size) == data
        await ue.close()
        await far.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_code_point_of_datagrams_on_the_wire(host: str) -> None:
    if ":" in host:
        require_ipv6(host)
    async with bench(host=host) as gateway, ends(1, 1, host=host) as (ue, core):
        wanted = (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS) if ":" in host else (socket.IPPROTO_IP, socket.IP_RECVTOS)
        core.sockets[0].setsockopt(*wanted, 1)
        near, far = await gateway.open(
            add_datagrams("access", peer=ue.address, host=host),
            add_datagrams("core", peer=core.address, host=host, control=",ds/dscp=0x2E"))
        assert await _code_point(ue.sockets[0], near.address, core.sockets[0]) == 0x2E
        await told(gateway, far, f"Modify={far.termination}{{Media{{Stream=1{{LocalControl{{ds/dscp=0x0A}}}}}}}}")
        assert await _code_point(ue.sockets[0], near.address, core.sockets[0]) == 0x0A


async def _code_point(ue: socket.socket, near: tuple[str, int], far: socket.socket) -> int:
    """Of a datagram that was passed on, as the receiver's kernel saw it."""
    ue.sendto(b"marked", near)
    arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_reader(far, lambda: arrived.done() or arrived.set_result(None))
    try:
        async with asyncio.timeout(5):
            await arrived
    finally:
        asyncio.get_running_loop().remove_reader(far)
    _, [(_, _, value)], _, _ = far.recvmsg(100, 64)
    return int.from_bytes(value[:4], sys.byteorder) >> 2 if len(value) >= 4 else value[0] >> 2


@on_both_loops
async def test_the_code_point_of_a_connection_that_stands_changes() -> None:
    async with bench() as gateway, protected_call(gateway) as (_, _far, _near, core_side):
        [leg] = [one for one in gateway.gateway.relay.legs if one.key.termination == core_side.termination]
        while leg.connection is None or leg.connection._transport is None:
            await asyncio.sleep(0)
        raw = leg.connection._transport.get_extra_info("socket")
        await told(gateway, core_side, f"Modify={core_side.termination}{{Media{{Stream=1{{LocalControl{{ds/dscp=0x2E}}}}}}}}")
        assert raw.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0x2E << 2


@pytest.mark.parametrize(
    ("direction", "speaks", "silent"),
    [("IN", "core", True), ("OUT", "core", False), ("BOTH", "core", False), ("BOTH", "nobody", True), ("IN", "ue", False)],
)
async def test_media_that_stopped_are_notified(direction: str, speaks: str, silent: bool) -> None:
    async with bench() as gateway, ends(1, 1) as (ue, core):
        body = add_datagrams("access", peer=ue.address).replace(
            "Events=7{", f"Events=7{{adid/ipstop{{dt=1,dir={direction}}},")
        near, far = await gateway.open(body, add_datagrams("core", peer=core.address))
        await swap(ue, near, core, far)

        async def speak() -> None:
            while True:
                await asyncio.sleep(0.1)
                if speaks == "ue":
                    ue.send(b"here", near)
                elif speaks == "core":
                    core.send(b"here", far)

        speaking = asyncio.create_task(speak())
        try:
            async with asyncio.timeout(1.6):
                notified = await gateway.iq.notified()
            assert silent
            assert notified["adid/ipstop"] == {}
            assert notified[""] == {"termination": near.termination, "request": "7"}
        except TimeoutError:
            assert not silent
        finally:
            speaking.cancel()


@on_both_loops
async def test_a_silent_connection_is_notified() -> None:
    async with bench() as gateway, listening() as core:
        events = f"{EVENTS},adid/ipstop{{dt=1}}"
        near, _ = await gateway.open(
            add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True, events=events),
            add("core", ours="active", theirs="passive", peer=core.address),
        )
        ue = await dial(near.address, tls(TlsRole.CLIENT, near))
        await ue.handshake()
        far = await core.accept()
        notified = await gateway.iq.notified()
        assert notified["adid/ipstop"] == {}
        await ue.close()
        await far.close()


async def test_tcp_is_taken_from_where_it_comes() -> None:
    """Behind a NAT the UE comes from another address than its SDP says; its certificate tells who it is."""
    async with bench() as gateway, listening() as core:
        near, _ = await gateway.open(
            add("access", ours="passive", theirs="active", peer=("10.0.0.5", 7000), fingerprints=[UE_PRINT], secure=True,
                signals="ipnapt/latch{napt=LATCH}"),
            add("core", ours="active", theirs="passive", peer=core.address),
        )  # fmt: skip
        ue = await dial(near.address, tls(TlsRole.CLIENT, near, UE))
        await ue.handshake()
        far = await core.accept()
        ue.send(b"from behind a NAT")
        assert await far.read(17) == b"from behind a NAT"
        await ue.close()
        await far.close()


@on_both_loops
async def test_statistics_on_request_and_at_the_end() -> None:
    async with bench() as gateway, protected_call(gateway) as (ue, core, near, core_side):
        ue.send(b"x" * 700)
        await core.read(700)
        core.send(b"y" * 50)
        await ue.read(50)
        reply = await gateway.ask(f"Context={near.context}{{AuditValue={near.termination}{{Audit{{Statistics}}}}}}")
        found = _statistics(reply)
        assert (found["nt/or"], found["nt/os"]) == (700, 50)
        await asyncio.sleep(0.02)
        reply = await gateway.ask(f"Context={near.context}{{Subtract={core_side.termination}}}")
        other = _statistics(reply)
        assert (other["nt/or"], other["nt/os"]) == (50, 700)
        assert other["nt/dur"] > found["nt/dur"] > 0
        reply = await gateway.ask(f"Context={near.context}{{Subtract={near.termination}{{Audit{{}}}}}}")
        assert reply.actions[0].commands[0].descriptors == ()


def _statistics(reply: TransactionReply) -> dict[str, int]:
    [command] = reply.actions[0].commands
    [statistics] = [one for one in command.descriptors if isinstance(one, Statistics)]
    return {one.name: int(one.value.text) for one in statistics.statistics}


async def test_gates_of_a_connection_follow_the_mode() -> None:
    """SendOnly of the access side lets the core's octets through and holds those of the UE, which lose nothing."""
    async with bench() as gateway, protected_call(gateway) as (ue, core, near, _):
        await told(gateway, near, modify(near.termination, mode="SendOnly"))
        core.send(b"down")
        assert await ue.read(4) == b"down"
        ue.send(b"up")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                assert not await core.pump()
        assert core.got == b""
        await told(gateway, near, modify(near.termination, mode="ReceiveOnly"))
        assert await core.read(2) == b"up"
        core.send(b"held")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                assert not await ue.pump()
        assert ue.got == b""
        await told(gateway, near, modify(near.termination, mode="SendReceive"))
        assert await ue.read(4) == b"held"
