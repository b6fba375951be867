"""INVITE: decide, reserve, rewrite, ask, settle, configure, rewrite, answer – once for each half-call.

TS 33.328 §7.2.1 (the UE offers) and §7.3.1 (the core offers), TS 24.229 §6.7.2, TS 23.334 §6.2.10.
"""

from __future__ import annotations

from typing import Final

from pcscf.errors import (
    GatewayUnavailable,
    NextHopTimeout,
    RequestTerminated,
    RequestTimeout,
    SipError,
    TemporarilyUnavailable,
)
from pcscf.iq.overload import Urgency
from pcscf.iq.procedures import needs_gateway
from pcscf.procedures.binding import Binding
from pcscf.procedures.calls import Calls, Invitation
from pcscf.procedures.forward import Arrival, onward_response, reason
from pcscf.procedures.negotiation import decide_offer, description_of, emit_offer, realms, without_early_session
from pcscf.procedures.offers import hand_over, response_passes
from pcscf.procedures.ports import Exchange, Ports
from pcscf.procedures.release import acknowledge_and_bye, end, give_up, release_unacknowledged
from pcscf.procedures.screen import strip_e2ae_of_response, strip_to_ue
from pcscf.procedures.session import Session, State, carrier
from pcscf.procedures.site import Side
from pcscf.procedures.timer import observe_timer
from pcscf.procedures.token import TokenKind
from pcscf.procedures.urgency import urgency_of
from pcscf.sdp.lines import parse_sdp_untrusted
from pcscf.sip.body import put_description
from pcscf.sip.dialog import Dialog
from pcscf.sip.flow import Destination
from pcscf.sip.message import Request, Response
from pcscf.sip.transaction import ServerTransaction

ANSWERED_ELSEWHERE: Final = reason(200, "Call completed elsewhere")   # RFC 3326 §3.1
EARLY_DIALOG_TERMINATED: Final = 199   # RFC 6228

# Looking up a member in its Enum costs as much as a function: what every call needs is looked up once.
_EARLY: Final = State.EARLY
_ENDED: Final = State.ENDED
_ACCESS: Final = Side.ACCESS
_CORE: Final = Side.CORE


async def invite(
    calls: Calls, server: ServerTransaction, arrival: Arrival, binding: Binding, caller: Side, destination: Destination,
) -> None:
    """The whole life of one INVITE that opens a session. Raises SipError for what is refused before a context exists.

    `arrival.onward` is screened and routed already; `destination` is where it goes.
    """
    ports = calls.ports
    ports.sip.trying(server)
    request = server.request
    found = description_of(request)
    offer = plan = None
    if found is not None:   # else the callee offers, and the gateway is asked when it does
        offer = parse_sdp_untrusted(found.sdp)
        plan = decide_offer(
            ports, binding.policy, binding.agreed, request, caller, offer, previous=None, origin=binding.origin)
    urgency = urgency_of(request, caller)
    if ports.store.session_count() >= ports.site.limits.sessions and urgency is not Urgency.EMERGENCY:
        raise GatewayUnavailable("no room for another session")

    token = ports.tokens.make(TokenKind.SESSION)
    invitation = calls.invitations[token] = Invitation(server)
    server.user = token
    try:
        media = None
        if plan and needs_gateway(plan):
            media = await ports.media.reserve(plan, realms(ports, binding.flow), urgency)
        session = Session(
            token=token, binding=binding.token, caller=caller, flow=binding.flow, call_id=request.call_id,
            invite_cseq=request.cseq[0], policy=binding.policy, agreed=binding.agreed, behind_nat=binding.behind_nat,
            urgency=urgency, media=media, heard=ports.now())
        ports.store.save_session(session)
        if media is not None:
            ports.record("reserved", call=session.call_id, gateway=media.gateway, context=media.context)
        async with calls.mailbox(token):
            if invitation.was_cancelled:
                await give_up(calls, session, RequestTerminated("the caller cancelled"))
                return
            if ports.store.binding(binding.token) is None:
                await give_up(calls, session, TemporarilyUnavailable("the registration of the served user has ended"))
                return
            onward = arrival.onward
            if found is not None and offer is not None and plan is not None:
                key = carrier(caller, session.invite_cseq, "")   # the offer of all dialogs that this INVITE makes
                put_description(onward, found, emit_offer(session, key, caller, found.sdp, offer, plan))
                ports.store.save_session(session)
            without_early_session(onward)
            _record_route(ports, onward, session)
            invitation.exchange = ports.sip.request(onward, destination, ports.tokens.branch(token, arrival.loop_hash))
        async for response in invitation.exchange:
            async with calls.mailbox(token):
                current = ports.store.session(token)
                if current is not None:
                    await _response(calls, current, invitation.exchange, server, response)
    finally:
        calls.invitations.pop(token, None)
        async with calls.mailbox(token):
            unfinished = ports.store.session(token)
            if unfinished is not None and unfinished.state is _EARLY:
                await end(calls, unfinished)


