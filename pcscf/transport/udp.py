"""One message, one datagram (RFC 3525 Annex D.1)."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from pcscf.h248.peer import Peer
from pcscf.transport.model import Upward


class Datagrams(asyncio.DatagramProtocol):
    """A bound socket. An unreachable peer shows as a request that stays unanswered; the ICMP message adds nothing.

    only: the one host that is listened to; "" for any.
    """

    def __init__(self, upward: Upward, only: str = "") -> None:
        self._upward = upward
        self._only = only
        self._socket: asyncio.DatagramTransport | None = None

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._open.get_extra_info("sockname")[:2]
        return str(host), int(port)

    def renew(self) -> None:
        """There are no files."""

    def peer(self, host: str, port: int) -> Peer:
        return host, port

    def send(self, message: bytes, peer: Peer) -> None:
        self._open.sendto(message, peer)

    def disconnect(self, peer: Peer) -> None:
        """There is no connection."""

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    @property
    def _open(self) -> asyncio.DatagramTransport:
        if self._socket is None:
            raise RuntimeError("the socket is not open")
        return self._socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._socket = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._only or addr[0] == self._only:
            self._upward.message(data, addr[:2])


async def open_datagrams(bind: tuple[str, int], upward: Upward, *, only: str = "", receive_buffer: int = 0) -> Datagrams:
    """receive_buffer: octets that may wait in the kernel, 0 for its default. Raises OSError."""
    loop = asyncio.get_running_loop()
    transport, datagrams = await loop.create_datagram_endpoint(lambda: Datagrams(upward, only), local_addr=bind)
    if receive_buffer:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    return datagrams
