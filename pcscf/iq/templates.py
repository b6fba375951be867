"""Requests of sessions, written from templates: of those that are alike only addresses, ports, names and fingerprints differ.

What a gateway is told stands in `procedures`, how that is written in the encoder; here neither is said again. A template is what
both make of a specimen: a plan, and what the gateway has, of one shape, with marks in place of all values. A request is the
template of its shape with the values in place of the marks. Three things keep that from ever being another request than
`procedures` makes:

- a specimen is made of its shape and of nothing else, so what is not in the shape can have no say;
- the first request of every shape is written in both ways, and a template that differs is not used;
- what has no shape, because it is rare, and a value that would have to be escaped are left to `procedures`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

from pcscf.h248.codec import write_actions, write_reply_actions
from pcscf.h248.message import Action
from pcscf.iq import procedures
from pcscf.iq.media import Kind, Latched, Media, is_fresh, kind_of, legs
from pcscf.iq.overload import Urgency
from pcscf.iq.procedures import Realms, family_of
from pcscf.iq.replies import hoped_reply
from pcscf.iq.supervision import Supervision
from pcscf.mediasec.model import Direction, Fingerprint, Leg, LinePlan, MediaPlan, Mode, StreamMedia

MAX_TEMPLATES: Final = 256
"""Shapes that are known. A network has a handful."""
MARKS: Final = [chr(0x1D7CE + number) for number in range(50)]
"""They stand nowhere in a message. Being digits, they pass for IPv4 addresses; with a colon behind, for IPv6."""
NUMBERS: Final = 98765432000
"""From here on numbers are marks too: no port and no context is so large."""
_MARK: Final = re.compile(f"([{MARKS[0]}-{MARKS[-1]}]):?|{NUMBERS // 1000}([0-9]{{3}})")

_RELEASE: Final = ("release",)

Shape: TypeAlias = tuple[Any, ...]
Values: TypeAlias = list[object]
Written: TypeAlias = tuple[str, str]
Marks: TypeAlias = Iterator[str]


class Template:
    """Text with places for values. `numbers`: which value stands in each. `braces`: how many close in it."""

    __slots__ = ("braces", "numbers", "text")

    def __init__(self, text: str) -> None:
        self.text = _MARK.sub("%s", text.replace("%", "%%"))
        self.numbers = [MARKS.index(mark) if mark else int(number) for mark, number in _MARK.findall(text)]
        self.braces = text.count("}")

    def filled(self, values: Values) -> str | None:
        """None where a value has a closing brace: it has to be escaped."""
        written = self.text % tuple([values[number] for number in self.numbers])
        return written if written.count("}") == self.braces else None


class Requests:
    """The requests that make a session, as `supervision` wants it watched.

    Each with the reply that is hoped for: (actions, actions of the reply), as they are written; "" where that has to be read.
    """

    def __init__(self, supervision: Supervision) -> None:
        self._supervision = supervision
        self._templates: dict[Shape, tuple[Template, Template | None] | None] = {}

    def reserve(self, plan: MediaPlan, realms: Realms, urgency: Urgency) -> Written:
        """What `procedures.reserve` asks for. Raises ValueError as that does."""
        values: Values = []
        lines = _lines(plan, values)
        shape = (urgency, realms.access, realms.core, realms.access_family, realms.core_family, plan.settled, lines)
        written = self._filled(shape, values)
        if written is not None:
            return written
        actions = procedures.reserve(plan, realms, self._supervision, urgency)
        if lines and self._can_learn(shape, values):
            specimen = procedures.reserve(_specimen_plan(lines, plan.settled, iter(MARKS)), realms, self._supervision, urgency)
            self._learn(shape, specimen, values, actions)
        return _exactly(actions)

    def configure(self, media: Media, plan: MediaPlan) -> Written:
        """What `procedures.configure` asks for; ("", "") where there is nothing to tell."""
        values: Values = [media.context, media.access_termination, media.core_termination]
        shape = _session(media, plan, values)
        written = self._filled(shape, values)
        if written is not None:
            return written
        actions = procedures.configure(media, plan, self._supervision)
        if shape and self._can_learn(shape, values):
            specimen = procedures.configure(*_specimen_session(shape, iter(MARKS)), self._supervision)
            self._learn(shape, specimen, values, actions)
        return _exactly(actions)

    def release(self, context: int) -> Written:
        """What `procedures.release` asks for."""
        values: Values = [context]
        written = self._filled(_RELEASE, values)
        if written is not None:
            return written
        actions = procedures.release(context)
        self._learn(_RELEASE, procedures.release(_number(MARKS[0])), values, actions)
        return _exactly(actions)

    def _filled(self, shape: Shape, values: Values) -> Written | None:
        templates = self._templates.get(shape)
        if templates is None:
            return None
        request, reply = templates
        written = request.filled(values)
        if written is None:
            return None
        return written, (reply.filled(values) or "") if reply is not None else ""

    def _can_learn(self, shape: Shape, values: Values) -> bool:
        return shape not in self._templates and len(values) <= len(MARKS)

    def _learn(
        self, shape: Shape, specimen: tuple[Action, ...], values: Values, actions: tuple[Action, ...]
    ) -> None:
        """The template of a specimen, if it gives the request that was made with these values, and its reply."""
        request, reply = [Template(text) for text in _exactly(specimen)]
        written = request.filled(values), reply.filled(values)
        if None not in written:
            if len(self._templates) >= MAX_TEMPLATES:
                self._templates.clear()
            templates = request, reply if reply.text else None
            self._templates[shape] = templates if written == _exactly(actions) else None


def _exactly(actions: tuple[Action, ...]) -> Written:
    hoped = hoped_reply(actions)
    return write_actions(actions), write_reply_actions(hoped) if hoped is not None else ""


# --- shapes, and the values that go with them in the same order ------------------------------------------------------


def _lines(plan: MediaPlan, values: Values) -> tuple[Shape, ...]:
    """Of each line that uses the gateway; () where one of them has no shape."""
    shapes: list[Shape] = []
    for line, access, core in legs(plan):
        if line.path_mode == "aware":
            return ()
        shapes.append((line.index, line.medium, line.kind, _leg(access, values), _leg(core, values)))
    return tuple(shapes)


def _leg(leg: Leg, values: Values) -> Shape:
    """A leg without paths."""
    peer, rtcp, sources = leg.peer_address, leg.rtcp, leg.sources
    peer_family = rtcp_family = None
    if peer is not None:
        peer_family = family_of(peer[0], "")
        values += peer
    if rtcp is not None:
        rtcp_family = family_of(rtcp[0], "")
        values += rtcp
    hashes = _fingerprints(leg.peer_fingerprints, values) if leg.peer_fingerprints else ()
    if sources:
        values += sources
    tls_ids = None
    if leg.tls_id or leg.peer_tls_id:
        tls_ids = leg.tls_id != "", leg.peer_tls_id != ""
        values += (leg.tls_id, leg.peer_tls_id)
    return (
        leg.tcp, leg.tls, leg.setup, leg.peer_setup, leg.transport, peer_family, rtcp_family, hashes, len(sources), tls_ids,
        leg.rtcp_mux, leg.latched,
    )  # fmt: skip


def _fingerprints(fingerprints: tuple[Fingerprint, ...], values: Values) -> tuple[str, ...]:
    if len(fingerprints) == 1:
        values.append(fingerprints[0][1])
        return (fingerprints[0][0],)
    values += [value for _, value in fingerprints]
    return tuple([name for name, _ in fingerprints])


def _session(media: Media, plan: MediaPlan, values: Values) -> Shape:
    """What an answer usually finds at the gateway: the streams of its plan, as they were reserved. (): anything else."""
    kinds = media.kinds
    shape: list[Any] = [plan.settled, media.held]
    for line, access, core in legs(plan):
        index = line.index
        if (
            line.path_mode == "aware" or kinds.get(index) != kind_of(access.transport)
            or is_fresh(index, access, media.access) or is_fresh(index, core, media.core)
        ):  # fmt: skip
            return ()
        told = media.latched.get(index)
        is_client, is_core_client = index in media.tls_clients, index in media.core_tls_clients
        shape.append((
            index, line.medium, line.kind, media.renews(line),
            told is not None, told is not None and told == (access.peer_address, access.sources),
            _side(access, media.access[index], media.access_setup.get(index), is_client, values),
            _side(core, media.core[index], media.core_setup.get(index), is_core_client, values),
        ))  # fmt: skip
    return tuple(shape) if len(shape) - 2 == len(kinds) == len(media.access) == len(media.core) else ()


def _side(leg: Leg, own: StreamMedia, setup: str | None, is_client: bool, values: Values) -> Shape:
    """A leg and what it has: its stream, the a=setup that was told, whether the gateway is the client of TLS or DTLS."""
    shape = _leg(leg, values)
    values += (own.address, own.port)
    hashes = _fingerprints(own.fingerprints, values) if own.fingerprints else ()
    return shape, family_of(own.address, ""), hashes, leg.tls_id == own.tls_id, setup, is_client


# --- specimens: what has a shape, with marks in the order of the values -----------------------------------------------


def _specimen_plan(lines: Iterable[Shape], settled: bool, marks: Marks) -> MediaPlan:
    found = []
    for index, medium, kind, access, core in lines:
        legs = _specimen_leg(access, marks), _specimen_leg(core, marks)
        found.append(LinePlan(index, Mode.PLAIN, "", "", medium, True, *legs, kind=kind))
    return MediaPlan(Direction.OFFER_FROM_UE, tuple(found), settled=settled)


def _specimen_session(shape: Shape, marks: Marks) -> tuple[Media, MediaPlan]:
    """Where something was not told as it is now, another thing was told."""
    context, access_termination, core_termination = next(marks), next(marks), next(marks)
    access_side, core_side = _Side(), _Side()
    kinds: dict[int, Kind] = {}
    latched: dict[int, Latched] = {}
    found: list[LinePlan] = []
    settled, held, *lines = shape
    for index, medium, kind, renews, was_latched, is_latched, near, far in lines:
        access, core = access_side.leg(index, near, marks), core_side.leg(index, far, marks)
        kinds[index] = kind_of(access.transport)
        if was_latched:
            latched[index] = (access.peer_address, access.sources) if is_latched else (None, ("another",))
        connection = 2 if renews else 1
        found.append(LinePlan(index, Mode.PLAIN, "", "", medium, True, access, core, connection=connection, kind=kind))
    media = Media(
        "", _number(context), access_termination, core_termination,
        access_side.streams, core_side.streams, access_side.setups, core_side.setups, frozenset(access_side.clients), {},
        frozenset(core_side.clients), kinds, latched, held,
    )  # fmt: skip
    return media, MediaPlan(Direction.OFFER_FROM_UE, tuple(found), settled=settled)


class _Side:
    """What one termination has, line after line."""

    def __init__(self) -> None:
        self.streams: dict[int, StreamMedia] = {}
        self.setups: dict[int, str] = {}
        self.clients: set[int] = set()

    def leg(self, index: int, shape: Shape, marks: Marks) -> Leg:
        leg_shape, address_family, hashes, has_same_tls_id, setup, is_client = shape
        leg = _specimen_leg(leg_shape, marks)
        address, port = _peer(address_family, marks)
        fingerprints = tuple([(name, next(marks)) for name in hashes])
        self.streams[index] = StreamMedia(address, port, fingerprints, leg.tls_id if has_same_tls_id else "another")
        if setup is not None:
            self.setups[index] = setup
        if is_client:
            self.clients.add(index)
        return leg


def _specimen_leg(shape: Shape, marks: Marks) -> Leg:
    tcp, tls, setup, peer_setup, transport, peer_family, rtcp_family, hashes, sources, tls_ids, rtcp_mux, latched = shape
    peer = _peer(peer_family, marks) if peer_family is not None else None
    rtcp = _peer(rtcp_family, marks) if rtcp_family is not None else None
    fingerprints = tuple([(name, next(marks)) for name in hashes])
    admitted = tuple([next(marks) for _ in range(sources)])
    ours = theirs = ""
    if tls_ids is not None:
        ours, theirs = [mark if is_there else "" for is_there, mark in zip(tls_ids, (next(marks), next(marks)), strict=True)]
    return Leg(
        tcp, tls, setup, peer_setup, peer, fingerprints, transport, rtcp=rtcp, rtcp_mux=rtcp_mux, latched=latched,
        sources=admitted, tls_id=ours, peer_tls_id=theirs,
    )  # fmt: skip


def _peer(address_family: str, marks: Marks) -> tuple[str, int]:
    host = next(marks)
    return f"{host}:" if address_family == "IP6" else host, _number(next(marks))


def _number(mark: str) -> int:
    """The mark for the same value where a number stands."""
    return NUMBERS + MARKS.index(mark)
