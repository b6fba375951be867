"""Session: the serialisable record of one half-call – one access leg, one core leg – found by its own token.

Nothing here waits, and nothing that waits holds it: every procedure reads the record again after each wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from pcscf.config.policy import MediaPolicy
from pcscf.iq.media import Media
from pcscf.iq.overload import Urgency
from pcscf.mediasec.model import Agreed, MediaPlan, Origin
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


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to an offer, and the plan that was settled by it.

    counts  it came in a message that counts: a 2xx, a reliable provisional response, PRACK or ACK. Another one is a preview
    """

    passed: Passed
    plan: MediaPlan
    counts: bool


@dataclass(slots=True)
class Negotiation:
    """One offer and its answers (RFC 3264).

    plan     the decision about the offer; every answer is settled against it, whichever far end it comes from
    answers  per To-tag of the dialog
    """

    offerer: Side
    offer: Passed
    plan: MediaPlan
    answers: dict[str, Answer] = field(default_factory=dict)

    def is_open(self, tag: str) -> bool:
        """Whether the dialog with this To-tag has no answer yet that counts."""
        answer = self.answers.get(tag)
        return answer is None or not answer.counts


def carrier(sender: Side, cseq: int, tag: str) -> str:
    """The key of a transaction as one that carries an offer: who sent its request, and the To-tag of its dialog ("": of all)."""
    return f"{sender} {cseq} {tag}"


@dataclass(slots=True)
class Session:
    """One half-call.

    caller        the side that the INVITE came from
    flow          the flow of the access leg
    behind_nat    the UE registered from behind a NAT
    agreed        what UE and network had agreed when the session began: a later registration does not change it
    urgency       how much it matters, to a gateway that has too much to do
    media         what the session has on a gateway
    told          the plan that the gateway was told last; None while what it has was only reserved
    negotiations  by the transaction that carried the offer: those that are open, and those whose messages may be repeated
    standing      per To-tag what its last complete negotiation settled
    before        per re-INVITE under way what stood when it came: a refusal leads back to it (RFC 6141 §3.4)
    sent          what each leg was last sent, for its o= line
    acknowledged  an ACK to a 2xx passed
    accepted      To-tag of the far end whose 2xx came first, "" before it: the gateway serves that one
    dismissed     To-tags of callees whose 2xx came too late and were sent BYE
    heard         when something was last signalled (monotonic seconds)
    expires       when the session timer of its ends runs out (monotonic seconds), 0.0: there is none (RFC 4028)
    """

    token: str
    binding: str
    caller: Side
    flow: Flow
    call_id: str
    invite_cseq: int
    policy: MediaPolicy
    agreed: Agreed
    urgency: Urgency = Urgency.NORMAL
    behind_nat: bool = False
    media: Media | None = None
    state: State = State.EARLY
    told: MediaPlan | None = None
    negotiations: dict[str, Negotiation] = field(default_factory=dict)
    standing: dict[str, MediaPlan] = field(default_factory=dict)
    before: dict[str, MediaPlan | None] = field(default_factory=dict)
    sent: dict[str, LegSdp] = field(default_factory=dict)
    dialogs: dict[str, Dialog] = field(default_factory=dict)
    acknowledged: bool = False
    accepted: str = ""
    dismissed: set[str] = field(default_factory=set)
    heard: float = 0.0
    expires: float = 0.0

    @property
    def origin(self) -> Origin:
        """Where the UE signals from."""
        return Origin(self.flow.remote[0], self.behind_nat)

    @property
    def callee(self) -> Side:
        return self.caller.other

    def negotiation(self, sender: Side, cseq: int, tag: str) -> Negotiation | None:
        """The one whose offer travels in the transaction that `sender` began with this CSeq, in this dialog or in all."""
        return self.negotiations.get(carrier(sender, cseq, tag)) or self.negotiations.get(carrier(sender, cseq, ""))

    def accept(self, tag: str) -> None:
        """This far end has answered the call first: what the others negotiated is of no use any more."""
        self.accepted = tag
        for other in self.dialogs:
            if other != tag:
                self.forget_media(other)

    def has_lost(self, tag: str) -> bool:
        """Whether this dialog is an early one of a call that another far end has answered (RFC 3261 §13.2.2.4)."""
        return self.accepted not in ("", tag) and not self.dialogs[tag].confirmed

    def forget_media(self, tag: str) -> None:
        """Drop what was negotiated in this dialog: it has ended, and others may go on."""
        self.standing.pop(tag, None)
        for key, negotiation in list(self.negotiations.items()):
            negotiation.answers.pop(tag, None)
            if key.rpartition(" ")[2] == tag:
                del self.negotiations[key]
        for key in [each for each in self.before if each.rpartition(" ")[2] == tag]:
            del self.before[key]

    def is_negotiating(self, tag: str) -> bool:
        """Whether an offer of this dialog is still without answer."""
        return any(each.is_open(tag) for key, each in self.negotiations.items() if key.rpartition(" ")[2] in ("", tag))
