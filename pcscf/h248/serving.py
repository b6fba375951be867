"""The requests of others: executed at most once, however often they come (RFC 3525 Annex D.1.1, D.1.4).

What a peer asked is remembered under its mId, its host and the TransactionID. The port may change between a request and its
duplicate; nobody else can spoil what is remembered by using another's mId.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from pcscf.h248.agenda import NEVER, Agenda, H248Timers, Outbox, Timed, most_octets
from pcscf.h248.events import Event, RequestHandle, RequestReceived
from pcscf.h248.message import (
    Action,
    CommandName,
    ErrorDescriptor,
    Message,
    Services,
    TransactionPending,
    TransactionReply,
    TransactionRequest,
    same_name,
)
from pcscf.h248.peer import ConnectionPeer, Peer

MAX_STORED: Final = 100_000
"""Transactions remembered for one entity; the oldest is forgotten beyond."""
MAX_ENTITIES: Final = 1024
"""Entities whose transactions are remembered; the one that was heard first is forgotten beyond."""
_SERVICE_CHANGE: Final = CommandName.SERVICE_CHANGE

_Entity: TypeAlias = tuple[str, str]
"""The mId in lower case and the host."""


class Served(Timed):
    """A request of a peer. `data`: the stored reply; b"" while it executes and again once the reply is confirmed.

    peer: where it came from last, and where the reply goes.
    """

    __slots__ = ("acked", "data", "expires", "handle", "interval", "peer", "pendings", "repeat_until", "restart")

    def __init__(self, handle: RequestHandle, expires: float, restart: int) -> None:
        self.due = NEVER
        self.handle = handle
        self.peer = handle.peer
        self.expires = expires
        self.restart = restart
        self.data = b""
        self.acked = False
        self.pendings = 0
        self.repeat_until = 0.0
        self.interval = 0.0


class Serving:
    def __init__(self, timers: H248Timers, agenda: Agenda, outbox: Outbox, events: list[Event]) -> None:
        self.timers = timers
        self._agenda = agenda
        self._outbox = outbox
        self._events = events
        self._served: dict[_Entity, dict[int, Served]] = {}
        self.begun = self.repeated = 0   # requests that came, and those that came again, since the start

    # --- requests and replies

    def request_received(self, request: TransactionRequest, message: Message, peer: Peer, now: float) -> None:
        mid = message.mid.lower()
        restart = _restart(request.actions)
        of_entity = self._served.get((mid, peer[0]))
        known = of_entity.get(request.id) if of_entity is not None else None
        if known is not None and known.restart == restart:
            self.repeated += 1
            self._repeat(known, peer, now)
            return
        self.begun += 1
        if restart:
            self._forget((mid, peer[0]))
        handle = RequestHandle(peer, mid, request.id, message.version)
        served = Served(handle, now + self.timers.long_timer, restart)
        self._store(served)
        self._agenda.schedule(served, min(now + self.timers.provisional, served.expires))
        self._events.append(RequestReceived(handle, message.mid, peer, request.actions))

    def reply(self, handle: RequestHandle, answer: tuple[Action, ...] | ErrorDescriptor, now: float) -> None:
        served = self._served.get((handle.mid, handle.peer[0]), {}).get(handle.tid)
        if served is None or served.handle is not handle or served.data or served.acked:
            return
        after_pending = served.pendings > 0
        data = self._outbox.encode((reply_to(handle.tid, answer, immediate=after_pending),), handle.version)
        if len(data) > most_octets(served.peer):
            too_large = ErrorDescriptor(533, "Response Exceeds Maximum Transport PDU Size")
            data = self._outbox.encode((reply_to(handle.tid, too_large, immediate=after_pending),), handle.version)
        served.data = data
        served.expires = now + self.timers.long_timer
        self._outbox.put(data, served.peer)
        if after_pending and not isinstance(served.peer, ConnectionPeer):
            served.repeat_until = now + self.timers.t_max
            served.interval = self.timers.repeat
            self._agenda.schedule(served, now + served.interval)
        else:
            self._agenda.schedule(served, served.expires)

    def confirmed(self, ranges: tuple[tuple[int, int], ...], mid: str, peer: Peer) -> None:
        """Drop the confirmed replies; their ids stay, so that a late duplicate is still not executed (Annex D.1.2)."""
        of_entity = self._served.get((mid.lower(), peer[0]), {})
        for first, last in ranges:
            confirmed = range(first, last + 1) if last - first < len(of_entity) else (t for t in of_entity if first <= t <= last)
            for tid in confirmed:
                served = of_entity.get(tid)
                if served is not None and served.data:
                    served.data = b""
                    served.acked = True
                    if served.repeat_until:
                        self._agenda.schedule(served, served.expires)

    # --- timers

    def due(self, served: Served, now: float) -> None:
        if now >= served.expires:
            self._forget_one(served)
        elif not served.data and not served.acked:
            if not served.pendings:
                self._send_pending(served, now)
            self._agenda.schedule(served, served.expires)
        elif now < served.repeat_until:
            self._outbox.put(served.data, served.peer)
            served.interval = min(2 * served.interval, self.timers.repeat_max)
            self._agenda.schedule(served, now + served.interval)
        else:
            self._agenda.schedule(served, served.expires)

    # --- within

    def _repeat(self, served: Served, peer: Peer, now: float) -> None:
        """Answer a duplicate: with the stored reply, with Pending while it executes, not at all once the reply was confirmed."""
        served.peer = peer  # by another connection, perhaps: the one of before is gone then, and with it the way of the reply
        if served.acked:
            return
        if served.data:
            self._outbox.put(served.data, peer)
        elif served.pendings < self.timers.pending_limit:
            self._send_pending(served, now)
        else:
            self.reply(served.handle, ErrorDescriptor(506, "Number of TransactionPendings Exceeded"), now)

    def _send_pending(self, served: Served, now: float) -> None:
        """The peer goes on asking from here on, and so its duplicates have to be known for longer."""
        served.pendings += 1
        served.expires = now + self.timers.long_timer
        pending = TransactionPending(served.handle.tid)
        self._outbox.put(self._outbox.encode((pending,), served.handle.version), served.peer)

    def _store(self, served: Served) -> None:
        entity = (served.handle.mid, served.handle.peer[0])
        of_entity = self._served.get(entity)
        if of_entity is None:
            if len(self._served) >= MAX_ENTITIES:
                self._forget(next(iter(self._served)))
            of_entity = self._served[entity] = {}
        elif len(of_entity) >= MAX_STORED:
            of_entity.pop(next(iter(of_entity))).due = NEVER
        of_entity[served.handle.tid] = served

    def _forget(self, entity: _Entity) -> None:
        for served in self._served.pop(entity, {}).values():
            served.due = NEVER

    def _forget_one(self, served: Served) -> None:
        entity = (served.handle.mid, served.handle.peer[0])
        of_entity = self._served[entity]
        del of_entity[served.handle.tid]
        if not of_entity:
            del self._served[entity]


def reply_to(tid: int, answer: tuple[Action, ...] | ErrorDescriptor, *, immediate: bool = False) -> TransactionReply:
    """`immediate`: the reply asks to be confirmed at once."""
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
