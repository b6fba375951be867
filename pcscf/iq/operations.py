"""What the controller machine does for sessions: its limits, its events, and the purposes of what it asks gateways."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pcscf.errors import SipError
from pcscf.h248.message import Action
from pcscf.h248.transaction import MessageError, StrangerRefused, SyntaxRefused
from pcscf.iq.association import AssociationEvent, Gateway
from pcscf.iq.media import Media
from pcscf.iq.notifications import BearerReleased
from pcscf.iq.procedures import Realms
from pcscf.mediasec.model import MediaPlan
from pcscf.record import record

RELEASE_PAUSE: Final = 2.0
"""Seconds before a release that was refused or not answered is tried again; doubles each time."""
RELEASE_PAUSE_MAX: Final = 64.0


@dataclass(frozen=True, slots=True)
class Limits:
    """deadline: seconds that an operation may take; profiles: those accepted at registration, empty for any."""

    deadline: float = 4.0
    profiles: frozenset[str] = frozenset()


@record
class Done:
    """An operation succeeded. `media` of reserve and configure; `contexts` of audit."""

    operation: int
    media: Media | None = None
    contexts: tuple[int, ...] = ()


@record
class Failed:
    operation: int
    error: SipError


@record
class Released:
    """A connection of one of our sessions broke."""

    gateway: str
    bearer: BearerReleased


Event: TypeAlias = Done | Failed | Released | AssociationEvent | SyntaxRefused | StrangerRefused | MessageError


@dataclass(slots=True)
class Reserve:
    plan: MediaPlan
    realms: Realms
    tried: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Configure:
    media: Media
    plan: MediaPlan


@dataclass(slots=True)
class Release:
    context: int
    pause: float = RELEASE_PAUSE


@dataclass(slots=True)
class Audit:
    """All contexts. `owned`: those of our sessions when the question was put."""

    owned: frozenset[int]


@dataclass(slots=True)
class Advice:
    """A request whose reply, of whatever kind, is only a sign of life."""


Purpose: TypeAlias = Reserve | Configure | Release | Audit | Advice


@dataclass(slots=True)
class Asked:
    """A transaction under way. `operation` 0: nobody waits for it, or not any more. `repeats`: of the whole transaction."""

    gateway: Gateway
    actions: tuple[Action, ...]
    purpose: Purpose
    operation: int
    repeats: int = 0


