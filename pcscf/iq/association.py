"""The controller's view of its gateways: registered, leaving or lost (RFC 3525 §7.2.8, §11; TS 29.334 §5.12).

A machine without I/O. It says which ServiceChange gets which reply, when a gateway has to be audited, and which gateway
a new session should use. Strangers change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, TypeAlias

from pcscf.h248.message import ErrorDescriptor, Services
from pcscf.h248.mid import address_of_mid
from pcscf.h248.peer import ConnectionPeer

Peer: TypeAlias = tuple[str, int]
Admits: TypeAlias = Callable[[str, str], bool]
"""Whether a gateway with this mId, heard from this address, may register."""

VERSION: Final = 2
"""The version of H.248 that is spoken once an association stands (TS 29.334 §2)."""
MAX_GATEWAYS: Final = 256
MAX_DELAY: Final = 86_400
BUSY_PAUSE: Final = 5.0
"""Seconds for which a gateway that was full or busy comes after all the others."""
_NEVER: Final = float("inf")


class GatewayState(Enum):
    """ABSENT: never came, or took its leave. REGISTERED: serves. LEAVING: no new sessions. LOST: does not answer."""

    ABSENT = auto()
    REGISTERED = auto()
    LEAVING = auto()
    LOST = auto()


class Change(Enum):
    """What can happen to an association. RESUME: it comes back with its contexts."""

    RESTART = auto()
    RESUME = auto()
    GRACEFUL = auto()
    CANCEL_GRACEFUL = auto()
    FORCED = auto()
    SILENCE = auto()
    DELAY_OVER = auto()


@dataclass(frozen=True, slots=True)
class Registered:
    """A gateway came for the first time, or took back its leave."""

    gateway: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """A gateway came anew: `contexts` of before are gone."""

    gateway: str
    contexts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Resumed:
    """A gateway came back with its contexts; whose they are has to be audited."""

    gateway: str


@dataclass(frozen=True, slots=True)
class Leaving:
    """A gateway wants no new sessions and goes after `delay` seconds (0: it does not say)."""

    gateway: str
    delay: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A gateway is gone, and `contexts` with it."""

    gateway: str
    contexts: tuple[int, ...]
    why: str


AssociationEvent: TypeAlias = Registered | Restarted | Resumed | Leaving | Lost

S, C = GatewayState, Change
_REGISTERED: Final = S.REGISTERED
_LEAVING: Final = S.LEAVING
TRANSITIONS: Final[dict[tuple[GatewayState, Change], tuple[GatewayState, type[AssociationEvent] | None]]] = {
    (S.ABSENT, C.RESTART): (S.REGISTERED, Registered),
    (S.REGISTERED, C.RESTART): (S.REGISTERED, Restarted),
    (S.LEAVING, C.RESTART): (S.REGISTERED, Restarted),
    (S.LOST, C.RESTART): (S.REGISTERED, Restarted),
    (S.ABSENT, C.RESUME): (S.REGISTERED, Resumed),
    (S.REGISTERED, C.RESUME): (S.REGISTERED, Resumed),
    (S.LEAVING, C.RESUME): (S.REGISTERED, Resumed),
    (S.LOST, C.RESUME): (S.REGISTERED, Resumed),
    (S.REGISTERED, C.GRACEFUL): (S.LEAVING, Leaving),
    (S.LEAVING, C.GRACEFUL): (S.LEAVING, None),
    (S.REGISTERED, C.CANCEL_GRACEFUL): (S.REGISTERED, None),
    (S.LEAVING, C.CANCEL_GRACEFUL): (S.REGISTERED, Registered),
    (S.REGISTERED, C.FORCED): (S.ABSENT, Lost),
    (S.LEAVING, C.FORCED): (S.ABSENT, Lost),
    (S.LOST, C.FORCED): (S.ABSENT, None),
    (S.REGISTERED, C.SILENCE): (S.LOST, Lost),
    (S.LEAVING, C.SILENCE): (S.LOST, Lost),
    (S.LEAVING, C.DELAY_OVER): (S.ABSENT, Lost),
}
"""What is not here is refused with error 505: the gateway must register first."""

