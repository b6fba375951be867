"""The procedures of TS 23.334 §8 as H.248 actions: what the plan says is what the gateway is told.

A session has one context with two terminations, access and core, and one stream per m-line that uses the gateway:
StreamID is the index of the m-line plus one (and more for a line that has become another kind of port, see `media`). Three
transactions make a session: `reserve`, `configure`, `release`.

TCP is controlled without a package, by a=setup in Local (the gateway's own role) and in Remote (the peer's); where the controller
says when it begins, by EstBNC with the Remote that was withheld until then (`start`). The TLS or
DTLS role is explicit: EstBNC makes the gateway the client, its absence the server; it persists as long as the connection.
a=connection:new in Remote ends the connection that stands and asks for another, whose TLS role is said anew (RFC 4145 §5).
RelBNC ends the connection of a line that was closed, and a DTLS association whose client the gateway is no more.

A DTLS association goes by its two names, a=tls-id in Local (ours) and in Remote (the peer's): another name asks for another
association (RFC 8842 §3.1).

A stream is application-agnostic, `TCP -`, unless the gateway shall read it (TS 23.334 §6.2.18): then it is `TCP/MSRP *`, and
a=path in Local is the gateway's own, of which it chooses host and port (`$:$`), in Remote that of the peer. RTP is named by the
proto of its line, also where its ends protect it: two ports, or one where Local and Remote both have a=rtcp-mux.

Who may send datagrams is said by gm/saf and gm/sam (H.248.43), and that they show where the peer is by ipnapt/latch (H.248.37).

What does not depend on the peer is made once and shared by all sessions: events, signals, local controls, the wished Local.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from pcscf.h248 import packages
from pcscf.h248.message import (
    Action,
    Audit,
    Command,
    CommandName,
    ContextId,
    ContextProperties,
    Event,
    LocalControl,
    Mode,
    Property,
    Signals,
    Stream,
    Value,
)
from pcscf.h248.message import Media as MediaDescriptor
from pcscf.iq.media import Kind, Latched, Media, is_fresh, is_protected, is_tcp, kind_of, stream_of, told_setup
from pcscf.iq.overload import Urgency
from pcscf.iq.start import Ordered, is_begun, is_held, told_legs
from pcscf.iq.supervision import (
    ACCESS_EVENTS,
    CORE_EVENTS,
    DEFAULT_SUPERVISION,
    Supervision,
    Watched,
    parameter,
    termination_events,
)
from pcscf.mediasec import paths
from pcscf.mediasec.associations import DTLS
from pcscf.mediasec.mechanisms import BY_NAME
from pcscf.mediasec.model import Fingerprint, Leg, LinePlan, MediaPlan, StreamMedia
from pcscf.record import record

Family: TypeAlias = Literal["IP4", "IP6"]

CHOSEN_TERMINATION: Final = "ip/1/$/$"
"""Interface and number are the gateway's choice; the realm is said by ipdc/realm (TS 183 018 §5.17.1.10)."""
ALL_TERMINATIONS: Final = "*"
_ADD: Final = CommandName.ADD
_MODIFY: Final = CommandName.MODIFY
_NEW_CONTEXT: Final = ContextId.CHOOSE
_INACTIVE: Final = Mode.INACTIVE
_SEND_RECEIVE: Final = Mode.SEND_RECEIVE
_PEER_SETUP: Final = {"accept": "active", "connect": "passive"}
_FILTERS: Final = Property(packages.SOURCE_ADDRESS_FILTER, Value(("ON",)))
_FILTERS_NOT: Final = Property(packages.SOURCE_ADDRESS_FILTER, Value(("OFF",)))
_PROPERTIES: Final = {
    Urgency.NORMAL: None,
    Urgency.PRIORITY: ContextProperties(priority=10),
    Urgency.EMERGENCY: ContextProperties(priority=15, emergency=True),
}
"""How urgent a context is, as the gateway is told (RFC 3525 §6.1.1: priority 15 is the highest)."""
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
    for line in plan.lines:  # noqa: SIM110 - a generator costs more than the loop
        if line.gateway or line.standing is not None:
            return True
    return False


