"""One offer and its answer through the gateway, whichever messages carry them (RFC 3264, TS 33.328 §7.2 and §7.3)."""

from __future__ import annotations

from typing import Literal

from pcscf.config.policy import MediaPolicy
from pcscf.errors import BadAnswer, BodyNotSupported, MalformedSdp, MediaNotAcceptable, UnsupportedExtension
from pcscf.iq.media import Media, is_of_another_family, legs
from pcscf.iq.procedures import Realms, needs_gateway
from pcscf.mediasec.model import Agreed, Direction, Leg, MediaPlan, Origin, SideMedia
from pcscf.mediasec.plan import decide, settle
from pcscf.mediasec.rewrite import LegSdp, decline, next_body, rewrite_answer, rewrite_offer
from pcscf.procedures.ports import Ports
from pcscf.procedures.session import Answer, Negotiation, Passed, Session
from pcscf.procedures.site import Side
from pcscf.sdp.lines import Sdp, parse_sdp_untrusted
from pcscf.sip.body import (
    EARLY_SESSION,
    SDP,
    Description,
    description_untrusted,
    drop_early_sessions_untrusted,
    early_session_is_required_untrusted,
)
from pcscf.sip.flow import Flow
from pcscf.sip.message import Message, Request, Response

DIRECTION = {Side.ACCESS: Direction.OFFER_FROM_UE, Side.CORE: Direction.OFFER_FROM_CORE}


def description_of(request: Request) -> Description | None:
    """The session description of a request, None where it has none: then the far end offers.

    Raises BodyNotSupported where a session description may be hidden, or an early session must be understood, and
    UnsupportedExtension where it must be supported (RFC 3959).
    """
    if request.has("Require") and EARLY_SESSION in map(str.lower, request.values("Require")):
        raise UnsupportedExtension([EARLY_SESSION])
    if early_session_is_required_untrusted(request):
        raise BodyNotSupported("an early session beside the session cannot be served (RFC 3959)")
    found = description_untrusted(request)
    kind = (request.get("Content-Type") or "").strip().lower()
    if found is None and request.body and request.method == "INVITE" and not kind.startswith(("multipart/", SDP)):
        raise BodyNotSupported("the body of an INVITE must be application/sdp, or a multipart with one part of that kind")
    return found


def description_in(response: Response) -> Description | None:
    """The session description of a response. Raises BadAnswer where one may be hidden."""
    try:
        return description_untrusted(response)
    except BodyNotSupported as error:
        raise BadAnswer(f"the answer cannot be read: {error.what}") from error


def without_early_session(onward: Message) -> None:
    """Nobody gets an early session beside the session (RFC 3959), for the gateway has no stream for it.

    So nobody is told that the far end knows them, and one that is described all the same goes no further.
    """
    drop_early_sessions_untrusted(onward)
    if onward.has("Supported") and any(EARLY_SESSION in line.lower() for line in onward.lines_of("Supported")):
        kept = [tag for tag in onward.values("Supported") if tag.lower() != EARLY_SESSION]
        onward.set_values("Supported", [", ".join(kept)] if kept else [])


def decide_offer(
    ports: Ports, policy: MediaPolicy, agreed: Agreed, message: Message, offerer: Side, offer: Sdp,
    *, previous: MediaPlan | None, origin: Origin,
) -> MediaPlan:
    """The plan for an offer, written down with its reasons. Raises MediaNotAcceptable where it is refused."""
    plan = decide(
        policy, agreed, offer, DIRECTION[offerer], previous=previous, origin=origin, new_tls_id=ports.tokens.tls_id)
    explain(ports, message, plan)
    for index in plan.downgraded:
        ports.record("downgrade", call=message.call_id, line=index)
    if plan.action == "reject":
        raise MediaNotAcceptable(plan.warning)
    return plan


