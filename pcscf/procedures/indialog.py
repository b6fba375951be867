"""Requests inside a session: ACK, BYE, INFO, MESSAGE, REFER, NOTIFY, and INVITE, UPDATE and PRACK with what they say of media.

They are admitted by the token in our Record-Route and by the dialog they name, not only by the flow they arrive on: a NAT
rebinding must not kill a call (TS 24.229 §5.2.6.3.5).
"""

from __future__ import annotations

from typing import Final

from pcscf.errors import DialogUnknown, NextHopTimeout, RequestTimeout, SipError
from pcscf.procedures import offers
from pcscf.procedures.calls import Calls, Invitation
from pcscf.procedures.dialogs import dialog_of, observe, steer
from pcscf.procedures.forward import Arrival, onward_response, refuse
from pcscf.procedures.negotiation import serve_standing
from pcscf.procedures.ports import Exchange, Ports
from pcscf.procedures.release import end, release, release_unanswered
from pcscf.procedures.screen import strip_e2ae, strip_e2ae_of_response, strip_to_ue
from pcscf.procedures.session import Session, State
from pcscf.procedures.site import Side
from pcscf.procedures.timer import observe_timer
from pcscf.sip.dialog import Dialog
from pcscf.sip.flow import Flow
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.transaction import ServerTransaction

_ELSEWHERE: Final = "another far end has answered the call"
KEEPS_SESSION = frozenset({401, 407})   # a challenged BYE is repeated by its sender

# Looking up a member in its Enum costs as much as a function: what every call needs is looked up once.
_ENDED: Final = State.ENDED
_ACCESS: Final = Side.ACCESS


async def in_dialog(calls: Calls, server: ServerTransaction, arrival: Arrival, source: Side, flow: Flow) -> None:
    """One request inside a session. Raises SipError for what is refused before it is sent on."""
    ports, request = calls.ports, server.request
    key = f"{arrival.token} {source} {request.cseq[0]}"
    invitation = Invitation(server)
    try:
        async with calls.mailbox(arrival.token):
            session = ports.store.session(arrival.token)
            dialog = dialog_of(session, request, source)
            if session is None or dialog is None:
                raise DialogUnknown("no session of ours has this dialog")
            if session.state is _ENDED:
                _after_the_end(ports, server, "the session has ended")
                return
            if dialog.callee.tag in session.dismissed:
                _after_the_end(ports, server, _ELSEWHERE)
                return
            observe(ports, session, dialog, request, source, flow)
            try:
                destination = await steer(ports, session, dialog, arrival.onward, source)
            except SipError:
                if request.method == "BYE":   # its sender has left, whatever it is answered (RFC 3261 §15.1.1)
                    await _one_dialog_less(calls, session, dialog)
                raise
            if request.method == "INVITE":
                ports.sip.trying(server)
                calls.invitations[key] = invitation
                server.user = key
            if request.method in offers.CARRIERS:
                await _negotiate(calls, session, request, arrival.onward, source, dialog.callee.tag)
            else:
                strip_e2ae(arrival.onward)
            exchange = invitation.exchange = ports.sip.request(
                arrival.onward, destination, ports.tokens.branch(session.token, arrival.loop_hash))
        if invitation.was_cancelled:
            exchange.cancel()
        async for response in exchange:
            async with calls.mailbox(arrival.token):
                await _response(calls, arrival.token, server, exchange, source, response)
    finally:
        if calls.invitations.get(key) is invitation:
            del calls.invitations[key]


async def acknowledge(calls: Calls, arrival: Arrival, source: Side, flow: Flow) -> None:
    """The ACK to a 2xx: through to the other side. One that fits no session is dropped: an ACK is never answered."""
    ports, ack = calls.ports, arrival.onward
    async with calls.mailbox(arrival.token):
        session = ports.store.session(arrival.token)
        dialog = dialog_of(session, ack, source)
        if session is None or dialog is None or session.state is _ENDED:
            ports.record("ack-dropped", call=ack.call_id)
            return
        try:
            observe(ports, session, dialog, ack, source, flow)
            destination = await steer(ports, session, dialog, ack, source)
        except SipError as error:
            ports.record("undeliverable", call=ack.call_id, method="ACK", why=error.what)
            return
        try:
            await offers.ack_passes(ports, session, ack, source, dialog.callee.tag)
        except SipError as error:   # nobody can refuse an ACK: both ends are told to leave
            calls.start(release(calls, session.token, error))
        ports.sip.send(ack, destination, ports.tokens.branch(session.token, arrival.loop_hash))