def reserve(
    plan: MediaPlan, realms: Realms, supervision: Supervision = DEFAULT_SUPERVISION, urgency: Urgency = Urgency.NORMAL
) -> tuple[Action, ...]:
    """Reserve (and Configure) AGW Connection Point, both sides at once: a new context with two terminations.

    The side that offered is configured and open, so that an early connection finds a listener; the other one is
    Inactive until its peer is known. Raises ValueError for a plan without a line for the gateway.
    """
    lines = list(told_legs(plan, None, supervision.tcp_start))
    if not lines:
        raise ValueError("no line of the plan uses the gateway")
    watched = supervision.of([line for _, line, _, _ in lines])
    towards_ue: list[_Placed] = [(place, line, leg) for place, line, leg, _ in lines]
    towards_core: list[_Placed] = [(place, line, leg) for place, line, _, leg in lines]
    access = _add(towards_ue, realms.access, realms.access_family, ACCESS_EVENTS, watched)
    core = _add(towards_core, realms.core, realms.core_family, CORE_EVENTS, watched)
    return (Action(_NEW_CONTEXT, (access, core), _PROPERTIES[urgency]),)


def configure(media: Media, plan: MediaPlan, supervision: Supervision = DEFAULT_SUPERVISION) -> tuple[Action, ...]:
    """Configure AGW Connection Point, both sides: what offer and answer settled, gates open.

    A line that has no stream yet (a further offer) gets one. What a line no longer uses is closed, not before the answer is in.
    Empty when there is nothing to tell.
    """
    lines = list(told_legs(plan, media, supervision.tcp_start))
    ended = media.ended(plan)
    access, core = _sides(media, lines, supervision)
    unused = [place for place in media.access if place not in {each[0] for each in lines}] if plan.settled else []
    commands = (
        *_modify(media.access_termination, access, [(place, line, leg) for place, line, leg, _ in lines], unused,
                 _released(ended, media.access, media.kinds)),
        *_modify(media.core_termination, core, [(place, line, leg) for place, line, _, leg in lines], unused,
                 _released(ended, media.core, media.kinds)),
    )
    return (Action(media.context, commands),) if commands else ()


def begin_tcp(media: Media, plan: MediaPlan, ordered: Ordered, supervision: Supervision) -> tuple[Action, ...]:
    """Establish TCP connection (TS 23.334 §6.2.18): the gateway is told the peer that was withheld, and opens (EstBNC)."""
    side, where = ordered
    lines = list(told_legs(plan, media, supervision.tcp_start, ordered))
    access, core = _sides(media, lines, supervision)
    if side == "access":
        placed = [(place, line, leg) for place, line, leg, _ in lines if place == where]
        commands = _modify(media.access_termination, access, placed, [], [])
    else:
        placed = [(place, line, leg) for place, line, _, leg in lines if place == where]
        commands = _modify(media.core_termination, core, placed, [], [])
    return (Action(media.context, commands),)


def begin_tls(context: int, termination: str, stream: int) -> tuple[Action, ...]:
    """Establish (D)TLS session (TS 23.334 §6.2.10): TCP is up, and the gateway begins TLS as its client."""
    signals = Signals((_signal(packages.TLS_ESTABLISH, stream),))
    return (Action(context, (Command(_MODIFY, (termination,), (signals,)),)),)


def release(context: int) -> tuple[Action, ...]:
    """Release AGW Termination, all of a context: one wildcarded response, no statistics."""
    return (Action(context, (_SUBTRACT_ALL,)),)


@record
class _Side:
    """What a termination has been told so far, by place. `renewed`: whose connection gives way to a new one; begun: whose TCP
    connection it was told to make, where that is for us to say.
    """

    streams: Mapping[int, StreamMedia]
    setup: Mapping[int, str]
    tls_clients: frozenset[int]
    renewed: frozenset[int]
    request_id: int
    watched: Watched
    latched: Mapping[int, Latched] = field(default_factory=dict)
    begun: frozenset[int] = frozenset()

    @property
    def family(self) -> Family:
        """The family of the addresses that the termination has."""
        for stream in self.streams.values():
            return _family_of(stream.address, "IP4")
        return "IP4"


