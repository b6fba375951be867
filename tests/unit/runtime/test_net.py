"""Real sockets on loopback."""

from __future__ import annotations

import asyncio
import socket as sockets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from pcscf.errors import MalformedMessage, SipError
from pcscf.runtime.accepting import Admission
from pcscf.runtime.net import MAX_WAITING, Message, Net, NetLimits, Socket, Upward
from pcscf.runtime.tls import server_context
from pcscf.sip.flow import Destination, Flow, Hop
from pcscf.sip.message import Request
from tests.support.gatewaybed import on_both_loops

Address = tuple[str, int]
PATIENCE = 10.0


def options(call_id: str = "c1", body: str = "") -> bytes:
    return (
        "OPTIONS sip:ims.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: <sip:a@b>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode()


@dataclass
class Bench:
    """A net with what it handed up, and what its tap saw."""

    messages: list[tuple[Message, Flow]] = field(default_factory=list)
    malformed: list[tuple[SipError, Flow]] = field(default_factory=list)
    gone: list[Destination] = field(default_factory=list)
    tapped: list[tuple[str, bytes]] = field(default_factory=list)
    limits: NetLimits = field(default_factory=NetLimits)

    def __post_init__(self) -> None:
        upward = Upward(
            lambda message, flow: self.messages.append((message, flow)), lambda error, flow: self.malformed.append((error, flow)),
            self.gone.append)
        self.net = Net(upward, self.limits, lambda way, data, _flow: self.tapped.append((way, data)))

    async def listen(self, transport: str, host: str = "127.0.0.1", realm: str = "access") -> Address:
        tls = server_context("lab", None, host) if transport == "tls" else None
        bound = await self.net.open(Socket(f"{realm}-{transport}", realm, transport, host, 0, host, tls))
        return host, bound.port

    async def call_ids(self, count: int) -> list[str]:
        await until(lambda: len(self.messages) >= count)
        return [message.call_id for message, _ in self.messages]

    async def only_flow(self) -> Flow:
        await until(lambda: bool(self.messages))
        return self.messages[0][1]


@asynccontextmanager
async def opened(**limits: Any) -> AsyncIterator[Bench]:
    bench = Bench(limits=NetLimits(**limits))
    try:
        yield bench
    finally:
        await bench.net.close()
        await asyncio.sleep(0.01)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def connected(address: Address, *, tls: bool = False) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(*address, ssl=context)
    try:
        yield reader, writer
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass   # the other end was quicker


async def has_ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read() == b""
        except OSError:
            return True


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.received.put_nowait(data)


@asynccontextmanager
async def datagrams(host: str = "127.0.0.1") -> AsyncIterator[tuple[asyncio.DatagramTransport, Datagrams]]:
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, local_addr=(host, 0))
    try:
        yield transport, protocol
    finally:
        transport.close()
        await asyncio.sleep(0)


def speaks_ipv6() -> bool:
    try:
        with sockets.socket(sockets.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


LOOPBACKS = ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not speaks_ipv6(), reason="no IPv6 on loopback"))]


@pytest.mark.parametrize("host", LOOPBACKS)
async def test_datagrams_come_in_and_go_back(host: str) -> None:
    async with opened() as bench, datagrams(host) as (transport, protocol):
        address = await bench.listen("udp", host)
        transport.sendto(options(), address)
        flow = await bench.only_flow()
        assert (flow.transport, flow.listener, flow.local, flow.connection) == ("udp", "access-udp", address, 0)
        assert flow.remote == transport.get_extra_info("sockname")[:2]
        assert bench.net.is_alive(flow)
        bench.net.send(b"answer", flow)
        assert await protocol.received.get() == b"answer"
        assert bench.tapped == [("in", options()), ("out", b"answer")]


@pytest.mark.parametrize("host", LOOPBACKS)
async def test_a_datagram_goes_to_a_hop(host: str) -> None:
    async with opened() as bench, datagrams(host) as (transport, protocol):
        await bench.listen("udp", host, "core")
        bench.net.send(b"request", Hop("udp", "core", *transport.get_extra_info("sockname")[:2]))
        assert await protocol.received.get() == b"request"


