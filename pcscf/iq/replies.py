"""What the gateway answered: replies to a `Media` record, Error descriptors to SIP errors.

Nothing that a gateway sends is trusted. A reply that is not exactly what was asked for raises InternalFailure;
`contexts_in` then tells what has to be subtracted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from pcscf.errors import GatewayUnavailable, InternalFailure, SipError
from pcscf.h248.message import Action, Command, CommandName, ContextId, ErrorDescriptor, same_name
from pcscf.h248.message import Media as MediaDescriptor
from pcscf.iq.media import Media, TcpStart, is_fresh, is_protected, kind_of, stream_of, told_setup
from pcscf.iq.start import Ordered, is_begun, is_held, told_legs
from pcscf.mediasec.associations import DTLS
from pcscf.mediasec.model import Fingerprint, Leg, LinePlan, MediaPlan, StreamMedia
from pcscf.sdp.lines import is_port

__all__ = [
    "GONE",
    "UNAUTHORISED",
    "UNAVAILABLE",
    "Media",
    "contexts_in",
    "error_in",
    "read_configured_untrusted",
    "read_reserved_untrusted",
    "sip_error",
]

UNAUTHORISED: Final = frozenset({402, 504})
"""Errors of a gateway for a controller that it does not obey: it has another one (H.248.8)."""
UNAVAILABLE: Final = frozenset({412, 432, 434, 502, 503, 505, 506, 510, 511, 526}) | UNAUTHORISED
"""Errors of a gateway that is full, busy, not ready or another's: another one, or a later try, may help (H.248.8)."""
GONE: Final = frozenset({411, 430, 431, 435})
"""Errors that say there is nothing left to subtract."""

_ADD: Final = CommandName.ADD
_CHOOSE: Final = int(ContextId.CHOOSE)
_FINGERPRINT: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]{0,31}) +((?:[0-9A-Fa-f]{2}:){15,63}[0-9A-Fa-f]{2})")
_TERMINATION: Final = re.compile(r"[A-Za-z0-9_/@.-]{1,64}")
_QUOTED_TEXT: Final = 120


def sip_error(error: ErrorDescriptor, procedure: str) -> SipError:
    """The SIP error for an Error descriptor: 503 for a gateway that is full or busy, 500 for any other."""
    text = error.text if error.text.isprintable() else repr(error.text)
    what = f"the gateway refused to {procedure}: {error.code} {text[:_QUOTED_TEXT]}".rstrip()
    return GatewayUnavailable(what) if error.code in UNAVAILABLE else InternalFailure(what)


def error_in(actions: Iterable[Action]) -> ErrorDescriptor | None:
    """The first Error descriptor anywhere in a reply."""
    for action in actions:
        for command in action.commands:
            for descriptor in command.descriptors:
                if type(descriptor) is ErrorDescriptor:
                    return descriptor
        if action.error is not None:
            return action.error
    return None


def contexts_in(actions: Iterable[Action]) -> tuple[int, ...]:
    """The contexts that a reply names: after a failed or abandoned reservation, what must be subtracted."""
    return tuple(dict.fromkeys([action.context for action in actions if 0 < action.context < _CHOOSE]))


def read_reserved_untrusted(
    gateway: str, plan: MediaPlan, actions: tuple[Action, ...], start: TcpStart = "gateway"
) -> Media:
    """The reply to `procedures.reserve`. Raises GatewayUnavailable or InternalFailure."""
    _raise_error_in(actions, "reserve")
    contexts = contexts_in(actions)
    if len(actions) != 1 or len(contexts) != 1:
        raise InternalFailure(f"the gateway's reply names {len(contexts)} contexts where one was asked for")
    commands = [command for command in actions[0].commands if command.name is _ADD]
    if len(commands) != 2:
        raise InternalFailure(f"the gateway's reply has {len(commands)} Add where two were asked for")
    access, core = commands
    one, other = access.termination, core.termination
    if same_name(one, other) or not _TERMINATION.fullmatch(one) or not _TERMINATION.fullmatch(other):
        raise InternalFailure("the gateway's reply does not name two terminations")
    media = Media(gateway, contexts[0], one, other)
    return _with_streams(media, plan, told_legs(plan, None, start), (_locals_of(access), _locals_of(core)), start)


def read_configured_untrusted(
    media: Media, plan: MediaPlan, actions: tuple[Action, ...], start: TcpStart = "gateway", ordered: Ordered | None = None
) -> Media:
    """The reply to `procedures.configure`, or to `procedures.begin_tcp` with what was ordered.

    Raises GatewayUnavailable or InternalFailure."""
    _raise_error_in(actions, "configure")
    given: dict[str, dict[int, str]] = {}
    for action in actions:
        for command in action.commands:
            if command.descriptors:
                given.setdefault(command.termination.lower(), {}).update(_locals_of(command))
    access, core = given.get(media.access_termination.lower(), {}), given.get(media.core_termination.lower(), {})
    return _with_streams(media, plan, told_legs(plan, media, start, ordered), (access, core), start)


def _raise_error_in(actions: tuple[Action, ...], procedure: str) -> None:
    error = error_in(actions)
    if error is not None:
        raise sip_error(error, procedure)


