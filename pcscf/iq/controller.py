"""The controller side of Iq as one machine: operations of sessions in, H.248 messages out, typed events back.

It joins the transaction machine, the association table and the procedures, and keeps the promises of the media port:

- every operation ends, at its deadline at the latest;
- a reservation that one gateway refuses or leaves unanswered is tried at the others;
- a reply that comes after its operation was given up is answered by a Subtract of what it reserved;
- what a failed reservation left behind is subtracted;
- a release goes on until the gateway confirmed it, or restarted, or is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pcscf.errors import GatewayUnavailable, InternalFailure, SipError
from pcscf.h248.agenda import Alarm
from pcscf.h248.message import Action, ErrorDescriptor
from pcscf.h248.transaction import (
    H248Timers,
    MessageError,
    ReplyReceived,
    RequestFailed,
    RequestReceived,
    StrangerRefused,
    SyntaxRefused,
    TransactionCounts,
    TransactionMachine,
)
from pcscf.iq import inventory, procedures, root
from pcscf.iq.asking import Asking
from pcscf.iq.association import Admits, Association, Gateway, Heartbeat, Peer, Traits
from pcscf.iq.clearing import Clearing
from pcscf.iq.media import Media
from pcscf.iq.notifications import BearerReleased, Connected
from pcscf.iq.operations import (
    Advice,
    Asked,
    Audit,
    Configure,
    Done,
    Established,
    Event,
    HandOff,
    Inventory,
    Limits,
    Purpose,
    Release,
    Released,
    Reserve,
    RollCall,
    Stopped,
)
from pcscf.iq.overload import Urgency
from pcscf.iq.placing import Placing
from pcscf.iq.procedures import Realms
from pcscf.iq.replies import (
    GONE,
    UNAUTHORISED,
    contexts_in,
    error_in,
    read_configured_untrusted,
    read_reserved_untrusted,
    sip_error,
)
from pcscf.iq.requests import NOT_REGISTERED, answer_untrusted
from pcscf.iq.selection import needs_of
from pcscf.iq.start import following
from pcscf.iq.states import Change, Leaving, Lost, Restarted, Resumed
from pcscf.iq.status import GatewayStatus, status_of
from pcscf.iq.supervision import DEFAULT_SUPERVISION, Supervision, watch_root
from pcscf.iq.templates import Requests
from pcscf.mediasec.model import MediaPlan

__all__ = ["Controller", "Limits"]

CALL_PAUSE: Final = 5.0
"""Seconds between two calls to register for one address, and how many addresses are called in that time."""
MAX_CALLED: Final = 64
_NEVER: Final = float("inf")


class Controller:
    """`mid`: our mId. `admits(mid, address)`: who may register. Operations count from 1 and end with an event.

    alarm: before that nothing is due; `next_timer` looks closer, and sets it.
    """

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
        supervision: Supervision = DEFAULT_SUPERVISION,
        traits: Mapping[str, Traits] | None = None,
    ) -> None:
        self.mid = mid
        self._realms = realms
        self._limits = limits
        self._silence = heartbeat.silence
        self._supervision = supervision
        self._requests = Requests(supervision)
        self.alarm = Alarm()
        self.association = Association(
            admits, heartbeat=heartbeat, profiles=limits.profiles, traits=traits, alarm=self.alarm)
        self._machine = TransactionMachine(
            mid, timers=timers, first_id=first_id, refuses=self.association.refuses, alarm=self.alarm)
        self._asking = Asking(self._machine, limits.deadline, self.alarm)
        self._clearing = Clearing(self.association, self._asking, self._requests, self.alarm, settle=limits.deadline)
        self._placing = Placing(self.association, self._asking, limits, self.alarm)
        self._called: dict[Peer, float] = {}

    # --- operations of sessions --------------------------------------------------------------------------------------

    def reserve(
        self, plan: MediaPlan, now: float, realms: Realms | None = None, urgency: Urgency = Urgency.NORMAL
    ) -> int:
        """Both terminations of a new context; Done carries its Media. Raises ValueError: no line needs a gateway."""
        realms = realms or self._realms
        actions, _ = self._requests.reserve(plan, realms, urgency)
        operation = self._asking.begin()
        self._placing.reserve(operation, Reserve(plan, actions, needs_of(plan, realms), urgency), None, now)
        return operation

    def configure(self, media: Media, plan: MediaPlan, now: float) -> int:
        """What offer and answer settled. After Failed the context still stands: release it."""
        operation = self._asking.begin()
        gateway = self._gateway_with(media, operation)
        if gateway is None:
            return operation
        actions, hoped = self._requests.configure(media, plan)
        if actions:
            self._asking.ask(gateway, actions, Configure(media, plan), operation, now, hoped)
        else:
            self._asking.done(Done(operation, media))
        return operation

    def _gateway_with(self, media: Media, operation: int) -> Gateway | None:
        """The gateway that has this context; None: it no longer does, and the operation has failed."""
        gateway = self.association.gateway(media.gateway)
        if gateway is not None and media.context in gateway.contexts:
            return gateway
        self._asking.fail(operation, GatewayUnavailable(f"gateway {media.gateway} no longer has context {media.context}"))
        return None

    def begin_tcp(self, media: Media, plan: MediaPlan, up: Connected, now: float) -> int:
        """A connection is up: the gateway shall make the one that waited for it, if any. Done carries the Media after it."""
        ordered = following(media, plan, up)
        operation = self._asking.begin()
        if ordered is None:
            self._asking.done(Done(operation, media))
        elif (gateway := self._gateway_with(media, operation)) is not None:
            actions = procedures.begin_tcp(media, plan, ordered, self._supervision)
            self._asking.ask(gateway, actions, Configure(media, plan, ordered), operation, now)
        return operation

    def begin_tls(self, mid: str, connected: Connected, now: float) -> int:
        """The gateway shall begin TLS on a connection that is up."""
        actions = procedures.begin_tls(connected.context, connected.termination, connected.stream)
        return self._ask_one(mid, actions, Advice(), now)

    def release(self, media: Media, now: float) -> int:
        """Give the context back. Done comes with the confirmation, or at the deadline while the release goes on."""
        operation = self._asking.begin()
        gateway = self.association.gateway(media.gateway)
        if gateway is None or gateway.contexts.pop(media.context, None) is None:
            self._asking.done(Done(operation))
        else:
            self._clearing.release(gateway, Release(media.context), operation, now)
        return operation

    def abandon(self, operation: int) -> None:
        """Nobody waits any more. The request goes on, so that its reply tells what there is to subtract."""
        self._placing.abandon(operation)
        self._asking.abandon(operation)

    def adopt(self, media: Media) -> None:
        """A session of before (from a store) owns this context: an audit or a heartbeat shall find it known."""
        terminations = (media.access_termination, media.core_termination)
        self.association.adopt(media.gateway, media.context, terminations)

    # --- operations on gateways --------------------------------------------------------------------------------------

    def audit(self, mid: str, now: float) -> int:
        """The contexts that a gateway knows."""
        return self._ask_one(mid, root.audit_contexts(), Audit(frozenset()), now)

    def hand_off(self, mid: str, controller: str, now: float) -> int:
        """Send a gateway to another controller. Done: it goes, and sessions that it still had are lost."""
        gateway = self.association.gateway(mid)
        if gateway is not None:
            self.association.move(gateway, Change.MOVING)
        return self._ask_one(mid, root.hand_off(controller), HandOff(), now)

    def order_registration(self, mid: str, now: float) -> int:
        """A gateway shall register anew, with its contexts (TS 23.334 §8, IMS-ALG Ordered Re-register)."""
        return self._ask_one(mid, root.hand_off(self.mid), Advice(), now)

    def dismiss(self, mid: str, now: float) -> int:
        """Tell a gateway that its controller ends (TS 23.334 §8, IMS-ALG Out of Service)."""
        return self._ask_one(mid, root.out_of_service(), Advice(), now)

    def restore(self, peer: Peer, now: float) -> None:
        """Tell whoever is at a known address that its controller started anew, so that it registers at once."""
        self._machine.request(peer, root.restoration(), now)

    def died(self, mid: str, now: float) -> None:
        """The process of a gateway has ended: nobody needs to wait for its silence."""
        self.association.died(mid)
        self._follow_association(now)

    # --- the machine -------------------------------------------------------------------------------------------------

    def receive(self, data: bytes, peer: Peer, now: float) -> None:
        """One datagram. Never raises for what it carries."""
        self._machine.receive(data, peer, now)
        self._follow(now)

    def handle_timer(self, now: float) -> None:
        self._machine.handle_timer(now)
        self.association.handle_timer(now)
        self._follow(now)
        for gateway in self.association.take_audits():
            self._asking.ask(gateway, root.audit_root(), Advice(), 0, now)
        for gateway in self.association.take_comparisons():
            self._clearing.compare(gateway, now)
        self._placing.handle_timer(now)
        for operation, asked in self._asking.overdue(now):
            self._overdue(operation, asked, now)
        self._asking.handle_timer(now)
        self._clearing.handle_timer(now)

    def next_timer(self) -> float | None:
        times = [self._machine.next_timer(), self.association.next_timer()]
        times += [each.soonest for each in (self._asking, self._clearing, self._placing)]
        self.alarm.at = min([time for time in times if time is not None])
        return self.alarm.at if self.alarm.at < _NEVER else None

    def status(self, now: float) -> list[GatewayStatus]:
        """How the gateways are."""
        return status_of(self.association, self._asking.by_gateway(), now)

    @property
    def counts(self) -> TransactionCounts:
        """Of all transactions since the start."""
        return self._machine.counts

    def take_output(self) -> list[tuple[bytes, Peer]]:
        return self._machine.take_output()

    def take_events(self) -> list[Event]:
        if not self._asking.events:
            return []
        events, self._asking.events = self._asking.events, []
        return events

    def _ask_one(self, mid: str, actions: tuple[Action, ...], purpose: Purpose, now: float) -> int:
        operation = self._asking.begin()
        gateway = self.association.gateway(mid)
        if gateway is None:
            self._asking.fail(operation, GatewayUnavailable(f"gateway {mid} is not registered"))
        else:
            self._asking.ask(gateway, actions, purpose, operation, now)
        return operation

    def _overdue(self, operation: int, asked: Asked, now: float) -> None:
        if isinstance(asked.purpose, Release):
            self._asking.done(Done(operation))
            return
        self._placing.was_unanswered(asked, now)
        what = f"gateway {asked.gateway.mid} did not answer within {self._limits.deadline:g} s"
        self._asking.fail(operation, GatewayUnavailable(what))

    # --- what the transaction machine and the association say --------------------------------------------------------

    def _follow(self, now: float) -> None:
        if self.association.events:
            self._follow_association(now)
        for event in self._machine.take_events():
            if isinstance(event, ReplyReceived):
                asked = self._asking.under_way(event.tid)
                if asked is not None:
                    self._heard_reply(event, asked, now)
            elif isinstance(event, RequestReceived):
                self._serve(event, now)
            elif isinstance(event, SyntaxRefused | StrangerRefused | MessageError):
                self._asking.tell(event)
            elif isinstance(event, RequestFailed):
                asked = self._asking.ended(event.tid)
                if asked is not None:
                    self._unanswered(asked, GatewayUnavailable(f"gateway {asked.gateway.mid}: {event.cause}"), now)

    def _heard_reply(self, event: ReplyReceived, asked: Asked, now: float) -> None:
        self.association.alive(asked.gateway, now)
        refused = event.error or error_in(event.actions)
        if refused is None or refused.code != NOT_REGISTERED or not self._asking.repeat_later(event.tid, asked, now):
            self._asking.ended(event.tid)
            if event.error is not None and event.error.code in UNAUTHORISED:
                self.association.taken(asked.gateway)
            self._replied(asked, event, refused, now)

    def _serve(self, event: RequestReceived, now: float) -> None:
        answer = answer_untrusted(self.association, event.mid, event.peer, event.actions, now)
        self._machine.reply(event.handle, answer.reply, now)
        if answer.gateway is not None:
            mid = answer.gateway.mid
            for said in answer.released:
                if isinstance(said, BearerReleased):
                    answer.gateway.counts[f"released {said.kind or 'bearer'} {said.general}".rstrip()] += 1
                    self._asking.tell(Released(mid, said))
                elif isinstance(said, Connected):
                    self._asking.tell(Established(mid, said))
                else:
                    answer.gateway.counts["media stopped"] += 1
                    self._asking.tell(Stopped(mid, said))
            self._clearing.subtract_unowned(answer.gateway, answer.unowned, now)
        elif answer.is_unregistered:
            self._call(event.peer, now)
        self._follow_association(now)

    def _call(self, peer: Peer, now: float) -> None:
        """Somebody believes in an association that we do not have, one of before our start: it shall register."""
        self._called = {each: at for each, at in self._called.items() if at > now}
        if peer not in self._called and len(self._called) < MAX_CALLED:
            self._called[peer] = now + CALL_PAUSE
            self.restore(peer, now)

    def _follow_association(self, now: float) -> None:
        for event in self.association.take_events():
            if isinstance(event, Lost | Restarted):
                self._forget_requests_to(event.gateway, now)
            gateway = self.association.gateway(event.gateway)
            if gateway is not None and not isinstance(event, Leaving):
                self._asking.ask(gateway, inventory.questions(), Inventory(), 0, now)
                if isinstance(event, Resumed):
                    self._asking.follow(gateway, now)
                    self._clearing.compare(gateway, now)
                self._placing.place_waiting(now)
            self._asking.tell(event)

    def _forget_requests_to(self, mid: str, now: float) -> None:
        """A gateway that is gone, or came anew, has nothing left of what was asked before."""
        self._clearing.forget(mid)
        for asked in self._asking.take_all_of(mid):
            if isinstance(asked.purpose, Reserve):
                asked.purpose.tried.discard(mid)
            self._unanswered(asked, GatewayUnavailable(f"gateway {mid} is lost"), now)

    def _replied(self, asked: Asked, reply: ReplyReceived, refused: ErrorDescriptor | None, now: float) -> None:
        purpose, gateway, actions = asked.purpose, asked.gateway, reply.actions
        if isinstance(purpose, Reserve):
            self._reserved(asked, purpose, actions, reply.error, now)
        elif isinstance(purpose, Configure):
            self._configured(asked, purpose, actions, reply.error)
        elif isinstance(purpose, Release):
            self._clearing.released(gateway, purpose, refused, now)
            self._asking.done(Done(asked.operation))
        elif isinstance(purpose, Audit) and not asked.operation:
            self._clearing.compared(gateway, purpose, actions, refused, now)
        elif isinstance(purpose, RollCall):
            self._clearing.called(gateway, purpose, actions, reply.error, now)
        elif isinstance(purpose, Inventory):
            self._took_inventory(gateway, actions, now)
        elif refused is not None and not (isinstance(purpose, Audit) and refused.code in GONE):
            if isinstance(purpose, HandOff):
                self.association.move(gateway, Change.STAYING)
            self._asking.fail(asked.operation, sip_error(refused, "obey"))
        else:
            if isinstance(purpose, HandOff):
                self.association.move(gateway, Change.MOVED)
            contexts = contexts_in(actions) if refused is None and isinstance(purpose, Audit) else ()
            self._asking.done(Done(asked.operation, contexts=contexts))
        if self.association.events:
            self._follow_association(now)

    def _unanswered(self, asked: Asked, error: GatewayUnavailable, now: float) -> None:
        purpose, gateway = asked.purpose, asked.gateway
        if isinstance(purpose, Release):
            self._clearing.again(gateway, purpose, now)
            self._asking.done(Done(asked.operation))
        elif isinstance(purpose, Reserve):
            if asked.operation:
                self._placing.reserve(asked.operation, purpose, error, now)
            if gateway.is_associated:  # it may have made a context all the same
                self._clearing.compare(gateway, now)
        else:
            if isinstance(purpose, Audit):
                gateway.is_compared = False
            elif isinstance(purpose, Inventory) and gateway.is_associated:
                self._took_inventory(gateway, (), now)
            elif isinstance(purpose, HandOff):
                self.association.move(gateway, Change.STAYING)
            self._asking.fail(asked.operation, error)

    def _took_inventory(self, gateway: Gateway, actions: tuple[Action, ...], now: float) -> None:
        """What the gateway can do is known as far as it told; then it is told what to watch."""
        gateway.packages = inventory.packages_untrusted(actions)
        if gateway.tells_realms:
            gateway.realms = inventory.realms_untrusted(actions)
        watch = watch_root(self._silence, gateway.packages)
        if watch:
            self._asking.ask(gateway, watch, Advice(), 0, now)

    def _reserved(
        self, asked: Asked, wish: Reserve, actions: tuple[Action, ...], error: ErrorDescriptor | None, now: float
    ) -> None:
        gateway = asked.gateway
        if not asked.operation:
            self._clearing.subtract_unowned(gateway, contexts_in(actions), now)
            return
        try:
            if error is not None:
                raise sip_error(error, "reserve")
            media = read_reserved_untrusted(gateway.mid, wish.plan, actions, self._supervision.tcp_start)
            if media.context in gateway.contexts:
                raise InternalFailure(f"gateway {gateway.mid} gave context {media.context} a second time")
        except SipError as failure:
            self._placing.was_refused(gateway, wish, error or error_in(actions), failure, now)
            self._clearing.subtract_unowned(gateway, contexts_in(actions), now)
            self._placing.reserve(asked.operation, wish, failure, now)
        else:
            gateway.contexts[media.context] = (media.access_termination, media.core_termination)
            gateway.counts["reserved"] += 1
            self._asking.done(Done(asked.operation, media))

    def _configured(
        self, asked: Asked, configure: Configure, actions: tuple[Action, ...], error: ErrorDescriptor | None
    ) -> None:
        try:
            if error is not None:
                raise sip_error(error, "configure")
            media = read_configured_untrusted(
                configure.media, configure.plan, actions, self._supervision.tcp_start, configure.ordered)
        except SipError as failure:
            asked.gateway.counts["configure refused"] += 1
            self._asking.fail(asked.operation, failure)
        else:
            self._asking.done(Done(asked.operation, media))

