"""Session: the serialisable record of one half-call – one access leg, one core leg – found by its own token.

Nothing here waits, and nothing that waits holds it: every procedure reads the record again after each wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from pcscf.iq.media import Media
from pcscf.mediasec.model import MediaPlan
from pcscf.procedures.site import Side
from pcscf.sip.dialog import Dialog
from pcscf.sip.flow import Flow


class State(Enum):
    """EARLY: the INVITE is under way. CONFIRMED: a 2xx passed. ENDED: released, kept a while for what crosses the end."""

    EARLY = "early"
    CONFIRMED = "confirmed"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Passed:
    """A body as it came and as it left: the same body again leaves as the same octets."""

    received: bytes
    emitted: bytes


@dataclass(slots=True)
class Session:
    """One half-call.

    caller       the side that the INVITE came from
    flow         the flow of the access leg
    offer        the last offer; `answers` holds the answer to it per To-tag
    plan         the decision, settled once an answer is in
    acknowledged an ACK to a 2xx passed
    dismissed    To-tags of callees whose 2xx came too late and were sent BYE
    heard        when something was last signalled (monotonic seconds)
    """

    token: str
    binding: str
    caller: Side
    flow: Flow
    call_id: str
    invite_cseq: int
    offer: Passed
    plan: MediaPlan
    media: Media | None = None
    state: State = State.EARLY
    acknowledged: bool = False
    heard: float = 0.0
    dismissed: set[str] = field(default_factory=set)
    answers: dict[str, Passed] = field(default_factory=dict)
    dialogs: dict[str, Dialog] = field(default_factory=dict)

    @property
    def callee(self) -> Side:
        return self.caller.other
