"""Which events, signals and properties the gateway takes, by the names of `pcscf.h248.packages`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from pcscf.errors import H248Error
from pcscf.h248 import packages
from pcscf.h248.message import Event, Events, Property

PACKAGES: Final = tuple((one.name, one.version) for one in packages.PACKAGES)
"""What a Packages audit lists: name and version."""

REMEMBERED: Final = 1024
"""Names whose meaning is not looked up again: a controller uses the same few in every call."""

_EVENTS: Final = frozenset({
    packages.TCP_CHANGE, packages.TLS_CHANGE, packages.DTLS_CHANGE, packages.CAUSE, packages.HANGING_TERMINATION,
    packages.INACTIVITY, packages.MEDIA_STOPPED, packages.OVERLOAD, packages.CONGESTION,
})  # fmt: skip
_RELEASE_ALONE: Final = "rel"   # how spellings of BNCChange end that speak of nothing else
_NUMBERS: Final = {
    packages.HANGING_TERMINATION: packages.HANGING_TIMER,
    packages.INACTIVITY: packages.INACTIVITY_TIMER,
    packages.MEDIA_STOPPED: packages.MEDIA_STOPPED_TIME,
}


class SignalAction(Enum):
    """What a signal asks the gateway to do with a connection."""

    ESTABLISH_TCP = auto()
    ESTABLISH_TLS = auto()
    RELEASE = auto()
    LATCH = auto()


# A session ends together with its TCP connection (TS 33.328 annex on release); latching means nothing on TCP, where the
# source of the accepted connection is the peer.
_SIGNALS: Final = {
    packages.TCP_ESTABLISH: SignalAction.ESTABLISH_TCP,
    packages.TLS_ESTABLISH: SignalAction.ESTABLISH_TLS,
    packages.DTLS_ESTABLISH: SignalAction.ESTABLISH_TLS,
    packages.TCP_RELEASE: SignalAction.RELEASE,
    packages.TLS_RELEASE: SignalAction.RELEASE,
    packages.DTLS_RELEASE: SignalAction.RELEASE,
    packages.LATCH: SignalAction.LATCH,
}


canonical = lru_cache(REMEMBERED)(packages.canonical)


def unsupported_value(name: str, text: str) -> H248Error:
    """Error 449 with the value repeated in its text (TS 29.334 §5.17.1)."""
    return H248Error(449, f"Unsupported or Unknown Parameter or Property Value: {name}={text[:40]}")


def parameter(parameters: Sequence[Property], name: str) -> str | None:
    """The value of a parameter by its bare name in any case; None when it is not there."""
    wanted = name.lower()
    for one in parameters:
        if one.name.lower() == wanted:
            return one.value.text
    return None


def armed(events: Events, names: Sequence[str], stream: int, change: str = packages.CHANGE_RELEASED) -> Event | None:
    """The armed event of one of these names that covers a stream and, where it asks for a Type, this `change` of a bearer."""
    for event in events.events:
        if canonical(event.name) in names:
            covered = parameter(event.parameters, packages.STREAM)
            kind = parameter(event.parameters, packages.CHANGE_TYPE)
            if kind is None and event.name.lower().endswith(_RELEASE_ALONE):
                kind = packages.CHANGE_RELEASED
            if covered in (None, str(stream)) and (kind is None or kind.lower() == change.lower()):
                return event
    return None


def check_events(events: Events) -> None:
    """Raises H248Error: 440 unknown package, 451 unknown event, 449 a period that is not a positive number."""
    for event in events.events:
        period = _NUMBERS.get(_event_name(event.name))
        text = parameter(event.parameters, period) if period is not None else None
        if text is not None and not (text.isdecimal() and len(text) <= 9 and int(text) > 0):
            raise unsupported_value(f"{event.name}{{{period}}}", text)


def check_signal(signal: Event) -> SignalAction:
    """What the signal asks for. Raises H248Error: 440 unknown package, 452 unknown signal."""
    action = _SIGNALS.get(canonical(signal.name))
    if action is None:
        _check_package(signal.name)
        raise H248Error(452, f"No such signal in this package: {signal.name}")
    return action


@lru_cache(REMEMBERED)
def _event_name(name: str) -> str:
    known = packages.canonical(name)
    if known not in _EVENTS:
        _check_package(name)
        raise H248Error(451, f"No such event in this package: {name}")
    return known


def check_property(item: Property) -> str:
    """The canonical name of a property. Raises H248Error 440 for an unknown package.

    Items of a known package that change nothing here (RTCP, interlinkage, which is always on) are kept and read back by an
    audit, nothing more.
    """
    return _property_name(item.name)


@lru_cache(REMEMBERED)
def _property_name(name: str) -> str:
    _check_package(name)
    return packages.canonical(name)


def _check_package(name: str) -> None:
    if "/" in name and not packages.is_supported(name):
        raise H248Error(440, f"Unsupported or unknown Package: {name.partition('/')[0]}")
