"""Datagrams of the lab's endpoints: UDP, and DTLS over it, a record for each datagram that it carries (RFC 7345 §5)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, cast

from pcscf.lab.medium import MediaFailedError, SessionClosedError
from pcscf.lab.secure import SecureEnd, SecureError
from pcscf.lab.tap import Address
from pcscf.lab.tls import PeerRefusedError, TlsFacts

HANDSHAKE_TIMEOUT = 20.0   # seconds: the active side repeats its ClientHello, the passive one waits
MAX_WAITING = 2_048        # datagrams that nobody read yet; more are lost, as in any socket


class Datagrams(Protocol):
    """A way for datagrams to one peer."""

    local: Address
    peer: Address

    def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes:
        """Raises SessionClosedError once none can come."""

    def close(self) -> None: ...


class UdpSocket(asyncio.DatagramProtocol):
    """A bound socket. What comes before a peer is known waits."""

    def __init__(self) -> None:
        self.local: Address = ("", 0)
        self._transport: asyncio.DatagramTransport | None = None
        self._waiting: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue(MAX_WAITING)

    @classmethod
    async def open(cls, host: str) -> UdpSocket:
        """Raises OSError."""
        _, socket = await asyncio.get_running_loop().create_datagram_endpoint(cls, local_addr=(host, 0))
        return socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.local = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._waiting.full():
            self._waiting.put_nowait((data, (addr[0], addr[1])))

    def error_received(self, exc: Exception) -> None:
        """ICMP says that nobody listens there: the peer may open its socket later."""

    def send(self, data: bytes, peer: Address) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, peer)

    async def receive(self, peer: Address) -> bytes:
        """The next datagram of this peer; what others send is dropped."""
        while True:
            data, source = await self._waiting.get()
            if source == peer:
                return data

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class PlainDatagrams:
    def __init__(self, socket: UdpSocket, peer: Address) -> None:
        self.local, self.peer = socket.local, peer
        self._socket = socket

    def send(self, data: bytes) -> None:
        self._socket.send(data, self.peer)

    async def receive(self) -> bytes:
        return await self._socket.receive(self.peer)

    def close(self) -> None:
        self._socket.close()


class DtlsDatagrams:
    """DTLS with one peer; `prove` comes before everything else."""

    def __init__(self, socket: UdpSocket, peer: Address, end: SecureEnd) -> None:
        self.local, self.peer = socket.local, peer
        self._socket = socket
        self._end = end
        self._ready: deque[bytes] = deque()

    async def prove(self) -> TlsFacts:
        """Shake hands, and compare the peer's certificate. Raises MediaFailedError."""
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                return await self._shake_hands()
        except TimeoutError:
            raise MediaFailedError("no end of the DTLS handshake in time") from None
        except (OSError, PeerRefusedError) as error:
            self._end.say_goodbye()
            raise MediaFailedError(str(error)) from error
        finally:
            self._flush()

    async def _shake_hands(self) -> TlsFacts:
        while (facts := self._end.handshake()) is None:
            self._flush()
            try:
                async with asyncio.timeout(self._end.timeout()):
                    self._end.feed(await self._socket.receive(self.peer))
            except TimeoutError:
                self._end.repeat()
        return facts

    def send(self, data: bytes) -> None:
        self._end.send(data)
        self._flush()

    async def receive(self) -> bytes:
        try:
            while not self._ready:
                self._end.feed(await self._socket.receive(self.peer))
                while data := self._end.received():
                    self._ready.append(data)
                self._flush()
                if data == b"":
                    raise SessionClosedError("the peer closed DTLS")
        except SecureError as error:
            raise SessionClosedError(str(error)) from error
        return self._ready.popleft()

    def close(self) -> None:
        self._end.say_goodbye()
        self._flush()
        self._socket.close()

    def _flush(self) -> None:
        for datagram in self._end.outgoing_datagrams():
            self._socket.send(datagram, self.peer)
