"""A further offer inside a session: hold, refresh, a new address or certificate, lines that come and go (RFC 3264 §8).

The exchange that stands is kept until the new one is accepted. What is refused leaves session and gateway as they were.
"""

from __future__ import annotations

from pcscf.errors import MediaNotAcceptable, RequestPending
from pcscf.iq.procedures import needs_gateway
from pcscf.procedures.calls import Calls
from pcscf.procedures.forward import replace_body
from pcscf.procedures.invite import realms
from pcscf.procedures.negotiation import decide_offer, emit_offer, moved, pass_answer, read_offer
from pcscf.procedures.session import Negotiation, Passed, Session
from pcscf.procedures.site import Side
from pcscf.sip.message import Request, Response

OFFERS = frozenset({"INVITE", "UPDATE"})


async def offer(calls: Calls, session: Session, request: Request, onward: Request, source: Side, tag: str) -> None:
    """Decide, tell the gateway, and put the rewritten offer into `onward`. The mailbox is held. tag: To-tag of the dialog.

    Raises RequestPending while another exchange is open, and MediaNotAcceptable, MalformedSdp, BodyNotSupported,
    GatewayUnavailable, InternalFailure for an offer that cannot be served; then everything is as it was.
    """
    ports, standing = calls.ports, session.negotiation
    if request.method not in OFFERS:
        raise MediaNotAcceptable(f"an offer in {request.method} cannot be served; offer in INVITE or UPDATE")
    if session.change is not None or standing.settled is None:
        raise RequestPending("an offer of this session is still without answer")
    fresh = read_offer(request)
    plan = decide_offer(ports, session.policy, session.agreed, request, source, fresh, previous=standing.settled)
    if needs_gateway(plan):
        if session.media is None:
            session.media = await ports.media.reserve(plan, realms(ports, session.flow))
        elif moved(standing.settled, plan):
            session.media = await ports.media.configure(session.media, plan)
    session.change = Negotiation(source, Passed(request.body, b""), plan)
    replace_body(onward, emit_offer(session, session.change, fresh, tag))
    ports.store.save_session(session)


async def answer(calls: Calls, session: Session, onward: Response, response: Response, tag: str) -> None:
    """Put the rewritten answer into `onward`; a 2xx makes the new exchange the one that stands. The mailbox is held.

    Raises as `negotiation.pass_answer`: the far end has accepted what we cannot serve, so the session must end.
    """
    change = session.change
    if change is None:
        return
    replace_body(onward, await pass_answer(calls.ports, session, change, response, tag))
    if response.status >= 200:
        session.change = None
        if change.settled is not None:
            session.negotiation = change
    calls.ports.store.save_session(session)


async def roll_back(calls: Calls, session: Session) -> None:
    """The offer was refused: the gateway is told again what stands (RFC 3264 §8). The mailbox is held.

    Raises GatewayUnavailable, InternalFailure.
    """
    change, session.change = session.change, None
    standing = session.negotiation.settled
    calls.ports.store.save_session(session)
    if change is None or standing is None or session.media is None:
        return
    if not needs_gateway(standing):
        media, session.media = session.media, None
        calls.ports.store.save_session(session)
        await calls.ports.media.release(media)
    elif moved(change.settled or change.plan, standing):
        session.media = await calls.ports.media.configure(session.media, standing)
        calls.ports.store.save_session(session)