METHODS: Final = {
    "restart": C.RESTART,
    "disconnected": C.RESUME,
    "failover": C.RESUME,
    "handoff": C.RESUME,
    "graceful": C.GRACEFUL,
    "forced": C.FORCED,
}
CANCEL_GRACEFUL_REASON: Final = "918"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Seconds of silence before an audit, and how many audits in a row may stay without a sign of life."""

    interval: float = 10.0
    lost_after: int = 3


@dataclass(slots=True)
class Gateway:
    """One gateway. Times are monotonic seconds.

    contexts     those of our sessions, with their two terminations
    releasing    those whose Subtract is under way
    is_compared  an audit of all contexts is under way
    """

    mid: str
    peer: Peer
    state: GatewayState = GatewayState.ABSENT
    audit_at: float = 0.0
    unanswered: int = 0
    leaves_at: float | None = None
    busy_until: float = 0.0
    contexts: dict[int, tuple[str, str]] = field(default_factory=dict)
    releasing: set[int] = field(default_factory=set)
    is_compared: bool = False

    @property
    def is_associated(self) -> bool:
        return self.state is _REGISTERED or self.state is _LEAVING


class Association:
    """The table of gateways, by mId in any case. `profiles`: NAME/VERSION accepted, in lower case; empty: any."""

    def __init__(self, admits: Admits, *, heartbeat: Heartbeat, profiles: frozenset[str] = frozenset()) -> None:
        self._admits = admits
        self._heartbeat = heartbeat
        self._profiles = profiles
        self._gateways: dict[str, Gateway] = {}
        self._events: list[AssociationEvent] = []
        self._due: list[Gateway] = []
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
            return ErrorDescriptor(505, "Command Received before ServiceChange Reply")
        self.alive(gateway, now)
        return gateway

    def adopt(self, mid: str, context: int, terminations: tuple[str, str]) -> None:
        """A session of before owns this context. Until its gateway comes back, the gateway counts as lost."""
        key = mid.lower()
        gateway = self._gateways.get(key)
        if gateway is None:
            gateway = self._gateways[key] = Gateway(mid, ("", 0), GatewayState.LOST)
        gateway.contexts[context] = terminations

    def alive(self, gateway: Gateway, now: float) -> None:
        """A sign of life."""
        gateway.unanswered = 0
        gateway.audit_at = self._wake_by(now + self._heartbeat.interval)

    def service_change(self, mid: str, peer: Peer, services: Services, now: float) -> Services | ErrorDescriptor:
        """A ServiceChange on ROOT: the Services or the error to reply."""
        if not self._admits(mid, peer[0]):
            return ErrorDescriptor(402, "Unauthorized")
        gateway = self._gateways.get(mid.lower())
        change = METHODS.get(services.method.lower())
        if change is None:
            return ErrorDescriptor(449, f"Unsupported or Unknown Parameter or Property Value: {services.method[:32]}")
        if change is C.RESTART and services.reason.startswith(CANCEL_GRACEFUL_REASON):
            change = C.CANCEL_GRACEFUL
        registers = change in {C.RESTART, C.RESUME}
        if registers and (refused := self._refusal(services)):
            return refused
        if gateway is None:
            if not registers:
                return ErrorDescriptor(505, "Command Received before ServiceChange Reply")
            if len(self._gateways) >= MAX_GATEWAYS and not self._forget_one():
                return ErrorDescriptor(510, "Insufficient resources")
            gateway = self._gateways[mid.lower()] = Gateway(mid, peer)
        elif not registers and gateway.peer[0] != peer[0]:
            return ErrorDescriptor(505, "Command Received before ServiceChange Reply")
        if not self._apply(gateway, change, "the gateway left service", delay=services.delay or 0):
            return ErrorDescriptor(505, "Command Received before ServiceChange Reply")
        if registers:
            gateway.peer = self._requests_go_to(mid, peer, services.address)
            gateway.busy_until, gateway.leaves_at = 0.0, None
        elif change is C.GRACEFUL:
            gateway.leaves_at = self._wake_by(now + min(services.delay, MAX_DELAY)) if services.delay else None
        self.alive(gateway, now)
        return Services(version=VERSION, profile=services.profile) if registers else Services()

    def candidates(self, now: float) -> list[Gateway]:
        """The gateways for a new session, best first: those that were busy last, then by number of sessions."""
        able = [gateway for gateway in self._gateways.values() if gateway.state is _REGISTERED]
        if len(able) > 1:
            able.sort(key=lambda gateway: (gateway.busy_until > now, len(gateway.contexts)))
        return able

    @property
    def soonest(self) -> float:
        """`handle_timer` has nothing to do before: signs of life only put things off."""
        return self._soonest

    def next_timer(self) -> float | None:
        times = [gateway.audit_at for gateway in self._gateways.values() if gateway.is_associated]
        times += [gateway.leaves_at for gateway in self._gateways.values() if gateway.leaves_at is not None]
        self._soonest = min(times, default=_NEVER)
        return self._soonest if times else None

    def handle_timer(self, now: float) -> None:
        if now < self._soonest:
            return
        for gateway in self._gateways.values():
            if gateway.leaves_at is not None and gateway.leaves_at <= now:
                gateway.leaves_at = None
                self._apply(gateway, C.DELAY_OVER, "the gateway left service")
            if not gateway.is_associated or gateway.audit_at > now:
                continue
            if gateway.unanswered >= self._heartbeat.lost_after:
                silence = self._heartbeat.interval * (gateway.unanswered + 1)
                self._apply(gateway, C.SILENCE, f"the gateway has been silent for {silence:g} s")
                continue
            gateway.unanswered += 1
            gateway.audit_at = now + self._heartbeat.interval
            self._due.append(gateway)
        self.next_timer()

    def take_audits(self) -> list[Gateway]:
        """The gateways whose ROOT must be audited now."""
        due, self._due = self._due, []
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
        if event is Restarted or event is Lost:
            contexts = tuple(gateway.contexts)
            gateway.contexts.clear()
            gateway.releasing.clear()
            gateway.is_compared = False
            gateway.leaves_at = None
            lost = Lost(gateway.mid, contexts, why)
            self._events.append(Restarted(gateway.mid, contexts) if event is Restarted else lost)
        elif event is Leaving:
            self._events.append(Leaving(gateway.mid, delay))
        elif event is Registered or event is Resumed:
            self._events.append(event(gateway.mid))
        return True

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
