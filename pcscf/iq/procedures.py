"""The procedures of TS 23.334 §8 as H.248 actions: what the plan says is what the gateway is told.

A session has one context with two terminations, access and core, and one stream per m-line that uses the gateway:
StreamID is the index of the m-line plus one. Three transactions make a session: `reserve`, `configure`, `release`.

TCP is controlled without a package, by a=setup in Local (the gateway's own role) and in Remote (the peer's). The TLS or
DTLS role is explicit: EstBNC makes the gateway the client, its absence the server; it persists as long as the stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from pcscf.h248 import packages
from pcscf.h248.message import (
    Action,
    Audit,
    Command,
    CommandName,
    ContextId,
    Descriptor,
    Event,
    Events,
    LocalControl,
    Mode,
    Property,
    Services,
    Signals,
    Stream,
    Value,
)
from pcscf.h248.message import Media as MediaDescriptor
from pcscf.iq.media import Media, is_fresh, is_protected, is_tcp, legs, stream_of, told_setup
from pcscf.mediasec.mechanisms import BY_NAME
from pcscf.mediasec.model import Fingerprint, Leg, LinePlan, MediaPlan, StreamMedia

Family: TypeAlias = Literal["IP4", "IP6"]

ROOT: Final = "ROOT"
CHOSEN_TERMINATION: Final = "ip/1/$/$"
"""Interface and number are the gateway's choice; the realm is said by ipdc/realm (TS 183 018 §5.17.1.10)."""
ALL_TERMINATIONS: Final = "*"
ACCESS_EVENTS, CORE_EVENTS, ROOT_EVENTS = 1, 2, 3
"""RequestIDs: the same in every context, so that a trace of an observed event tells its side."""
HANGING_AFTER: Final = 3600
"""Seconds without a word about a termination after which the gateway asks whether it is still wanted (H.248.36)."""

_PEER_SETUP: Final = {"accept": "active", "connect": "passive"}
_SUBTRACT_ALL: Final = Command(CommandName.SUBTRACT, (ALL_TERMINATIONS,), (Audit(()),), wildcard_response=True)


@dataclass(frozen=True, slots=True)
class Realms:
    """The IP realms of a session (ipdc/realm), and the family of our address there while the peer's is not known."""

    access: str = "access"
    core: str = "core"
    access_family: Family = "IP4"
    core_family: Family = "IP4"


def needs_gateway(plan: MediaPlan) -> bool:
    """Whether any line of the plan uses the gateway."""
    return next(legs(plan), None) is not None


def reserve(plan: MediaPlan, realms: Realms) -> tuple[Action, ...]:
    """Reserve (and Configure) AGW Connection Point, both sides at once: a new context with two terminations.

    The side that offered is configured and open, so that an early connection finds a listener; the other one is
    Inactive until its peer is known. Raises ValueError for a plan without a line for the gateway.
    """
    lines = list(legs(plan))
    if not lines:
        raise ValueError("no line of the plan uses the gateway")
    access = _add([(line, leg) for line, leg, _ in lines], realms.access, realms.access_family, ACCESS_EVENTS)
    core = _add([(line, leg) for line, _, leg in lines], realms.core, realms.core_family, CORE_EVENTS)
    return (Action(ContextId.CHOOSE, (access, core)),)


def configure(media: Media, plan: MediaPlan) -> tuple[Action, ...]:
    """Configure AGW Connection Point, both sides: what offer and answer settled, gates open, ended lines closed.

    A line that has no stream yet (a further offer) gets one. Empty when there is nothing to tell.
    """
    lines = list(legs(plan))
    access = _Side(media.access, media.access_setup, media.tls_clients, ACCESS_EVENTS)
    core = _Side(media.core, media.core_setup, media.tls_clients, CORE_EVENTS)
    commands = (
        *_modify(media.access_termination, access, [(line, leg) for line, leg, _ in lines]),
        *_modify(media.core_termination, core, [(line, leg) for line, _, leg in lines]),
    )
    return (Action(media.context, commands),) if commands else ()


