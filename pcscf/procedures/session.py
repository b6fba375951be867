"""Session: the serialisable record of one half-call – one access leg, one core leg – found by its own token.

Nothing here waits, and nothing that waits holds it: every procedure reads the record again after each wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from pcscf.config.policy import MediaPolicy
from pcscf.iq.media import Media
from pcscf.mediasec.model import Agreed, MediaPlan
from pcscf.mediasec.rewrite import LegSdp
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
class Negotiation:
    """One offer and its answers (RFC 3264).

    plan     the decision about the offer; every answer is settled against it, whichever far end it comes from
    settled  what the last answer made of it; None until there is one
    answers  per To-tag of the dialog
    """

    offerer: Side
    offer: Passed
    plan: MediaPlan
    settled: MediaPlan | None = None
    answers: dict[str, Passed] = field(default_factory=dict)


@dataclass(slots=True)
class Session:
    """One half-call.

    caller       the side that the INVITE came from
    flow         the flow of the access leg
    agreed       what UE and network had agreed when the session began: a later registration does not change it
    media        what the session has on a gateway
    negotiation  the last offer/answer exchange that stands; `change` is one under way beside it
    sent         what each leg was last sent, for its o= line
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
    policy: MediaPolicy
    agreed: Agreed
    negotiation: Negotiation
    media: Media | None = None
    state: State = State.EARLY
    change: Negotiation | None = None
    sent: dict[str, LegSdp] = field(default_factory=dict)
    dialogs: dict[str, Dialog] = field(default_factory=dict)
    acknowledged: bool = False
    dismissed: set[str] = field(default_factory=set)
    heard: float = 0.0

    @property
    def callee(self) -> Side:
        return self.caller.other
