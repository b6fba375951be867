"""The connections of Iq at both ends, whatever carries them: the controller listens, gateways connect."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Final, Protocol

from pcscf.h248.mid import mid_of_address
from pcscf.h248.peer import ConnectionPeer, Peer
from pcscf.transport.certificates import PeerCertificate
from pcscf.transport.connection import Connection, Owner
from pcscf.transport.model import Upward

MAX_CONNECTIONS: Final = 512
MAX_CONNECTIONS_PER_HOST: Final = 32
MAX_WAITING: Final = 1024
"""Messages that wait for a connection to be made; more are lost, as they would be on their way."""
FIRST_MESSAGE: Final = 10.0
"""Seconds in which whoever connects has to say something."""
CONNECT: Final = 5.0
"""Seconds that making a connection may take, TLS included."""
BACKLOG: Final = 128
ACCEPT_PAUSE: Final = 0.5
"""Seconds before the next connection is accepted when one could not be."""


class Carrier(Protocol):
    """Makes connections of one kind, which then tell their owner of themselves."""

    def renew(self) -> None:
        """See `Transport`."""

    def peer(self, host: str, port: int) -> ConnectionPeer:
        """How the other end of a connection is called."""

    def listen(self, bind: tuple[str, int], backlog: int) -> socket.socket:
        """Raises OSError."""

    async def accept(self, accepted: socket.socket, owner: Owner) -> None:
        """Make a connection of an accepted socket. Raises OSError; the socket is then the caller's."""

    async def dial(self, there: tuple[str, int], here: str, owner: Owner) -> None:
        """Make a connection from an address of ours. Raises OSError."""


class _Connections:
    """What both ends have in common: the connections that stand, by their peers.

    pins: see `TlsFiles`.
    """

    def __init__(self, upward: Upward, carrier: Carrier, pins: Mapping[str, str]) -> None:
        self._upward = upward
        self._carrier = carrier
        self._pins = pins
        self._connections: dict[Peer, Connection] = {}
        self._is_closed = False

    def renew(self) -> None:
        self._carrier.renew()

    def peer(self, host: str, port: int) -> Peer:
        return self._carrier.peer(host, port)

    def disconnect(self, peer: Peer) -> None:
        connection = self._connections.pop(peer, None)
        if connection is not None:
            connection.end("the other end does not answer")

    def close(self) -> None:
        self._is_closed = True
        for connection in list(self._connections.values()):
            connection.finish()

    # --- what connections tell

    def speaks_for(self, certificate: PeerCertificate, mid: str) -> bool:
        return certificate.speaks_for(mid, self._pins)

    def heard(self, connection: Connection, message: bytes) -> None:
        if not self._is_closed:
            self._upward.message(message, connection.peer)

    def closed(self, connection: Connection, why: str) -> None:
        if self._connections.get(connection.peer) is connection:
            del self._connections[connection.peer]
            if not self._is_closed:
                self._upward.lost(connection.peer, why)


class Listener(_Connections):
    """The controller's end. A message for a peer without a connection is lost: gateways make connections, we do not.

    Connections are counted from the moment on in which they are accepted, before TLS begins.
    """

    def __init__(self, upward: Upward, carrier: Carrier, pins: Mapping[str, str]) -> None:
        super().__init__(upward, carrier, pins)
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._beginning: dict[asyncio.Task[None], tuple[str, int]] = {}  # with where each comes from

    def listen(self, bind: tuple[str, int]) -> None:
        """Raises OSError."""
        listening = self._socket = self._carrier.listen(bind, BACKLOG)
        listening.setblocking(False)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listening))
        self._accepting.add_done_callback(lambda _: listening.close())  # when nobody waits for it any more

    @property
    def address(self) -> tuple[str, int]:
        if self._socket is None:
            raise RuntimeError("the listener is not open")
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def send(self, message: bytes, peer: Peer) -> None:
        connection = self._connections.get(peer)
        if connection is not None:
            connection.send(message)

    def close(self) -> None:
        super().close()
        for task in (*self._beginning, *([self._accepting] if self._accepting is not None else [])):
            task.cancel()

    def opened(self, connection: Connection) -> str:
        if self._is_closed:
            return "the listener is closed"
        self._connections[connection.peer] = connection
        asyncio.get_running_loop().call_later(FIRST_MESSAGE, self._look_at, connection)
        return ""

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, (host, port, *_) = await loop.sock_accept(listening)
            except OSError:  # no descriptor is left, say
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if not self._has_room_for(host):
                accepted.close()
                continue
            task = loop.create_task(self._begin(accepted))
            self._beginning[task] = (host, port)
            task.add_done_callback(self._beginning.pop)

    def _has_room_for(self, host: str) -> bool:
        ends = {*map(tuple, self._connections), *self._beginning.values()}  # one whose beginning is over may be in both
        hosts = [each for each, _ in ends]
        return len(hosts) < MAX_CONNECTIONS and hosts.count(host) < MAX_CONNECTIONS_PER_HOST

    async def _begin(self, accepted: socket.socket) -> None:
        try:
            await self._carrier.accept(accepted, self)
        except OSError:
            accepted.close()

    @staticmethod
    def _look_at(connection: Connection) -> None:
        if not connection.mid:
            connection.end(f"nothing was said in {FIRST_MESSAGE:g} s")


class Dialler(_Connections):
    """The gateway's end: the first message for a peer makes the connection. `host`: our own address."""

    def __init__(self, upward: Upward, host: str, carrier: Carrier, pins: Mapping[str, str]) -> None:
        super().__init__(upward, carrier, pins)
        self._host = host
        self._waiting: dict[Peer, list[bytes]] = {}
        self._dialling: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        """Of a connection that stands; port 0 while there is none."""
        connection = next(iter(self._connections.values()), None)
        return connection.address if connection is not None else (self._host, 0)

    def send(self, message: bytes, peer: Peer) -> None:
        connection = self._connections.get(peer)
        if connection is not None:
            connection.send(message)
            return
        waiting = self._waiting.get(peer)
        if waiting is None:
            waiting = self._waiting[peer] = []
            task = asyncio.get_running_loop().create_task(self._dial(peer))
            self._dialling.add(task)
            task.add_done_callback(self._dialling.discard)
        if len(waiting) < MAX_WAITING:
            waiting.append(message)

    def close(self) -> None:
        for task in self._dialling:
            task.cancel()
        super().close()

    def opened(self, connection: Connection) -> str:
        host = connection.peer[0]
        if connection.certificate is not None and not self.speaks_for(connection.certificate, mid_of_address(*connection.peer)):
            return f"the certificate does not carry {host}"
        self._connections[connection.peer] = connection
        for message in self._waiting.pop(connection.peer, []):
            connection.send(message)
        return ""

    async def _dial(self, peer: Peer) -> None:
        try:
            async with asyncio.timeout(CONNECT):
                await self._carrier.dial(peer, self._host, self)
        except OSError as error:
            self._failed(peer, f"no connection: {_reason(error)}")

    def closed(self, connection: Connection, why: str) -> None:
        if connection.peer in self._waiting:  # it was refused as soon as it stood
            self._failed(connection.peer, why)
        else:
            super().closed(connection, why)

    def _failed(self, peer: Peer, why: str) -> None:
        self._waiting.pop(peer, None)
        if not self._is_closed:
            self._upward.lost(peer, why)


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError) and not error.errno:
        return "no answer"
    if isinstance(error, ssl.SSLError) or not error.errno:
        return str(error)
    return os.strerror(error.errno)
