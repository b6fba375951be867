"""The controller's view of its gateways: registered, leaving or lost (RFC 3525 §7.2.8, §11; TS 29.334 §5.12).

A machine without I/O. It says which ServiceChange gets which reply, and when a gateway has to be audited. Strangers change
nothing. Which gateway a new session uses is said in `selection`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pcscf.h248.message import ErrorDescriptor, Services
from pcscf.h248.mid import address_of_mid
from pcscf.h248.peer import ConnectionPeer
from pcscf.iq.overload import Throttle
from pcscf.iq.states import (
    REGISTRATIONS,
    TRANSITIONS,
    AssociationEvent,
    Change,
    GatewayState,
    Leaving,
    Left,
    Lost,
    Registered,
    Restarted,
    Resumed,
    Updated,
    change_of,
)

Peer: TypeAlias = tuple[str, int]
Admits: TypeAlias = Callable[[str, str], bool]
"""Whether a gateway with this mId, heard from this address, may register."""

VERSION: Final = 2
"""The version of H.248 that is spoken once an association stands (TS 29.334 §2)."""
MAX_GATEWAYS: Final = 256
MAX_DELAY: Final = 86_400
_NOT_REGISTERED: Final = ErrorDescriptor(505, "Command Received before ServiceChange Reply")
_NEVER: Final = float("inf")
_REGISTERED: Final = GatewayState.REGISTERED
_LEAVING: Final = GatewayState.LEAVING


@dataclass(frozen=True, slots=True)
class Traits:
    """What is configured about a gateway.

    weight  its share of the sessions beside the others
    realms  those it serves, in lower case; None: those it tells, or any
    drains  it gets no new sessions from the start
    """

    weight: int = 1
    realms: frozenset[str] | None = None
    drains: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Seconds of silence before an audit, and how many audits in a row may stay without a sign of life.

    compare: seconds between two comparisons of a gateway's contexts with ours. silence: seconds without a message from here
    after which a gateway shall ask (it/ito, the profile's inactivity timer).
    """

    interval: float = 10.0
    lost_after: int = 3
    compare: float = 300.0
    silence: float = 30.0


@dataclass(slots=True)
class Gateway:
    """One gateway. Times are monotonic seconds.

    contexts       those of our sessions, with their two terminations
    releasing      those whose Subtract is under way
    reserving      how many reservations are under way
    is_compared    an audit of all contexts is under way
    is_suspect     it left something unanswered, and was not heard since
    is_drained     an operator wants no new sessions here, whatever the gateway says
    serves_at      when it begins to serve (a Restart can have a delay)
    realms         those it has, by configuration or, where it `tells_realms`, as it told; None: not known
    without_realms those it refused
    packages       those it told, by their canonical names; None: not known
    counts         what became of what it was asked for, and what it reported, since we know it
    """

    mid: str
    peer: Peer
    state: GatewayState = GatewayState.ABSENT
    weight: int = 1
    realms: frozenset[str] | None = None
    is_drained: bool = False
    audit_at: float = 0.0
    compare_at: float = 0.0
    unanswered: int = 0
    leaves_at: float | None = None
    serves_at: float = 0.0
    busy_until: float = 0.0
    is_suspect: bool = False
    contexts: dict[int, tuple[str, str]] = field(default_factory=dict)
    releasing: set[int] = field(default_factory=set)
    reserving: int = 0
    is_compared: bool = False
    tells_realms: bool = True
    without_realms: set[str] = field(default_factory=set)
    packages: frozenset[str] | None = None
    throttle: Throttle = field(default_factory=Throttle)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def is_associated(self) -> bool:
        return self.state is _REGISTERED or self.state is _LEAVING

    @property
    def load(self) -> int:
        """Sessions that it has or is about to get."""
        return len(self.contexts) + self.reserving

    def begin_anew(self) -> None:
        """A registration: what was observed of the gateway before may be wrong now."""
        self.leaves_at, self.serves_at, self.busy_until, self.is_suspect = None, 0.0, 0.0, False
        self.without_realms, self.throttle = set(), Throttle()