def _with_streams(
    media: Media, plan: MediaPlan, lines: Iterable[tuple[int, LinePlan, Leg, Leg]],
    given: tuple[Mapping[int, str], Mapping[int, str]], start: TcpStart,
) -> Media:  # fmt: skip
    """`media` with the plan's fresh lines from the Local descriptors `given` on either side. lines: as the gateway was told them.

    A line that ended keeps its stream, closed: a later fork or offer may open it again.
    """
    sides = (dict(media.access), dict(media.access_setup), given[0]), (dict(media.core), dict(media.core_setup), given[1])
    clients, core_clients, connections = media.tls_clients, media.core_tls_clients, media.connections
    kinds, latched = media.kinds, media.latched
    if ended := media.ended(plan):
        connections = {**connections, **ended}
        clients -= ended.keys()
        core_clients -= ended.keys()
    held = media.held
    for place, line, access_leg, core_leg in lines:
        if start != "gateway":
            held = _with_held(held, media, line, place, (access_leg, core_leg))
        if media.renews(line):
            connections = {**connections, place: line.connection}
            clients -= {place}
            core_clients -= {place}
        for leg, (streams, told, texts) in ((access_leg, sides[0]), (core_leg, sides[1])):
            if is_fresh(place, leg, streams):
                streams[place] = _stream_media_untrusted(place, leg, texts)
                told[place] = told_setup(leg, None)
            elif leg.peer_address is not None:
                told[place] = told_setup(leg, told.get(place))
                if leg.tls_id != streams[place].tls_id:
                    streams[place] = replace(streams[place], tls_id=leg.tls_id)
        if place not in kinds:
            kinds = {**kinds, place: kind_of(access_leg.transport)}
        if access_leg.latched and access_leg.peer_address is not None:
            latched = {**latched, place: (access_leg.peer_address, access_leg.sources)}
        clients = _with_role(clients, place, access_leg)
        core_clients = _with_role(core_clients, place, core_leg)
    (access_streams, access_setup, _), (core_streams, core_setup, _) = sides
    return Media(
        media.gateway, media.context, media.access_termination, media.core_termination,
        access_streams, core_streams, access_setup, core_setup, clients, connections, core_clients, kinds, latched, held,
    )  # fmt: skip


def _with_held(
    held: frozenset[Ordered], media: Media, line: LinePlan, place: int, legs: tuple[Leg, Leg]
) -> frozenset[Ordered]:
    """What is held once the gateway was told these legs, access and core."""
    where: tuple[Ordered, Ordered] = ("access", place), ("core", place)
    for each, leg in zip(where, legs, strict=True):
        if not is_begun(media, line, each, leg):
            held = held | {each} if is_held(leg) else held - {each}
    return held


def _with_role(clients: frozenset[int], place: int, leg: Leg) -> frozenset[int]:
    """The places where the gateway was told to be the client. With TLS the role lasts as long as its connection."""
    if leg.tls == "client":
        return clients | {place}
    return clients - {place} if leg.transport == DTLS and leg.tls == "server" else clients


def _locals_of(command: Command) -> dict[int, str]:
    """StreamID to Local descriptor."""
    return {
        stream.id: stream.local
        for descriptor in command.descriptors
        if isinstance(descriptor, MediaDescriptor)
        for stream in descriptor.streams
        if stream.local is not None
    }


def _stream_media_untrusted(place: int, leg: Leg, given: Mapping[int, str]) -> StreamMedia:
    text = given.get(stream_of(place))
    if text is None:
        raise InternalFailure(f"the gateway's reply has no Local descriptor for stream {stream_of(place)}")
    address, port, rtcp, fingerprints = "", 0, 0, []
    for line in map(str.strip, text.splitlines()):
        kind = line[:2]
        if kind == "c=":
            address = _address_untrusted(line)
        elif kind == "m=":
            port = _port_untrusted(line)
        elif kind == "a=" and line.startswith("a=fingerprint:"):
            fingerprints.append(_fingerprint_untrusted(line))
        elif kind == "a=" and line.startswith("a=rtcp:"):
            rtcp = _rtcp_untrusted(line)
    if not address or not port:
        raise InternalFailure(f"the gateway's Local descriptor of stream {stream_of(place)} has no address and port")
    if not is_protected(leg.transport):
        return StreamMedia(address, port, (), leg.tls_id, rtcp if kind_of(leg.transport) == "RTP" else 0)
    if not fingerprints:
        raise InternalFailure(f"the gateway's Local descriptor of stream {stream_of(place)} has no fingerprint")
    return StreamMedia(address, port, tuple(fingerprints), leg.tls_id)


@lru_cache(maxsize=1024)  # a gateway has a handful of addresses
def _address_untrusted(line: str) -> str:
    try:
        address = ip_address(line.rpartition(" ")[2])
    except ValueError:
        address = None
    if address is None or address.is_unspecified or address.is_multicast:
        raise InternalFailure(f"the gateway's Local descriptor has no usable address: {line[:_QUOTED_TEXT]!r}")
    return str(address)


def _port_untrusted(line: str) -> int:
    fields = line.split()
    return _number_untrusted(fields[1] if len(fields) >= 3 else "", line)


def _rtcp_untrusted(line: str) -> int:
    """The port of a=rtcp (RFC 3605 §2.1), which is at the address of the medium."""
    return _number_untrusted(line.partition(":")[2].strip().partition(" ")[0], line)


def _number_untrusted(text: str, line: str) -> int:
    if not (is_port(text) and int(text)):
        raise InternalFailure(f"the gateway's Local descriptor has no usable port: {line[:_QUOTED_TEXT]!r}")
    return int(text)


def _fingerprint_untrusted(line: str) -> Fingerprint:
    match = _FINGERPRINT.fullmatch(line.partition(":")[2].strip())
    if match is None:
        raise InternalFailure(f"the gateway's Local descriptor has no usable fingerprint: {line[:_QUOTED_TEXT]!r}")
    return match[1].lower(), match[2].upper()