_Placed: TypeAlias = tuple[int, LinePlan, Leg]   # place, line, one of its legs


def _sides(media: Media, lines: list[tuple[int, LinePlan, Leg, Leg]], supervision: Supervision) -> tuple[_Side, _Side]:
    watched = supervision.of([line for _, line, _, _ in lines])
    renewed = frozenset([place for place, line, _, _ in lines if media.renews(line)])
    access_begun = core_begun = frozenset[int]()
    if watched.tcp_start != "gateway":
        access_begun = frozenset([place for place, line, leg, _ in lines if is_begun(media, line, ("access", place), leg)])
        core_begun = frozenset([place for place, line, _, leg in lines if is_begun(media, line, ("core", place), leg)])
    return (
        _Side(media.access, media.access_setup, media.tls_clients, renewed, ACCESS_EVENTS, watched, media.latched, access_begun),
        _Side(media.core, media.core_setup, media.core_tls_clients, renewed, CORE_EVENTS, watched, begun=core_begun),
    )


def _add(lines: list[_Placed], realm: str, family: Family, request_id: int, watched: Watched) -> Command:
    streams = tuple([_new_stream(place, line, leg, family, realm) for place, line, leg in lines])
    events = termination_events(request_id, tuple([leg.transport for _, _, leg in lines]), watched)
    signals = [
        signal for place, _, leg in lines
        for signal in (*_open(place, leg, watched), *_establish(place, leg, watched), *_latch(place, leg, None))]
    return Command(_ADD, (CHOSEN_TERMINATION,), (MediaDescriptor(streams), events, *_signals(signals)))


def _modify(
    termination: str, side: _Side, lines: list[_Placed], unused: list[int], released: list[Event]
) -> tuple[Command, ...]:
    """One Modify, or nothing; a second one before it where an association must end before another can be told."""
    streams: list[Stream] = []
    signals: list[Event] = [*released, *_closed(side, lines)]
    has_fresh = False
    for place, line, leg in lines:
        if is_fresh(place, leg, side.streams):
            has_fresh = True
            stream = _new_stream(place, line, leg, side.family, "")
            if place in side.streams and stream.remote is None:
                stream = replace(stream, remote="")   # what it knows of its peer is of a transport that it has no more
            streams.append(stream)
            signals += (*_open(place, leg, side.watched), *_establish(place, leg, side.watched), *_latch(place, leg, None))
        elif leg.peer_address is not None:
            streams.append(_known_stream(place, line, leg, leg.peer_address, side))
            if place not in side.begun:
                signals += _open(place, leg, side.watched)
            if place not in side.tls_clients or place in side.renewed or leg.tls_id != side.streams[place].tls_id:
                signals += _establish(place, leg, side.watched)
            signals += _latch(place, leg, side.latched.get(place))
    streams += [Stream(stream_of(place), _control(_INACTIVE, "")) for place in unused]
    if not streams and not signals:
        return ()
    media = (MediaDescriptor(tuple(streams)),) if streams else ()
    transports = tuple([leg.transport for _, _, leg in lines])
    events = (termination_events(side.request_id, transports, side.watched),) if has_fresh else ()
    change = Command(_MODIFY, (termination,), (*media, *events, *_signals(signals)))
    servers = [_signal(packages.DTLS_RELEASE, stream_of(place)) for place, _, leg in lines
               if leg.transport == DTLS and leg.tls == "server" and place in side.tls_clients]  # fmt: skip
    return (Command(_MODIFY, (termination,), _signals(servers)), change) if servers else (change,)


def _released(ended: Iterable[int], side: Mapping[int, StreamMedia], kinds: Mapping[int, Kind]) -> list[Event]:
    """RelBNC for the connections and associations at these places; plain datagrams have none."""
    names = [(place, packages.TCP_RELEASE if kinds[place] == "TCP" else packages.DTLS_RELEASE) for place in ended]
    return [_signal(name, stream_of(place)) for place, name in names
            if name == packages.TCP_RELEASE or side[place].fingerprints]  # fmt: skip