@pytest.mark.parametrize("data", [b"\r\n\r\n", b"\r\n", b"\0\0\0\0", b""])
async def test_datagrams_that_keep_alive_are_no_messages(data: bytes) -> None:
    async with opened() as bench, datagrams() as (transport, protocol):
        address = await bench.listen("udp")
        transport.sendto(data, address)
        transport.sendto(options(), address)
        await bench.only_flow()
        assert not bench.malformed
        assert protocol.received.empty()


async def test_a_datagram_that_cannot_be_read_is_handed_up_as_such() -> None:
    async with opened() as bench, datagrams() as (transport, _):
        address = await bench.listen("udp")
        transport.sendto(b"BROKEN\r\n\r\n", address)
        transport.sendto(options(), address)
        await bench.only_flow()
        ((error, flow),) = bench.malformed
        assert isinstance(error, MalformedMessage)
        assert flow.remote == transport.get_extra_info("sockname")[:2]


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_connections_come_in_and_are_answered(transport: str) -> None:
    async with opened() as bench:
        address = await bench.listen(transport)
        async with connected(address, tls=transport == "tls") as (reader, writer):
            data = options("one") + options("two", "body")
            writer.write(data[:100])
            await asyncio.sleep(0.01)
            writer.write(data[100:])
            assert await bench.call_ids(2) == ["one", "two"]
            assert bench.messages[1][0].body == b"body"
            flow = bench.messages[0][1]
            assert (flow.transport, flow.local) == (transport, address)
            assert flow.connection
            assert flow == bench.messages[1][1]
            bench.net.send(b"answer", flow)
            assert await reader.readexactly(6) == b"answer"
        await until(lambda: bench.gone == [flow])
        assert not bench.net.is_alive(flow)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_ping_is_answered_with_a_pong(transport: str) -> None:
    async with opened() as bench:
        address = await bench.listen(transport)
        async with connected(address, tls=transport == "tls") as (reader, writer):
            writer.write(b"\r\n\r\n")
            assert await reader.readexactly(2) == b"\r\n"
            writer.write(b"\r\n")
            await asyncio.sleep(0.01)
            writer.write(b"\r\n" + options())
            assert await reader.readexactly(2) == b"\r\n"
            await bench.only_flow()


@pytest.mark.parametrize("ahead", [b"", options("ahead")])
async def test_a_stream_that_cannot_be_read_ends(ahead: bytes) -> None:
    async with opened() as bench:
        async with connected(await bench.listen("tcp")) as (reader, writer):
            broken = b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nno colon\r\n\r\n"
            writer.write(ahead + broken + options("behind"))
            assert await has_ended(reader)
        ((error, flow),) = bench.malformed
        assert isinstance(error.request, Request)
        assert [message.call_id for message, _ in bench.messages] == ["ahead"] * bool(ahead)
        await until(lambda: bench.gone == [flow])


async def test_what_a_malformed_message_is_answered_goes_out_before_the_end() -> None:
    async with opened() as bench:
        bench.net.upward = Upward(lambda *_: None, lambda _error, flow: bench.net.send(b"400", flow), lambda _: None)
        async with connected(await bench.listen("tcp")) as (reader, writer):
            writer.write(b"OPTIONS sip:a SIP/2.0\r\nno colon\r\n\r\n")
            assert await reader.read() == b"400"


async def test_a_message_may_only_be_so_large() -> None:
    async with opened(message_size=1000) as bench:
        async with connected(await bench.listen("tcp")) as (reader, writer):
            writer.write(options(body="x" * 1000))
            assert await has_ended(reader)
        assert bench.malformed[0][0].status == 513


async def test_an_address_may_only_have_so_many_connections() -> None:
    async with opened(connections_per_address=2) as bench:
        address = await bench.listen("tcp")
        async with connected(address) as (_, first), connected(address) as (_, second):
            for number, writer in enumerate((first, second)):
                writer.write(options(str(number)))
            await bench.call_ids(2)
            async with connected(address) as (reader, _):
                assert await has_ended(reader)
        await until(lambda: len(bench.gone) == 2)
        async with connected(address) as (_, writer):
            writer.write(options("again"))
            assert (await bench.call_ids(3))[2] == "again"