def explain(ports: Ports, message: Message, plan: MediaPlan) -> None:
    """Write down the rule and the reason of every line: the log says why, per session."""
    for line in plan.lines:
        ports.record("decided", call=message.call_id, line=line.index, mode=str(line.mode), rule=line.rule, why=line.reason)


def emit_offer(session: Session, key: str, offerer: Side, received: bytes, offer: Sdp, plan: MediaPlan) -> bytes:
    """The offer as the other side gets it, kept under `key`, the transaction that carries it."""
    rewritten = rewrite_offer(plan, offer, towards(offerer.other, session.media, plan))
    emitted = _emit(session, offerer.other, key.rpartition(" ")[2], rewritten)
    session.negotiations[key] = Negotiation(offerer, Passed(received, emitted), plan)
    return emitted


async def pass_offer(ports: Ports, session: Session, message: Message, found: Description, offerer: Side, key: str) -> bytes:
    """An offer inside a session: decide, tell the gateway, rewrite. The mailbox is held; `key`: the transaction it travels in.

    Raises MediaNotAcceptable, MalformedSdp, GatewayUnavailable, InternalFailure; then what stands stands.
    """
    offer = parse_sdp_untrusted(found.sdp)
    standing = session.standing.get(key.rpartition(" ")[2])
    plan = decide_offer(
        ports, session.policy, session.agreed, message, offerer, offer, previous=standing, origin=session.origin)
    if needs_gateway(plan):
        await tell(ports, session, plan)
    emitted = emit_offer(session, key, offerer, found.sdp, offer, plan)
    ports.store.save_session(session)
    return emitted


async def pass_answer(
    ports: Ports, session: Session, negotiation: Negotiation, message: Message, found: Description, tag: str, *, counts: bool,
) -> bytes:
    """The answer as the offerer gets it. The mailbox is held; `tag`: the To-tag of the dialog.

    The same answer again leaves as the same octets, with no gateway in between, and so does whatever comes after one that
    counts: its receiver must ignore it (RFC 3261 §13.2.1).
    Raises BadAnswer, MediaNotAcceptable, GatewayUnavailable, InternalFailure.
    """
    answer = negotiation.answers.get(tag)
    if answer is None or (answer.passed.received != found.sdp and not answer.counts):
        answer = await _answered(ports, session, negotiation, message, found.sdp, tag)
        negotiation.answers.pop(tag, None)   # to the end: it is the last that answered
    if counts and not answer.counts:
        answer = Answer(answer.passed, answer.plan, counts=True)
        session.standing[tag] = answer.plan
    negotiation.answers[tag] = answer
    ports.store.save_session(session)
    return answer.passed.emitted


async def _answered(
    ports: Ports, session: Session, negotiation: Negotiation, message: Message, received: bytes, tag: str,
) -> Answer:
    try:
        answer = parse_sdp_untrusted(received)
    except MalformedSdp as error:
        raise BadAnswer(f"the answer cannot be read: {error.what}") from error
    settled = settle(negotiation.plan, answer)
    explain(ports, message, settled)
    if settled.action == "release-session":
        raise MediaNotAcceptable(settled.warning)
    if needs_gateway(settled):
        await tell(ports, session, settled)
    rewritten = rewrite_answer(settled, answer, towards(negotiation.offerer, session.media, settled))
    return Answer(Passed(received, _emit(session, negotiation.offerer, tag, rewritten)), settled, counts=False)


def declined(ports: Ports, session: Session, offerer: Side, received: bytes) -> bytes:
    """An answer of ours that closes every line of an offer, as it came from `offerer`: a BYE follows (RFC 3261 §13.2.2.4).

    Empty where the offer cannot be read.
    """
    ours = ports.site.core if offerer is Side.CORE else ports.site.interface(session.flow.listener)
    try:
        return decline(parse_sdp_untrusted(received), ours.host).to_bytes()
    except MalformedSdp:
        return b""