def release(context: int) -> tuple[Action, ...]:
    """Release AGW Termination, all of a context: one wildcarded response, no statistics."""
    return (Action(context, (_SUBTRACT_ALL,)),)


def audit_root() -> tuple[Action, ...]:
    """The heartbeat that the controller drives: an empty audit of ROOT (TS 29.334 §5.12)."""
    return (Action(ContextId.NULL, (Command(CommandName.AUDIT_VALUE, (ROOT,), (Audit(()),)),)),)


def audit_contexts() -> tuple[Action, ...]:
    """Audit Value: every termination in every context."""
    return (Action(ContextId.ALL, (Command(CommandName.AUDIT_VALUE, (ALL_TERMINATIONS,), (Audit(()),)),)),)


def watch_controller(silence: float) -> tuple[Action, ...]:
    """The heartbeat that the gateway drives: Notify after `silence` seconds without a message from here (H.248.14).

    The package is optional in the profile, and so is the command: its refusal changes nothing.
    """
    event = Event(packages.INACTIVITY, (_parameter(packages.INACTIVITY_TIMER, round(silence * 100)),))
    modify = Command(CommandName.MODIFY, (ROOT,), (Events(ROOT_EVENTS, (event,)),), optional=True)
    return (Action(ContextId.NULL, (modify,)),)


def restoration() -> tuple[Action, ...]:
    """IMS-ALG Restoration: the controller started anew; the gateway shall register again."""
    services = Services(method="Restart", reason="901 Cold Boot")
    return (Action(ContextId.NULL, (Command(CommandName.SERVICE_CHANGE, (ROOT,), (services,)),)),)


@dataclass(frozen=True, slots=True)
class _Side:
    """What a termination has been told so far."""

    streams: Mapping[int, StreamMedia]
    setup: Mapping[int, str]
    tls_clients: frozenset[int]
    request_id: int

    @property
    def family(self) -> Family:
        """The family of the addresses that the termination has."""
        return next((_family_of(stream.address, "IP4") for stream in self.streams.values()), "IP4")


def _add(lines: list[tuple[LinePlan, Leg]], realm: str, family: Family, request_id: int) -> Command:
    streams = tuple(_new_stream(line, leg, family, realm) for line, leg in lines)
    descriptors: list[Descriptor] = [MediaDescriptor(streams), _events(request_id, (leg for _, leg in lines))]
    signals = _establish((line.index, leg) for line, leg in lines)
    if signals:
        descriptors.append(Signals(signals))
    return Command(CommandName.ADD, (CHOSEN_TERMINATION,), tuple(descriptors))


def _modify(termination: str, side: _Side, lines: list[tuple[LinePlan, Leg]]) -> tuple[Command, ...]:
    """One Modify, or nothing."""
    streams: list[Stream] = []
    signalled: list[tuple[int, Leg]] = []
    has_fresh = False
    for line, leg in lines:
        if is_fresh(line.index, leg, side.streams):
            has_fresh = True
            streams.append(_new_stream(line, leg, side.family))
            signalled.append((line.index, leg))
        elif leg.peer_address is not None:
            streams.append(_known_stream(line, leg, leg.peer_address, side))
            if line.index not in side.tls_clients:
                signalled.append((line.index, leg))
    live = {line.index for line, _ in lines}
    streams += [Stream(stream_of(index), LocalControl(Mode.INACTIVE)) for index in side.streams if index not in live]
    if not streams:
        return ()
    descriptors: list[Descriptor] = [MediaDescriptor(tuple(streams))]
    if has_fresh:
        descriptors.append(_events(side.request_id, (leg for _, leg in lines)))
    signals = _establish(signalled)
    if signals:
        descriptors.append(Signals(signals))
    return (Command(CommandName.MODIFY, (termination,), tuple(descriptors)),)


