"""Where offers and answers travel in a session (RFC 6337 §2): which message carries which, and what a refusal undoes.

    offer in            answer in                        in the session as well
    INVITE              2xx, reliable 1xx of it          yes
    2xx of INVITE       ACK                              yes
    reliable 1xx        PRACK                            yes
    PRACK               2xx of it                        yes
    UPDATE              2xx of it                        yes

A description in an unreliable 1xx is a preview: it is treated as what it announces, and replaced if that differs.
"""

from __future__ import annotations

from typing import Final

from pcscf.errors import BadAnswer, BodyNotSupported, MalformedMessage, RequestPending, SipError
from pcscf.iq.procedures import needs_gateway
from pcscf.procedures.negotiation import (
    declined,
    description_in,
    description_of,
    pass_answer,
    pass_offer,
    serve_standing,
    tell,
    without_early_session,
)
from pcscf.procedures.ports import Ports
from pcscf.procedures.session import Answer, Negotiation, Session, carrier
from pcscf.procedures.site import Side
from pcscf.sip.body import SDP, Description, description_untrusted, drop_body, put_description
from pcscf.sip.headers import parse_cseq
from pcscf.sip.message import Request, Response

CARRIERS = frozenset({"INVITE", "UPDATE", "PRACK"})
"""Requests that carry offers and answers, in themselves or in their responses; and ACK.

What others carry describes capabilities at most (RFC 3264 §9)."""

_MISSING: Final = object()


def answered_by(session: Session, prack: Request, source: Side, tag: str) -> Negotiation | None:
    """The offer of a reliable provisional response that `prack` answers, None where it answers nothing (RFC 3262 §5)."""
    if prack.method != "PRACK":
        return None
    _, _, cseq = (prack.get("RAck") or "").partition(" ")
    try:
        asked = session.negotiation(source, parse_cseq(cseq.strip())[0], tag)
    except MalformedMessage:
        return None   # the far end will tell its sender
    return asked if asked is not None and asked.offerer is not source and asked.is_open(tag) else None


async def request_passes(ports: Ports, session: Session, request: Request, onward: Request, source: Side, tag: str) -> None:
    """A request of CARRIERS inside a session: an offer, or the answer in a PRACK, rewritten into `onward`. The mailbox is held.

    Raises RequestPending while another offer is open or its CSeq is not its own, BodyNotSupported, and what `pass_offer` and
    `pass_answer` raise.
    """
    key = carrier(source, request.cseq[0], tag)
    if key in session.before or session.negotiation(source, request.cseq[0], tag) is not None:
        raise RequestPending("this CSeq is that of another transaction that negotiates")
    found = description_of(request)
    if request.method == "INVITE":
        _forget_complete(session, tag)
    if found is not None:
        asked = answered_by(session, request, source, tag)
        if asked is not None:
            body = await pass_answer(ports, session, asked, request, found, tag, counts=True)
        else:
            if session.is_negotiating(tag):
                raise RequestPending("an offer of this session is still without answer")
            body = await pass_offer(ports, session, request, found, source, key)
        put_description(onward, found, body)
    without_early_session(onward)
    if request.method == "INVITE":
        session.before[key] = session.standing.get(tag)


async def response_passes(
    ports: Ports, session: Session, request: Request, response: Response, onward: Response, source: Side, tag: str,
) -> None:
    """A provisional response or a 2xx to a request of CARRIERS, which `source` sent. The mailbox is held.

    Raises BadAnswer, RequestPending, and what `pass_offer` and `pass_answer` raise: the far end has done what cannot be served.
    """
    found = description_in(response)
    key = carrier(source, request.cseq[0], tag)
    asked = session.negotiation(source, request.cseq[0], tag)
    is_final = response.status >= 200
    counts = is_final or is_reliable(response)
    if found is not None:
        if asked is not None and asked.offerer is source:
            body = await pass_answer(ports, session, asked, response, found, tag, counts=counts)
            put_description(onward, found, body)
        elif request.method == "INVITE":
            put_description(onward, found, await _offered(ports, session, request, response, found, source, tag))
        else:
            ports.record("description-dropped", call=response.call_id, method=request.method)
            drop_body(onward)
    elif is_final and asked is not None and asked.offerer is source:
        _without_answer(session, asked, key, tag)
    without_early_session(onward)
    if is_final:
        is_first = session.before.pop(key, _MISSING) is not _MISSING
        if request.method != "INVITE":
            session.negotiations.pop(key, None)
        if (is_first or request.method != "INVITE") and not session.is_negotiating(tag):
            await serve_standing(ports, session, tag)
    ports.store.save_session(session)


