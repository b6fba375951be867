"""Every SIP socket: datagrams and connections in, octets out. Nothing here knows what a transaction is.

The trace tap sits at the socket, so what it shows is what was on the wire.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from socket import SO_RCVBUF, SOL_SOCKET
from typing import Literal, TypeAlias, cast

from pcscf.errors import SipError
from pcscf.runtime.accepting import Acceptor, Admission
from pcscf.sip.flow import Destination, Flow, Hop
from pcscf.sip.message import Request, Response
from pcscf.sip.parse import StreamParser, parse_datagram_untrusted

MAX_UNSENT = 512 * 1024       # octets that a slow peer may leave unread before its connection is dropped
MAX_WAITING = 256 * 1024      # octets held for a connection that is being opened
RECEIVE_BUFFER = 4 * 1024 * 1024
PONG = b"\r\n"

Message: TypeAlias = Request | Response
Tap: TypeAlias = Callable[[Literal["in", "out"], bytes, Flow], None]


@dataclass(frozen=True, slots=True)
class Socket:
    """A listener to be opened. `host` is what peers see; `tls` only for TLS."""

    name: str
    realm: str
    transport: str
    address: str
    port: int
    host: str
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class NetLimits:
    """Bounds and waits of connections; times in seconds."""

    message_size: int = 65_535
    connections: int = 50_000
    connections_per_address: int = 1_000
    connect: float = 5.0
    tls_handshake: float = 10.0
    idle: float = 900.0


@dataclass(frozen=True, slots=True)
class Upward:
    """Where the network hands things: messages, what could not be parsed, and destinations that are gone."""

    receive: Callable[[Message, Flow], None]
    malformed: Callable[[SipError, Flow], None]
    gone: Callable[[Destination], None]


class Net:
    """The sockets of all listeners and the connections on them."""

    def __init__(self, upward: Upward, limits: NetLimits, tap: Tap | None = None) -> None:
        self.upward = upward
        self.limits = limits
        self.tap = tap
        self.sockets: dict[str, Socket] = {}
        self._towards: dict[tuple[str, str, bool], Socket] = {}   # (realm, transport, IPv6) -> the first listener opened for it
        self._datagram: dict[str, asyncio.DatagramTransport] = {}
        self._acceptors: list[Acceptor] = []
        self._connections: dict[int, _Connection] = {}
        self._to_hop: dict[tuple[str, str, int], _Outgoing] = {}
        self._next_connection = 1
        self.admission = Admission(limits.connections, limits.connections_per_address)

    async def open(self, socket: Socket) -> Socket:
        """Open a listener; the socket that comes back has the port that was bound. Raises OSError."""
        loop = asyncio.get_running_loop()
        if socket.transport == "udp":
            transport, protocol = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self, socket.name), local_addr=(socket.address, socket.port))
            raw = transport.get_extra_info("socket")
            raw.setsockopt(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER)   # a burst must not be lost while a call is worked on
            bound = replace(socket, port=raw.getsockname()[1])
            protocol.local = (bound.host, bound.port)
            self._datagram[socket.name] = transport
        else:
            acceptor = Acceptor(
                self.admission, lambda: _Connection(self, socket.name, None), socket.tls, self.limits.tls_handshake)
            bound = replace(socket, port=acceptor.listen(socket.address, socket.port))
            self._acceptors.append(acceptor)
        self.sockets[socket.name] = bound
        self._towards.setdefault((bound.realm, bound.transport, ":" in bound.address), bound)
        return bound

    def send(self, data: bytes, destination: Destination) -> None:
        """Send to a flow or a hop. What cannot be sent is reported as gone, never raised."""
        if isinstance(destination, Flow):
            self._send_on_flow(data, destination)
        elif destination.transport == "udp":
            socket = self.socket_for(destination)
            flow = Flow("udp", socket.name, (socket.host, socket.port), (destination.host, destination.port), 0)
            self._send_on_flow(data, flow)
        else:
            self._send_connected(data, destination)

    def socket_for(self, destination: Destination) -> Socket:
        """The listener whose address stands in our Via when we send to `destination`. Raises KeyError if there is none."""
        if isinstance(destination, Flow):
            return self.sockets[destination.listener]
        return self._towards[destination.realm, destination.transport, ":" in destination.host]

    def is_alive(self, flow: Flow) -> bool:
        return flow.connection == 0 or flow.connection in self._connections

    def connections(self) -> Counter[str]:
        """How many connections are open, by listener."""
        return Counter(each.flow.listener for each in self._connections.values())

    def close_idle(self, is_wanted: Callable[[Flow], bool]) -> None:
        """Close connections on which no message was received for long, unless `is_wanted`."""
        oldest = asyncio.get_running_loop().time() - self.limits.idle
        for connection in list(self._connections.values()):
            if connection.heard < oldest and not is_wanted(connection.flow):
                connection.close()

    async def close(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        for transport in self._datagram.values():
            transport.close()
        for outgoing in list(self._to_hop.values()):
            outgoing.abandon()
        for connection in list(self._connections.values()):
            connection.close()
        await asyncio.sleep(0)

    def _send_on_flow(self, data: bytes, flow: Flow) -> None:
        if self.tap is not None:
            self.tap("out", data, flow)
        if flow.connection == 0:
            transport = self._datagram.get(flow.listener)
            if transport is not None and not transport.is_closing():
                transport.sendto(data, flow.remote)
            return
        connection = self._connections.get(flow.connection)
        if connection is None:
            self._report_gone(flow)
        else:
            connection.send(data)

    def _send_connected(self, data: bytes, hop: Hop) -> None:
        key = (hop.realm, hop.host, hop.port)
        outgoing = self._to_hop.get(key)
        if outgoing is None:
            outgoing = self._to_hop[key] = _Outgoing(self, hop)
        outgoing.send(data)

    def _report_gone(self, destination: Destination) -> None:
        # Never from within a send: the caller is a machine in the middle of its step.
        asyncio.get_running_loop().call_soon(self.upward.gone, destination)

    def add(self, connection: _Connection, address: str) -> int:
        """The number of a new connection."""
        number = self._next_connection
        self._next_connection += 1
        self._connections[number] = connection
        self.admission.enter(address)
        return number

    def forget(self, connection: _Connection) -> None:
        if connection.hop is not None:
            self.drop_hop(connection.hop)
        if self._connections.pop(connection.flow.connection, None) is None:
            return
        self.admission.leave(connection.flow.remote[0])
        self._report_gone(connection.flow)

    def drop_hop(self, hop: Hop) -> None:
        """The way to `hop` is gone: its transactions fail, and the next message opens a new connection."""
        outgoing = self._to_hop.pop((hop.realm, hop.host, hop.port), None)
        if outgoing is not None:
            outgoing.abandon()
        self._report_gone(hop)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, net: Net, listener: str) -> None:
        self._net = net
        self._listener = listener
        self.local: tuple[str, int] = ("", 0)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if len(data) <= 4 and not data.strip(b"\r\n\x00"):
            return   # a keep-alive that wants no answer (RFC 5626 §4.4.2 leaves STUN to UDP)
        flow = Flow("udp", self._listener, self.local, (addr[0], addr[1]), 0)
        net = self._net
        if net.tap is not None:
            net.tap("in", data, flow)
        try:
            message = parse_datagram_untrusted(data, net.limits.message_size)
        except SipError as error:
            net.upward.malformed(error, flow)
            return
        net.upward.receive(message, flow)


class _Connection(asyncio.Protocol):
    """One connection, accepted or opened by us (`hop`)."""

    def __init__(self, net: Net, listener: str, hop: Hop | None) -> None:
        self._net = net
        self._listener = listener
        self.hop = hop
        self.heard = 0.0
        self.flow = Flow("tcp", listener, ("", 0), ("", 0), 0)
        self._transport: asyncio.Transport | None = None
        self._parser = StreamParser(net.limits.message_size)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        remote = transport.get_extra_info("peername")
        if not remote:   # gone already
            self._transport.abort()
            return
        number = self._net.add(self, remote[0])
        socket = self._net.sockets[self._listener]
        self.heard = asyncio.get_running_loop().time()
        self.flow = Flow(socket.transport, self._listener, (socket.host, socket.port), (remote[0], remote[1]), number)

    def data_received(self, data: bytes) -> None:
        net, parser = self._net, self._parser
        try:
            messages = parser.feed(data)
        except SipError:
            messages = []
        pings = parser.keepalives
        if messages or pings:   # a trickle that never becomes a message keeps no connection open
            self.heard = asyncio.get_running_loop().time()
        for message in messages:
            if net.tap is not None:
                net.tap("in", message.to_bytes(), self.flow)
            net.upward.receive(message, self.flow)
        for _ in range(pings):
            self.send(PONG)
        if parser.failure is not None:
            if net.tap is not None:
                net.tap("in", data, self.flow)
            net.upward.malformed(parser.failure, self.flow)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._net.forget(self)

    def send(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_UNSENT:
            transport.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Outgoing:
    """The connection to one hop: being opened (what is sent waits, within a bound), or open."""

    def __init__(self, net: Net, hop: Hop) -> None:
        self._net = net
        self._hop = hop
        self._waiting = bytearray()
        self._connection: _Connection | None = None
        self._task = asyncio.ensure_future(self._connect())

    def send(self, data: bytes) -> None:
        net = self._net
        if self._connection is not None:
            if net.tap is not None:
                net.tap("out", data, self._connection.flow)
            self._connection.send(data)
        elif len(self._waiting) + len(data) <= MAX_WAITING:
            if net.tap is not None:
                socket = net.socket_for(self._hop)
                net.tap("out", data, Flow("tcp", socket.name, (socket.host, socket.port), (self._hop.host, self._hop.port), 0))
            self._waiting += data
        else:
            self._net.drop_hop(self._hop)

    def abandon(self) -> None:
        self._task.cancel()

    async def _connect(self) -> None:
        net, hop = self._net, self._hop
        loop = asyncio.get_running_loop()
        try:
            listener = net.socket_for(hop).name
            async with asyncio.timeout(net.limits.connect):
                _, connection = await loop.create_connection(lambda: _Connection(net, listener, hop), hop.host, hop.port)
        except (OSError, KeyError):
            net.drop_hop(hop)
            return
        self._connection = connection
        connection.send(bytes(self._waiting))
        self._waiting.clear()
