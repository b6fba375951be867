"""Dialogs: which one a request belongs to, what it teaches, and where it goes on – in sessions, and those without media."""

from __future__ import annotations

from typing import Final

from pcscf.errors import DialogUnknown
from pcscf.procedures.forward import destination_towards, is_of
from pcscf.procedures.ports import Ports
from pcscf.procedures.session import Session
from pcscf.procedures.site import Side
from pcscf.sip.dialog import Dialog, OwnRoute
from pcscf.sip.flow import Destination, Flow, Hop
from pcscf.sip.headers import parse_name_addr
from pcscf.sip.message import Request, Response

# Looking up a member in its Enum costs as much as a function: what every call needs is looked up once.
_ACCESS: Final = Side.ACCESS
_CORE: Final = Side.CORE


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
    if source is _ACCESS and flow.listener == session.flow.listener:
        session.flow = flow
    if request.method == "ACK":
        session.acknowledged = True
    ports.store.save_session(session)


async def steer(ports: Ports, session: Session, dialog: Dialog, onward: Request, source: Side) -> Destination:
    """Where a request goes on to. What a UE says of the way is not believed: it follows the dialog (TS 24.229 §5.2.6.3.6).

    Raises FlowFailed, NextHopTimeout.
    """
    if source is _CORE:
        return await destination_towards(ports, session, _ACCESS, onward)
    return await _along(ports, dialog, onward, is_of(ports, session), from_caller=source is session.caller)


async def _along(ports: Ports, dialog: Dialog, onward: Request, is_own: OwnRoute, *, from_caller: bool) -> Hop:
    """Where a request goes on to along the routes of its dialog, which it gets instead of its own."""
    routes = (dialog.routes_to_callee if from_caller else dialog.routes_to_caller)(is_own)
    onward.set_values("Route", routes)
    target = (dialog.callee if from_caller else dialog.caller).target
    next_uri = parse_name_addr(routes[0]).uri if routes else target or onward.uri
    return await ports.sip.locate(next_uri, ports.site.core_realm)


OPENS_DIALOG = frozenset({"SUBSCRIBE", "REFER"})
DIALOGS_PER_BINDING = 32


def remember(ports: Ports, token: str, request: Request, response: Response) -> None:
    """What a 2xx to a request outside sessions teaches: a new dialog without media, or new targets of one.

    A binding keeps so many; the one that was longest without a word is forgotten, and its next request meets 481.
    """
    binding = ports.store.binding(token)
    if binding is None or not 200 <= response.status < 300:
        return
    if request.to_tag:
        dialog = remembered(ports, token, request)
        if dialog is not None:
            dialog.observe_response(request, response)
            ports.store.save_binding(binding)
    elif request.method in OPENS_DIALOG:
        while len(binding.dialogs) >= DIALOGS_PER_BINDING:
            del binding.dialogs[next(iter(binding.dialogs))]
        binding.dialogs[request.call_id, request.from_tag, response.to_tag] = Dialog.of(request, response)
        ports.store.save_binding(binding)


def remembered(ports: Ports, token: str, request: Request) -> Dialog | None:
    """The dialog without media that `request` belongs to, among those of the binding with this token."""
    binding = ports.store.binding(token)
    if binding is None:
        return None
    for key in ((request.call_id, request.from_tag, request.to_tag), (request.call_id, request.to_tag, request.from_tag)):
        dialog = binding.dialogs.pop(key, None)
        if dialog is not None:
            binding.dialogs[key] = dialog   # to the end: it is in use
            return dialog
    return None


async def follow(ports: Ports, token: str, request: Request, onward: Request) -> Hop:
    """Where a request of the UE in a dialog without media goes on to: along the dialog's routes, whatever it says itself.

    Raises DialogUnknown, NextHopTimeout.
    """
    dialog = remembered(ports, token, request)
    if dialog is None or request.method == "INVITE":
        raise DialogUnknown("no dialog of ours goes by these routes")
    return await _along(
        ports, dialog, onward, lambda route: ports.site.named_by(route) == token,
        from_caller=dialog.sender(request) is dialog.caller)