def cancel(calls: Calls, server: ServerTransaction, cause: str) -> None:
    """CANCEL, answered already: outside the mailbox, because it must not wait behind its own INVITE (RFC 3261 §16.10)."""
    invitation = calls.invitations.get(str(server.user))
    if invitation is None:
        return
    invitation.was_cancelled = True
    if invitation.exchange is not None:
        invitation.exchange.cancel(cause)


def _record_route(ports: Ports, onward: Request, session: Session) -> None:
    """Our URIs for both sides, the callee's on top (RFC 5658 §5)."""
    access = ports.site.interface(session.flow.listener).uri(session.token)
    core = ports.site.core.uri(session.token)
    for entry in (access, core) if session.caller is _ACCESS else (core, access):
        onward.prepend("Record-Route", entry)


async def _response(
    calls: Calls, session: Session, exchange: Exchange, server: ServerTransaction, response: Response,
) -> None:
    """One response, from the callee's side to the caller's. The mailbox is held."""
    ports = calls.ports
    if exchange.is_local(response):
        await _nothing_came(calls, session, response)
        return
    _observe(ports, session, server.request, response)
    if session.state is _ENDED:
        if 200 <= response.status < 300:
            await acknowledge_and_bye(calls, session, response, reason(RequestTerminated.status, "the session was given up"))
        return
    if 200 <= response.status < 300 and _comes_too_late(session, response.to_tag):
        await acknowledge_and_bye(calls, session, response, ANSWERED_ELSEWHERE)
        return
    if 200 <= response.status < 300 and session.state is _EARLY:
        session.accept(response.to_tag)
    onward = onward_response(response)
    try:
        if response.status < 300:
            await response_passes(ports, session, server.request, response, onward, session.caller, response.to_tag)
        if response.status == EARLY_DIALOG_TERMINATED:
            await hand_over(ports, session, response.to_tag)
    except SipError as error:
        await give_up(calls, session, error)
        if 200 <= response.status < 300:
            await acknowledge_and_bye(calls, session, response, reason(error.status, error.what))
        return
    if session.callee is _CORE:
        strip_to_ue(onward)
    if 200 <= response.status < 300 and session.state is _EARLY:
        session.state = State.CONFIRMED
        ports.later(ports.site.deadlines.ack, lambda: release_unacknowledged(calls, session.token))
    if response.status >= 300:
        strip_e2ae_of_response(onward)
        await end(calls, session)
    else:
        ports.store.save_session(session)
    ports.sip.respond(server, onward)


def _observe(ports: Ports, session: Session, request: Request, response: Response) -> None:
    """Each To-tag is a dialog of its own (RFC 3261 §12.1.2). The request is the one the caller sent."""
    tag = response.to_tag
    if not tag or response.status >= 300:
        return
    dialog = session.dialogs.get(tag)
    if dialog is None:
        session.dialogs[tag] = Dialog.of(request, response)
        session.before[carrier(session.caller, session.invite_cseq, tag)] = None
    else:
        dialog.observe_response(request, response)
    session.heard = ports.now()
    observe_timer(session, request, response, session.heard)


def _comes_too_late(session: Session, tag: str) -> bool:
    """Whether another far end has answered, and the gateway that stands between serves that one alone."""
    if session.accepted in ("", tag):
        return False
    return session.media is not None or any(needs_gateway(each.plan) for each in session.negotiations.values())


async def _nothing_came(calls: Calls, session: Session, response: Response) -> None:
    """A hop did not answer, in time or at all: the caller gets what RFC 3261 §16.8 says, while it still waits."""
    if session.state is not _EARLY:
        return
    invitation = calls.invitations.get(session.token)
    if invitation is not None and invitation.was_cancelled:
        await give_up(calls, session, RequestTerminated("the caller cancelled and the far end did not answer"))
    elif response.status == RequestTimeout.status:
        await give_up(calls, session, RequestTimeout("the far end did not answer in time"))
    else:
        await give_up(calls, session, NextHopTimeout("the far end cannot be reached"))
