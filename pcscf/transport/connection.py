"""One connection of Iq: TPKT packets both ways, for the one entity at its other end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Final, Protocol, cast

from pcscf.h248.decode import sender_untrusted
from pcscf.h248.peer import ConnectionPeer
from pcscf.h248.tpkt import PacketReader, TpktError, packet
from pcscf.transport.certificates import PeerCertificate

KEEP_ALIVE: Final = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
"""After 30 s a connection whose other end is gone is over, where the system knows these options."""
WRITE_BUFFER: Final = 1 << 20
"""Octets that wait for a peer that does not read, before its connection is ended."""


class Owner(Protocol):
    """Who keeps connections."""

    def opened(self, connection: Connection) -> str:
        """A connection stands. "", or why it may not."""

    def speaks_for(self, certificate: PeerCertificate, mid: str) -> bool:
        """Whether the owner of this certificate may send messages with this mId."""

    def heard(self, connection: Connection, message: bytes) -> None:
        """One whole message."""

    def closed(self, connection: Connection, why: str) -> None:
        """It is over."""


class Connection(asyncio.Protocol):
    """`peer`: by which the connection is known; None until it stands, then where it comes from.

    The mId of the first message is that of the connection; another one ends it, and over TLS one that is not in the certificate.
    """

    def __init__(self, owner: Owner, peer: ConnectionPeer | None = None) -> None:
        self._owner = owner
        self._dialled = peer
        self._transport: asyncio.Transport | None = None
        self._packets = PacketReader()
        self._why = "the other end closed the connection"
        self._is_open = False
        self.certificate: PeerCertificate | None = None
        self.mid = ""

    @property
    def peer(self) -> ConnectionPeer:
        if self._dialled is None:
            raise RuntimeError("the connection does not stand yet")
        return self._dialled

    @property
    def address(self) -> tuple[str, int]:
        """Our own end."""
        host, port = cast("asyncio.Transport", self._transport).get_extra_info("sockname")[:2]
        return str(host), int(port)

    def send(self, message: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(packet(message))

    def end(self, why: str) -> None:
        """At once; what was not sent yet is lost."""
        self._why = why
        if self._transport is not None:
            self._transport.abort()

    def finish(self) -> None:
        """As soon as what was sent is out of the house."""
        self._why = "the connection was ended here"
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
                if self._is_open and self._is_from_the_peer(message):
                    self._owner.heard(self, message)
                if self._transport is None or self._transport.is_closing():
                    return
        except TpktError as error:
            self.end(f"no TPKT: {error}")

    def pause_writing(self) -> None:
        self.end("the other end does not read")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._dialled is not None:
            self._owner.closed(self, f"{self._why}: {exc}" if exc is not None else self._why)

    def _is_from_the_peer(self, message: bytes) -> bool:
        """What has no mId that can be read is answered with an error, as it is everywhere."""
        mid = sender_untrusted(message)
        if mid is None or mid.lower() == self.mid:
            return True
        if self.mid:
            self.end(f"a message of {mid} on the connection of {self.mid}")
            return False
        if self.certificate is not None and not self._owner.speaks_for(self.certificate, mid):
            self.end(f"a message of {mid}, for which the certificate does not speak")
            return False
        self.mid = mid.lower()
        return True


def _keep_alive(own: socket.socket) -> None:
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):
            own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
