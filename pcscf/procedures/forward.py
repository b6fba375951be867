"""What every request and response goes through on its way: routes, hops, and the answers that we make ourselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from pcscf.errors import FlowFailed, LoopDetected, MalformedMessage, SipError, TooManyHops
from pcscf.procedures.ports import Ports
from pcscf.procedures.session import Session
from pcscf.procedures.site import Side
from pcscf.procedures.token import TokenKind, has_looped, loop_hash
from pcscf.sip.flow import Destination
from pcscf.sip.headers import parse_name_addr, quote, value_of_line
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.transaction import ServerTransaction

DEFAULT_MAX_FORWARDS = 70
_SESSION = TokenKind.SESSION


class Arrival(NamedTuple):
    """A request with our own routes taken off: `onward` is a copy to be sent on, `token` what those routes named ("" = none).

    was_tampered  a route of ours carried something that is not a token of ours
    loop_hash     for the branch of what is sent on
    """

    onward: Request
    token: str
    kind: TokenKind | None
    was_tampered: bool
    loop_hash: str


def arrive(ports: Ports, request: Request) -> Arrival:
    """Check hops and loops, and take off the topmost routes that are ours (RFC 3261 §16.3, §16.4).

    Only routes with the same token come off together: the next token is the other half-call's.
    Raises TooManyHops, LoopDetected, MalformedMessage.
    """
    steering = loop_hash(request)
    if has_looped(request, steering, ports.site.is_ours):
        raise LoopDetected("this request came back with nothing changed that steers it")
    onward = request.copy()
    _count_hop(onward)
    routes = onward.values("Route")
    if routes and _undo_strict_routing(ports, onward, routes):
        routes = onward.values("Route")
    named: str | None = None
    ours = 0
    for route in routes:
        name = ports.site.named_by(route)
        if name is None or (named is not None and name != named):
            break
        named = name
        ours += 1
    if ours == len(routes):
        onward.remove("Route")
    else:
        for _ in range(ours):
            onward.remove_first_value("Route")
    token = named or ""
    kind = _kind(ports, token) if token else None
    return Arrival(onward, token if kind else "", kind, bool(token) and kind is None, steering)


def _kind(ports: Ports, token: str) -> TokenKind | None:
    """What a token names. One that names a session of ours needs no seal to be ours."""
    return _SESSION if ports.store.session(token) is not None else ports.tokens.kind_untrusted(token)


def next_hop_uri(request: Request) -> str:
    """The URI that decides where `request` goes: its topmost Route, else its Request-URI (RFC 3261 §16.6 step 7)."""
    routes = request.values("Route")
    return parse_name_addr(routes[0]).uri if routes else request.uri


def is_of(ports: Ports, session: Session) -> Callable[[str], bool]:
    """Whether a Record-Route is the one of this half-call: the other half-call may have put its own beside it."""
    return lambda route: ports.site.named_by(route) == session.token


async def destination_towards(ports: Ports, session: Session, side: Side, request: Request) -> Destination:
    """Where `request` goes within a session: the flow of the served UE, or the next hop of its route set.

    Raises FlowFailed, NextHopTimeout.
    """
    if side is Side.CORE:
        return await ports.sip.locate(next_hop_uri(request), ports.site.core_realm)
    binding = ports.store.binding(session.binding)
    for flow in (session.flow, binding.flow if binding else session.flow):
        if ports.sip.is_alive(flow):
            return flow
    raise FlowFailed("the connection of the served user is gone")


def onward_response(response: Response) -> Response:
    """A copy without our Via, ready for the other side (RFC 3261 §16.7 step 3)."""
    onward = response.copy()
    onward.remove_first_value("Via")
    return onward


def refuse(ports: Ports, server: ServerTransaction, error: SipError) -> None:
    """Answer with the status of `error`, its header fields, and its sentence as a Warning."""
    response = response_to(server.request, error.status, error.reason, to_tag=ports.tokens.tag())
    for name, value in error.headers():
        response.add(name, value)
    response.add("Warning", warning(ports, error.what))
    ports.record("refused", method=server.request.method, status=error.status, why=error.what)
    ports.sip.respond(server, response)


def warning(ports: Ports, text: str) -> str:
    """A Warning value (RFC 3261 §20.43, code 399)."""
    return f"399 {ports.site.name} {quote(text)}"


def reason(status: int, text: str) -> str:
    """A Reason value (RFC 3326 §2)."""
    return f"SIP;cause={status};text={quote(text)}"


def _count_hop(request: Request) -> None:
    if request.has("Max-Forwards"):
        request.rewrite_first_line("Max-Forwards", _one_hop_less)
    else:
        request.add("Max-Forwards", str(DEFAULT_MAX_FORWARDS))


@lru_cache
def _one_hop_less(line: str) -> str:
    field = value_of_line(line)
    if not field.isascii() or not field.isdigit():
        raise MalformedMessage(f"Max-Forwards is not a number: {field[:20]!r}")
    left = int(field)
    if left == 0:
        raise TooManyHops("Max-Forwards is used up")
    return f"{line.partition(':')[0]}: {left - 1}"


def _undo_strict_routing(ports: Ports, request: Request, routes: list[str]) -> bool:
    """A strict router before us put our Record-Route URI into the Request-URI: put things right (RFC 3261 §16.4)."""
    uri = request.uri_parsed
    if not (uri.user and uri.is_sip and ports.site.is_our_uri(uri) and ports.tokens.kind_untrusted(uri.user)):
        return False
    target = parse_name_addr(routes[-1]).uri
    request.set_values("Route", [f"<{request.uri}>", *routes[:-1]])
    request.uri = target
    return True
