"""Local addresses for media: what the realms have, what is taken, and the sockets that hold it.

Reservations go round the addresses of a realm, and on each round the ports. A port that was released rests: late packets
of one call must not reach the next. It is given out early only where nothing else is left, the one that rested longest
first.
"""

from __future__ import annotations

import asyncio
import socket
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

from pcscf.errors import H248Error
from pcscf.gateway.config import Realm
from pcscf.gateway.items import unsupported_value
from pcscf.gateway.model import Address, Wanted

BACKLOG: Final = 8
"""Connections that may wait unseen in the kernel until the controller has configured the leg."""
REST: Final = 2.0
"""Seconds for which a released port is not given out again."""


class MediaPorts:
    """The `pcscf.gateway.model.Ports` of a running gateway. A port is TCP or UDP, never both: its number is its name."""

    def __init__(self, realms: Sequence[Realm], loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pools = {realm.name.lower(): _Pool(realm) for realm in realms}
        self._listeners: dict[Address, socket.socket | None] = {}
        self._datagrams: dict[Address, tuple[socket.socket, ...]] = {}
        self._taken: set[Address] = set()
        self._resting: dict[Address, float] = {}

    def __len__(self) -> int:
        """Ports that are taken."""
        return len(self._taken)

    def reserve(self, wanted: Wanted) -> Address:
        """Binds, and listens on TCP. What other programs hold is skipped. Raises H248Error 449, 510."""
        pool = self._pools[wanted.realm.lower()]
        addresses = pool.addresses(wanted)
        if not addresses:
            family = f"IPv{wanted.family[2:]} address" if not wanted.address else wanted.address
            raise unsupported_value("c", f"no {family} in realm {wanted.realm}")
        for local in self._candidates(pool, addresses, wanted.port):
            if self._take(local, wanted, pool):
                self._resting.pop(local, None)
                pool.turn += 1
                return local
        raise H248Error(510, f"Insufficient resources: no free port in realm {wanted.realm}")

    def release(self, local: Address) -> None:
        listener = self._listeners.pop(local, None)
        if listener is not None:
            self._loop.remove_reader(listener)
            listener.close()
        sockets = self._datagrams.pop(local, ())
        for one in sockets:
            one.close()
        now = self._loop.time()
        for number in range(max(len(sockets), 1)):
            self._free((local[0], local[1] + number), now)

    def close(self) -> None:
        for local in [*self._listeners, *self._datagrams]:
            self.release(local)

    def usage(self) -> dict[str, tuple[int, int]]:
        """By realm, how many ports are taken and how many there are. Realms that share an address share what is taken there."""
        return {pool.name: (pool.taken.total(), pool.size) for pool in self._pools.values()}

    # --- for legs ----------------------------------------------------------------------------------------------------

    def listen(self, local: Address) -> bool:
        """Whether a listener stands on that address now. Raises H248Error 510 when the process can open no more sockets."""
        if self._listeners.get(local) is not None:
            return True
        listener = tcp_socket(local)
        try:
            listener.bind(local)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            return False
        self._listeners[local] = listener
        self._hold(local)
        return True

    def stop_listening(self, local: Address) -> None:
        """Closes the listener, which nobody watches any more, and keeps the port: further connections are refused, and nobody
        else gets it.
        """
        listener = self._listeners.get(local)
        if listener is not None:
            listener.close()
        self._listeners[local] = None
        self._hold(local)

    def listener(self, local: Address) -> socket.socket | None:
        return self._listeners.get(local)

    def holds(self, address: Address) -> bool:
        """Whether this is a port of ours that is taken."""
        return address in self._taken

    def sockets(self, local: Address) -> tuple[socket.socket, ...]:
        """The UDP sockets of an address: two where it was reserved with the next port, none where it is not ours."""
        return self._datagrams.get(local, ())

    # --- inside ------------------------------------------------------------------------------------------------------

    def _candidates(self, pool: _Pool, addresses: Sequence[str], port: int | None) -> Iterator[Address]:
        """Free addresses, those that rest last."""
        if port is not None:
            yield from ((address, port) for address in addresses if (address, port) not in self._taken)
            return
        self._wake(self._loop.time())
        for address in addresses:
            if pool.taken[address] < len(pool.ports):
                for local in pool.round(address):
                    if local not in self._taken and local not in self._resting:
                        yield local
        yield from [local for local in self._resting if local[0] in addresses and local in pool]

    def _wake(self, now: float) -> None:
        rested = []
        for local, since in self._resting.items():
            if now - since < REST:
                break
            rested.append(local)
        for local in rested:
            del self._resting[local]

    def _take(self, local: Address, wanted: Wanted, pool: _Pool) -> bool:
        if not wanted.datagram:
            return self.listen(local)
        following = (local[0], local[1] + 1)
        if wanted.pair and (local[1] % 2 or following in self._taken or following not in pool):
            return False
        return self._bind(local, pair=wanted.pair)

    def _bind(self, local: Address, *, pair: bool) -> bool:
        """Whether the port (and the next one) is ours now. Raises H248Error 510 when the process can open no more sockets."""
        bound: list[socket.socket] = []
        for one in (local, (local[0], local[1] + 1)) if pair else (local,):
            try:
                made = _socket(one, socket.SOCK_DGRAM)
            except H248Error:
                _close(bound)
                raise
            bound.append(made)
            try:
                made.bind(one)
            except (OSError, OverflowError):
                _close(bound)
                return False
        self._datagrams[local] = tuple(bound)
        for number, _ in enumerate(bound):
            self._hold((local[0], local[1] + number))
        return True

    def _hold(self, local: Address) -> None:
        if local not in self._taken:
            self._taken.add(local)
            for pool in self._pools.values():
                pool.taken[local[0]] += local in pool

    def _free(self, local: Address, now: float) -> None:
        if local in self._taken:
            self._taken.remove(local)
            for pool in self._pools.values():
                pool.taken[local[0]] -= local in pool
            self._resting[local] = now


class _Pool:
    """A realm's addresses and ports, and where the next search begins. `turn`: counts reservations; taken: ports by address."""

    def __init__(self, realm: Realm) -> None:
        self.name = realm.name
        self.ports = array("H", chain.from_iterable(range(first, last + 1) for first, last in realm.ports))
        self.turn = 0
        self.taken: Counter[str] = Counter()
        self._ranges = realm.ports
        self._addresses = realm.addresses
        self._next = dict.fromkeys(realm.addresses, 0)

    def __contains__(self, local: Address) -> bool:
        return local[0] in self._next and any(first <= local[1] <= last for first, last in self._ranges)

    @property
    def size(self) -> int:
        return len(self.ports) * len(self._addresses)

    def addresses(self, wanted: Wanted) -> list[str]:
        """Those that would do, in the order of this turn. Without a family it is that of the realm's first address."""
        v6 = (wanted.family or ("IP6" if ":" in self._addresses[0] else "IP4")) == "IP6"
        found = [one for one in self._addresses if (one == wanted.address if wanted.address else (":" in one) == v6)]
        first = self.turn % len(found) if found else 0
        return found[first:] + found[:first]

    def round(self, address: str) -> Iterator[Address]:
        """All ports of an address, from the one after that which was looked at last."""
        size = len(self.ports)
        for _ in range(size):
            at = self._next[address]
            self._next[address] = at + 1 if at + 1 < size else 0
            yield address, self.ports[at]


def tcp_socket(local: Address) -> socket.socket:
    """Not bound yet. Raises H248Error 510 when the process can open no more sockets."""
    made = _socket(local, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


def mark(bound: socket.socket, dscp: int) -> None:
    """What leaves the socket from now on carries this code point (RFC 2474 §3)."""
    if bound.family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    else:
        bound.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)


def _socket(local: Address, kind: socket.SocketKind) -> socket.socket:
    try:
        made = socket.socket(socket.AF_INET6 if ":" in local[0] else socket.AF_INET, kind)
    except OSError as error:
        raise H248Error(510, f"Insufficient resources: {error.strerror}") from error
    made.setblocking(False)
    return made


def _close(sockets: Sequence[socket.socket]) -> None:
    for one in sockets:
        one.close()
