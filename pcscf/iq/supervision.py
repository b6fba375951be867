"""What a gateway shall tell without being asked: events armed on terminations and on ROOT (TS 23.334 §8, TS 29.334 §5.12)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from pcscf.h248 import packages
from pcscf.h248.message import Action, Command, CommandName, ContextId, Event, Events, Property, Value
from pcscf.iq.media import TcpStart, is_protected, is_tcp
from pcscf.mediasec.model import LinePlan

ROOT: Final = "ROOT"
ACCESS_EVENTS, CORE_EVENTS, ROOT_EVENTS = 1, 2, 3
"""RequestIDs: the same in every context, so that a trace of an observed event tells its side."""


class Watched(NamedTuple):
    """What is armed on the terminations of a session. hanging, quiet: seconds for hangterm/thb and adid/ipstop; 0: the latter is
    not. connected: a TCP connection that TLS shall follow is reported when it is up. tcp_start: who begins TCP.
    """

    hanging: int
    quiet: int
    connected: bool = False
    tcp_start: TcpStart = "gateway"


@dataclass(frozen=True, slots=True)
class Supervision:
    """What the gateway shall watch in every session.

    hanging  seconds without a word about a termination after which it asks whether that is still wanted (H.248.36)
    quiet    (medium, seconds): media that stopped for so long is told (H.248.40); a medium that is not named may be silent
    begins_tls  TLS on a TCP connection is begun by our signal once the gateway has told that TCP is up, not by the gateway itself
    tcp_start   who begins TCP where the gateway opens it: it does; we do once the answer is in; or once the other side is up
    """

    hanging: int = 3600
    quiet: tuple[tuple[str, int], ...] = ()
    begins_tls: bool = False
    tcp_start: TcpStart = "gateway"

    def of(self, lines: Iterable[LinePlan]) -> Watched:
        """Of a session with these lines: the longest silence of them counts, and none where one may be silent for ever."""
        if not self.quiet:
            return Watched(self.hanging, 0, self.begins_tls, self.tcp_start)
        known = dict(self.quiet)
        times = [known.get(line.medium or "", 0) for line in lines]
        return Watched(self.hanging, max(times) if all(times) else 0, self.begins_tls, self.tcp_start)


DEFAULT_SUPERVISION: Final = Supervision()


@lru_cache(maxsize=64)
def termination_events(request_id: int, transports: tuple[str, ...], watched: Watched) -> Events:
    """What is armed on every termination: released bearers of each layer in use, and the hanging termination; on the access
    side also, where it was asked for, media that stopped. Bearers that are up, where something waits for them.
    """
    bearer_changes = dict.fromkeys(name for transport in transports for name in _bearer_changes(transport))
    any_change = {packages.TCP_CHANGE} if watched.connected and packages.TLS_CHANGE in bearer_changes else set()
    if watched.tcp_start == "interlinked":   # the other side may wait for the last layer that has to come up here
        any_change |= {_bearer_changes(transport)[-1] for transport in transports if is_tcp(transport)}
    released = (Property(packages.CHANGE_TYPE, Value((packages.CHANGE_RELEASED,))),)
    return Events(
        request_id,
        (
            Event(packages.CAUSE),
            Event(packages.HANGING_TERMINATION, (parameter(packages.HANGING_TIMER, watched.hanging),)),
            *((_stopped(watched.quiet),) if watched.quiet and request_id == ACCESS_EVENTS else ()),
            *(Event(name, () if name in any_change else released) for name in bearer_changes),
        ),
    )


def watch_root(silence: float, known: frozenset[str] | None) -> tuple[Action, ...]:
    """Notify after `silence` seconds without a message from here (H.248.14); overload (H.248.11) and congestion (H.248.10) where
    the gateway is `known` to have the packages (None: it told nothing).

    The packages are optional in the profile, and so is the command: its refusal changes nothing. Empty: there is nothing to ask.
    """
    events = [Event(packages.INACTIVITY, (parameter(packages.INACTIVITY_TIMER, round(silence * 100)),))]
    if known is not None:
        events.extend(Event(name) for name in (packages.OVERLOAD, packages.CONGESTION))
        events = [each for each in events if packages.package_of(each.name) in known]
    if not events:
        return ()
    modify = Command(CommandName.MODIFY, (ROOT,), (Events(ROOT_EVENTS, tuple(events)),), optional=True)
    return (Action(ContextId.NULL, (modify,)),)


def parameter(name: str, value: int) -> Property:
    """A parameter of an event or signal with a number."""
    return Property(name, Value((str(value),)))


def _stopped(seconds: int) -> Event:
    direction = Property(packages.MEDIA_STOPPED_DIRECTION, Value(("BOTH",), quoted=True))
    return Event(packages.MEDIA_STOPPED, (parameter(packages.MEDIA_STOPPED_TIME, seconds), direction))


def _bearer_changes(transport: str) -> tuple[str, ...]:
    if not is_tcp(transport):
        return (packages.DTLS_CHANGE,) if is_protected(transport) else ()
    return (packages.TCP_CHANGE, packages.TLS_CHANGE) if is_protected(transport) else (packages.TCP_CHANGE,)
