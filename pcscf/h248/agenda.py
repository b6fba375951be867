"""What H.248 transactions share: their timers, when each thing is due, and the messages that go out."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from pcscf.h248.codec import encode_compact
from pcscf.h248.message import ErrorDescriptor, Message, Transaction
from pcscf.h248.peer import ConnectionPeer, Peer

NEVER: Final = float("inf")
MAX_DATAGRAM: Final = 65_507
"""Octets of a UDP datagram over IPv4."""
MAX_PACKET: Final = 65_531
"""Octets of a message in a TPKT packet, whose length counts its header of 4 and has 16 bits (RFC 1006 §6).

A user message of SCTP knows no bound; this is ours."""
PATH_DATAGRAM: Final = 1400
"""Octets that a datagram is kept below where several transactions could share it (RFC 3525 Annex D.1: the path's MTU)."""


@dataclass(frozen=True, slots=True)
class H248Timers:
    """Seconds, but for the counts. Defaults: RFC 3525 Annex D.1.

    repeat: from the first to the second sending of a request, doubled up to repeat_max. jitter: part of an interval that is
    spread by TransactionID. pending_repeat: between sendings once a Pending came. t_max, max_sends: then the request has failed.
    long_timer: a duplicate is known that long. provisional: an execution that takes longer is told with Pending. pending_limit:
    how many Pendings one transaction may see. ack_delay: a reply is confirmed no later, with the next request if one is before.
    """

    repeat: float = 0.2
    repeat_max: float = 4.0
    jitter: float = 0.1
    pending_repeat: float = 4.0
    t_max: float = 15.0
    max_sends: int = 11
    long_timer: float = 30.0
    provisional: float = 0.5
    pending_limit: int = 5
    ack_delay: float = 1.0


class Timed:
    """Something that is due at a time; an entry of the agenda counts only while it still says that time."""

    __slots__ = ("due",)

    due: float


class Agenda:
    """When what is due. Putting something off, or off the agenda, costs nothing: its old entry is passed over."""

    __slots__ = ("_heap", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._serial = 0

    def schedule(self, timed: Timed, when: float) -> None:
        timed.due = when
        self._serial += 1
        heappush(self._heap, (when, self._serial, timed))

    def take_due(self, now: float) -> Timed | None:
        """The next thing that is due at `now`; it is off the agenda then."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            when, _, timed = heappop(heap)
            if timed.due == when:
                timed.due = NEVER
                return timed
        return None

    @property
    def soonest(self) -> float:
        """Nothing is due before, as far as can be told at a glance."""
        return self._heap[0][0] if self._heap else NEVER

    def next(self) -> float | None:
        """When something is due; None while there is nothing."""
        heap = self._heap
        while heap and heap[0][2].due != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None


class Outbox:
    """Messages of one mId, each in the version that its peer speaks. `output`: what is to be sent, and where."""

    __slots__ = ("_mid", "_version", "_versions", "output")

    def __init__(self, mid: str, version: int) -> None:
        self._mid = mid
        self._version = version
        self._versions: dict[Peer, int] = {}
        self.output: list[tuple[bytes, Peer]] = []

    def version_of(self, peer: Peer) -> int:
        return self._versions.get(peer, self._version)

    def set_version(self, peer: Peer, version: int) -> bool:
        """Whether that is another version than before."""
        if self.version_of(peer) == version:
            return False
        self._versions[peer] = version
        return True

    def encode(self, transactions: tuple[Transaction, ...], version: int) -> bytes:
        return encode_compact(Message(self._mid, transactions, None, version))

    def put(self, data: bytes, peer: Peer) -> None:
        self.output.append((data, peer))

    def refuse(self, error: ErrorDescriptor, peer: Peer) -> None:
        """An error for a whole message of `peer`."""
        self.output.append((encode_compact(Message(self._mid, (), error, self.version_of(peer))), peer))

    def take(self) -> list[tuple[bytes, Peer]]:
        output, self.output = self.output, []
        return output


def most_octets(peer: Peer) -> int:
    """How long a message to `peer` can be at all."""
    return MAX_PACKET if isinstance(peer, ConnectionPeer) else MAX_DATAGRAM
