"""Whatever lines come, go, change their kind, move and are refused: the gateway serves what stands, on the ports it had.

The plans are those of `decide` and `settle`, the actions those of Iq as text, the gateway's contexts are the real ones; only its
sockets are missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from pcscf.config.policy import MediaPolicy
from pcscf.gateway.context import ContextTable
from pcscf.gateway.model import LegKey, LegPlan
from pcscf.h248.codec import decode_untrusted, encode_compact
from pcscf.h248.message import Action, Message, TransactionReply, TransactionRequest
from pcscf.iq import procedures
from pcscf.iq.media import Media, legs, stream_of
from pcscf.iq.procedures import Realms, needs_gateway
from pcscf.iq.replies import read_configured_untrusted, read_reserved_untrusted
from pcscf.mediasec.model import Agreed, Direction, MediaPlan, Origin
from pcscf.mediasec.plan import decide, settle
from pcscf.procedures.negotiation import moved, towards
from pcscf.procedures.site import Side
from pcscf.sdp.lines import Sdp, parse_sdp_untrusted
from tests.support.memorygateway import MemoryGateway

PRINT = ":".join(["A5"] * 32)
KINDS = {
    "voice": "m=audio {} RTP/AVP 0", "shared": "m=audio {} RTP/AVP 0\na=rtcp-mux", "srtp": "m=video {} UDP/TLS/RTP/SAVPF 97",
    "rtcp": "m=audio {0} RTP/AVP 0\na=rtcp:{0}", "fax": "m=image {} udptl t38", "ice": "m=audio {} RTP/AVP 0\na=ice-ufrag:x",
    "chat": "m=message {0} TCP/MSRP *\na=path:msrp://{1}:{0}/s;tcp\na=msrp-cema\na=setup:actpass",
    "held": "m=audio {} RTP/AVP 0\nc=IN IP4 0.0.0.0",
}  # fmt: skip
CLOSED = "m=audio 0 RTP/AVP 0"
ADDRESS = {Side.ACCESS: "192.0.2.61", Side.CORE: "198.51.100.88"}
AGREED = Agreed(frozenset({"udptl-dtls"}), frozenset({"udptl-dtls"}))
PROTECTED_FAX = f"m=image {{}} UDP/TLS/UDPTL t38\na=setup:actpass\na=fingerprint:sha-256 {PRINT}\na=3ge2ae:requested"


@dataclass(frozen=True)
class Exchange:
    """`slots`: a kind and a port for each line; "" closed. answered: which lines the answer takes; None: a refusal."""

    offerer: Side
    slots: tuple[tuple[str, int], ...]
    answered: tuple[bool, ...] | None


SLOTS = st.tuples(st.sampled_from(["", *KINDS]), st.sampled_from([5000, 5010]))
EXCHANGES = st.builds(
    Exchange, st.sampled_from(Side), st.lists(SLOTS, min_size=1, max_size=3).map(tuple),
    st.one_of(st.none(), st.tuples(st.booleans(), st.booleans(), st.booleans()), st.just((True, True, True))),
)  # fmt: skip


def described(side: Side, slots: list[tuple[str, int]], *, answer: bool = False) -> Sdp:
    lines = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", f"c=IN IP4 {ADDRESS[side]}", "t=0 0"]
    for index, (kind, port) in enumerate(slots):
        text = KINDS.get(kind, CLOSED)
        if kind == "fax" and side is Side.ACCESS:
            text = PROTECTED_FAX.replace("actpass", "active").partition("\na=3ge2ae")[0] if answer else PROTECTED_FAX
        lines += text.format(port + 100 * index, ADDRESS[side]).split("\n")
    return parse_sdp_untrusted("\r\n".join((*lines, "")).encode())


@dataclass
class Call:
    """A session as `negotiation` keeps it, and its gateway."""

    table: ContextTable
    media: Media | None = None
    told: MediaPlan | None = None
    standing: MediaPlan | None = None
    slots: list[tuple[str, int]] = field(default_factory=list)
    ports: dict[tuple[str, int], int] = field(default_factory=dict)

    def ask(self, actions: tuple[Action, ...]) -> tuple[Action, ...]:
        """Over the wire and back."""
        request = decode_untrusted(encode_compact(Message("a", (TransactionRequest(1, actions),))))
        (transaction,) = request.transactions
        assert isinstance(transaction, TransactionRequest)
        replies, _ = self.table.execute(transaction.actions, 0.0)
        (reply,) = decode_untrusted(encode_compact(Message("a", (TransactionReply(1, replies),)))).transactions
        assert isinstance(reply, TransactionReply)
        assert all(command.error is None for action in reply.actions for command in action.commands), actions
        return reply.actions

    def tell(self, plan: MediaPlan) -> None:
        if self.media is None:
            self.media = read_reserved_untrusted("agw", plan, self.ask(procedures.reserve(plan, Realms())))
            self.told = None
        elif moved(self.told, plan):
            actions = procedures.configure(self.media, plan)
            self.media = read_configured_untrusted(self.media, plan, self.ask(actions) if actions else ())
            self.told = plan

    def serve_standing(self) -> None:
        if self.media is None:
            return
        if self.standing is not None and needs_gateway(self.standing):
            self.tell(self.standing)
        else:
            self.ask(procedures.release(self.media.context))
            self.media, self.told = None, None
            self.ports.clear()

    def plans(self) -> dict[tuple[str, int], LegPlan]:
        """By realm and StreamID."""
        if self.media is None:
            return {}
        context = self.table.contexts[self.media.context]
        found: dict[LegKey, LegPlan] = self.table._plans[context.id]
        return {(context.terminations[leg.termination].realm, leg.stream): plan for leg, plan in found.items()}

    def exchange(self, one: Exchange) -> None:
        slots = [*one.slots, *[("", 5000)] * (len(self.slots) - len(one.slots))]   # a slot is never taken away
        offer = described(one.offerer, slots)
        direction = Direction.OFFER_FROM_UE if one.offerer is Side.ACCESS else Direction.OFFER_FROM_CORE
        origin = Origin("203.0.113.99", behind_nat=True)
        plan = decide(MediaPolicy(), AGREED, offer, direction, previous=self.standing, origin=origin)
        if plan.action == "reject":
            return
        before = self.plans()
        if needs_gateway(plan):
            self.tell(plan)
        self._standing_is_served(before, plan)
        towards(one.offerer.other, self.media, plan)
        if one.answered is not None:
            taken = [
                (kind if wanted else "", port)
                for (kind, port), wanted in zip(slots, (*one.answered, True, True, True), strict=False)]
            answer = described(one.offerer.other, taken, answer=True)
            settled = settle(plan, answer)
            if settled.action == "forward":
                if needs_gateway(settled):
                    self.tell(settled)
                towards(one.offerer, self.media, settled)
                self.standing, self.slots = settled, slots
        self.serve_standing()
        self.check()

    def _standing_is_served(self, before: dict[tuple[str, int], LegPlan], plan: MediaPlan) -> None:
        """An offer without answer closes nothing."""
        now = self.plans()
        for key, leg in before.items():
            assert now[key].local == leg.local
            assert now[key].receives == leg.receives or plan is self.told

    def check(self) -> None:
        """The gateway does what stands, and nothing else."""
        live: set[tuple[str, int]] = set()
        plans = self.plans()
        if self.standing is not None and self.media is not None:
            for line, access, core in legs(self.standing):
                place = self.media.place(line)
                for realm, leg, ours in (("access", access, self.media.access), ("core", core, self.media.core)):
                    told = plans[realm, stream_of(place)]
                    live.add((realm, stream_of(place)))
                    assert told.local == (ours[place].address, ours[place].port)
                    assert self.ports.setdefault((realm, place), ours[place].port) == ours[place].port
                    assert told.rtp == ("RTP" in leg.transport)
                    assert told.datagram == (not leg.transport.startswith("TCP"))
                    assert told.secure == (leg.transport in {"UDP/DTLS", "TCP/TLS"})
                    if leg.peer_address is not None:
                        assert (told.remote, told.receives, told.sends) == (leg.peer_address, True, True)
                        assert told.rtcp_mux == (leg.rtcp_mux == "agreed")
                        assert bool(told.latch) == leg.latched
        for key, told in plans.items():
            assert key in live or not told.receives
        assert (not plans) == (self.media is None)


@settings(max_examples=150)
@given(st.lists(EXCHANGES, min_size=1, max_size=8))
def test_the_gateway_serves_what_stands(exchanges: list[Exchange]) -> None:
    call = Call(MemoryGateway().table)
    for one in exchanges:
        call.exchange(one)
    if call.media is not None:
        call.ask(procedures.release(call.media.context))
    assert not call.table.contexts
