"""Connections that others make to us. They count from the moment on in which they are accepted, before TLS begins."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Interface

BACKLOG = 1024
ACCEPT_PAUSE = 0.5   # seconds before the next connection is accepted when one could not be


class Admission:
    """How many connections there are, in all and by the address of the other end; one host has a whole /64 of IPv6."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._total = 0
        self._per_address: Counter[str] = Counter()
        self.turned_away = 0
        """Connections beyond a limit, since the start."""
        self.failed_handshakes = 0
        """Connections on which TLS did not come about, since the start."""

    def has_room_for(self, address: str) -> bool:
        return self._total < self._most and self._per_address[_place(address)] < self._most_per_address

    def enter(self, address: str) -> None:
        self._total += 1
        self._per_address[_place(address)] += 1

    def leave(self, address: str) -> None:
        place = _place(address)
        self._total -= 1
        self._per_address[place] -= 1
        if not self._per_address[place]:
            del self._per_address[place]


def _place(address: str) -> str:
    """As the kernel writes it: a zone may stand behind it."""
    return str(IPv6Interface(f"{address.partition('%')[0]}/64").network) if ":" in address else address


class Acceptor:
    """One listening socket. make: the protocol of a connection. tls: None for TCP alone. patience: seconds for the handshake."""

    def __init__(
        self, admission: Admission, make: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None, patience: float,
    ) -> None:
        self._admission = admission
        self._make = make
        self._tls = tls
        self._patience = patience if tls is not None else None
        self._accepting: asyncio.Task[None] | None = None
        self._beginning: set[asyncio.Task[None]] = set()

    def listen(self, address: str, port: int) -> int:
        """The port that was bound. Raises OSError."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listening = socket.create_server((address, port), family=family, backlog=BACKLOG)
        listening.setblocking(False)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listening))
        self._accepting.add_done_callback(lambda _: listening.close())   # when nobody waits for it any more
        return int(listening.getsockname()[1])

    def close(self) -> None:
        for task in (*self._beginning, *([self._accepting] if self._accepting is not None else [])):
            task.cancel()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, (address, *_) = await loop.sock_accept(listening)
            except OSError:   # no descriptor is left, say
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if not self._admission.has_room_for(address):
                self._admission.turned_away += 1
                accepted.close()
                continue
            self._admission.enter(address)
            task = loop.create_task(self._begin(accepted, address))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    async def _begin(self, accepted: socket.socket, address: str) -> None:
        """Up to the end of the TLS handshake; from then on the connection is counted by its protocol."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make, accepted, ssl=self._tls, ssl_handshake_timeout=self._patience)
        except OSError:
            accepted.close()
            if self._tls is not None:
                self._admission.failed_handshakes += 1
        finally:
            self._admission.leave(address)
