"""SIP sockets of the lab: UDP and TCP on one port, and connections that it opens (TCP, TLS)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

from pcscf.errors import MalformedMessage, PcscfError, SipError
from pcscf.lab.tap import Address, Tap
from pcscf.sip.message import Message, Request, Response
from pcscf.sip.parse import StreamParser, parse_datagram_untrusted
from pcscf.sip.uri import Uri

BIND_ATTEMPTS = 20
CONNECT_TIMEOUT = 5.0   # seconds


class Target(NamedTuple):
    """Where to send: transport "udp", "tcp" or "tls", an IP address (IPv6 without brackets), a port."""

    transport: str
    host: str
    port: int


class UnreachableError(PcscfError):
    """No connection to a target."""


def target_of(uri: Uri) -> Target:
    """Where a request with `uri` as next hop goes (RFC 3263 without DNS: the lab knows addresses only)."""
    transport = (uri.param("transport") or ("tls" if uri.scheme == "sips" else "udp")).lower()
    return Target(transport, uri.host, uri.port or (5061 if transport == "tls" else 5060))


def host_port(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Link(Protocol):
    """One way to a peer."""

    transport: str
    local: Address
    peer: Address

    def send(self, message: Message) -> None:
        """Send now; what cannot be sent is lost, as on any network."""


Handler = Callable[[Request | Response, Link], None]


class SipSockets:
    """All sockets of one element. `handler` gets every message that parses; the rest is dropped."""

    def __init__(self, handler: Handler, tap: Tap) -> None:
        self.handler = handler
        self.tap = tap
        self._datagram: _Datagrams | None = None
        self._server: asyncio.Server | None = None
        self._streams: dict[Address, _Stream] = {}

    async def listen(self, host: str, port: int) -> Address:
        """Open UDP and TCP on the same port (0: any that is free for both). Raises OSError."""
        loop = asyncio.get_running_loop()
        for attempt in range(BIND_ATTEMPTS):
            server = await loop.create_server(lambda: _Stream(self, "tcp"), host, port)
            local = _address(server.sockets[0].getsockname())
            try:
                await self.open_datagram(host, local[1])
            except OSError:
                server.close()
                if port or attempt == BIND_ATTEMPTS - 1:
                    raise
                continue
            self._server = server
            return local
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def open_datagram(self, host: str, port: int) -> Address:
        """Open UDP alone. Raises OSError."""
        loop = asyncio.get_running_loop()
        _, self._datagram = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(host, port))
        return self._datagram.local

    async def reach(self, target: Target, tls: ssl.SSLContext | None = None) -> Link:
        """A link to `target`: over UDP, over a connection that is open, or over a new one. Raises UnreachableError."""
        if target.transport == "udp":
            if self._datagram is None:
                raise UnreachableError("this element has no UDP socket")
            return _DatagramLink(self._datagram, (target.host, target.port))
        if (known := self._streams.get((target.host, target.port))) is not None:
            return known
        loop = asyncio.get_running_loop()
        context = tls if target.transport == "tls" else None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, stream = await loop.create_connection(
                    lambda: _Stream(self, target.transport), target.host, target.port, ssl=context,
                )
        except OSError as error:   # TimeoutError is an OSError
            raise UnreachableError(f"{target.transport} to {host_port(target[1:])}: {error}") from error
        return stream

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._datagram is not None:
            self._datagram.close()
        for stream in list(self._streams.values()):
            stream.close()
        await asyncio.sleep(0)

    def add(self, stream: _Stream) -> None:
        self._streams[stream.peer] = stream

    def forget(self, stream: _Stream) -> None:
        if self._streams.get(stream.peer) is stream:
            del self._streams[stream.peer]


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, sockets: SipSockets) -> None:
        self._sockets = sockets
        self._transport: asyncio.DatagramTransport | None = None
        self.local: Address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.local = _address(transport.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            message = parse_datagram_untrusted(data)
        except SipError:
            return   # noise, keep-alives
        link = _DatagramLink(self, _address(addr))
        self._sockets.tap.sip("in", message, data, local=self.local, peer=link.peer)
        self._sockets.handler(message, link)

    def send(self, message: Message, peer: Address) -> None:
        wire = message.to_bytes()
        self._sockets.tap.sip("out", message, wire, local=self.local, peer=peer)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(wire, peer)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _DatagramLink:
    transport = "udp"

    def __init__(self, datagrams: _Datagrams, peer: Address) -> None:
        self._datagrams = datagrams
        self.local = datagrams.local
        self.peer = peer

    def send(self, message: Message) -> None:
        self._datagrams.send(message, self.peer)


class _Stream(asyncio.Protocol):
    """A connection, accepted or opened; itself the link to its peer."""

    def __init__(self, sockets: SipSockets, transport: str) -> None:
        self.transport = transport
        self.local: Address = ("", 0)
        self.peer: Address = ("", 0)
        self._sockets = sockets
        self._parser = StreamParser()
        self._stream: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._stream = cast(asyncio.Transport, transport)
        self.local = _address(transport.get_extra_info("sockname"))
        self.peer = _address(transport.get_extra_info("peername"))
        self._sockets.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stream = None
        self._sockets.forget(self)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._parser.feed(data)
        except (MalformedMessage, SipError):
            self.close()
            return
        for message in messages:
            self._sockets.tap.sip("in", message, message.to_bytes(), local=self.local, peer=self.peer)
            self._sockets.handler(message, self)
        if self._stream is not None:
            self._stream.write(b"\r\n" * self._parser.keepalives)

    def send(self, message: Message) -> None:
        wire = message.to_bytes()
        self._sockets.tap.sip("out", message, wire, local=self.local, peer=self.peer)
        if self._stream is not None and not self._stream.is_closing():
            self._stream.write(wire)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


def _address(raw: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    return raw[0], raw[1]
