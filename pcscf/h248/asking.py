"""The requests of our own: sent until they are answered, their replies confirmed (RFC 3525 §8.2, Annex D.1 and D.2)."""

from __future__ import annotations

from typing import Final

from pcscf.h248.agenda import NEVER, PATH_DATAGRAM, Agenda, H248Timers, Outbox, Timed, most_octets
from pcscf.h248.events import Event, MessageError, ReplyReceived, RequestFailed
from pcscf.h248.message import Action, Transaction, TransactionAck, TransactionReply, TransactionRequest
from pcscf.h248.peer import AssociationPeer, ConnectionPeer, Peer

MAX_ACKS: Final = 64
"""Replies to one peer that are confirmed in one TransactionResponseAck; at 11 octets each it fits in any datagram."""
MAX_ASKED_PEERS: Final = 1024
"""Peers that are known to have been asked; the one that was asked first is forgotten beyond."""


class Asked(Timed):
    """A request of ours that waits for its reply."""

    __slots__ = ("actions", "data", "deadline", "interval", "peer", "pendings", "sends", "tid")

    def __init__(self, tid: int, peer: Peer, actions: tuple[Action, ...], data: bytes, interval: float) -> None:
        self.due = NEVER
        self.tid = tid
        self.peer = peer
        self.actions = actions
        self.data = data
        self.interval = interval
        self.deadline = NEVER
        self.sends = 0
        self.pendings = 0


class Confirmations(Timed):
    """Replies of one peer that are still to be confirmed."""

    __slots__ = ("peer", "tids")

    def __init__(self, peer: Peer) -> None:
        self.due = NEVER
        self.peer = peer
        self.tids: list[int] = []

    def take(self) -> TransactionAck:
        """The confirmation of them all."""
        self.due = NEVER
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


