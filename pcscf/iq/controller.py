"""The controller side of Iq as one machine: operations of sessions in, H.248 datagrams out, typed events back.

It joins the transaction machine, the association table and the procedures, and keeps the promises of the media port:

- every operation ends, at its deadline at the latest;
- a reply that comes after its operation was given up is answered by a Subtract of what it reserved;
- what a failed reservation left behind is subtracted;
- a release goes on until the gateway confirmed it, or restarted, or is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Final

from pcscf.errors import GatewayUnavailable, InternalFailure, SipError
from pcscf.h248.message import Action, ErrorDescriptor
from pcscf.h248.transaction import (
    H248Timers,
    MessageError,
    ReplyReceived,
    RequestFailed,
    RequestReceived,
    StrangerRefused,
    SyntaxRefused,
    TransactionMachine,
)
from pcscf.iq import procedures
from pcscf.iq.association import (
    BUSY_PAUSE,
    Admits,
    Association,
    Gateway,
    Heartbeat,
    Leaving,
    Lost,
    Peer,
    Restarted,
    Resumed,
)
from pcscf.iq.media import Media
from pcscf.iq.notifications import BearerReleased
from pcscf.iq.operations import (
    RELEASE_PAUSE,
    RELEASE_PAUSE_MAX,
    Advice,
    Asked,
    Audit,
    Configure,
    Done,
    Event,
    Failed,
    Limits,
    Purpose,
    Release,
    Released,
    Reserve,
)
from pcscf.iq.procedures import Realms
from pcscf.iq.replies import (
    GONE,
    contexts_in,
    error_in,
    read_configured_untrusted,
    read_reserved_untrusted,
    sip_error,
)
from pcscf.iq.requests import answer_untrusted
from pcscf.mediasec.model import MediaPlan

__all__ = ["Controller", "Limits"]

GATEWAY_SILENCE: Final = 30.0
"""Seconds without a message from here after which a gateway shall ask (the profile's inactivity timer)."""
NOT_REGISTERED: Final = 505
"""The error of a gateway that has not seen the reply to its registration yet: a datagram overtook another."""
REGISTRATION_PAUSE: Final = 0.05
"""Seconds before such a request is repeated; doubles each time, REGISTRATION_REPEATS times."""
REGISTRATION_REPEATS: Final = 5


class Controller:
    """`mid`: our mId. `admits(mid, address)`: who may register. Operations count from 1 and end with an event."""

    def __init__(
        self,
        mid: str,
        *,
        admits: Admits,
        realms: Realms,
        timers: H248Timers,
        heartbeat: Heartbeat,
        limits: Limits,
        first_id: int,
    ) -> None:
        self._realms = realms
        self._limits = limits
        self.association = Association(admits, heartbeat=heartbeat, profiles=limits.profiles)
        self._machine = TransactionMachine(mid, timers=timers, first_id=first_id, refuses=self.association.refuses)
        self._asked: dict[int, Asked] = {}
        self._transaction_of: dict[int, int] = {}
        self._deadlines: deque[tuple[float, int]] = deque()  # all operations have the same time: in order
        self._subtract_later: list[tuple[float, str, int, float]] = []
        self._repeats: list[tuple[float, int]] = []
        self._last_operation = 0
        self._events: list[Event] = []

    # --- operations --------------------------------------------------------------------------------------------------

    def reserve(self, plan: MediaPlan, now: float, realms: Realms | None = None) -> int:
        """Both terminations of a new context; Done carries its Media. Raises ValueError: no line needs a gateway."""
        wish = Reserve(plan, realms or self._realms)
        actions = procedures.reserve(plan, wish.realms)
        operation = self._begin(now)
        self._reserve(operation, wish, actions, "no gateway is registered", now)
        return operation

    def configure(self, media: Media, plan: MediaPlan, now: float) -> int:
        """What offer and answer settled. After Failed the context still stands: release it."""
        operation = self._begin(now)
        gateway = self.association.gateway(media.gateway)
        if gateway is None or media.context not in gateway.contexts:
            self._fail(operation, GatewayUnavailable(f"gateway {media.gateway} no longer has context {media.context}"))
            return operation
        actions = procedures.configure(media, plan)
        if actions:
            self._ask(gateway, actions, Configure(media, plan), operation, now)
        else:
            self._done(Done(operation, media))
        return operation

    def release(self, media: Media, now: float) -> int:
        """Give the context back. Done comes with the confirmation, or at the deadline while the release goes on."""
        operation = self._begin(now)
        gateway = self.association.gateway(media.gateway)
        if gateway is None or gateway.contexts.pop(media.context, None) is None:
            self._done(Done(operation))
        else:
            self._release(gateway, Release(media.context), operation, now)
        return operation

    def audit(self, mid: str, now: float) -> int:
        """The contexts that a gateway knows."""
        operation = self._begin(now)
        gateway = self.association.gateway(mid)
        if gateway is None:
            self._fail(operation, GatewayUnavailable(f"gateway {mid} is not registered"))
        else:
            self._ask(gateway, procedures.audit_contexts(), Audit(frozenset()), operation, now)
        return operation

    def abandon(self, operation: int) -> None:
        """Nobody waits any more. The request goes on, so that its reply tells what there is to subtract."""
        transaction = self._transaction_of.pop(operation, None)
        if transaction is not None:
            self._asked[transaction].operation = 0

    def adopt(self, media: Media) -> None:
        """A session of before (from a store) owns this context: an audit or a heartbeat shall find it known."""
        terminations = (media.access_termination, media.core_termination)
        self.association.adopt(media.gateway, media.context, terminations)

    def restore(self, peer: Peer, now: float) -> None:
        """Tell a gateway at a known address that its controller started anew, so that it registers at once."""
        self._machine.request(peer, procedures.restoration(), now)

    # --- the machine -------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, peer: Peer, now: float) -> None:
        """One datagram. Never raises for what it carries."""
        self._machine.receive(data, peer, now)
        self._follow(now)

    def is_due_before(self, at: float) -> bool:
        """Whether `handle_timer` may have something to do before `at`; a glance, where `next_timer` looks."""
        return (
            self._machine.soonest < at
            or self.association.soonest < at
            or bool(self._deadlines and self._deadlines[0][0] < at)
            or bool(self._subtract_later and self._subtract_later[0][0] < at)
            or bool(self._repeats and self._repeats[0][0] < at)
        )

    def handle_timer(self, now: float) -> None:
        self._machine.handle_timer(now)
        self.association.handle_timer(now)
        self._follow(now)
        for gateway in self.association.take_audits():
            self._ask(gateway, procedures.audit_root(), Advice(), 0, now)
        while self._deadlines and self._deadlines[0][0] <= now:
            self._deadline_over(self._deadlines.popleft()[1])
        while self._repeats and self._repeats[0][0] <= now:
            self._ask_again(heappop(self._repeats)[1], now)
        while self._subtract_later and self._subtract_later[0][0] <= now:
            _, mid, context, pause = heappop(self._subtract_later)
            found = self.association.gateway(mid)
            if found is not None:
                self._subtract_unowned(found, (context,), now, pause)

    def next_timer(self) -> float | None:
        while self._deadlines and self._deadlines[0][1] not in self._transaction_of:
            self._deadlines.popleft()
        times = [self._machine.next_timer(), self.association.next_timer()]
        if self._deadlines:
            times.append(self._deadlines[0][0])
        if self._subtract_later:
            times.append(self._subtract_later[0][0])
        if self._repeats:
            times.append(self._repeats[0][0])
        return min((time for time in times if time is not None), default=None)

    def take_output(self) -> list[tuple[bytes, Peer]]:
        return self._machine.take_output()

    def take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    # --- operations and their ends -----------------------------------------------------------------------------------

    def _begin(self, now: float) -> int:
        self._last_operation = operation = self._last_operation + 1
        self._deadlines.append((now + self._limits.deadline, operation))
        return operation

    def _ask(
        self, gateway: Gateway, actions: tuple[Action, ...], purpose: Purpose, operation: int, now: float
    ) -> None:
        transaction = self._machine.request(gateway.peer, actions, now)
        self._asked[transaction] = Asked(gateway, actions, purpose, operation)
        if operation:
            self._transaction_of[operation] = transaction

    def _ask_later(self, transaction: int, asked: Asked, now: float) -> None:
        """Leave the transaction as it is, for `_ask_again` or its deadline."""
        self._asked[transaction] = asked
        heappush(self._repeats, (now + REGISTRATION_PAUSE * 2.0**asked.repeats, transaction))
        asked.repeats += 1

    def _ask_again(self, transaction: int, now: float) -> None:
        asked = self._asked.pop(transaction, None)
        if asked is None or (isinstance(asked.purpose, Reserve | Configure) and not asked.operation):
            return
        again = self._machine.request(asked.gateway.peer, asked.actions, now)
        self._asked[again] = asked
        if asked.operation:
            self._transaction_of[asked.operation] = again

    def _done(self, done: Done) -> None:
        self._transaction_of.pop(done.operation, None)
        if done.operation:
            self._events.append(done)

    def _fail(self, operation: int, error: SipError) -> None:
        self._transaction_of.pop(operation, None)
        if operation:
            self._events.append(Failed(operation, error))

    def _deadline_over(self, operation: int) -> None:
        transaction = self._transaction_of.get(operation)
        if transaction is None:
            return
        asked = self._asked[transaction]
        asked.operation = 0
        if isinstance(asked.purpose, Release):
            self._done(Done(operation))
        else:
            what = f"gateway {asked.gateway.mid} did not answer within {self._limits.deadline:g} s"
            self._fail(operation, GatewayUnavailable(what))

    def _reserve(self, operation: int, wish: Reserve, actions: tuple[Action, ...], why_not: str, now: float) -> None:
        """Ask the best gateway that was not asked yet."""
        for gateway in self.association.candidates(now):
            if gateway.mid not in wish.tried:
                wish.tried.add(gateway.mid)
                self._ask(gateway, actions, wish, operation, now)
                return
        self._fail(operation, GatewayUnavailable(why_not))

    def _release(self, gateway: Gateway, release: Release, operation: int, now: float) -> None:
        gateway.releasing.add(release.context)
        self._ask(gateway, procedures.release(release.context), release, operation, now)

    def _release_later(self, gateway: Gateway, release: Release, now: float) -> None:
        gateway.releasing.discard(release.context)
        pause = min(2 * release.pause, RELEASE_PAUSE_MAX)
        heappush(self._subtract_later, (now + release.pause, gateway.mid, release.context, pause))

    def _subtract_unowned(
        self, gateway: Gateway, contexts: Iterable[int], now: float, pause: float = RELEASE_PAUSE
    ) -> None:
        """Give back those of `contexts` that no session owns and no release is under way for."""
        for context in contexts:
            if context not in gateway.contexts and context not in gateway.releasing:
                self._release(gateway, Release(context, pause), 0, now)

    def _compare(self, gateway: Gateway, now: float) -> None:
        """Find out which contexts of the gateway nobody owns, and which of ours it does not have."""
        if not gateway.is_compared:
            gateway.is_compared = True
            self._ask(gateway, procedures.audit_contexts(), Audit(frozenset(gateway.contexts)), 0, now)

    # --- what the transaction machine and the association say --------------------------------------------------------

    def _follow(self, now: float) -> None:
        self._follow_association(now)
        for event in self._machine.take_events():
            if isinstance(event, ReplyReceived):
                asked = self._asked.pop(event.tid, None)
                if asked is not None:
                    self.association.alive(asked.gateway, now)
                    refused = event.error or error_in(event.actions)
                    if refused is not None and refused.code == NOT_REGISTERED and asked.repeats < REGISTRATION_REPEATS:
                        self._ask_later(event.tid, asked, now)
                    else:
                        self._replied(asked, event.actions, event.error, now)
            elif isinstance(event, RequestReceived):
                self._serve(event, now)
            elif isinstance(event, SyntaxRefused | StrangerRefused | MessageError):
                self._events.append(event)
            elif isinstance(event, RequestFailed):
                asked = self._asked.pop(event.tid, None)
                if asked is not None:
                    self._unanswered(asked, GatewayUnavailable(f"gateway {asked.gateway.mid}: {event.cause}"), now)

    def _serve(self, event: RequestReceived, now: float) -> None:
        answer = answer_untrusted(self.association, event.mid, event.peer, event.actions, now)
        self._machine.reply(event.handle, answer.reply, now)
        if answer.gateway is not None:
            self._events += [Released(answer.gateway.mid, bearer) for bearer in answer.released]
            self._subtract_unowned(answer.gateway, answer.unowned, now)
        self._follow_association(now)

    def _follow_association(self, now: float) -> None:
        for event in self.association.take_events():
            if isinstance(event, Lost | Restarted):
                self._forget_requests_to(event.gateway, now)
            gateway = self.association.gateway(event.gateway)
            if gateway is not None and not isinstance(event, Leaving):
                self._ask(gateway, procedures.watch_controller(GATEWAY_SILENCE), Advice(), 0, now)
                if isinstance(event, Resumed):
                    self._follow_to_its_address(gateway, now)
                    self._compare(gateway, now)
            self._events.append(event)

    def _follow_to_its_address(self, gateway: Gateway, now: float) -> None:
        """What is under way goes on where the gateway is now: over its new connection, say."""
        for transaction, asked in self._asked.items():
            if asked.gateway is gateway:
                self._machine.redirect(transaction, gateway.peer, now)

    def _forget_requests_to(self, mid: str, now: float) -> None:
        """A gateway that is gone, or came anew, has nothing left of what was asked before."""
        self._subtract_later = [entry for entry in self._subtract_later if entry[1] != mid]
        heapify(self._subtract_later)
        for transaction, asked in list(self._asked.items()):
            if asked.gateway.mid == mid:
                del self._asked[transaction]
                self._machine.abandon(transaction)
                if isinstance(asked.purpose, Reserve):
                    asked.purpose.tried.discard(mid)
                self._unanswered(asked, GatewayUnavailable(f"gateway {mid} is lost"), now)

    def _replied(self, asked: Asked, actions: tuple[Action, ...], error: ErrorDescriptor | None, now: float) -> None:
        purpose = asked.purpose
        if isinstance(purpose, Reserve):
            self._reserved(asked, purpose, actions, error, now)
        elif isinstance(purpose, Configure):
            self._configured(asked, purpose, actions, error)
        elif isinstance(purpose, Release):
            self._subtracted(asked, purpose, error or error_in(actions), now)
        elif isinstance(purpose, Audit):
            self._audited(asked, purpose, actions, error, now)

    def _unanswered(self, asked: Asked, error: GatewayUnavailable, now: float) -> None:
        purpose, gateway = asked.purpose, asked.gateway
        if isinstance(purpose, Release):
            if purpose.context in gateway.releasing:
                self._release_later(gateway, purpose, now)
            self._done(Done(asked.operation))
        elif isinstance(purpose, Reserve):
            if asked.operation:
                actions = procedures.reserve(purpose.plan, purpose.realms)
                self._reserve(asked.operation, purpose, actions, error.what, now)
            if gateway.is_associated:  # it may have made a context all the same
                self._compare(gateway, now)
        else:
            if isinstance(purpose, Audit):
                gateway.is_compared = False
            self._fail(asked.operation, error)

    def _reserved(
        self, asked: Asked, wish: Reserve, actions: tuple[Action, ...], error: ErrorDescriptor | None, now: float
    ) -> None:
        gateway = asked.gateway
        if not asked.operation:
            self._subtract_unowned(gateway, contexts_in(actions), now)
            return
        try:
            if error is not None:
                raise sip_error(error, "reserve")
            media = read_reserved_untrusted(gateway.mid, wish.plan, actions)
            if media.context in gateway.contexts:
                raise InternalFailure(f"gateway {gateway.mid} gave context {media.context} a second time")
        except GatewayUnavailable as unavailable:
            gateway.busy_until = now + BUSY_PAUSE
            self._subtract_unowned(gateway, contexts_in(actions), now)
            self._reserve(asked.operation, wish, procedures.reserve(wish.plan, wish.realms), unavailable.what, now)
        except SipError as failure:
            self._subtract_unowned(gateway, contexts_in(actions), now)
            self._fail(asked.operation, failure)
        else:
            gateway.contexts[media.context] = (media.access_termination, media.core_termination)
            self._done(Done(asked.operation, media))

    def _configured(
        self, asked: Asked, configure: Configure, actions: tuple[Action, ...], error: ErrorDescriptor | None
    ) -> None:
        try:
            if error is not None:
                raise sip_error(error, "configure")
            media = read_configured_untrusted(configure.media, configure.plan, actions)
        except SipError as failure:
            self._fail(asked.operation, failure)
        else:
            self._done(Done(asked.operation, media))

    def _subtracted(self, asked: Asked, release: Release, error: ErrorDescriptor | None, now: float) -> None:
        if error is None or error.code in GONE:
            asked.gateway.releasing.discard(release.context)
        else:
            self._release_later(asked.gateway, release, now)
        self._done(Done(asked.operation))

    def _audited(
        self, asked: Asked, audit: Audit, actions: tuple[Action, ...], error: ErrorDescriptor | None, now: float
    ) -> None:
        gateway = asked.gateway
        gateway.is_compared = gateway.is_compared and bool(asked.operation)
        error = error or error_in(actions)
        if error is not None and error.code not in GONE:
            self._fail(asked.operation, sip_error(error, "audit"))
            return
        contexts = contexts_in(actions) if error is None else ()
        if asked.operation:
            self._done(Done(asked.operation, contexts=contexts))
            return
        for context in audit.owned.intersection(gateway.contexts).difference(contexts):
            access, _ = gateway.contexts[context]
            why = "the gateway came back without the context"
            self._events.append(Released(gateway.mid, BearerReleased(context, access, None, "", why)))
        # The reply to a reservation may have been overtaken by this one: whoever owns it will have said so by then.
        for context in contexts:
            if context not in gateway.contexts and context not in gateway.releasing:
                heappush(self._subtract_later, (now + self._limits.deadline, gateway.mid, context, RELEASE_PAUSE))