async def tell(ports: Ports, session: Session, plan: MediaPlan) -> None:
    """Make the gateway serve `plan`, which needs it. The mailbox is held.

    Raises MediaNotAcceptable, GatewayUnavailable, InternalFailure.
    """
    if session.media is None:
        session.media = await ports.media.reserve(plan, realms(ports, session.flow), session.urgency)
        session.told = plan if plan.settled else None
        ports.record("reserved", call=session.call_id, gateway=session.media.gateway, context=session.media.context)
    elif moved(session.told, plan):
        if is_of_another_family(session.media, plan):
            raise MediaNotAcceptable("an address of the other IP version: it cannot be reached from where it was offered")
        session.told = None   # until the gateway says so, nobody knows what it serves
        session.media = await ports.media.configure(session.media, plan)
        session.told = plan
    ports.store.save_session(session)


async def serve_standing(ports: Ports, session: Session, tag: str) -> None:
    """Make the gateway serve what stands in this dialog; it gets its context back where nobody needs it any more.

    While a call is not answered, a far end that declined does not take the gateway from the others. The mailbox is held.
    Raises GatewayUnavailable, InternalFailure.
    """
    standing = session.standing.get(tag)
    if session.media is None:
        return
    if standing is not None and needs_gateway(standing):
        await tell(ports, session, standing)
        return
    if not session.accepted or any(needs_gateway(plan) for plan in session.standing.values()):
        return
    media, session.media, session.told = session.media, None, None
    ports.store.save_session(session)
    await ports.media.release(media)


def moved(before: MediaPlan | None, after: MediaPlan) -> bool:
    """Whether the gateway must be told: a line came, or went for good, a connection is to be made anew, or a peer that is known
    is somewhere else, has another certificate or DTLS association, or wants its RTCP elsewhere.

    A repeated exchange may name other roles; they are those of a TCP connection yet to be made, so what runs is left alone.
    """
    if before is None or before is after:
        return before is None
    if after.settled and not before.settled:
        return True
    if any(line.connection != old.connection for line, old in zip(after.lines, before.lines, strict=False)):
        return True
    known = {line.index: (access, core) for line, access, core in legs(before)}
    fresh = {line.index: (access, core) for line, access, core in legs(after)}
    if not fresh.keys() <= known.keys() or (after.settled and known.keys() != fresh.keys()):
        return True
    return any(
        leg.transport != old.transport or (leg.peer_address is not None and _whereabouts(leg) != _whereabouts(old))
        for index, pair in fresh.items() for leg, old in zip(pair, known[index], strict=True))


def _whereabouts(leg: Leg) -> tuple[object, ...]:
    dtls = (leg.tls, leg.tls_id, leg.peer_tls_id) if leg.tls_id else ()
    return leg.peer_address, leg.peer_fingerprints, leg.rtcp, leg.rtcp_mux, leg.latched, leg.sources, dtls


def realms(ports: Ports, flow: Flow) -> Realms:
    """The two IP realms of a session, each with the address family that its SIP side speaks."""
    access, core = ports.site.interface(flow.listener), ports.site.core
    return Realms(access.realm, core.realm, _family(access.host), _family(core.host))


def _family(host: str) -> Literal["IP4", "IP6"]:
    return "IP6" if ":" in host else "IP4"


def towards(side: Side, media: Media | None, plan: MediaPlan) -> SideMedia:
    """The addresses of ours that `side` gets to see."""
    if media is None:
        return {}
    ours = media.access if side is Side.ACCESS else media.core
    return {line.index: ours[media.place(line)] for line in plan.lines if line.gateway}


def _emit(session: Session, receiver: Side, tag: str, sdp: Sdp) -> bytes:
    """The octets for `receiver` in the dialog `tag`, whose o= line goes on from what it was sent there, or in the INVITE."""
    role = "callee" if receiver is session.callee else "caller"
    leg = f"{role} {tag}"
    last = session.sent.get(leg) or session.sent.get(f"{role} ") or LegSdp()
    session.sent[leg], body = next_body(last, sdp)
    return body
