"""Requests outside sessions: MESSAGE, SUBSCRIBE, OPTIONS, PUBLISH, REFER … and what follows in dialogs that carry no media."""

from __future__ import annotations

from pcscf.errors import NextHopTimeout
from pcscf.procedures.calls import Calls
from pcscf.procedures.dialogs import remember
from pcscf.procedures.forward import Arrival, onward_response, refuse
from pcscf.procedures.screen import strip_e2ae, strip_e2ae_of_response, strip_to_ue
from pcscf.procedures.site import Side
from pcscf.sip.flow import Destination
from pcscf.sip.transaction import ServerTransaction


async def relay(
    calls: Calls, server: ServerTransaction, arrival: Arrival, token: str, source: Side, destination: Destination,
) -> None:
    """Send `arrival.onward`, screened and routed already, to `destination`, and its responses back. Raises BodyNotSupported."""
    ports = calls.ports
    strip_e2ae(arrival.onward)
    exchange = ports.sip.request(arrival.onward, destination, ports.tokens.branch(token, arrival.loop_hash))
    async for response in exchange:
        if exchange.is_local(response):
            # RFC 4320 §4.2: the requester's own timer has run out as well; a 504 frees what is left of the transaction.
            refuse(ports, server, NextHopTimeout("the far end did not answer"))
            continue
        remember(ports, token, server.request, response)
        onward = onward_response(response)
        strip_e2ae_of_response(onward)
        if source is Side.ACCESS:
            strip_to_ue(onward)
        ports.sip.respond(server, onward)
