"""H.248 transactions over an unreliable transport (RFC 3525 §8.2 and Annex D.1), for controller and gateway, any number of peers.

A machine without I/O. It repeats requests until they are answered, executes a request at most once and repeats its stored
reply, tells with Pending that an execution takes longer, and confirms replies so that the other side may forget them.

A peer is a transport address, opaque to the machine. What a peer asked is remembered under its mId and the TransactionID: the
address may change between a request and its duplicate. A reply goes to the address its request came from, and is accepted only
from the address the request went to.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final, NamedTuple, TypeAlias

from pcscf.errors import H248SyntaxError
from pcscf.h248.codec import decode_untrusted, encode_compact
from pcscf.h248.message import (
    Action,
    CommandName,
    ErrorDescriptor,
    Message,
    Services,
    Transaction,
    TransactionAck,
    TransactionPending,
    TransactionReply,
    TransactionRequest,
    same_name,
)
from pcscf.record import record

Peer: TypeAlias = tuple[str, int]
"""Host and port; only compared, never looked into."""

MAX_STORED: Final = 100_000
"""Transactions remembered for one mId; the oldest is forgotten beyond."""
MAX_PEERS: Final = 1024
"""mIds whose transactions are remembered; the one that was heard first is forgotten beyond."""
MAX_DATAGRAM: Final = 65_507
"""Octets of a UDP datagram over IPv4."""
MAX_ACKS: Final = 64
"""Replies to one peer that are confirmed in one TransactionResponseAck."""
MAX_ERROR_TEXT: Final = 200
ERROR_INTERVAL: Final = 1.0
"""Seconds between two message-level errors to one peer: sides that cannot read each other must not answer error with error."""
_NEVER: Final = float("inf")
_SERVICE_CHANGE: Final = CommandName.SERVICE_CHANGE


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


class RequestHandle(NamedTuple):
    """Names a received request; `version` is that of its header, which its reply repeats."""

    peer: Peer
    mid: str
    tid: int
    version: int


@record
class RequestReceived:
    """A request to execute and to answer with `reply`."""

    handle: RequestHandle
    mid: str
    peer: Peer
    actions: tuple[Action, ...]


@record
class ReplyReceived:
    """The one reply to request `tid`: its actions, or the error that refuses the whole transaction."""

    tid: int
    peer: Peer
    actions: tuple[Action, ...]
    error: ErrorDescriptor | None


@record
class RequestFailed:
    """Request `tid` has no reply and will have none; `cause` says why."""

    tid: int
    peer: Peer
    cause: str


@record
class SyntaxRefused:
    """A message that is not H.248. The peer got the error, unless it was a reply that could not be read."""

    peer: Peer
    error: H248SyntaxError


@record
class MessageError:
    """The peer refused a whole message (406: see `set_version`), or a request whose TransactionID it could not read."""

    peer: Peer
    error: ErrorDescriptor


Event: TypeAlias = RequestReceived | ReplyReceived | RequestFailed | SyntaxRefused | MessageError


class _Timed:
    """Something that is due at a time; an entry of the timer heap counts only while it still says that time."""

    __slots__ = ("due",)

    due: float


class _Asked(_Timed):
    """A request of ours that waits for its reply."""

    __slots__ = ("actions", "data", "deadline", "interval", "peer", "pendings", "sends", "tid")

    def __init__(self, tid: int, peer: Peer, actions: tuple[Action, ...], data: bytes, interval: float) -> None:
        self.due = _NEVER
        self.tid = tid
        self.peer = peer
        self.actions = actions
        self.data = data
        self.interval = interval
        self.deadline = _NEVER
        self.sends = 0
        self.pendings = 0


class _Served(_Timed):
    """A request of a peer. `data`: the stored reply; b"" while it executes and again once the reply is confirmed."""

    __slots__ = ("acked", "data", "expires", "handle", "interval", "pendings", "repeat_until", "restart")

    def __init__(self, handle: RequestHandle, expires: float, restart: int) -> None:
        self.due = _NEVER
        self.handle = handle
        self.expires = expires
        self.restart = restart
        self.data = b""
        self.acked = False
        self.pendings = 0
        self.repeat_until = 0.0
        self.interval = 0.0


class _Acks(_Timed):
    """Replies of one peer that are still to be confirmed."""

    __slots__ = ("peer", "tids")

    def __init__(self, peer: Peer) -> None:
        self.due = _NEVER
        self.peer = peer
        self.tids: list[int] = []

    def take(self) -> TransactionAck:
        """The confirmation of them all."""
        self.due = _NEVER
        if len(self.tids) == 1:
            tid = self.tids.pop()
            return TransactionAck(((tid, tid),))
        ranges: list[tuple[int, int]] = []
        for tid in sorted(set(self.tids)):
            if ranges and ranges[-1][1] == tid - 1:
                ranges[-1] = (ranges[-1][0], tid)
            else:
                ranges.append((tid, tid))
        self.tids.clear()
        return TransactionAck(tuple(ranges))


class TransactionMachine:
    """Both roles of H.248 at one mId.

    `version`: of the header towards peers for which `set_version` said nothing. `first_id`: the TransactionID to begin with (a
    random one keeps a restarted entity's requests from being taken for duplicates). `prefix`, `prefix_bits`: fixed top bits of
    every TransactionID, by which replies find the worker that asked.
    """

    def __init__(
        self, mid: str, *, timers: H248Timers, version: int = 2, first_id: int, prefix: int = 0, prefix_bits: int = 0
    ) -> None:
        if not 0 <= prefix_bits < 32 or prefix >> prefix_bits:
            raise ValueError(f"a prefix of {prefix_bits} bits cannot be {prefix}")
        self._mid = mid
        self._timers = timers
        self._version = version
        self._versions: dict[Peer, int] = {}
        self._id_mask = 0xFFFFFFFF >> prefix_bits
        self._id_prefix = prefix << (32 - prefix_bits)
        self._next_id = first_id & self._id_mask or 1
        self._asked: dict[int, _Asked] = {}
        self._served: dict[str, dict[int, _Served]] = {}
        self._acks: dict[Peer, _Acks] = {}
        self._refused: dict[Peer, float] = {}
        self._heap: list[tuple[float, int, _Timed]] = []
        self._serial = 0
        self._output: list[tuple[bytes, Peer]] = []
        self._events: list[Event] = []

    # --- what the caller does

    def request(self, peer: Peer, actions: tuple[Action, ...], now: float) -> int:
        """Send a request; the TransactionID. It ends with ReplyReceived or RequestFailed, unless it is abandoned."""
        tid = self._new_id()
        request = TransactionRequest(tid, actions)
        acks = self._acks.pop(peer, None)
        transactions = (request,) if acks is None else (acks.take(), request)
        data = encode_compact(Message(self._mid, transactions, None, self._versions.get(peer, self._version)))
        asked = _Asked(tid, peer, actions, data, self._timers.repeat)
        self._asked[tid] = asked
        if len(data) > MAX_DATAGRAM:
            self._fail(asked, f"the request has {len(data)} octets, which no datagram holds")
        else:
            asked.deadline = now + self._timers.t_max
            self._send_request(asked, now)
        return tid

    def reply(self, handle: RequestHandle, answer: tuple[Action, ...] | ErrorDescriptor, now: float) -> None:
        """Answer a received request once; a second answer, or one that comes after LONG-TIMER, changes nothing."""
        served = self._served.get(handle.mid, {}).get(handle.tid)
        if served is None or served.handle is not handle or served.data or served.acked:
            return
        after_pending = served.pendings > 0
        data = self._encode((_reply(handle.tid, answer, immediate=after_pending),), handle.version)
        if len(data) > MAX_DATAGRAM:
            too_large = ErrorDescriptor(533, "Response Exceeds Maximum Transport PDU Size")
            data = self._encode((_reply(handle.tid, too_large, immediate=after_pending),), handle.version)
        served.data = data
        served.expires = now + self._timers.long_timer
        self._output.append((data, handle.peer))
        if after_pending:
            served.repeat_until = now + self._timers.t_max
            served.interval = self._timers.repeat
            self._schedule(served, now + served.interval)
        else:
            self._schedule(served, served.expires)

    def abandon(self, tid: int) -> None:
        """Stop asking; a reply that still comes is ignored."""
        self._forget_asked(tid)

    def set_version(self, peer: Peer, version: int) -> None:
        """Write this version in the headers towards `peer` from now on, repeated requests included (RFC 3525 §11.3)."""
        if self._version_of(peer) == version:
            return
        self._versions[peer] = version
        for asked in self._asked.values():
            if asked.peer == peer:
                asked.data = self._encode((TransactionRequest(asked.tid, asked.actions),), version)

    def receive(self, data: bytes, peer: Peer, now: float) -> None:
        """One datagram. Never raises: what cannot be read is answered with an error and reported."""
        try:
            message = decode_untrusted(data)
        except H248SyntaxError as error:
            self._refuse(error, peer, now)
            return
        if message.error is not None:
            self._events.append(MessageError(peer, message.error))
            return
        for transaction in message.transactions:
            if isinstance(transaction, TransactionReply):
                self._reply_received(transaction, peer, now)
            elif isinstance(transaction, TransactionRequest):
                self._request_received(transaction, message, peer, now)
            elif isinstance(transaction, TransactionAck):
                self._ack_received(transaction.ranges, message.mid)
            else:
                self._pending_received(transaction.id, peer, now)

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`."""
        while self._heap and self._heap[0][0] <= now:
            when, _, timed = heappop(self._heap)
            if timed.due != when:
                continue
            timed.due = _NEVER
            if isinstance(timed, _Asked):
                self._asked_due(timed, now)
            elif isinstance(timed, _Served):
                self._served_due(timed, now)
            elif isinstance(timed, _Acks):
                self._flush(timed)

    @property
    def soonest(self) -> float:
        """`handle_timer` has nothing to do before, as far as can be told at a glance."""
        return self._heap[0][0] if self._heap else _NEVER

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do; None while it has not."""
        while self._heap and self._heap[0][2].due != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_output(self) -> list[tuple[bytes, Peer]]:
        """The datagrams to send, and where."""
        output, self._output = self._output, []
        return output

    def take_events(self) -> list[Event]:
        """What happened since the last call."""
        events, self._events = self._events, []
        return events

    # --- what we ask

    def _new_id(self) -> int:
        while True:
            tid = self._id_prefix | self._next_id
            self._next_id = self._next_id + 1 & self._id_mask or 1
            if tid not in self._asked:
                return tid

    def _send_request(self, asked: _Asked, now: float) -> None:
        asked.sends += 1
        self._output.append((asked.data, asked.peer))
        spread = (asked.tid * 2654435761 & 0xFFFF) / 0x10000
        timers, interval = self._timers, asked.interval
        if interval < timers.repeat_max:
            asked.interval = min(2 * interval, timers.repeat_max)
        self._schedule(asked, min(now + interval * (1 + timers.jitter * spread), asked.deadline))

    def _asked_due(self, asked: _Asked, now: float) -> None:
        if now >= asked.deadline:
            self._fail(asked, f"no reply to {asked.sends} sendings within {self._timers.t_max:g} s")
        elif asked.sends >= self._timers.max_sends:
            self._fail(asked, f"no reply to {asked.sends} sendings")
        else:
            self._send_request(asked, now)

    def _fail(self, asked: _Asked, cause: str) -> None:
        self._forget_asked(asked.tid)
        self._events.append(RequestFailed(asked.tid, asked.peer, cause))

    def _forget_asked(self, tid: int) -> _Asked | None:
        asked = self._asked.pop(tid, None)
        if asked is not None:
            asked.due = _NEVER
        return asked

    def _reply_received(self, reply: TransactionReply, peer: Peer, now: float) -> None:
        if reply.id == 0:
            if reply.error is not None:
                self._events.append(MessageError(peer, reply.error))
            return
        asked = self._asked.get(reply.id)
        if asked is not None and asked.peer == peer:
            del self._asked[reply.id]
            asked.due = _NEVER
            self._acknowledge(reply.id, peer, now)
            self._events.append(ReplyReceived(reply.id, peer, reply.actions, reply.error))
        if reply.immediate_ack_required:  # a repeated reply too: our confirmation of the first may be lost
            acks = self._acks.setdefault(peer, _Acks(peer))
            acks.tids.append(reply.id)
            # At the next turn: a reply to ServiceChange may change the version in which the confirmation has to be written.
            self._schedule(acks, now)

    def _pending_received(self, tid: int, peer: Peer, now: float) -> None:
        asked = self._asked.get(tid)
        if asked is None or asked.peer != peer:
            return
        asked.pendings += 1
        if asked.pendings > self._timers.pending_limit:
            self._fail(asked, f"still pending after {self._timers.pending_limit} Pendings")
            return
        asked.deadline = now + self._timers.t_max
        asked.interval = self._timers.pending_repeat
        self._schedule(asked, min(now + asked.interval, asked.deadline))

    def _acknowledge(self, tid: int, peer: Peer, now: float) -> None:
        acks = self._acks.get(peer)
        if acks is None:
            acks = self._acks[peer] = _Acks(peer)
            self._schedule(acks, now + self._timers.ack_delay)
        acks.tids.append(tid)
        if len(acks.tids) >= MAX_ACKS:
            self._flush(acks)

    def _flush(self, acks: _Acks) -> None:
        self._acks.pop(acks.peer, None)
        self._output.append((self._encode((acks.take(),), self._version_of(acks.peer)), acks.peer))

    # --- what others ask

    def _request_received(self, request: TransactionRequest, message: Message, peer: Peer, now: float) -> None:
        mid = message.mid.lower()
        restart = _restart(request.actions)
        known = self._served.get(mid, {}).get(request.id)
        if known is not None and known.restart == restart:
            self._repeat(known, peer, now)
            return
        if restart:
            self._forget_peer(mid)
        handle = RequestHandle(peer, mid, request.id, message.version)
        served = _Served(handle, now + self._timers.long_timer, restart)
        self._store(served)
        self._schedule(served, min(now + self._timers.provisional, served.expires))
        self._events.append(RequestReceived(handle, message.mid, peer, request.actions))

    def _store(self, served: _Served) -> None:
        of_peer = self._served.get(served.handle.mid)
        if of_peer is None:
            if len(self._served) >= MAX_PEERS:
                self._forget_peer(next(iter(self._served)))
            of_peer = self._served[served.handle.mid] = {}
        elif len(of_peer) >= MAX_STORED:
            of_peer.pop(next(iter(of_peer))).due = _NEVER
        of_peer[served.handle.tid] = served

    def _forget_peer(self, mid: str) -> None:
        for served in self._served.pop(mid, {}).values():
            served.due = _NEVER

    def _repeat(self, served: _Served, peer: Peer, now: float) -> None:
        """Answer a duplicate: with the stored reply, with Pending while it executes, not at all once the reply was confirmed."""
        if served.acked:
            return
        if served.data:
            self._output.append((served.data, peer))
        elif served.pendings < self._timers.pending_limit:
            self._send_pending(served, peer)
        else:
            self.reply(served.handle, ErrorDescriptor(506, "Number of TransactionPendings Exceeded"), now)

    def _send_pending(self, served: _Served, peer: Peer) -> None:
        served.pendings += 1
        self._output.append((self._encode((TransactionPending(served.handle.tid),), served.handle.version), peer))

    def _served_due(self, served: _Served, now: float) -> None:
        if now >= served.expires:
            self._forget_served(served)
        elif not served.data and not served.acked:
            if not served.pendings:
                self._send_pending(served, served.handle.peer)
            self._schedule(served, served.expires)
        elif now < served.repeat_until:
            self._output.append((served.data, served.handle.peer))
            served.interval = min(2 * served.interval, self._timers.repeat_max)
            self._schedule(served, now + served.interval)
        else:
            self._schedule(served, served.expires)

    def _forget_served(self, served: _Served) -> None:
        of_peer = self._served[served.handle.mid]
        del of_peer[served.handle.tid]
        if not of_peer:
            del self._served[served.handle.mid]

    def _ack_received(self, ranges: tuple[tuple[int, int], ...], mid: str) -> None:
        """Drop the confirmed replies; their ids stay, so that a late duplicate is still not executed (Annex D.1.2)."""
        of_peer = self._served.get(mid.lower(), {})
        for first, last in ranges:
            confirmed = range(first, last + 1) if last - first < len(of_peer) else (t for t in of_peer if first <= t <= last)
            for tid in confirmed:
                served = of_peer.get(tid)
                if served is not None and served.data:
                    served.data = b""
                    served.acked = True
                    if served.repeat_until:
                        self._schedule(served, served.expires)

    def _refuse(self, error: H248SyntaxError, peer: Peer, now: float) -> None:
        """Tell the peer what could not be read; a reply that could not be read is not answered (RFC 3525 §8.2.2)."""
        self._events.append(SyntaxRefused(peer, error))
        if error.in_reply:
            return
        descriptor = ErrorDescriptor(error.code, error.what[:MAX_ERROR_TEXT])
        version = self._version_of(peer)
        if error.transaction_id:
            self._output.append((self._encode((_reply(error.transaction_id, descriptor),), version), peer))
        elif now - self._refused.get(peer, -_NEVER) >= ERROR_INTERVAL:
            if len(self._refused) >= MAX_PEERS:
                self._refused.clear()
            self._refused[peer] = now
            self._output.append((encode_compact(Message(self._mid, error=descriptor, version=version)), peer))

    # --- common

    def _version_of(self, peer: Peer) -> int:
        return self._versions.get(peer, self._version)

    def _encode(self, transactions: tuple[Transaction, ...], version: int) -> bytes:
        return encode_compact(Message(self._mid, transactions, None, version))

    def _schedule(self, timed: _Timed, when: float) -> None:
        timed.due = when
        self._serial += 1
        heappush(self._heap, (when, self._serial, timed))


def _reply(tid: int, answer: tuple[Action, ...] | ErrorDescriptor, *, immediate: bool = False) -> TransactionReply:
    if isinstance(answer, ErrorDescriptor):
        return TransactionReply(tid, (), answer, immediate)
    return TransactionReply(tid, answer, None, immediate)


def _restart(actions: tuple[Action, ...]) -> int:
    """Tells one restart of a peer from another, by the request itself; 0 for any other request.

    A peer that restarts may begin its TransactionIDs anew: its registration must not get the stored reply of the one before.
    """
    for action in actions:
        for command in action.commands:
            if command.name is _SERVICE_CHANGE and same_name(command.termination, "ROOT"):
                for descriptor in command.descriptors:
                    if isinstance(descriptor, Services) and descriptor.method == "Restart":
                        return hash(actions) or 1
    return 0
