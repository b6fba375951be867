"""Offer and answer through the gateway: what invite and change have in common (RFC 3264, TS 33.328 §7.2 and §7.3)."""

from __future__ import annotations

from pcscf.config.policy import MediaPolicy
from pcscf.errors import BadAnswer, BodyNotSupported, MalformedSdp, MediaNotAcceptable
from pcscf.iq.media import Media, legs
from pcscf.iq.procedures import needs_gateway
from pcscf.mediasec.model import Agreed, Direction, MediaPlan, SideMedia
from pcscf.mediasec.plan import decide, settle
from pcscf.mediasec.rewrite import LegSdp, next_body, rewrite_answer, rewrite_offer
from pcscf.procedures.forward import carries_sdp
from pcscf.procedures.ports import Ports
from pcscf.procedures.session import Negotiation, Passed, Session
from pcscf.procedures.site import Side
from pcscf.sdp.lines import Sdp, parse_sdp_untrusted
from pcscf.sip.message import Message, Request, Response

DIRECTION = {Side.ACCESS: Direction.OFFER_FROM_UE, Side.CORE: Direction.OFFER_FROM_CORE}


def read_offer(request: Request) -> Sdp:
    """The offer of a request. Raises BodyNotSupported, MalformedSdp, and MediaNotAcceptable where there is none."""
    if not request.body:
        raise MediaNotAcceptable("an INVITE without an offer cannot be protected at the access edge; offer in the INVITE")
    if not carries_sdp(request):
        raise BodyNotSupported("the body of an INVITE must be application/sdp without a content encoding")
    return parse_sdp_untrusted(request.body)


def decide_offer(
    ports: Ports, policy: MediaPolicy, agreed: Agreed, request: Request, offerer: Side, offer: Sdp, *, previous: MediaPlan | None,
) -> MediaPlan:
    """The plan for an offer, written down with its reasons. Raises MediaNotAcceptable where it is refused."""
    plan = decide(policy, agreed, offer, DIRECTION[offerer], previous=previous)
    explain(ports, request, plan)
    for index in plan.downgraded:
        ports.record("downgrade", call=request.call_id, line=index)
    if plan.action == "reject":
        raise MediaNotAcceptable(plan.warning)
    return plan


def explain(ports: Ports, message: Message, plan: MediaPlan) -> None:
    """Write down the rule and the reason of every line: the log says why, per session."""
    for line in plan.lines:
        ports.record("decided", call=message.call_id, line=line.index, mode=line.mode.value, rule=line.rule, why=line.reason)


def emit_offer(session: Session, negotiation: Negotiation, offer: Sdp, tag: str = "") -> bytes:
    """The offer as the other side gets it. tag: To-tag of the dialog, "" before there is one."""
    receiver = negotiation.offerer.other
    rewritten = rewrite_offer(negotiation.plan, offer, towards(receiver, session.media))
    emitted = _emit(session, _leg(session, receiver, tag), rewritten)
    negotiation.offer = Passed(negotiation.offer.received, emitted)
    return emitted


async def pass_answer(ports: Ports, session: Session, negotiation: Negotiation, response: Response, tag: str) -> bytes:
    """The answer as the offerer gets it. The same answer again leaves as the same octets, with no gateway in between.

    tag: To-tag of the dialog. Raises BadAnswer, MediaNotAcceptable, GatewayUnavailable, InternalFailure.
    """
    if not carries_sdp(response):
        return response.body
    passed = negotiation.answers.get(tag)
    if passed is not None and passed.received == response.body:
        return passed.emitted
    try:
        answer = parse_sdp_untrusted(response.body)
    except MalformedSdp as error:
        raise BadAnswer(f"the answer cannot be read: {error.what}") from error
    offer = parse_sdp_untrusted(negotiation.offer.received)
    settled = settle(negotiation.plan, answer)
    explain(ports, response, settled)
    if settled.action == "release-session":
        raise MediaNotAcceptable(settled.warning)
    media = session.media
    if media is not None and needs_gateway(settled):
        if moved(session.negotiation.settled, settled):
            media = session.media = await ports.media.configure(media, settled)
    elif media is not None and response.status >= 200:
        session.media = None   # the answer closed every line of ours; a preview of another far end might not
        await ports.media.release(media)
    rewritten = rewrite_answer(settled, answer, offer, towards(negotiation.offerer, media))
    emitted = _emit(session, _leg(session, negotiation.offerer, tag), rewritten)
    negotiation.answers[tag] = Passed(response.body, emitted)
    negotiation.settled = settled
    return emitted


def moved(before: MediaPlan | None, after: MediaPlan) -> bool:
    """Whether the gateway must be told: a line came or went, a connection is to be made anew, or a peer that is known has
    another address or certificate.

    A repeated exchange may name other roles; they are those of a connection yet to be made, so what runs is left alone.
    """
    if before is None:
        return True
    if any(line.connection != old.connection for line, old in zip(after.lines, before.lines, strict=False)):
        return True
    known = {line.index: (access, core) for line, access, core in legs(before)}
    fresh = {line.index: (access, core) for line, access, core in legs(after)}
    return known.keys() != fresh.keys() or any(
        leg.peer_address is not None
        and (leg.transport, leg.peer_address, leg.peer_fingerprints) != (old.transport, old.peer_address, old.peer_fingerprints)
        for index, pair in fresh.items() for leg, old in zip(pair, known[index], strict=True))


def towards(side: Side, media: Media | None) -> SideMedia:
    """The addresses of ours that `side` gets to see."""
    if media is None:
        return {}
    return media.access if side is Side.ACCESS else media.core


def _leg(session: Session, receiver: Side, tag: str) -> str:
    """The key of a leg in `sent`: one towards the callee, one towards the caller for every dialog."""
    return "callee" if receiver is session.callee else f"caller {tag}"


def _emit(session: Session, leg: str, sdp: Sdp) -> bytes:
    session.sent[leg], body = next_body(session.sent.get(leg, LegSdp()), sdp)
    return body
