"""Release: the one way a session ends when the network ends it, and the one place where a gateway context is given back.

TS 24.229 §5.2.8.1 (network-initiated release), RFC 3326 (Reason).
"""

from __future__ import annotations

from typing import Final

from pcscf.errors import BodyNotSupported, RequestTimeout, SipError
from pcscf.procedures.calls import Calls
from pcscf.procedures.forward import destination_towards, is_of, reason, refuse
from pcscf.procedures.negotiation import declined
from pcscf.procedures.ports import Exchange
from pcscf.procedures.session import Session, State, carrier
from pcscf.procedures.site import Side
from pcscf.procedures.token import loop_hash
from pcscf.sip.body import SDP, description_untrusted
from pcscf.sip.dialog import Dialog
from pcscf.sip.message import Request, Response

# Looking up a member in its Enum costs as much as a function: what every call needs is looked up once.
_ENDED: Final = State.ENDED


async def release(calls: Calls, token: str, error: SipError) -> None:
    """End a session from here: an early one by CANCEL and a final response, a confirmed one by BYE both ways."""
    async with calls.mailbox(token):
        session = calls.ports.store.session(token)
        if session is None or session.state is _ENDED:
            return
        calls.ports.record("released", call=session.call_id, cause=error.status, why=error.what)
        if session.state is State.EARLY:
            await give_up(calls, session, error)
            return
        await end(calls, session)
        for dialog in session.dialogs.values():
            if dialog.confirmed and dialog.callee.tag not in session.dismissed:
                await _bye(calls, session, dialog, session.caller, reason(error.status, error.what))
                await _bye(calls, session, dialog, session.callee, reason(error.status, error.what))


def release_unacknowledged(calls: Calls, token: str) -> None:
    """The ACK to a 2xx never came (RFC 3261 §13.3.1.4)."""
    session = calls.ports.store.session(token)
    if session is not None and session.state is State.CONFIRMED and not session.acknowledged:
        calls.start(release(calls, token, RequestTimeout("the ACK never came")))


def release_unanswered(calls: Calls, token: str, asker: Side, cseq: int, tag: str) -> None:
    """The ACK to a re-INVITE, with the answer to the offer of its 2xx, never came (RFC 3261 §13.3.1.4)."""
    session = calls.ports.store.session(token)
    negotiation = session.negotiation(asker, cseq, tag) if session is not None else None
    if negotiation is not None and negotiation.offerer is not asker and negotiation.is_open(tag):
        calls.start(release(calls, token, RequestTimeout("the ACK never came")))


async def give_up(calls: Calls, session: Session, error: SipError) -> None:
    """End an early session: CANCEL towards the callee, `error` to the caller, the context back. The mailbox is held.

    A 2xx that crosses the CANCEL is met by `acknowledge_and_bye`.
    """
    invitation = calls.invitations.get(session.token)
    if invitation is not None:
        if invitation.exchange is not None:
            invitation.exchange.cancel(reason(error.status, error.what))
        refuse(calls.ports, invitation.server, error)
    await end(calls, session)


async def acknowledge_and_bye(calls: Calls, session: Session, response: Response, why: str) -> None:
    """A 2xx that the caller will never see: ACK it and say BYE to that callee (RFC 3261 §13.2.2.4). The mailbox is held.

    why: the Reason of the BYE (RFC 3326).
    """
    dialog = session.dialogs.get(response.to_tag or "")
    if dialog is None:
        return
    ack = dialog.ack_towards_callee(is_of(calls.ports, session), session.invite_cseq)
    if carrier(session.caller, session.invite_cseq, "") not in session.negotiations:   # then the 2xx may offer
        _decline(calls, session, response, ack)
    await _send(calls, session, ack, session.callee)
    if dialog.callee.tag not in session.dismissed:
        session.dismissed.add(dialog.callee.tag)
        calls.ports.store.save_session(session)
        await _bye(calls, session, dialog, session.callee, why)


async def end(calls: Calls, session: Session) -> None:
    """Mark the record ended, give the context back, and forget the record once nothing can cross its end. The mailbox is held."""
    ports = calls.ports
    if session.state is _ENDED:
        return
    session.state = _ENDED
    media, session.media = session.media, None
    ports.store.save_session(session)
    ports.later(ports.site.deadlines.tombstone, lambda: ports.store.drop_session(session.token))
    if media is not None:
        await ports.media.release(media)


def _decline(calls: Calls, session: Session, response: Response, ack: Request) -> None:
    try:
        found = description_untrusted(response)
    except BodyNotSupported:
        return
    body = declined(calls.ports, session, session.callee, found.sdp) if found is not None else b""
    if body:
        ack.set_body(body, SDP)


async def _bye(calls: Calls, session: Session, dialog: Dialog, side: Side, why: str) -> None:
    build = dialog.bye_towards_caller if side is session.caller else dialog.bye_towards_callee
    bye = build(is_of(calls.ports, session), why)
    exchange = await _send(calls, session, bye, side)
    if exchange is not None:
        calls.start(_until_answered(exchange))


async def _send(calls: Calls, session: Session, request: Request, side: Side) -> Exchange | None:
    """Send a request of our own towards one side; an ACK outside any transaction. None where there is nothing to wait for."""
    ports = calls.ports
    try:
        destination = await destination_towards(ports, session, side, request)
    except SipError as undeliverable:
        ports.record("undeliverable", call=session.call_id, method=request.method, side=str(side), why=undeliverable.what)
        return None
    branch = ports.tokens.branch(session.token, loop_hash(request))
    if request.method == "ACK":
        ports.sip.send(request, destination, branch)
        return None
    return ports.sip.request(request, destination, branch)


async def _until_answered(exchange: Exchange) -> None:
    """The answer to a BYE of ours changes nothing, whatever it is: the session has ended (RFC 3261 §15.1.1)."""
    async for response in exchange:
        if response.status >= 200:
            return
