"""H.248 transactions (RFC 3525 §8.2, Annex D.1 and D.2), for controller and gateway, any number of peers.

A machine without I/O. It repeats requests until they are answered, executes a request at most once and repeats its stored
reply, tells with Pending that an execution takes longer, and confirms replies so that the other side may forget them. Over a
connection nothing is repeated, but everything else holds.

A peer is a transport address. A reply goes to the address its request came from, and is accepted only from the address the
request went to. What somebody asks who may not ask is refused and leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from pcscf.errors import H248SyntaxError
from pcscf.h248.agenda import MAX_DATAGRAM, NEVER, Agenda, H248Timers, Outbox
from pcscf.h248.asking import Asked, Asking, Confirmations
from pcscf.h248.codec import decode_untrusted
from pcscf.h248.events import (
    Event,
    MessageError,
    ReplyReceived,
    RequestFailed,
    RequestHandle,
    RequestReceived,
    StrangerRefused,
    SyntaxRefused,
)
from pcscf.h248.message import Action, ErrorDescriptor, TransactionAck, TransactionReply, TransactionRequest
from pcscf.h248.peer import Peer
from pcscf.h248.serving import Served, Serving, reply_to

__all__ = [
    "MAX_DATAGRAM",
    "Event",
    "H248Timers",
    "MessageError",
    "Peer",
    "Refuses",
    "ReplyReceived",
    "RequestFailed",
    "RequestHandle",
    "RequestReceived",
    "StrangerRefused",
    "SyntaxRefused",
    "TransactionMachine",
]

MAX_REFUSED: Final = 1024
"""Peers whose last message-level error is remembered."""
MAX_ERROR_TEXT: Final = 200
ERROR_INTERVAL: Final = 1.0
"""Seconds between two message-level errors to one peer: sides that cannot read each other must not answer error with error."""

Refuses: TypeAlias = Callable[[str, Peer], ErrorDescriptor | None]
"""(mId, peer) -> the error for an entity that may not ask us anything; None for one that may."""


class TransactionCounts(NamedTuple):
    """Since the start: requests of ours, how often one went out again, and those without reply; requests of others, and how
    often one came again.
    """

    asked: int
    repeated: int
    unanswered: int
    served: int
    heard_again: int


class TransactionMachine:
    """Both roles of H.248 at one mId.

    `version`: of the header towards peers for which `set_version` said nothing. `first_id`: the TransactionID to begin with (a
    random one keeps a restarted entity's requests from being taken for duplicates). `prefix`, `prefix_bits`: fixed top bits of
    every TransactionID, by which replies find the worker that asked. `refuses`: who may not ask; by default all may.
    """

    def __init__(
        self, mid: str, *, timers: H248Timers, version: int = 2, first_id: int, prefix: int = 0, prefix_bits: int = 0,
        refuses: Refuses | None = None,
    ) -> None:
        self._agenda = Agenda()
        self._outbox = Outbox(mid, version)
        self._events: list[Event] = []
        self._asking = Asking(
            timers, self._agenda, self._outbox, self._events, first_id=first_id, prefix=prefix, prefix_bits=prefix_bits
        )
        self._serving = Serving(timers, self._agenda, self._outbox, self._events)
        self._refuses = refuses
        self._refused: dict[Peer, float] = {}

    # --- what the caller does

    def request(self, peer: Peer, actions: tuple[Action, ...], now: float) -> int:
        """Send a request; the TransactionID. It ends with ReplyReceived or RequestFailed, unless it is abandoned."""
        return self._asking.request(peer, actions, now)

    def redirect(self, tid: int, peer: Peer, now: float) -> None:
        """Send a request that waits to another address of the same entity, where it is known by its TransactionID."""
        self._asking.redirect(tid, peer, now)

    def resend(self, peer: Peer, now: float) -> None:
        """Send what waits for `peer` once more: there is a new connection, and what the old one carried may be lost."""
        self._asking.resend(peer, now)

    def reply(self, handle: RequestHandle, answer: tuple[Action, ...] | ErrorDescriptor, now: float) -> None:
        """Answer a received request once; a second answer, or one that comes after LONG-TIMER, changes nothing."""
        self._serving.reply(handle, answer, now)

    def abandon(self, tid: int) -> None:
        """Stop asking; a reply that still comes is ignored."""
        self._asking.abandon(tid)

    def set_version(self, peer: Peer, version: int) -> None:
        """Write this version in the headers towards `peer` from now on, repeated requests included (RFC 3525 §11.3)."""
        if self._outbox.set_version(peer, version):
            self._asking.encode_again(peer)

    def set_timers(self, asking: H248Timers, serving: H248Timers) -> None:
        """Other timers from now on: for what we ask, and for what others ask."""
        self._asking.timers = asking
        self._serving.timers = serving

    def receive(self, data: bytes, peer: Peer, now: float) -> None:
        """One message. Never raises: what cannot be read is answered with an error and reported."""
        try:
            message = decode_untrusted(data)
        except H248SyntaxError as error:
            self._refuse(error, peer, now)
            return
        if message.error is not None:
            if self._asking.waits_for(peer):
                self._events.append(MessageError(peer, message.error))
            return
        for transaction in message.transactions:
            if isinstance(transaction, TransactionReply):
                self._asking.reply_received(transaction, peer, now)
            elif isinstance(transaction, TransactionRequest):
                refused = self._refuses(message.mid, peer) if self._refuses is not None else None
                if refused is None:
                    self._serving.request_received(transaction, message, peer, now)
                else:
                    self._outbox.put(self._outbox.encode((reply_to(transaction.id, refused),), message.version), peer)
                    self._events.append(StrangerRefused(peer, message.mid, refused))
            elif isinstance(transaction, TransactionAck):
                self._serving.confirmed(transaction.ranges, message.mid, peer)
            else:
                self._asking.pending_received(transaction.id, peer, now)

    def handle_timer(self, now: float) -> None:
        """Do what is due at `now`."""
        while (timed := self._agenda.take_due(now)) is not None:
            if isinstance(timed, Asked):
                self._asking.due(timed, now)
            elif isinstance(timed, Served):
                self._serving.due(timed, now)
            elif isinstance(timed, Confirmations):
                self._asking.flush(timed)

    @property
    def soonest(self) -> float:
        """`handle_timer` has nothing to do before, as far as can be told at a glance."""
        return self._agenda.soonest

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do; None while it has not."""
        return self._agenda.next()

    @property
    def counts(self) -> TransactionCounts:
        asking, serving = self._asking, self._serving
        return TransactionCounts(asking.begun, asking.repeated, asking.failed, serving.begun, serving.repeated)

    def take_output(self) -> list[tuple[bytes, Peer]]:
        """The messages to send, and where."""
        return self._outbox.take()

    def take_events(self) -> list[Event]:
        """What happened since the last call."""
        events = self._events[:]
        self._events.clear()
        return events

    # --- common

    def _refuse(self, error: H248SyntaxError, peer: Peer, now: float) -> None:
        """Tell the peer what could not be read; a reply that could not be read is not answered (RFC 3525 §8.2.2)."""
        self._events.append(SyntaxRefused(peer, error))
        if error.in_reply:
            return
        descriptor = ErrorDescriptor(error.code, error.what[:MAX_ERROR_TEXT])
        if error.transaction_id:
            reply = reply_to(error.transaction_id, descriptor)
            self._outbox.put(self._outbox.encode((reply,), self._outbox.version_of(peer)), peer)
        elif now - self._refused.get(peer, -NEVER) >= ERROR_INTERVAL:
            if len(self._refused) >= MAX_REFUSED:
                self._refused.clear()
            self._refused[peer] = now
            self._outbox.refuse(descriptor, peer)
