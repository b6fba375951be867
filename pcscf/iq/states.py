"""The states of an association, what changes them, and what sessions have to know of it, as tables (RFC 3525 §7.2.8, §11)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from pcscf.h248.message import Services


class GatewayState(Enum):
    """ABSENT: never came, or took its leave. REGISTERED: serves. LEAVING: no new sessions. LOST: does not answer."""

    ABSENT = auto()
    REGISTERED = auto()
    LEAVING = auto()
    LOST = auto()


class Change(Enum):
    """What can happen to an association.

    The gateway says: RESTART without contexts, RESUME with those it had, GRACEFUL, CANCEL_GRACEFUL, FORCED, or UPDATE.
    We notice: SILENCE, DELAY_OVER, DEATH of its process, or that it was TAKEN by another controller.
    We say: MOVING to another controller; then MOVED where it has agreed, and STAYING where it has not.
    """

    RESTART = auto()
    RESUME = auto()
    GRACEFUL = auto()
    CANCEL_GRACEFUL = auto()
    FORCED = auto()
    UPDATE = auto()
    SILENCE = auto()
    DELAY_OVER = auto()
    DEATH = auto()
    TAKEN = auto()
    MOVING = auto()
    MOVED = auto()
    STAYING = auto()


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
class Updated:
    """A gateway can do more or less than before."""

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


@dataclass(frozen=True, slots=True)
class Left(Lost):
    """A gateway is gone as it said, or as it was told."""


AssociationEvent: TypeAlias = Registered | Restarted | Resumed | Updated | Leaving | Lost

S, C = GatewayState, Change
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
    (S.REGISTERED, C.FORCED): (S.ABSENT, Left),
    (S.LEAVING, C.FORCED): (S.ABSENT, Left),
    (S.LOST, C.FORCED): (S.ABSENT, None),
    (S.REGISTERED, C.SILENCE): (S.LOST, Lost),
    (S.LEAVING, C.SILENCE): (S.LOST, Lost),
    (S.LEAVING, C.DELAY_OVER): (S.ABSENT, Left),
    (S.REGISTERED, C.UPDATE): (S.REGISTERED, Updated),
    (S.LEAVING, C.UPDATE): (S.LEAVING, Updated),
    (S.REGISTERED, C.DEATH): (S.LOST, Lost),
    (S.LEAVING, C.DEATH): (S.LOST, Lost),
    (S.REGISTERED, C.TAKEN): (S.LOST, Lost),
    (S.LEAVING, C.TAKEN): (S.LOST, Lost),
    (S.REGISTERED, C.MOVING): (S.LEAVING, Leaving),
    (S.LEAVING, C.MOVING): (S.LEAVING, None),
    (S.LEAVING, C.MOVED): (S.ABSENT, Left),
    (S.LEAVING, C.STAYING): (S.REGISTERED, Registered),
}
"""What is not here is refused with error 505: the gateway must register first."""

METHODS: Final = {
    ("restart", ""): C.RESTART,
    ("restart", "900"): C.RESUME,  # service restored: an audit tells what it still has
    ("restart", "918"): C.CANCEL_GRACEFUL,
    ("disconnected", ""): C.RESUME,
    ("failover", ""): C.RESUME,
    ("failover", "920"): C.RESTART,  # cold: it kept nothing
    ("handoff", ""): C.RESUME,
    ("graceful", ""): C.GRACEFUL,
    ("forced", ""): C.FORCED,
}
"""By ServiceChangeMethod and the code of ServiceChangeReason; "" stands for every reason that is not named."""
UPDATES: Final = frozenset({"916", "917"})
"""Packages Change and Capability Change: nothing starts or ends, whatever the method (TS 23.334 §8, Capability Update)."""
REGISTRATIONS: Final = frozenset({C.RESTART, C.RESUME})


def change_of(services: Services) -> Change | None:
    """What a ServiceChange on ROOT means; None for a method that nobody knows."""
    method, code = services.method.lower(), services.reason.strip()[:3]
    if code in UPDATES:
        return C.UPDATE
    return METHODS.get((method, code)) or METHODS.get((method, ""))