async def _negotiate(calls: Calls, session: Session, request: Request, onward: Request, source: Side, tag: str) -> None:
    """What the request says of media. An answer that cannot be served ends the session, an offer only its request."""
    if request.body and session.has_lost(tag):
        raise DialogUnknown(_ELSEWHERE)
    is_answer = offers.answered_by(session, request, source, tag) is not None
    try:
        await offers.request_passes(calls.ports, session, request, onward, source, tag)
    except SipError as error:
        if is_answer:
            calls.start(release(calls, session.token, error))
        raise


async def _response(
    calls: Calls, token: str, server: ServerTransaction, exchange: Exchange, source: Side, response: Response,
) -> None:
    """One response, back to the side that asked. The mailbox is held."""
    ports, request = calls.ports, server.request
    session = ports.store.session(token)
    onward = onward_response(response)
    if session is not None and session.state is not _ENDED:
        try:
            await _follow(calls, session, request, onward, source, response)
        except SipError as error:
            # The far end accepted what cannot be served: there is no way back from a 2xx but the end.
            refuse(ports, server, error)
            calls.start(release(calls, token, error))
            return
    if exchange.is_local(response):
        refuse(ports, server, _unanswered(response))
        return
    if request.method not in offers.CARRIERS or response.status >= 300:
        strip_e2ae_of_response(onward)
    if source is _ACCESS:
        strip_to_ue(onward)
    ports.sip.respond(server, onward)


async def _follow(
    calls: Calls, session: Session, request: Request, onward: Response, source: Side, response: Response,
) -> None:
    """What a response means for the session: its dialog's targets, its media, its timer, its end. The mailbox is held."""
    ports = calls.ports
    dialog = dialog_of(session, request, source)
    if dialog is not None and 200 <= response.status < 300:
        dialog.observe_response(request, response)
        observe_timer(session, request, response, ports.now())
        ports.store.save_session(session)
    if request.method == "BYE" and response.status >= 200 and response.status not in KEEPS_SESSION:
        await _one_dialog_less(calls, session, dialog)
    elif request.method in offers.CARRIERS and dialog is not None:
        tag = dialog.callee.tag
        if response.status >= 300:
            await offers.roll_back(ports, session, request, source, tag)
            return
        await offers.response_passes(ports, session, request, response, onward, source, tag)
        if response.status >= 200 and session.is_negotiating(tag):   # it offered: the ACK has the answer
            ports.later(ports.site.deadlines.ack, lambda: release_unanswered(calls, session.token, source, request.cseq[0], tag))


async def _one_dialog_less(calls: Calls, session: Session, dialog: Dialog | None) -> None:
    """A dialog said BYE: the session ends with its last one. Several far ends may have answered (RFC 3261 §13.2.2.4).

    An INVITE under way goes on to its final response: BYE ends one of its early dialogs (RFC 3261 §15).
    """
    if session.state is State.EARLY:
        if dialog is not None:
            await offers.hand_over(calls.ports, session, dialog.callee.tag)
        return
    others = [
        tag for tag, each in session.dialogs.items() if each is not dialog and each.confirmed and tag not in session.dismissed]
    if not others:
        await end(calls, session)
    elif dialog is not None:
        del session.dialogs[dialog.callee.tag]
        session.forget_media(dialog.callee.tag)
        if session.accepted == dialog.callee.tag:
            session.accepted = others[0]
        calls.ports.store.save_session(session)
        await serve_standing(calls.ports, session, session.accepted)


def _after_the_end(ports: Ports, server: ServerTransaction, why: str) -> None:
    """What crosses a BYE of ours: another one wants what has happened already; anything else comes too late."""
    if server.request.method == "BYE":
        ports.sip.respond(server, response_to(server.request, 200, "OK"))
    else:
        refuse(ports, server, DialogUnknown(why))


def _unanswered(response: Response) -> SipError:
    if response.status == RequestTimeout.status:
        return RequestTimeout("the far end did not answer in time")
    return NextHopTimeout("the far end cannot be reached")
