"""The dialogs of a session: which one a request belongs to, what it teaches, and where it goes on."""

from __future__ import annotations

from pcscf.procedures.forward import destination_towards, is_of, next_hop_uri
from pcscf.procedures.ports import Ports
from pcscf.procedures.session import Session
from pcscf.procedures.site import Side
from pcscf.sip.dialog import Dialog
from pcscf.sip.flow import Destination, Flow
from pcscf.sip.message import Request


def dialog_of(session: Session | None, request: Request, source: Side) -> Dialog | None:
    """The dialog that `request`, coming from `source`, belongs to: Call-ID and both tags must be ours (RFC 3261 §12.2.2)."""
    if session is None:
        return None
    from_caller = source is session.caller
    dialog = session.dialogs.get(request.to_tag if from_caller else request.from_tag)
    if dialog is None:
        return None
    return dialog if dialog.sender(request) is (dialog.caller if from_caller else dialog.callee) else None


def observe(ports: Ports, session: Session, dialog: Dialog, request: Request, source: Side, flow: Flow) -> None:
    """What a request of the dialog teaches: its CSeq, and where the served UE is now."""
    dialog.observe_request(request)
    session.heard = ports.now()
    if source is Side.ACCESS and flow.listener == session.flow.listener:
        session.flow = flow
    if request.method == "ACK":
        session.acknowledged = True
    ports.store.save_session(session)


async def steer(ports: Ports, session: Session, dialog: Dialog, onward: Request, source: Side) -> Destination:
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