async def test_there_may_only_be_so_many_connections() -> None:
    async with opened(connections=1) as bench:
        address = await bench.listen("tcp")
        async with connected(address) as (_, writer):
            writer.write(options())
            await bench.only_flow()
            async with connected(address) as (reader, _):
                assert await has_ended(reader)
            assert bench.net.admission.turned_away == 1


def test_a_host_with_ipv6_is_one_however_many_addresses_it_takes() -> None:
    admission = Admission(most=100, most_per_address=2)
    for address in ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"):
        assert admission.has_room_for(address)
        admission.enter(address)
    assert not admission.has_room_for("2001:db8:0:1::3")
    assert admission.has_room_for("2001:db8:0:2::1")
    admission.leave("2001:db8:0:1::1")
    assert admission.has_room_for("2001:db8:0:1::3")
    for address in ("192.0.2.1", "192.0.2.1", "fe80::1%eth0"):
        admission.enter(address)
    assert not admission.has_room_for("192.0.2.1")
    assert admission.has_room_for("192.0.2.2")


@on_both_loops
async def test_who_never_ends_a_handshake_counts() -> None:
    """Otherwise one address could take every descriptor there is, a handshake's patience long."""
    async with opened(connections_per_address=2, tls_handshake=0.5) as bench:
        address, admission = await bench.listen("tls"), bench.net.admission
        async with connected(address), connected(address):
            async with connected(address) as (reader, _):
                assert await has_ended(reader)
            assert admission.turned_away == 1
            await until(lambda: admission.failed_handshakes == 2)
            async with connected(address, tls=True) as (_, writer):
                writer.write(options())
                assert await bench.call_ids(1) == ["c1"]
        await until(lambda: len(bench.gone) == 1)
        assert admission.has_room_for(address[0])


@on_both_loops
async def test_a_handshake_with_noise_is_counted_and_leaves_nothing() -> None:
    async with opened(connections=1) as bench:
        address, admission = await bench.listen("tls"), bench.net.admission
        for number in range(3):
            async with connected(address) as (reader, writer):
                writer.write(options())
                assert await has_ended(reader)
            await until(lambda wanted=number + 1: admission.failed_handshakes == wanted)
        async with connected(address, tls=True) as (_, writer):
            writer.write(options())
            assert await bench.call_ids(1) == ["c1"]
        assert admission.turned_away == 0


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_peer_that_does_not_read_is_dropped(transport: str) -> None:
    async with opened() as bench:
        address = await bench.listen(transport)
        async with connected(address, tls=transport == "tls") as (_, writer):
            writer.write(options())
            flow = await bench.only_flow()
            writer.transport.pause_reading()   # type: ignore[attr-defined]
            async with asyncio.timeout(PATIENCE):
                while bench.net.is_alive(flow):
                    bench.net.send(b"x" * 65_536, flow)
                    await asyncio.sleep(0)
            await until(lambda: bench.gone == [flow])


async def test_what_goes_to_a_connection_that_is_gone_is_reported_and_not_from_within() -> None:
    async with opened() as bench:
        address = await bench.listen("tcp")
        gone = Flow("tcp", "access-tcp", address, ("127.0.0.1", 9), 77)
        bench.net.send(b"late", gone)
        assert bench.gone == []
        await until(lambda: bench.gone == [gone])


async def test_idle_connections_are_closed_unless_somebody_wants_them() -> None:
    async with opened(idle=0.0) as bench:
        address = await bench.listen("tcp")
        async with connected(address) as (idle, first), connected(address) as (wanted, second):
            first.write(options("idle"))
            await bench.call_ids(1)
            second.write(options("wanted"))
            await bench.call_ids(2)
            keep = bench.messages[1][1]
            await asyncio.sleep(0.005)
            bench.net.close_idle(lambda flow: flow == keep)
            assert await has_ended(idle)
            bench.net.send(b"still here", keep)
            assert await wanted.readexactly(10) == b"still here"


@dataclass
class Far:
    """A server that counts its connections and keeps what they bring."""

    connections: int = 0
    data: bytes = b""
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        while data := await reader.read(65_536):
            self.data += data
        writer.close()