class Asking:
    """`prefix`, `prefix_bits`: fixed top bits of every TransactionID; `first_id`: where the others begin."""

    def __init__(
        self, timers: H248Timers, agenda: Agenda, outbox: Outbox, events: list[Event],
        *, first_id: int, prefix: int, prefix_bits: int,
    ) -> None:
        if not 0 <= prefix_bits < 32 or prefix >> prefix_bits:
            raise ValueError(f"a prefix of {prefix_bits} bits cannot be {prefix}")
        self.timers = timers
        self._agenda = agenda
        self._outbox = outbox
        self._events = events
        self._id_mask = 0xFFFFFFFF >> prefix_bits
        self._id_prefix = prefix << (32 - prefix_bits)
        self._next_id = first_id & self._id_mask or 1
        self._asked: dict[int, Asked] = {}
        self._peers: dict[Peer, None] = {}
        self._confirmations: dict[Peer, Confirmations] = {}
        self.begun = self.repeated = self.failed = 0   # requests since the start

    # --- requests

    def request(self, peer: Peer, actions: tuple[Action, ...], now: float) -> int:
        tid = self._new_id()
        request = TransactionRequest(tid, actions)
        data = self._with_confirmation(request, peer)
        asked = Asked(tid, peer, actions, data, self.timers.repeat)
        self._asked[tid] = asked
        self.begun += 1
        if len(data) > most_octets(peer):
            self._fail(asked, f"the request has {len(data)} octets, which no {_carrier(peer)} holds")
            return tid
        if peer not in self._peers:
            self._remember(peer)
        asked.deadline = now + self.timers.t_max
        self._send(asked, now)
        return tid

    def redirect(self, tid: int, peer: Peer, now: float) -> None:
        """Ask at another address of the same entity, which knows what it executed already by its TransactionID."""
        asked = self._asked.get(tid)
        if asked is None or asked.peer == peer:
            return
        asked.peer = peer
        asked.data = self._encode((TransactionRequest(tid, asked.actions),), peer)
        if peer not in self._peers:
            self._remember(peer)
        self._send_anew(asked, now)

    def resend(self, peer: Peer, now: float) -> None:
        """Send everything that waits for `peer` again: the connection that carried it, or would have its replies, broke."""
        for asked in list(self._asked.values()):
            if asked.peer == peer:
                self._send_anew(asked, now)

    def abandon(self, tid: int) -> None:
        asked = self._asked.pop(tid, None)
        if asked is not None:
            asked.due = NEVER

    def encode_again(self, peer: Peer) -> None:
        """What waits for `peer` goes out in the version that it speaks now."""
        for asked in self._asked.values():
            if asked.peer == peer:
                asked.data = self._encode((TransactionRequest(asked.tid, asked.actions),), peer)

    def waits_for(self, peer: Peer) -> bool:
        """Whether `peer` owes us a reply. That of a stranger is told at once, however much is asked."""
        return peer in self._peers and any(asked.peer == peer for asked in self._asked.values())

    # --- replies

    def reply_received(self, reply: TransactionReply, peer: Peer, now: float) -> None:
        if reply.id == 0:
            if reply.error is not None and self.waits_for(peer):
                self._events.append(MessageError(peer, reply.error))
            return
        asked = self._asked.get(reply.id)
        if asked is not None and asked.peer == peer:
            del self._asked[reply.id]
            asked.due = NEVER
            self._confirm(reply.id, peer, now)
            self._events.append(ReplyReceived(reply.id, peer, reply.actions, reply.error))
        if reply.immediate_ack_required and peer in self._peers:  # a repeated one too: the first confirmation may be lost
            confirmations = self._confirmations.setdefault(peer, Confirmations(peer))
            confirmations.tids.append(reply.id)
            # At the next turn: a reply to ServiceChange may change the version in which the confirmation has to be written.
            self._agenda.schedule(confirmations, now)

    def pending_received(self, tid: int, peer: Peer, now: float) -> None:
        asked = self._asked.get(tid)
        if asked is None or asked.peer != peer:
            return
        asked.pendings += 1
        if asked.pendings > self.timers.pending_limit:
            self._fail(asked, f"still pending after {self.timers.pending_limit} Pendings")
            return
        asked.deadline = now + self.timers.t_max
        asked.interval = self.timers.pending_repeat
        self._repeat_at(asked, now + asked.interval)

    # --- timers

    def due(self, asked: Asked, now: float) -> None:
        if now >= asked.deadline:
            self._fail(asked, f"no reply to {asked.sends} sendings within {self.timers.t_max:g} s")
        elif asked.sends >= self.timers.max_sends:
            self._fail(asked, f"no reply to {asked.sends} sendings")
        else:
            self.repeated += 1
            self._send(asked, now)

    def flush(self, confirmations: Confirmations) -> None:
        self._confirmations.pop(confirmations.peer, None)
        self._outbox.put(self._encode((confirmations.take(),), confirmations.peer), confirmations.peer)

    # --- within

    def _new_id(self) -> int:
        while True:
            tid = self._id_prefix | self._next_id
            self._next_id = self._next_id + 1 & self._id_mask or 1
            if tid not in self._asked:
                return tid

    def _with_confirmation(self, request: TransactionRequest, peer: Peer) -> bytes:
        """The request, with what is to be confirmed in front of it where both fit in a datagram of the path."""
        confirmations = self._confirmations.pop(peer, None)
        if confirmations is None:
            return self._encode((request,), peer)
        confirmation = confirmations.take()
        together = self._encode((confirmation, request), peer)
        if len(together) <= PATH_DATAGRAM:
            return together
        self._outbox.put(self._encode((confirmation,), peer), peer)
        return self._encode((request,), peer)

    def _send_anew(self, asked: Asked, now: float) -> None:
        asked.interval = self.timers.repeat
        self.repeated += 1
        self._send(asked, now)

    def _send(self, asked: Asked, now: float) -> None:
        asked.sends += 1
        self._outbox.output.append((asked.data, asked.peer))
        spread = (asked.tid * 2654435761 & 0xFFFF) / 0x10000
        timers, interval = self.timers, asked.interval
        if interval < timers.repeat_max:
            asked.interval = min(2 * interval, timers.repeat_max)
        self._repeat_at(asked, now + interval * (1 + timers.jitter * spread))

    def _repeat_at(self, asked: Asked, when: float) -> None:
        """A connection loses nothing while it stands: there only the deadline counts (RFC 3525 Annex D.2.3)."""
        deadline = asked.deadline
        self._agenda.schedule(asked, deadline if when > deadline or isinstance(asked.peer, ConnectionPeer) else when)

    def _fail(self, asked: Asked, cause: str) -> None:
        self.abandon(asked.tid)
        self.failed += 1
        self._events.append(RequestFailed(asked.tid, asked.peer, cause))

    def _confirm(self, tid: int, peer: Peer, now: float) -> None:
        confirmations = self._confirmations.get(peer)
        if confirmations is None:
            confirmations = self._confirmations[peer] = Confirmations(peer)
            self._agenda.schedule(confirmations, now + self.timers.ack_delay)
        confirmations.tids.append(tid)
        if len(confirmations.tids) >= MAX_ACKS:
            self.flush(confirmations)

    def _remember(self, peer: Peer) -> None:
        if len(self._peers) >= MAX_ASKED_PEERS:
            del self._peers[next(iter(self._peers))]
        self._peers[peer] = None

    def _encode(self, transactions: tuple[Transaction, ...], peer: Peer) -> bytes:
        return self._outbox.encode(transactions, self._outbox.version_of(peer))


def _carrier(peer: Peer) -> str:
    if isinstance(peer, AssociationPeer):
        return "user message"
    return "packet" if isinstance(peer, ConnectionPeer) else "datagram"
