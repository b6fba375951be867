"""The gateway's UDP relay on real sockets: gates, sources, latching, RTP with its RTCP, and what protects itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from pcscf.h248.message import Media
from tests.support.gatewaybed import Bench, Local, add_datagrams, bench, local_of, modify, on_both_loops
from tests.support.processes import require_ipv6

RTP = b"\x80\x00\x00\x01" + bytes(8) + b"payload"
RTCP = b"\x80\xc8\x00\x06" + bytes(24)


class End:
    """A far end: one UDP socket, or two on neighbouring ports."""

    def __init__(self, host: str, count: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        for port in range(47000, 49000, 2):
            self.sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(count)]
            try:
                for number, one in enumerate(self.sockets):
                    one.bind((host, port + number))
                    one.setblocking(False)
            except OSError:
                self.close()
                continue
            break
        self.address = (host, port)

    def send(self, datagram: bytes, to: Local, *, rtcp: int = 0, offset: int = 0) -> None:
        """From our RTCP socket with rtcp=1, to the port after the one that is named with offset=1."""
        self.sockets[rtcp].sendto(datagram, (to.host, to.port + offset))

    async def receive(self, *, rtcp: int = 0) -> bytes:
        async with asyncio.timeout(5):
            loop = asyncio.get_running_loop()
            future: asyncio.Future[bytes] = loop.create_future()
            loop.add_reader(self.sockets[rtcp], lambda: future.done() or future.set_result(self.sockets[rtcp].recv(65536)))
            try:
                return await future
            finally:
                loop.remove_reader(self.sockets[rtcp])

    def close(self) -> None:
        for one in self.sockets:
            one.close()


@asynccontextmanager
async def ends(*counts: int, host: str = "127.0.0.1") -> AsyncIterator[list[End]]:
    made = [End(host, count) for count in counts]
    try:
        yield made
    finally:
        for one in made:
            one.close()


async def swap(one: End, near: Local, other: End, far: Local) -> None:
    """A datagram each way."""
    one.send(b"there", near)
    assert await other.receive() == b"there"
    other.send(b"back", far)
    assert await one.receive() == b"back"


async def told(gateway: Bench, side: Local, body: str) -> None:
    reply = await gateway.ask(f"Context={side.context}{{{body}}}")
    assert reply.actions[0].error is None
    assert all(command.error is None for command in reply.actions[0].commands), reply.actions


async def drops(gateway: Bench, number: int) -> None:
    """Waits until that many datagrams have been dropped, by all living legs."""
    async with asyncio.timeout(5):
        while sum(leg.count.dropped for leg in gateway.gateway.relay.legs) < number:
            await asyncio.sleep(0.005)


def remote(peer: tuple[str, int], *lines: str, transport: str = "UDP") -> str:
    family = "IP6" if ":" in peer[0] else "IP4"
    return "\n".join(["", "v=0", f"c=IN {family} {peer[0]}", f"m=image {peer[1]} {transport} -", *lines, ""])


@on_both_loops
async def test_datagrams_pass_unchanged_and_one_by_one() -> None:
    async with bench() as gateway, ends(1, 1) as (ue, core):
        near, far = await gateway.open(
            add_datagrams("access", peer=ue.address, transport="udptl"),
            add_datagrams("core", peer=core.address, transport="udptl"),
        )
        for size in (1, 150, 1472, 9000):
            ue.send(bytes([size % 251]) * size, near)
            assert await core.receive() == bytes([size % 251]) * size
        for number in range(100):
            core.send(b"%d" % number, far)
        assert [await ue.receive() for _ in range(100)] == [b"%d" % number for number in range(100)]
        await told(gateway, near, "W-Subtract=*{Audit{}}")
        passed = gateway.gateway.relay.passed()["udp"]
        assert (passed.datagrams_received, passed.datagrams_sent, passed.dropped) == (104, 104, 0)
        assert passed.received == passed.sent == 1 + 150 + 1472 + 9000 + 190


async def test_over_ipv6() -> None:
    require_ipv6("::1")
    async with bench(host="::1") as gateway, ends(1, 1, host="::1") as (ue, core):
        near, far = await gateway.open(
            add_datagrams("access", peer=ue.address, host="::1"), add_datagrams("core", peer=core.address, host="::1"))
        await swap(ue, near, core, far)


@pytest.mark.parametrize(
    ("near_mode", "up", "down"),
    [("SendReceive", True, True), ("SendOnly", False, True), ("ReceiveOnly", True, False), ("Inactive", False, False)],
)
async def test_gates(near_mode: str, up: bool, down: bool) -> None:
    """Modes are as the gateway sees them: SendOnly sends to the UE."""
    async with bench() as gateway, ends(1, 1) as (ue, core):
        near, far = await gateway.open(
            add_datagrams("access", peer=ue.address, mode=near_mode), add_datagrams("core", peer=core.address))
        ue.send(b"up", near)
        core.send(b"down", far)
        await drops(gateway, 2 - up - down)
        await told(gateway, near, modify(near.termination, mode="SendReceive"))
        if up:
            assert await core.receive() == b"up"
        if down:
            assert await ue.receive() == b"down"
        await swap(ue, near, core, far)


async def test_nothing_is_read_before_the_peer_is_known() -> None:
    async with bench() as gateway, ends(1, 1) as (ue, core):
        near, far = await gateway.open(
            add_datagrams("access", peer=ue.address), add_datagrams("core", mode="Inactive"))
        core.send(b"early media", far)
        await told(gateway, far, modify(far.termination, remote=remote(core.address), mode="SendReceive"))
        assert await ue.receive() == b"early media"
        await swap(ue, near, core, far)


async def test_strangers_are_dropped() -> None:
    async with bench(host="127.0.0.1") as gateway, ends(1, 1) as (ue, core), ends(1, host="127.0.0.7") as (stranger,):
        near, far = await gateway.open(add_datagrams("access", peer=ue.address), add_datagrams("core", peer=core.address))
        stranger.send(b"noise", near)
        await drops(gateway, 1)
        await swap(ue, near, core, far)


async def test_a_filter_by_port() -> None:
    async with bench() as gateway, ends(1, 1, 1) as (ue, core, other):
        near, far = await gateway.open(
            add_datagrams("access", peer=ue.address, control=",gm/saf=ON,gm/spf=ON"), add_datagrams("core", peer=core.address))
        other.send(b"noise", near)
        await drops(gateway, 1)
        await swap(ue, near, core, far)
        ports = f"{other.address[1]}-{other.address[1]}"
        control = f'LocalControl{{gm/saf=ON,gm/spf=ON,gm/spr="{ports}"}}'
        await told(gateway, near, f"Modify={near.termination}{{Media{{Stream=1{{{control}}}}}}}")
        ue.send(b"no more", near)
        other.send(b"heard", near)
        assert await core.receive() == b"heard"


async def test_a_filter_by_port_and_rtcp() -> None:
    async with bench() as gateway, ends(2, 2, 1) as (ue, core, other):
        near, _ = await gateway.open(
            add_datagrams("access", peer=ue.address, transport="RTP/AVP", control=",gm/saf=ON,gm/spf=ON"), audio("core", core))
        other.send(RTCP, near, offset=1)
        await drops(gateway, 1)
        ue.send(RTCP, near, rtcp=1, offset=1)
        assert await core.receive(rtcp=1) == RTCP
        ue.send(RTP, near)
        assert await core.receive() == RTP


async def test_latching_and_one_move() -> None:
    """H.248.37: the address of Remote counts for nothing, the first source does, until another is asked for."""
    signal = "ipnapt/latch{napt=LATCH}"
    nowhere = ("127.0.0.9", 9)
    async with bench() as gateway, ends(1, 1, 1) as (ue, core, moved):
        near, far = await gateway.open(
            add_datagrams("access", peer=nowhere, signals=signal), add_datagrams("core", peer=core.address))
        core.send(b"for nobody", far)
        await drops(gateway, 1)
        await swap(ue, near, core, far)
        assert (await gateway.until("udp-latched")).facts["remote"] == f"127.0.0.1 {ue.address[1]}"
        moved.send(b"too early", near)
        await drops(gateway, 2)
        await told(gateway, near, modify(near.termination, signals="ipnapt/latch{napt=RELATCH}"))
        await swap(ue, near, core, far)
        await swap(moved, near, core, far)
        ue.send(b"too late", near)
        await drops(gateway, 3)
        await told(gateway, near, modify(near.termination, signals="ipnapt/latch{napt=OFF}", remote=remote(ue.address)))
        await swap(ue, near, core, far)


def audio(realm: str, end: End, *, transport: str = "RTP/AVP", ours: Sequence[str] = (), theirs: Sequence[str] = ()) -> str:
    return add_datagrams(realm, peer=end.address, transport=transport, local=ours, remote=theirs)


@pytest.mark.parametrize("transport", ["RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF"])
async def test_rtp_and_its_rtcp(transport: str) -> None:
    async with bench() as gateway, ends(2, 2) as (ue, core):
        near, far = await gateway.open(audio("access", ue, transport=transport), audio("core", core, transport=transport))
        assert near.port % 2 == far.port % 2 == 0
        await swap(ue, near, core, far)
        ue.send(RTCP, near, rtcp=1, offset=1)
        assert await core.receive(rtcp=1) == RTCP
        core.send(b"\xff anything", far, rtcp=1, offset=1)
        assert await ue.receive(rtcp=1) == b"\xff anything"


async def test_rtcp_on_a_port_of_its_own_choice() -> None:
    async with bench() as gateway, ends(2, 2, 1) as (ue, core, reports):
        attribute = f"a=rtcp:{reports.address[1]} IN IP4 127.0.0.1"
        near, far = await gateway.open(audio("access", ue, theirs=[attribute]), audio("core", core))
        core.send(RTCP, far, rtcp=1, offset=1)
        assert await reports.receive() == RTCP
        reports.send(RTCP, near, offset=1)
        assert await core.receive(rtcp=1) == RTCP


async def test_rtcp_on_the_same_port_on_one_side() -> None:
    mux = ["a=rtcp-mux"]
    async with bench() as gateway, ends(1, 2) as (ue, core):
        near, far = await gateway.open(audio("access", ue, ours=mux, theirs=mux), audio("core", core))
        assert "a=rtcp-mux" in near.sdp
        ue.send(RTP, near)
        ue.send(RTCP, near)
        assert await core.receive() == RTP
        assert await core.receive(rtcp=1) == RTCP
        core.send(RTP, far)
        assert await ue.receive() == RTP
        core.send(RTCP, far, rtcp=1, offset=1)
        assert await ue.receive() == RTCP


async def test_rtcp_on_the_same_port_only_where_both_want_it() -> None:
    async with bench() as gateway, ends(2, 2) as (ue, core):
        near, far = await gateway.open(audio("access", ue, ours=["a=rtcp-mux"]), audio("core", core))
        ue.send(RTCP, near, rtcp=1, offset=1)
        assert await core.receive(rtcp=1) == RTCP
        core.send(RTCP, far, rtcp=1, offset=1)
        assert await ue.receive(rtcp=1) == RTCP


async def test_the_gateway_survives_ports_that_nobody_listens_on() -> None:
    """ICMP says so, and the next datagram goes out all the same."""
    async with bench() as gateway, ends(1, 1) as (ue, core):
        near, far = await gateway.open(add_datagrams("access", peer=ue.address), add_datagrams("core", peer=("127.0.0.1", 9)))
        for _ in range(5):
            ue.send(b"into the void", near)
            await asyncio.sleep(0.01)
        await told(gateway, far, modify(far.termination, remote=remote(core.address)))
        await swap(ue, near, core, far)


@pytest.mark.parametrize(("where", "dropped"), [(("2001:db8::1", 9), 2), (("127.0.0.3", 65535), 1)])
async def test_a_peer_that_cannot_be_reached_gets_nothing(where: tuple[str, int], dropped: int) -> None:
    """Of the other address family, or with its RTCP beyond the last port: dropped, and the next peer is served."""
    async with bench() as gateway, ends(2, 2) as (ue, core):
        near, far = await gateway.open(audio("access", ue), audio("core", core))
        await told(gateway, far, modify(far.termination, remote=remote(where, transport="RTP/AVP")))
        ue.send(RTP, near)
        ue.send(RTCP, near, rtcp=1, offset=1)
        await drops(gateway, dropped)
        await told(gateway, far, modify(far.termination, remote=remote(core.address, transport="RTP/AVP")))
        await swap(ue, near, core, far)


async def test_two_sessions_behind_one_gateway() -> None:
    """Their core sides lead to one another: that is no loop."""
    async with bench() as gateway, ends(2, 2) as (one, other):
        near, far = await gateway.open(audio("access", one), add_datagrams("core", transport="RTP/AVP"))
        near2, far2 = await gateway.open(audio("access", other), add_datagrams("core", transport="RTP/AVP"))
        for side, peer in ((far, far2), (far2, far)):
            await told(gateway, side, modify(side.termination, remote=remote(peer.address, transport="RTP/AVP")))
        await swap(one, near, other, near2)
        one.send(RTCP, near, rtcp=1, offset=1)
        assert await other.receive(rtcp=1) == RTCP


@pytest.mark.parametrize("itself", [False, True])
async def test_no_datagram_goes_round(itself: bool) -> None:
    """Both ends of a call name ports of the gateway as their own: one datagram would circle for ever."""
    async with bench() as gateway, ends(1) as (attacker,):
        sides = [*await gateway.open(add_datagrams("access"), add_datagrams("core")),
                 *await gateway.open(add_datagrams("access"), add_datagrams("core"))]  # fmt: skip
        near, far, near2, far2 = sides
        outside = [(near, near), (near2, near2)] if itself else [(near, near2), (near2, near)]
        for side, peer in (*outside, (far, far2), (far2, far)):
            await told(gateway, side, modify(side.termination, remote=remote(peer.address)))
        attacker.send(b"once", near)
        await drops(gateway, 1)
        await asyncio.sleep(0.1)
        assert sum(leg.count.datagrams_received for leg in gateway.gateway.relay.legs) < 8


async def test_ports_come_back() -> None:
    async with bench(ports=(46000, 46003)) as gateway, ends(2, 2) as (ue, core):
        for _ in range(5):
            near, far = await gateway.open(audio("access", ue), audio("core", core))
            assert {near.port, far.port} == {46000, 46002}
            await swap(ue, near, core, far)
            reply = await gateway.ask(f"Context=${{{add_datagrams('access', peer=ue.address)}}}")
            assert reply.actions[0].commands[0].error is not None
            await told(gateway, near, "W-Subtract=*{Audit{}}")
        assert not gateway.gateway.relay.legs


async def test_a_stream_keeps_its_kind_of_port() -> None:
    async with bench() as gateway, ends(1) as (ue,):
        reply = await gateway.ask(f"Context=${{{add_datagrams('access', peer=ue.address)}}}")
        side = local_of(reply.actions[0].context, reply.actions[0].commands[0])
        text = "\nv=0\nc=IN IP4 $\nm=message $ TCP -\n"
        reply = await gateway.ask(f"Context={side.context}{{Modify={side.termination}{{Media{{Stream=1{{Local{{{text}}}}}}}}}}}")
        error = reply.actions[0].commands[0].error
        assert error is not None
        assert error.code == 473
        assert not any(isinstance(one, Media) for one in reply.actions[0].commands[0].descriptors)