class Association:
    """The table of gateways, by mId in any case.

    profiles   NAME/VERSION accepted, in lower case; empty: any
    traits     what is configured, by mId in lower case
    successor  mId of the controller that gateways are sent to when they register (RFC 3525 §7.2.8); "": they may stay
    """

    def __init__(
        self,
        admits: Admits,
        *,
        heartbeat: Heartbeat,
        profiles: frozenset[str] = frozenset(),
        traits: Mapping[str, Traits] | None = None,
    ) -> None:
        self.successor = ""
        self._admits = admits
        self._heartbeat = heartbeat
        self._profiles = profiles
        self._traits = traits or {}
        self._drained = {mid for mid, each in self._traits.items() if each.drains}
        self._gateways: dict[str, Gateway] = {}
        self._events: list[AssociationEvent] = []
        self._due: list[Gateway] = []
        self._compare: list[Gateway] = []
        self._soonest = _NEVER

    def __iter__(self) -> Iterator[Gateway]:
        return iter(self._gateways.values())

    def gateway(self, mid: str) -> Gateway | None:
        """The associated gateway of that name."""
        gateway = self._gateways.get(mid.lower())
        return gateway if gateway is not None and gateway.is_associated else None

    def refuses(self, mid: str, peer: Peer) -> ErrorDescriptor | None:
        """The error for whoever may not ask us anything: not admitted, or with the name of a gateway that is elsewhere."""
        gateway = self.gateway(mid)
        if not self._admits(mid, peer[0]) or (gateway is not None and gateway.peer[0] != peer[0]):
            return ErrorDescriptor(504, "Command Received from unauthorised entity")
        return None

    def heard(self, mid: str, peer: Peer, now: float) -> Gateway | ErrorDescriptor:
        """A request from that mId and address: the gateway, or the error that a stranger gets."""
        if not self._admits(mid, peer[0]):
            return ErrorDescriptor(504, "Command Received from unauthorised entity")
        gateway = self.gateway(mid)
        if gateway is None or gateway.peer[0] != peer[0]:
            return _NOT_REGISTERED
        self.alive(gateway, now)
        return gateway

    def adopt(self, mid: str, context: int, terminations: tuple[str, str]) -> None:
        """A session of before owns this context. Until its gateway comes back, the gateway counts as lost."""
        key = mid.lower()
        gateway = self._gateways.get(key)
        if gateway is None:
            gateway = self._new(mid, ("", 0))
            gateway.state = GatewayState.LOST
        gateway.contexts[context] = terminations

    def alive(self, gateway: Gateway, now: float) -> None:
        """A sign of life."""
        gateway.unanswered = 0
        gateway.is_suspect = False
        gateway.audit_at = self._wake_by(now + self._heartbeat.interval)

    def suspect(self, gateway: Gateway, now: float) -> None:
        """It left a reservation unanswered: others come first, and an audit asks whether it is still there."""
        gateway.is_suspect = True
        gateway.audit_at = self._wake_by(min(gateway.audit_at, now))

    def died(self, mid: str) -> None:
        """The process of that gateway has ended: nobody needs to wait for its silence."""
        gateway = self._gateways.get(mid.lower())
        if gateway is not None:
            self._apply(gateway, Change.DEATH, "the gateway's process died")

    def taken(self, gateway: Gateway) -> None:
        """It does not obey us: while we were silent it went to another controller, which does not know our sessions."""
        self._apply(gateway, Change.TAKEN, "the gateway has another controller")

    def drain(self, mid: str, *, drained: bool) -> Gateway | None:
        """Give a gateway no new sessions, or give it some again; it may come back in between. None: it never came."""
        key = mid.lower()
        (self._drained.add if drained else self._drained.discard)(key)
        gateway = self._gateways.get(key)
        if gateway is not None:
            gateway.is_drained = drained
        return gateway

    def move(self, gateway: Gateway, change: Change) -> None:
        """MOVING, MOVED or STAYING: the gateway is handed to another controller."""
        self._apply(gateway, change, "the gateway was handed to another controller")

    def service_change(self, mid: str, peer: Peer, services: Services, now: float) -> Services | ErrorDescriptor:
        """A ServiceChange on ROOT: the Services or the error to reply."""
        if not self._admits(mid, peer[0]):
            return ErrorDescriptor(402, "Unauthorized")
        gateway = self._gateways.get(mid.lower())
        change = change_of(services)
        if change is None:
            return ErrorDescriptor(449, f"Unsupported or Unknown Parameter or Property Value: {services.method[:32]}")
        registers = change in REGISTRATIONS
        if registers and (refused := self._refusal(services)):
            return refused
        if registers and self.successor:
            return Services(mgc_id_to_try=self.successor)
        if gateway is None:
            if not registers:
                return _NOT_REGISTERED
            if len(self._gateways) >= MAX_GATEWAYS and not self._forget_one():
                return ErrorDescriptor(510, "Insufficient resources")
            gateway = self._new(mid, peer)
        elif not registers and gateway.peer[0] != peer[0]:
            return _NOT_REGISTERED
        if not self._apply(gateway, change, "the gateway left service", delay=services.delay or 0):
            return _NOT_REGISTERED
        if registers:
            gateway.peer = self._requests_go_to(mid, peer, services.address)
            gateway.begin_anew()
            gateway.compare_at = self._wake_by(now + self._heartbeat.compare)
            if services.delay:
                gateway.serves_at = now + min(services.delay, MAX_DELAY)
        elif change is Change.GRACEFUL:
            gateway.leaves_at = self._wake_by(now + min(services.delay, MAX_DELAY)) if services.delay else None
        elif change is Change.CANCEL_GRACEFUL:
            gateway.leaves_at = None
        self.alive(gateway, now)
        return Services(version=VERSION, profile=services.profile) if registers else Services()

    @property
    def soonest(self) -> float:
        """`handle_timer` has nothing to do before: signs of life only put things off."""
        return self._soonest

    def next_timer(self) -> float | None:
        times = [min(each.audit_at, each.compare_at) for each in self._gateways.values() if each.is_associated]
        times += [gateway.leaves_at for gateway in self._gateways.values() if gateway.leaves_at is not None]
        self._soonest = min(times, default=_NEVER)
        return self._soonest if times else None

    def handle_timer(self, now: float) -> None:
        if now < self._soonest:
            return
        for gateway in self._gateways.values():
            if gateway.leaves_at is not None and gateway.leaves_at <= now:
                gateway.leaves_at = None
                self._apply(gateway, Change.DELAY_OVER, "the gateway left service")
            if gateway.is_associated and gateway.compare_at <= now:
                gateway.compare_at = now + self._heartbeat.compare
                self._compare.append(gateway)
            if not gateway.is_associated or gateway.audit_at > now:
                continue
            if gateway.unanswered >= self._heartbeat.lost_after:
                silence = self._heartbeat.interval * (gateway.unanswered + 1)
                self._apply(gateway, Change.SILENCE, f"the gateway has been silent for {silence:g} s")
                continue
            gateway.unanswered += 1
            gateway.audit_at = now + self._heartbeat.interval
            self._due.append(gateway)
        self.next_timer()

    def take_audits(self) -> list[Gateway]:
        """The gateways whose ROOT must be audited now."""
        due, self._due = self._due, []
        return due

    def take_comparisons(self) -> list[Gateway]:
        """The gateways whose contexts must be compared with ours now."""
        due, self._compare = self._compare, []
        return due

    def take_events(self) -> list[AssociationEvent]:
        events, self._events = self._events, []
        return events

    def _wake_by(self, at: float) -> float:
        self._soonest = min(self._soonest, at)
        return at

    def _apply(self, gateway: Gateway, change: Change, why: str, *, delay: int = 0) -> bool:
        transition = TRANSITIONS.get((gateway.state, change))
        if transition is None:
            return False
        gateway.state, event = transition
        if event is Restarted or event is Lost or event is Left:
            contexts = tuple(gateway.contexts)
            gateway.contexts.clear()
            gateway.releasing.clear()
            gateway.is_compared = False
            gateway.leaves_at = None
            gone = Left if event is Left else Lost
            self._events.append(Restarted(gateway.mid, contexts) if event is Restarted else gone(gateway.mid, contexts, why))
        elif event is Leaving:
            self._events.append(Leaving(gateway.mid, delay))
        elif event is Registered or event is Resumed or event is Updated:
            self._events.append(event(gateway.mid))
        return True

    def _new(self, mid: str, peer: Peer) -> Gateway:
        key = mid.lower()
        traits = self._traits.get(key, Traits())
        gateway = Gateway(mid, peer, weight=traits.weight, realms=traits.realms, is_drained=key in self._drained)
        gateway.tells_realms = traits.realms is None
        self._gateways[key] = gateway
        return gateway

    def _refusal(self, services: Services) -> ErrorDescriptor | None:
        if services.version is not None and services.version < VERSION:
            return ErrorDescriptor(406, f"Version Not Supported: {VERSION} is needed")
        if self._profiles and services.profile.lower() not in self._profiles:
            return ErrorDescriptor(459, "Unsupported or Unknown Profile")
        return None

    def _requests_go_to(self, mid: str, peer: Peer, address: str) -> Peer:
        """Where requests go: the source, unless ServiceChangeAddress names another place that is admitted as well.

        To whom a connection leads, requests go over it.
        """
        if isinstance(peer, ConnectionPeer):
            return peer
        if address.isascii() and address.isdigit() and len(address) <= 5 and 0 < int(address) < 65536:
            return peer[0], int(address)
        named = address_of_mid(address) if address else None
        return named if named is not None and self._is_admitted_address(mid, named[0]) else peer

    def _is_admitted_address(self, mid: str, host: str) -> bool:
        return (":" in host or host.replace(".", "").isdigit()) and self._admits(mid, host)

    def _forget_one(self) -> bool:
        """Makes room: a gateway that is gone and has nothing of ours."""
        gone = next((key for key, gateway in self._gateways.items() if not gateway.is_associated), None)
        if gone is not None:
            del self._gateways[gone]
        return gone is not None