def _new_stream(place: int, line: LinePlan, leg: Leg, family: Family, realm: str) -> Stream:
    """A stream whose address, port and fingerprint the gateway chooses. `realm` at Add: the termination keeps it."""
    number, peer = stream_of(place), leg.peer_address
    if peer is None:
        return Stream(number, _filtered(_INACTIVE, realm, leg), _wished(family, line, leg))
    local = _wished(_family_of(peer[0], family), line, leg)
    return Stream(number, _filtered(_SEND_RECEIVE, realm, leg), local, _remote(line, leg, peer))


@lru_cache(maxsize=64)
def _control(mode: Mode, realm: str) -> LocalControl:
    return LocalControl(mode, properties=(Property(packages.REALM, Value((realm,), quoted=True)),) if realm else ())


def _filtered(mode: Mode, realm: str, leg: Leg) -> LocalControl:
    """With the source filter of H.248.43 where the plan knows who may send, and without one where anybody may."""
    control = _control(mode, realm)
    if leg.sources:
        admitted = Value(
            tuple([f"[{source}]" for source in leg.sources]), form="and" if len(leg.sources) > 1 else "single", quoted=True)
        return LocalControl(mode, properties=(*control.properties, _FILTERS, Property(packages.SOURCE_ADDRESS_MASK, admitted)))
    return LocalControl(mode, properties=(*control.properties, _FILTERS_NOT)) if leg.latched else control


def _wished(family: Family, line: LinePlan, leg: Leg) -> str:
    """A Local that leaves address, port and fingerprint to the gateway."""
    media, transport, setup, path = _media(line), leg.transport, told_setup(leg, None), _own_path(line, leg)
    if path is not None:
        wished = _wished_agnostic(family, f"{media} $ {transport}/MSRP *", transport, setup)
        return wished + (f"a=path:{path}\r\n" if path else "")
    wished = _wished_agnostic(family, f"{media} $ {transport} -", transport, setup) + _tls_id(leg.tls_id)
    return wished + f"{packages.RTCP_MUX}\r\n" if leg.rtcp_mux else wished


@lru_cache(maxsize=64)
def _wished_agnostic(family: Family, media: str, transport: str, setup: str) -> str:
    fingerprint = f"{packages.FINGERPRINT_REQUEST}\r\n" if is_protected(transport) else ""
    return f"v=0\r\nc=IN {family} $\r\nm={media}\r\n{_setup(setup)}{fingerprint}"


def _known_stream(place: int, line: LinePlan, leg: Leg, peer: tuple[str, int], side: _Side) -> Stream:
    """A stream that the gateway has: its peer, gate open. Local is sent again where it may not be what was told."""
    told, own = side.setup.get(place), side.streams[place]
    setup = told_setup(leg, told)
    local, path = None, _own_path(line, leg)
    if setup != told or path or leg.tls_id != own.tls_id or kind_of(leg.transport) == "RTP":
        where = f"c=IN {_family_of(own.address, side.family)} {own.address}"
        local = f"v=0\r\n{where}\r\nm={_media(line)} {own.port} {_format(line, leg)}\r\n{_setup(setup)}"
        local += _fingerprints(own.fingerprints) + _tls_id(leg.tls_id)
        if path:
            local += f"a=path:{paths.placed(path, own.address, own.port)}\r\n"
        if leg.rtcp_mux:
            local += f"{packages.RTCP_MUX}\r\n"
    remote = _remote(line, leg, peer)
    if place in side.renewed and is_tcp(leg.transport):
        remote += packages.NEW_CONNECTION + "\r\n"
    return Stream(stream_of(place), _filtered(_SEND_RECEIVE, "", leg), local, remote)