def _new_stream(line: LinePlan, leg: Leg, family: Family, realm: str = "") -> Stream:
    """A stream whose address, port and fingerprint the gateway chooses. `realm` at Add: the termination keeps it."""
    properties = (Property(packages.REALM, Value((realm,), quoted=True)),) if realm else ()
    peer = leg.peer_address
    if peer is not None:
        family = _family_of(peer[0], family)
    local = f"v=0\r\nc=IN {family} $\r\nm={_media(line)} $ {leg.transport} -\r\n{_setup(told_setup(leg, None))}"
    if is_protected(leg):
        local += f"{packages.FINGERPRINT_REQUEST}\r\n"
    mode = Mode.INACTIVE if peer is None else Mode.SEND_RECEIVE
    remote = None if peer is None else _remote(line, leg, peer)
    return Stream(stream_of(line.index), LocalControl(mode, properties=properties), local, remote)


def _known_stream(line: LinePlan, leg: Leg, peer: tuple[str, int], side: _Side) -> Stream:
    """A stream that the gateway has: its peer, gate open. Local is sent again where its role is not what was told."""
    told = side.setup.get(line.index)
    setup = told_setup(leg, told)
    local = None
    if setup != told:
        own = side.streams[line.index]
        where = f"c=IN {_family_of(own.address, side.family)} {own.address}"
        local = f"v=0\r\n{where}\r\nm={_media(line)} {own.port} {leg.transport} -\r\n{_setup(setup)}"
        local += _fingerprints(own.fingerprints)
    return Stream(stream_of(line.index), LocalControl(Mode.SEND_RECEIVE), local, _remote(line, leg, peer))


def _remote(line: LinePlan, leg: Leg, peer: tuple[str, int]) -> str:
    host, port = peer
    if is_tcp(leg):
        # An undecided actpass beside our own actpass would contradict itself: the role is said once it is settled.
        setup = _PEER_SETUP.get(leg.tcp or "") or ("holdconn" if leg.peer_setup == "holdconn" else "")
    else:
        setup = leg.peer_setup
    return (
        f"v=0\r\nc=IN {_family_of(host, 'IP4')} {host}\r\nm={_media(line)} {port} {leg.transport} -\r\n"
        f"{_setup(setup)}{_fingerprints(leg.peer_fingerprints)}"
    )


def _setup(value: str) -> str:
    return f"a=setup:{value}\r\n" if value else ""


def _fingerprints(values: tuple[Fingerprint, ...]) -> str:
    return "".join(f"a=fingerprint:{name} {value}\r\n" for name, value in values)


def _events(request_id: int, its_legs: Iterable[Leg]) -> Events:
    """What is armed on every termination: released bearers of each layer in use, and the hanging termination."""
    return _armed(request_id, tuple(dict.fromkeys(name for leg in its_legs for name in _bearer_changes(leg))))


@lru_cache(maxsize=64)
def _armed(request_id: int, bearer_changes: tuple[str, ...]) -> Events:
    released = (Property(packages.CHANGE_TYPE, Value((packages.CHANGE_RELEASED,))),)
    return Events(
        request_id,
        (
            Event(packages.CAUSE),
            Event(packages.HANGING_TERMINATION, (_parameter(packages.HANGING_TIMER, HANGING_AFTER),)),
            *(Event(name, released) for name in bearer_changes),
        ),
    )


def _bearer_changes(leg: Leg) -> tuple[str, ...]:
    if not is_tcp(leg):
        return (packages.DTLS_CHANGE,) if is_protected(leg) else ()
    return (packages.TCP_CHANGE, packages.TLS_CHANGE) if is_protected(leg) else (packages.TCP_CHANGE,)


def _establish(lines: Iterable[tuple[int, Leg]]) -> tuple[Event, ...]:
    """EstBNC for the streams where the gateway is the TLS or DTLS client."""
    return tuple(
        Event(
            packages.TLS_ESTABLISH if is_tcp(leg) else packages.DTLS_ESTABLISH,
            (_parameter(packages.STREAM, stream_of(index)),),
        )
        for index, leg in lines
        if leg.tls == "client"
    )


def _parameter(name: str, value: int) -> Property:
    return Property(name, Value((str(value),)))


def _media(line: LinePlan) -> str:
    return BY_NAME[line.medium].media if line.medium is not None else "application"


def _family_of(host: str, otherwise: Family) -> Family:
    if ":" in host:
        return "IP6"
    return "IP4" if host.replace(".", "").isdigit() else otherwise