async def ack_passes(ports: Ports, session: Session, ack: Request, source: Side, tag: str) -> None:
    """The ACK to a 2xx, with the answer where the 2xx offered, rewritten in its place. The mailbox is held.

    An answer cannot be refused any more. One that cannot be served, or is missing, leaves `ack` with one that closes every
    line, and the error says that the session must end: BadAnswer, MediaNotAcceptable, GatewayUnavailable, InternalFailure.
    """
    asked = session.negotiation(source, ack.cseq[0], tag)
    if asked is None or asked.offerer is source:
        _take_out(ports, ack)
        return
    is_due = asked.is_open(tag)
    try:
        found = description_untrusted(ack)
        if found is not None:
            put_description(ack, found, await pass_answer(ports, session, asked, ack, found, tag, counts=True))
        elif is_due:
            raise BadAnswer("the ACK has no answer to the offer of the 2xx")
        without_early_session(ack)
        if is_due:
            await serve_standing(ports, session, tag)
    except SipError as error:
        drop_body(ack)
        ack.set_body(declined(ports, session, asked.offerer, asked.offer.received), SDP)
        raise BadAnswer(error.what) if isinstance(error, BodyNotSupported) else error from None


async def roll_back(ports: Ports, session: Session, request: Request, source: Side, tag: str) -> None:
    """A request of CARRIERS was refused: what stood before it stands again, at the gateway too (RFC 3264 §8, RFC 6141 §3.4).

    The mailbox is held. Raises GatewayUnavailable, InternalFailure.
    """
    key = carrier(source, request.cseq[0], tag)
    dropped = session.negotiations.pop(key, None)
    if key in session.before:
        standing = session.before.pop(key)
        if standing is not None:
            session.standing[tag] = standing
        else:
            session.standing.pop(tag, None)
    elif dropped is None:
        return
    ports.store.save_session(session)
    if tag in session.standing or not session.standing:
        await serve_standing(ports, session, tag)


async def hand_over(ports: Ports, session: Session, tag: str) -> None:
    """An early dialog has ended (RFC 6228): of the others, the gateway gets the one that answered last. The mailbox is held.

    Raises GatewayUnavailable, InternalFailure.
    """
    session.forget_media(tag)
    answers = {one: answer.plan for each in session.negotiations.values() for one, answer in each.answers.items()}
    served = [plan for plan in (answers | session.standing).values() if needs_gateway(plan)]
    if served and session.told not in served:
        await tell(ports, session, served[-1])
    ports.store.save_session(session)


def is_reliable(response: Response) -> bool:
    """Whether a provisional response will be acknowledged by PRACK, so that what it carries counts (RFC 3262 §3)."""
    return response.has("RSeq") and "100rel" in {tag.lower() for tag in response.values("Require")}


async def _offered(
    ports: Ports, session: Session, request: Request, response: Response, found: Description, source: Side, tag: str,
) -> bytes:
    """The offer of a response to an INVITE without one. Repeated, or replaced when it was answered, it leaves as it did."""
    key = carrier(source, request.cseq[0], tag)
    asked = session.negotiations.get(key)
    if asked is not None and (asked.offer.received == found.sdp or tag in asked.answers):
        return asked.offer.emitted
    if asked is None and session.is_negotiating(tag):
        raise RequestPending("the far end offers while another offer is without answer")
    return await pass_offer(ports, session, response, found, source.other, key)


def _without_answer(session: Session, asked: Negotiation, key: str, tag: str) -> None:
    """A 2xx that says nothing of media: it confirms the answer before it, and without one nothing has changed."""
    answer = asked.answers.get(tag)
    if answer is None:
        session.negotiations.pop(key, None)
    elif not answer.counts:
        asked.answers[tag] = Answer(answer.passed, answer.plan, counts=True)
        session.standing[tag] = answer.plan


def _forget_complete(session: Session, tag: str) -> None:
    """Drop what was kept for repeated messages of earlier transactions of this dialog: a new INVITE ends their time."""
    for key, each in list(session.negotiations.items()):
        if key.rpartition(" ")[2] == tag and key not in session.before and not each.is_open(tag):
            del session.negotiations[key]


def _take_out(ports: Ports, ack: Request) -> None:
    """Nothing was asked: a description that nobody decided about goes no further."""
    try:
        found = description_untrusted(ack)
    except BodyNotSupported:
        found = Description(ack.body)
    without_early_session(ack)
    if found is not None:
        ports.record("description-dropped", call=ack.call_id, method="ACK")
        drop_body(ack)
