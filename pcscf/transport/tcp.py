"""Iq over TCP and TLS (RFC 3525 Annex D.2): the controller listens, gateways connect, TPKT packets on both ways."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import Final

from pcscf.h248.mid import mid_of_address
from pcscf.h248.peer import ConnectionPeer, Peer
from pcscf.transport.certificates import PeerCertificate, client_context, server_context
from pcscf.transport.connection import Connection
from pcscf.transport.model import TlsFiles, Upward

MAX_CONNECTIONS: Final = 512
MAX_CONNECTIONS_PER_HOST: Final = 32
MAX_WAITING: Final = 1024
"""Messages that wait for a connection to be made; more are lost, as they would be on their way."""
FIRST_MESSAGE: Final = 10.0
"""Seconds in which whoever connects has to say something."""
HANDSHAKE: Final = 5.0
CONNECT: Final = 5.0
"""Seconds that making a connection may take, TLS included."""
BACKLOG: Final = 128
ACCEPT_PAUSE: Final = 0.5
"""Seconds before the next connection is accepted when one could not be."""


class _Connections:
    """What both ends have in common: the connections that stand, by their peers."""

    def __init__(self, upward: Upward, tls: TlsFiles | None) -> None:
        self._upward = upward
        self._tls = tls
        self._connections: dict[Peer, Connection] = {}
        self._is_closed = False

    def peer(self, host: str, port: int) -> Peer:
        return ConnectionPeer(host, port)

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
        return self._tls is not None and certificate.speaks_for(mid, self._tls.pins)

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

    def __init__(self, upward: Upward, tls: TlsFiles | None) -> None:
        super().__init__(upward, tls)
        self._context = server_context(tls) if tls is not None else None
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._beginning: dict[asyncio.Task[None], str] = {}  # with the host that each comes from

    def listen(self, bind: tuple[str, int]) -> None:
        """Raises OSError."""
        family = socket.AF_INET6 if ":" in bind[0] else socket.AF_INET
        listening = self._socket = socket.create_server(bind, family=family, backlog=BACKLOG)
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
                accepted, (host, *_) = await loop.sock_accept(listening)
            except OSError:  # no descriptor is left, say
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if not self._has_room_for(host):
                accepted.close()
                continue
            task = loop.create_task(self._begin(accepted))
            self._beginning[task] = host
            task.add_done_callback(self._beginning.pop)

    def _has_room_for(self, host: str) -> bool:
        hosts = [*(peer[0] for peer in self._connections), *self._beginning.values()]
        return len(hosts) < MAX_CONNECTIONS and hosts.count(host) < MAX_CONNECTIONS_PER_HOST

    async def _begin(self, accepted: socket.socket) -> None:
        """Up to the end of the TLS handshake."""
        timeout = HANDSHAKE if self._context is not None else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self), accepted, ssl=self._context, ssl_handshake_timeout=timeout
            )
        except OSError:
            accepted.close()

    @staticmethod
    def _look_at(connection: Connection) -> None:
        if not connection.mid:
            connection.end(f"nothing was said in {FIRST_MESSAGE:g} s")


class Dialler(_Connections):
    """The gateway's end: the first message for a peer makes the connection. `host`: our own address."""

    def __init__(self, upward: Upward, host: str, tls: TlsFiles | None) -> None:
        super().__init__(upward, tls)
        self._host = host
        self._context: ssl.SSLContext | None = client_context(tls) if tls is not None else None
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
        host, port = peer
        try:
            async with asyncio.timeout(CONNECT):
                await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self, ConnectionPeer(host, port)), host, port, local_addr=(self._host, 0),
                    ssl=self._context, server_hostname=host if self._context is not None else None,
                )  # fmt: skip
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
