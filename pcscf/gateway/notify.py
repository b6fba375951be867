"""Notify: what the controller is told without having asked, and only if it armed the event (RFC 3525 §7.2.7)."""

from __future__ import annotations

from typing import Final

from pcscf.gateway.cause import Cause
from pcscf.gateway.items import armed, canonical, parameter
from pcscf.gateway.model import Layer, LegKey, Termination
from pcscf.gateway.watch import Expired
from pcscf.h248 import packages
from pcscf.h248.message import (
    Action,
    Command,
    CommandName,
    ContextId,
    Events,
    ObservedEvent,
    ObservedEvents,
    Property,
    Value,
)

_TCP_CAUSES: Final = frozenset({Cause.CONNECT_REFUSED, Cause.CONNECT_TIMEOUT, Cause.CONNECT_FAILED, Cause.LEADS_BACK,
                                Cause.NOBODY_CONNECTED, Cause.NO_RESOURCES})  # fmt: skip
_TCP: Final = (packages.TCP_CHANGE,)
_TLS: Final = (packages.TLS_CHANGE, packages.DTLS_CHANGE)
_DTLS: Final = (packages.DTLS_CHANGE, packages.TLS_CHANGE)
_NAMES: Final = {Layer.TCP: _TCP, Layer.TLS: _TLS, Layer.DTLS: _DTLS}
_RELEASED: Final = Property(packages.CHANGE_TYPE, Value((packages.CHANGE_RELEASED,)))
_ESTABLISHED: Final = Property(packages.CHANGE_TYPE, Value((packages.CHANGE_ESTABLISHED,)))


def established(termination: Termination, leg: LegKey, layer: Layer, timestamp: str) -> Action | None:
    """The Notify for a TCP connection, or the TLS or DTLS session on it, that is up; None when it is not armed."""
    change = armed(termination.events, _NAMES[layer], leg.stream, packages.CHANGE_ESTABLISHED)
    if change is None:
        return None
    stream = Property(packages.STREAM, Value((str(leg.stream),)))
    return _notify(leg.context, termination, [ObservedEvent(change.name, (stream, _ESTABLISHED), timestamp)])


def connection_ended(termination: Termination, leg: LegKey, cause: Cause, timestamp: str) -> Action | None:
    """The Notify for a connection that failed or was released by its peer; None when nothing that fits is armed.

    The bearer event of the layer that failed (the TLS session rather than the TCP connection under it), and g/cause
    with the reason. timestamp: yyyymmddThhmmssss.
    """
    local = termination.streams[leg.stream].local
    secure = local.secure and cause not in _TCP_CAUSES
    names = _DTLS if local.datagram else (*_TLS, *_TCP) if secure else (*_TCP, *_TLS)
    stream = Property(packages.STREAM, Value((str(leg.stream),)))
    observed: list[ObservedEvent] = []
    for name in names:
        change = armed(termination.events, (name,), leg.stream)
        if change is not None:
            observed.append(ObservedEvent(change.name, (stream, _RELEASED), timestamp))
            break
    reason = armed(termination.events, (packages.CAUSE,), leg.stream)
    if reason is not None:
        general = Property(packages.GENERAL_CAUSE, Value((cause.general,)))
        text = Property(packages.FAILURE_CAUSE, Value((cause.text,), quoted=True))
        observed.append(ObservedEvent(reason.name, (stream, general, text), timestamp))
    return _notify(leg.context, termination, observed) if observed else None


def expired(one: Expired, timestamp: str) -> Action:
    """The Notify for hangterm/thb or adid/ipstop."""
    return _notify(one.context, one.termination, [ObservedEvent(one.event.name, (), timestamp)])


def inactivity(armed: Events, timestamp: str) -> Action:
    """The Notify of it/ito on ROOT: nothing was heard from the controller for as long as it said (H.248.14)."""
    event = next(one for one in armed.events if canonical(one.name) == packages.INACTIVITY)
    observed = ObservedEvents(armed.request_id or 0, (ObservedEvent(event.name, (), timestamp),))
    return Action(ContextId.NULL, (Command(CommandName.NOTIFY, ("ROOT",), (observed,)),))


def inactivity_period(armed: Events) -> float | None:
    """Seconds of it/ito, None while it is not armed. Its parameter counts in 10 ms; 30 s without one."""
    for event in armed.events:
        if canonical(event.name) == packages.INACTIVITY:
            text = parameter(event.parameters, packages.INACTIVITY_TIMER)
            return int(text) / 100 if text else 30.0
    return None


def _notify(context: int, termination: Termination, observed: list[ObservedEvent]) -> Action:
    events = ObservedEvents(termination.events.request_id or 0, tuple(observed))
    return Action(context, (Command(CommandName.NOTIFY, (termination.id,), (events,)),))