def _remote(line: LinePlan, leg: Leg, peer: tuple[str, int]) -> str:
    host, port = peer
    if is_tcp(leg.transport):
        # An undecided actpass beside our own actpass would contradict itself: the role is said once it is settled.
        setup = _PEER_SETUP.get(leg.tcp or "") or ("holdconn" if leg.peer_setup == "holdconn" else "")
    else:
        setup = leg.peer_setup
    where = f"v=0\r\nc=IN {_family_of(host, 'IP4')} {host}\r\nm={_media(line)} {port} {_format(line, leg)}\r\n"
    if line.path_mode == "aware":
        where += f"a=path:{leg.peer_path}\r\n"
    if setup:
        where += f"a=setup:{setup}\r\n"
    where += _tls_id(leg.peer_tls_id)
    if leg.rtcp is not None:
        where += f"a=rtcp:{leg.rtcp[1]} IN {_family_of(leg.rtcp[0], 'IP4')} {leg.rtcp[0]}\r\n"
    if leg.rtcp_mux == "agreed":
        where += f"{packages.RTCP_MUX}\r\n"
    return where + _fingerprints(leg.peer_fingerprints) if leg.peer_fingerprints else where


def _own_path(line: LinePlan, leg: Leg) -> str | None:
    """The a=path of Local, "" while it is not known; None: the stream is not read."""
    return leg.path if line.path_mode == "aware" else None


def _format(line: LinePlan, leg: Leg) -> str:
    return f"{leg.transport}/MSRP *" if line.path_mode == "aware" else f"{leg.transport} -"


def _tls_id(value: str) -> str:
    return f"a=tls-id:{value}\r\n" if value else ""


def _setup(value: str) -> str:
    return f"a=setup:{value}\r\n" if value else ""


def _fingerprints(values: tuple[Fingerprint, ...]) -> str:
    return "".join([f"a=fingerprint:{name} {value}\r\n" for name, value in values])


def _signals(signals: list[Event]) -> tuple[Signals, ...]:
    return (Signals(tuple(signals)),) if signals else ()


def _open(place: int, leg: Leg, watched: Watched) -> tuple[Event, ...]:
    """EstBNC for a TCP connection that the gateway opens, where that is for us to say."""
    if watched.tcp_start == "gateway" or leg.tcp != "connect" or leg.peer_address is None:
        return ()
    return (_signal(packages.TCP_ESTABLISH, stream_of(place)),)


def _closed(side: _Side, lines: list[_Placed]) -> list[Event]:
    """RelBNC for the connections that give way to new ones which shall wait."""
    return [_signal(packages.TCP_RELEASE, stream_of(place)) for place, _, leg in lines
            if side.watched.tcp_start != "gateway" and place in side.renewed and is_held(leg)
            and not is_fresh(place, leg, side.streams)]  # fmt: skip


def _establish(place: int, leg: Leg, watched: Watched) -> tuple[Event, ...]:
    """EstBNC for a stream where the gateway is the TLS or DTLS client, unless `begin_tls` says so later."""
    if watched.connected and is_tcp(leg.transport):
        return ()
    name = packages.TLS_ESTABLISH if is_tcp(leg.transport) else packages.DTLS_ESTABLISH
    return (_signal(name, stream_of(place)),) if leg.tls == "client" else ()


@lru_cache(maxsize=64)
def _signal(name: str, stream: int) -> Event:
    return Event(name, (parameter(packages.STREAM, stream),))


def _latch(place: int, leg: Leg, told: Latched | None) -> tuple[Event, ...]:
    """What to do about the source of a peer's datagrams: `told`, for which peer the gateway was last asked.

    The first source that comes is taken for the peer, and no other one until the peer says that it is somewhere else.
    """
    if not leg.latched or leg.peer_address is None or told == (leg.peer_address, leg.sources):
        return ()
    return (_latching(stream_of(place), "LATCH" if told is None else "RELATCH"),)


@lru_cache(maxsize=64)
def _latching(stream: int, mode: str) -> Event:
    return Event(packages.LATCH, (parameter(packages.STREAM, stream), Property(packages.LATCH_MODE, Value((mode,)))))


def _media(line: LinePlan) -> str:
    return BY_NAME[line.medium].media if line.medium is not None else line.kind


@lru_cache(maxsize=1024)
def _family_of(host: str, otherwise: Family) -> Family:
    if ":" in host:
        return "IP6"
    return "IP4" if host.replace(".", "").isdigit() else otherwise