@asynccontextmanager
async def far_end() -> AsyncIterator[tuple[Far, Hop]]:
    far = Far()
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
    try:
        yield far, Hop("tcp", "core", *server.sockets[0].getsockname())
    finally:
        server.close()
        for writer in far.writers:
            writer.close()
        await asyncio.sleep(0.01)


async def test_one_connection_carries_all_that_goes_to_a_hop() -> None:
    async with opened() as bench, far_end() as (far, hop):
        await bench.listen("tcp", realm="core")
        bench.net.send(b"one,", hop)
        bench.net.send(b"two,", hop)
        await until(lambda: far.data == b"one,two,")
        bench.net.send(b"three", hop)
        await until(lambda: far.data == b"one,two,three")
        assert far.connections == 1
        assert [data for _, data in bench.tapped] == [b"one,", b"two,", b"three"]


async def test_what_comes_back_on_our_connection_is_received() -> None:
    async with opened() as bench, far_end() as (far, hop):
        await bench.listen("tcp", realm="core")
        bench.net.send(b"request", hop)
        await until(lambda: bool(far.data))
        far.writers[0].write(options("from the core"))
        flow = await bench.only_flow()
        assert (flow.listener, flow.remote) == ("core-tcp", (hop.host, hop.port))


async def test_a_connection_to_a_hop_that_broke_is_reported_and_made_anew() -> None:
    async with opened() as bench, far_end() as (far, hop):
        await bench.listen("tcp", realm="core")
        bench.net.send(b"one,", hop)
        await until(lambda: far.data == b"one,")
        far.writers[0].close()
        await until(lambda: hop in bench.gone)
        bench.net.send(b"two", hop)
        await until(lambda: far.data == b"one,two")
        assert far.connections == 2


async def test_a_refused_connection_is_reported() -> None:
    async with opened() as bench:
        with sockets.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            hop = Hop("tcp", "core", *nobody.getsockname())
        await bench.listen("tcp", realm="core")
        bench.net.send(b"request", hop)
        await until(lambda: bench.gone == [hop])


async def test_more_than_may_wait_for_a_connection_is_reported() -> None:
    async with opened() as bench, far_end() as (far, hop):
        await bench.listen("tcp", realm="core")
        bench.net.send(b"x" * MAX_WAITING, hop)
        bench.net.send(b"y", hop)
        await until(lambda: bench.gone == [hop])
        bench.net.send(b"z", hop)
        await until(lambda: far.data == b"z")


async def test_who_takes_all_connections_does_not_cut_us_off_from_the_core() -> None:
    async with opened(connections=1) as bench, far_end() as (far, hop):
        address = await bench.listen("tcp")
        await bench.listen("tcp", realm="core")
        async with connected(address):
            await until(lambda: not bench.net.admission.has_room_for(address[0]))
            bench.net.send(options(), hop)
            await until(lambda: far.data == options())


async def test_the_listener_that_a_hop_is_reached_from() -> None:
    async with opened() as bench:
        await bench.listen("udp", realm="core")
        await bench.listen("tcp", realm="core")
        await bench.listen("tcp")
        assert bench.net.socket_for(Hop("tcp", "core", "127.0.0.1", 5060)).name == "core-tcp"
        for hop in (Hop("tls", "core", "127.0.0.1", 5060), Hop("udp", "core", "::1", 5060), Hop("udp", "access", "127.0.0.1", 1)):
            with pytest.raises(KeyError):
                bench.net.socket_for(hop)


async def test_a_port_that_is_taken_is_an_os_error() -> None:
    async with opened() as bench:
        for transport in ("udp", "tcp"):
            host, port = await bench.listen(transport)
            with pytest.raises(OSError, match="in use"):
                await bench.net.open(Socket("second", "access", transport, host, port, host))


async def test_closing_ends_every_connection() -> None:
    async with opened() as bench, far_end() as (far, hop):
        address = await bench.listen("tcp")
        await bench.listen("tcp", realm="core")
        bench.net.send(b"request", hop)
        await until(lambda: bool(far.data))
        async with connected(address) as (reader, writer):
            writer.write(options())
            await bench.only_flow()
            await bench.net.close()
            assert await has_ended(reader)
        with pytest.raises(OSError):
            await asyncio.open_connection(*address)
