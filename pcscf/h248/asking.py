"""The requests of our own: sent until they are answered, their replies confirmed (RFC 3525 §8.2, Annex D.1 and D.2)."""

from __future__ import annotations

from typing import Final

from pcscf.h248.agenda import NEVER, PATH_DATAGRAM, Agenda, H248Timers, Outbox, Timed, most_octets
from pcscf.h248.codec import write_actions, write_reply
from pcscf.h248.events import Event, MessageError, ReplyReceived, RequestFailed
from pcscf.h248.message import Action, Ranges, Transaction, TransactionAck, TransactionReply
from pcscf.h248.peer import AssociationPeer, ConnectionPeer, Peer

MAX_ACKS: Final = 64
"""Replies to one peer that are confirmed in one TransactionResponseAck; at 11 octets each it fits in any datagram."""
MAX_ASKED_PEERS: Final = 1024
"""Peers that are known to have been asked; the one that was asked first is forgotten beyond."""


class Asked(Timed):
    """A request of ours that waits for its reply; `actions` as they are written, and the `hoped` reply, b"" for none."""

    __slots__ = ("actions", "data", "deadline", "hoped", "interval", "peer", "pendings", "sends", "tid")

    def __init__(self, tid: int, peer: Peer, actions: str, data: bytes, interval: float, hoped: bytes) -> None:
        self.due = self.entry = NEVER
        self.tid = tid
        self.peer = peer
        self.actions = actions
        self.data = data
        self.interval = interval
        self.hoped = hoped
        self.deadline = NEVER
        self.sends = 0
        self.pendings = 0


