"""Requests inside a session: ACK, BYE, PRACK, INFO, MESSAGE, REFER, NOTIFY and what else travels within its dialogs.

They are admitted by the token in our Record-Route and by the dialog they name, not only by the flow they arrive on: a NAT
rebinding must not kill a call (TS 24.229 §5.2.6.3.5).
"""

from __future__ import annotations

from pcscf.errors import DialogUnknown, MediaNotAcceptable, NextHopTimeout, RequestTimeout, SipError
from pcscf.procedures.calls import Calls
from pcscf.procedures.forward import (
    Arrival,
    carries_sdp,
    destination_towards,
    is_of,
    next_hop_uri,
    onward_response,
    refuse,
)
from pcscf.procedures.ports import Ports
from pcscf.procedures.release import end
from pcscf.procedures.screen import strip_to_ue
from pcscf.procedures.session import Session, State
from pcscf.procedures.site import Side
from pcscf.sip.dialog import Dialog
from pcscf.sip.flow import Destination, Flow
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.transaction import ServerTransaction

KEEPS_SESSION = frozenset({401, 407})   # a challenged BYE is repeated by its sender


async def in_dialog(calls: Calls, server: ServerTransaction, arrival: Arrival, source: Side, flow: Flow) -> None:
    """One request inside a session. Raises DialogUnknown, MediaNotAcceptable, FlowFailed, NextHopTimeout."""
    ports, request = calls.ports, server.request
    async with calls.mailbox(arrival.token):
        session = ports.store.session(arrival.token)
        dialog = _dialog(session, request, source)
        if session is None or dialog is None:
            raise DialogUnknown("no session of ours has this dialog")
        if session.state is State.ENDED:
            _after_the_end(ports, server)
            return
        _check_offer(request)
        _observe(ports, session, dialog, request, source, flow)
        destination = await _steer(ports, session, dialog, arrival.onward, source)
        exchange = ports.sip.request(arrival.onward, destination, ports.tokens.branch(session.token, arrival.loop_hash))
    async for response in exchange:
        if exchange.is_local(response):
            refuse(ports, server, _unanswered(response))
        else:
            onward = onward_response(response)
            if source is Side.ACCESS:
                strip_to_ue(onward)
            ports.sip.respond(server, onward)
        async with calls.mailbox(arrival.token):
            current = ports.store.session(arrival.token)
            if current is not None:
                await _answered(calls, current, request, source, response)


async def acknowledge(calls: Calls, arrival: Arrival, source: Side, flow: Flow) -> None:
    """The ACK to a 2xx: through to the other side. One that fits no session is dropped: an ACK is never answered."""
    ports, ack = calls.ports, arrival.onward
    session = ports.store.session(arrival.token)
    dialog = _dialog(session, ack, source)
    if session is None or dialog is None or session.state is State.ENDED:
        ports.record("ack-dropped", call=ack.call_id)
        return
    try:
        _observe(ports, session, dialog, ack, source, flow)
        destination = await _steer(ports, session, dialog, ack, source)
    except SipError as error:
        ports.record("undeliverable", call=ack.call_id, method="ACK", why=error.what)
        return
    ports.sip.send(ack, destination, ports.tokens.branch(session.token, arrival.loop_hash))


def _dialog(session: Session | None, request: Request, source: Side) -> Dialog | None:
    """The dialog that `request`, coming from `source`, belongs to: Call-ID and both tags must be ours (RFC 3261 §12.2.2)."""
    if session is None:
        return None
    from_caller = source is session.caller
    dialog = session.dialogs.get(request.to_tag if from_caller else request.from_tag)
    if dialog is None:
        return None
    return dialog if dialog.sender(request) is (dialog.caller if from_caller else dialog.callee) else None


def _observe(ports: Ports, session: Session, dialog: Dialog, request: Request, source: Side, flow: Flow) -> None:
    """What a request of the dialog teaches: its CSeq, and where the served UE is now."""
    dialog.observe_request(request)
    session.heard = ports.now()
    if source is Side.ACCESS and flow.listener == session.flow.listener:
        session.flow = flow
    if request.method == "ACK":
        session.acknowledged = True
    ports.store.save_session(session)


async def _steer(ports: Ports, session: Session, dialog: Dialog, onward: Request, source: Side) -> Destination:
    """Where a request goes on to. What a UE says of the way is not believed: it follows the dialog (TS 24.229 §5.2.6.3.6).

    Raises FlowFailed, NextHopTimeout.
    """
    if source is Side.CORE:
        return await destination_towards(ports, session, Side.ACCESS, onward)
    from_caller = source is session.caller
    routes = (dialog.routes_to_callee if from_caller else dialog.routes_to_caller)(is_of(ports, session))
    onward.set_values("Route", routes)
    target = (dialog.callee if from_caller else dialog.caller).target
    return await ports.sip.locate(next_hop_uri(onward) if routes else target or onward.uri, ports.site.core_realm)


def _check_offer(request: Request) -> None:
    """A changed offer inside a session is refused, and the session goes on as it is (RFC 3261 §14.2)."""
    if request.method in ("INVITE", "UPDATE", "PRACK") and carries_sdp(request):
        raise MediaNotAcceptable("changing the media of a running session is not supported; the session goes on unchanged")
    if request.method == "INVITE":
        raise MediaNotAcceptable("a re-INVITE is not supported; the session goes on unchanged")


def _after_the_end(ports: Ports, server: ServerTransaction) -> None:
    """What crosses our own release: a BYE wants what has happened already; anything else comes too late."""
    if server.request.method == "BYE":
        ports.sip.respond(server, response_to(server.request, 200, "OK"))
    else:
        refuse(ports, server, DialogUnknown("the session has ended"))


async def _answered(calls: Calls, session: Session, request: Request, source: Side, response: Response) -> None:
    """What a response inside the dialog means for the session. The mailbox is held."""
    dialog = _dialog(session, request, source)
    if dialog is not None and 200 <= response.status < 300:
        dialog.observe_response(request, response)
        calls.ports.store.save_session(session)
    if request.method == "BYE" and response.status >= 200 and response.status not in KEEPS_SESSION:
        await end(calls, session)


def _unanswered(response: Response) -> SipError:
    if response.status == RequestTimeout.status:
        return RequestTimeout("the far end did not answer in time")
    return NextHopTimeout("the far end cannot be reached")
