"""What the controller machine does for sessions: its limits, its events, and the purposes of what it asks gateways."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pcscf.errors import SipError
from pcscf.h248.message import Action
from pcscf.h248.transaction import MessageError, StrangerRefused, SyntaxRefused
from pcscf.iq.association import Gateway
from pcscf.iq.media import Media
from pcscf.iq.notifications import BearerReleased, Connected, MediaStopped
from pcscf.iq.overload import Urgency
from pcscf.iq.selection import Needs
from pcscf.iq.start import Ordered
from pcscf.iq.states import AssociationEvent
from pcscf.mediasec.model import MediaPlan
from pcscf.record import record

RELEASE_PAUSE: Final = 2.0
"""Seconds before a release that was refused or not answered is tried again; doubles each time."""
RELEASE_PAUSE_MAX: Final = 64.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, and who may register.

    deadline  that an operation may take
    attempt   that one gateway gets for a reservation while another could be asked
    patience  that a session waits for a gateway where none can serve it, before `deadline` begins
    profiles  those accepted at registration, empty for any
    """

    deadline: float = 4.0
    attempt: float = 1.5
    patience: float = 0.0
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


@record
class Stopped:
    """No media crosses a termination of one of our sessions."""

    gateway: str
    media: MediaStopped


@record
class Established:
    """A TCP connection of one of our sessions is up."""

    gateway: str
    bearer: Connected


Event: TypeAlias = (
    Done | Failed | Released | Stopped | Established | AssociationEvent | SyntaxRefused | StrangerRefused | MessageError
)


@dataclass(slots=True)
class Reserve:
    plan: MediaPlan
    actions: tuple[Action, ...]
    needs: Needs
    urgency: Urgency
    tried: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Configure:
    """What a plan says; `ordered`: of one TCP connection alone, which is to be made now."""

    media: Media
    plan: MediaPlan
    ordered: Ordered | None = None


@dataclass(slots=True)
class Release:
    context: int
    pause: float = RELEASE_PAUSE


@dataclass(slots=True)
class Audit:
    """All contexts. `owned`: those of our sessions when the question was put."""

    owned: frozenset[int]


@dataclass(slots=True)
class RollCall:
    """Some of our contexts, where the gateway cannot tell all of its own in one message. `later`: those to ask for next."""

    wanted: tuple[int, ...]
    later: tuple[int, ...]


@dataclass(slots=True)
class Inventory:
    """Packages and realms."""


@dataclass(slots=True)
class HandOff:
    """The gateway shall go to another controller."""


@dataclass(slots=True)
class Advice:
    """A request whose reply, of whatever kind, is only a sign of life."""


Purpose: TypeAlias = Reserve | Configure | Release | Audit | RollCall | Inventory | HandOff | Advice


@dataclass(slots=True)
class Asked:
    """A transaction under way. `operation` 0: nobody waits for it, or not any more. `repeats`: of the whole transaction."""

    gateway: Gateway
    actions: tuple[Action, ...]
    purpose: Purpose
    operation: int
    repeats: int = 0
