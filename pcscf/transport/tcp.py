"""Iq over TCP and TLS (RFC 3525 Annex D.2): TPKT packets on both ways of a stream."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

from pcscf.h248.peer import ConnectionPeer
from pcscf.h248.tpkt import PacketReader, TpktError, packet
from pcscf.transport.certificates import PeerCertificate
from pcscf.transport.connection import CLOSED_HERE, CLOSED_THERE, NOT_READ, WRITE_BUFFER, Connection, Owner

HANDSHAKE: Final = 5.0
"""Seconds that TLS may take on a connection that was accepted."""
KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
"""After 30 s a connection whose other end is gone is over, where the system knows these options."""


class Tcp:
    """Makes streams. read: the context of TLS as its files have it now, None for TCP alone. Raises ConfigError as that does."""

    def __init__(self, read: Callable[[], ssl.SSLContext] | None) -> None:
        self._read = read
        self._context = read() if read is not None else None

    def renew(self) -> None:
        if self._read is not None:
            self._context = self._read()

    def peer(self, host: str, port: int) -> ConnectionPeer:
        return ConnectionPeer(host, port)

    def listen(self, bind: tuple[str, int], backlog: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in bind[0] else socket.AF_INET
        return socket.create_server(bind, family=family, backlog=backlog)

    async def accept(self, accepted: socket.socket, owner: Owner) -> None:
        """Up to the end of the TLS handshake."""
        timeout = HANDSHAKE if self._context is not None else None
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: Stream(owner), accepted, ssl=self._context, ssl_handshake_timeout=timeout
        )

    async def dial(self, there: tuple[str, int], here: str, owner: Owner) -> None:
        await asyncio.get_running_loop().create_connection(
            lambda: Stream(owner, ConnectionPeer(*there)), *there, local_addr=(here, 0),
            ssl=self._context, server_hostname=there[0] if self._context is not None else None,
        )  # fmt: skip


class Stream(Connection, asyncio.Protocol):
    """`peer`: None until it stands, then where it comes from."""

    def __init__(self, owner: Owner, peer: ConnectionPeer | None = None) -> None:
        super().__init__(owner)
        self._dialled = peer
        self._transport: asyncio.Transport | None = None
        self._packets = PacketReader()
        self._why = CLOSED_THERE
        self._is_open = False

    @property
    def peer(self) -> ConnectionPeer:
        if self._dialled is None:
            raise RuntimeError("the connection does not stand yet")
        return self._dialled

    @property
    def address(self) -> tuple[str, int]:
        host, port = cast("asyncio.Transport", self._transport).get_extra_info("sockname")[:2]
        return str(host), int(port)

    def send(self, message: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(packet(message))

    def end(self, why: str) -> None:
        self._why = why
        if self._transport is not None:
            self._transport.abort()

    def finish(self) -> None:
        self._why = CLOSED_HERE
        if self._transport is not None:
            self._transport.close()

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        _keep_alive(transport.get_extra_info("socket"))
        if self._dialled is None:
            name = transport.get_extra_info("peername")
            if not name:  # whoever connected has gone again already
                self.end("the other end is gone")
                return
            self._dialled = ConnectionPeer(str(name[0]), int(name[1]))
        secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if secured is not None:
            shown = secured.getpeercert(binary_form=True)
            self.certificate = PeerCertificate.read_untrusted(shown) if shown else None
            if self.certificate is None:
                self.end("a certificate that cannot be used")
                return
        refused = self._owner.opened(self)
        if refused:
            self.end(refused)
        else:
            self._is_open = True

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._packets.feed_untrusted(data):
                if self._is_open:
                    self.heard_untrusted(message)
                if self._transport is None or self._transport.is_closing():
                    return
        except TpktError as error:
            self.end(f"no TPKT: {error}")

    def pause_writing(self) -> None:
        self.end(NOT_READ)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._dialled is not None:
            self._owner.closed(self, f"{self._why}: {exc}" if exc is not None else self._why)


def _keep_alive(own: socket.socket) -> None:
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):
            own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