class Confirmations(Timed):
    """Replies of one peer that are still to be confirmed."""

    __slots__ = ("peer", "tids")

    def __init__(self, peer: Peer) -> None:
        self.due = self.entry = NEVER
        self.peer = peer
        self.tids: list[int] = []

    def take(self) -> Ranges:
        """All of them, to be confirmed now."""
        self.due = NEVER
        if len(self.tids) == 1:
            tid = self.tids.pop()
            return ((tid, tid),)
        ranges: list[tuple[int, int]] = []
        for tid in sorted(set(self.tids)):
            if ranges and ranges[-1][1] == tid - 1:
                ranges[-1] = (ranges[-1][0], tid)
            else:
                ranges.append((tid, tid))
        self.tids.clear()
        return tuple(ranges)


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
        self._hoped: dict[bytes, Asked] = {}
        self._peers: dict[Peer, None] = {}
        self._confirmations: dict[Peer, Confirmations] = {}
        self.begun = self.repeated = self.failed = 0   # requests since the start

    # --- requests

    def request(self, peer: Peer, actions: tuple[Action, ...] | str, now: float, hoped: str = "") -> int:
        tid = self._new_id()
        written = actions if isinstance(actions, str) else write_actions(actions)
        self.begun += 1
        if peer not in self._peers:
            self._remember(peer)
        confirmations = self._confirmations.get(peer)
        if confirmations is not None and confirmations.tids:
            data = self._with_confirmation(tid, written, confirmations)
        else:
            data = self._outbox.encode_request(tid, written, peer)
        reply = write_reply(tid, hoped).encode() if hoped else b""
        asked = self._asked[tid] = Asked(tid, peer, written, data, self.timers.repeat, reply)
        if reply:
            self._hoped[reply] = asked
        if len(data) > PATH_DATAGRAM and len(data) > most_octets(peer):
            self._fail(asked, f"the request has {len(data)} octets, which no {_carrier(peer)} holds")
            return tid
        asked.deadline = now + self.timers.t_max
        self._send(asked, now)
        return tid

    def redirect(self, tid: int, peer: Peer, now: float) -> None:
        """Ask at another address of the same entity, which knows what it executed already by its TransactionID."""
        asked = self._asked.get(tid)
        if asked is None or asked.peer == peer:
            return
        asked.peer = peer
        asked.data = self._outbox.encode_request(tid, asked.actions, peer)
        if peer not in self._peers:
            self._remember(peer)
        self._send_anew(asked, now)

    def resend(self, peer: Peer, now: float) -> None:
        """Send everything that waits for `peer` again: the connection that carried it, or would have its replies, broke."""
        for asked in list(self._asked.values()):
            if asked.peer == peer:
                self._send_anew(asked, now)

    def abandon(self, tid: int) -> None:
        asked = self._asked.get(tid)
        if asked is not None:
            self._end(asked)

    def encode_again(self, peer: Peer) -> None:
        """What waits for `peer` goes out in the version that it speaks now."""
        for asked in self._asked.values():
            if asked.peer == peer:
                asked.data = self._outbox.encode_request(asked.tid, asked.actions, peer)

    def waits_for(self, peer: Peer) -> bool:
        """Whether `peer` owes us a reply. That of a stranger is told at once, however much is asked."""
        return peer in self._peers and any(asked.peer == peer for asked in self._asked.values())

    # --- replies

    def hoped_reply_received(self, body: bytes, peer: Peer, now: float) -> bool:
        """Whether that is exactly a reply that was hoped for: then it is taken, without having been read."""
        asked = self._hoped.get(body)
        if asked is None or asked.peer != peer:
            return False
        self._end(asked)
        self._confirm(asked.tid, peer, now)
        self._events.append(ReplyReceived(asked.tid, peer, (), None))
        return True

    def reply_received(self, reply: TransactionReply, peer: Peer, now: float) -> None:
        if reply.id == 0:
            if reply.error is not None and self.waits_for(peer):
                self._events.append(MessageError(peer, reply.error))
            return
        asked = self._asked.get(reply.id)
        if asked is not None and asked.peer == peer:
            self._end(asked)
            self._confirm(reply.id, peer, now)
            self._events.append(ReplyReceived(reply.id, peer, reply.actions, reply.error))
        if reply.immediate_ack_required and peer in self._peers:  # a repeated one too: the first confirmation may be lost
            confirmations = self._confirmations_for(peer)
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
        repeats = asked.deadline if isinstance(peer, ConnectionPeer) else now + asked.interval
        self._agenda.schedule(asked, min(repeats, asked.deadline))

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
        if confirmations.tids:
            confirmation = TransactionAck(confirmations.take())
            self._outbox.put(self._encode((confirmation,), confirmations.peer), confirmations.peer)

    # --- within

    def _new_id(self) -> int:
        while True:
            tid = self._id_prefix | self._next_id
            self._next_id = self._next_id + 1 & self._id_mask or 1
            if tid not in self._asked:
                return tid

    def _with_confirmation(self, tid: int, actions: str, confirmations: Confirmations) -> bytes:
        """The request, with what is to be confirmed in front of it where both fit in a datagram of the path."""
        confirmed, peer = confirmations.take(), confirmations.peer
        together = self._outbox.encode_request(tid, actions, peer, confirmed)
        if len(together) <= PATH_DATAGRAM:
            return together
        self._outbox.put(self._encode((TransactionAck(confirmed),), peer), peer)
        return self._outbox.encode_request(tid, actions, peer)

    def _send_anew(self, asked: Asked, now: float) -> None:
        asked.interval = self.timers.repeat
        self.repeated += 1
        self._send(asked, now)

    def _send(self, asked: Asked, now: float) -> None:
        """A connection loses nothing while it stands: there only the deadline counts (RFC 3525 Annex D.2.3)."""
        asked.sends += 1
        self._outbox.output.append((asked.data, asked.peer))
        if isinstance(asked.peer, ConnectionPeer):
            self._agenda.schedule(asked, asked.deadline)
            return
        timers, interval = self.timers, asked.interval
        if interval < timers.repeat_max:
            asked.interval = min(2 * interval, timers.repeat_max)
        spread = (asked.tid * 2654435761 & 0xFFFF) / 0x10000
        when = now + interval * (1 + timers.jitter * spread)
        self._agenda.schedule(asked, when if when < asked.deadline else asked.deadline)

    def _end(self, asked: Asked) -> None:
        del self._asked[asked.tid]
        if asked.hoped:
            del self._hoped[asked.hoped]
        asked.due = NEVER

    def _fail(self, asked: Asked, cause: str) -> None:
        self.abandon(asked.tid)
        self.failed += 1
        self._events.append(RequestFailed(asked.tid, asked.peer, cause))

    def _confirm(self, tid: int, peer: Peer, now: float) -> None:
        confirmations = self._confirmations.get(peer) or self._confirmations_for(peer)
        tids = confirmations.tids
        if not tids:
            self._agenda.schedule(confirmations, now + self.timers.ack_delay)
        tids.append(tid)
        if len(tids) >= MAX_ACKS:
            self.flush(confirmations)

    def _confirmations_for(self, peer: Peer) -> Confirmations:
        confirmations = self._confirmations.get(peer)
        if confirmations is None:
            if len(self._confirmations) >= MAX_ASKED_PEERS:
                del self._confirmations[next(iter(self._confirmations))]  # what it still holds goes out when it is due
            confirmations = self._confirmations[peer] = Confirmations(peer)
        return confirmations

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
