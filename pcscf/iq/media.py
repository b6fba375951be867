"""What a session has on a gateway, and which lines of a plan it is for.

A place is where something of a line stands in these records: the index of its m-line. A line that turns into one of another
kind of port (RFC 3264 §8.3.3: audio becomes fax) has another place for that, so that what it was stands until the answer is
in, and stands again when it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from pcscf.mediasec.mechanisms import BY_NAME
from pcscf.mediasec.model import Leg, LinePlan, MediaPlan, StreamMedia
from pcscf.record import record
from pcscf.sdp.lines import MAX_MEDIA

Kind: TypeAlias = Literal["TCP", "UDP", "RTP"]
SideName: TypeAlias = Literal["access", "core"]
TcpStart: TypeAlias = Literal["gateway", "answer", "interlinked"]
"""Who begins TCP where the gateway opens it: see `pcscf.iq.start`."""

_OWN_SETUP: Final = {"accept": "passive", "connect": "active"}
_BEYOND: Final = {"TCP": MAX_MEDIA, "UDP": 2 * MAX_MEDIA, "RTP": 3 * MAX_MEDIA}


Latched: TypeAlias = tuple[tuple[str, int] | None, tuple[str, ...]]


@record
class Media:
    """Plain values, fit for a store. All mappings are by place.

    gateway                               mId
    context                               ContextID there
    access_termination, core_termination  TerminationIDs
    access, core                          the gateway's address, port and fingerprints
    access_setup, core_setup              the a=setup that Local has told the gateway
    tls_clients, core_tls_clients         lines where the gateway was told to be the TLS or DTLS client, on either side
    connections                           which connection of its line the gateway was told to make, where it is not the first; 0:
                                          the line has become another kind of port
    kinds                                 of which kind the port is
    latched                               for which peer latching was asked on the access side: its address, and its sources
    held                                  side and place of TCP connections that nobody was told to make yet, where that is for
                                          the controller to say
    """

    gateway: str
    context: int
    access_termination: str
    core_termination: str
    access: Mapping[int, StreamMedia] = field(default_factory=dict)
    core: Mapping[int, StreamMedia] = field(default_factory=dict)
    access_setup: Mapping[int, str] = field(default_factory=dict)
    core_setup: Mapping[int, str] = field(default_factory=dict)
    tls_clients: frozenset[int] = frozenset()
    connections: Mapping[int, int] = field(default_factory=dict)
    core_tls_clients: frozenset[int] = frozenset()
    kinds: Mapping[int, Kind] = field(default_factory=dict)
    latched: Mapping[int, Latched] = field(default_factory=dict)
    held: frozenset[tuple[SideName, int]] = frozenset()

    def place(self, line: LinePlan) -> int:
        """Where the line's stream stands, or will stand."""
        index, kind = line.index, self.kinds.get(line.index)
        wanted = _kind_of_line(line)
        return index if wanted is None or kind in (None, wanted) else index + _BEYOND[wanted]

    def renews(self, line: LinePlan) -> bool:
        """Whether the plan wants another connection of the line than the gateway was told to make."""
        return line.connection != self.connections.get(self.place(line), 1)

    def ended(self, plan: MediaPlan) -> dict[int, int]:
        """Places whose connection a settled plan has ended, not told to the gateway yet: what `connections` shall say of them.

        A line was closed, or has become another kind of port.
        """
        if not plan.settled:
            return {}
        places = {self.place(line): line for line in plan.lines}
        found = {place: line.connection for place, line in places.items() if line.access is None and place in self.kinds}
        found |= {place: 0 for place in self.kinds if place not in places}
        return {place: number for place, number in found.items() if number != self.connections.get(place, 1)}


def _kind_of_line(line: LinePlan) -> Kind | None:
    if line.access is not None:
        return kind_of(line.access.transport)
    return BY_NAME[line.medium].transport if line.medium is not None else None


@lru_cache(maxsize=64)
def kind_of(transport: str) -> Kind:
    """The kind of port that a transport on Iq needs."""
    if "RTP" in transport:
        return "RTP"
    return "TCP" if is_tcp(transport) else "UDP"


def stream_of(place: int) -> int:
    """The StreamID of what stands at a place."""
    return place + 1


def place_of(stream: int) -> int:
    """Where the stream with this StreamID stands."""
    return stream - 1


def line_of(stream: int) -> int:
    """The index of the m-line that has this StreamID."""
    return (stream - 1) % MAX_MEDIA


def legs(plan: MediaPlan) -> Iterator[tuple[LinePlan, Leg, Leg]]:
    """(line, access leg, core leg) of every m-line that uses the gateway; while an answer is open, as it stands."""
    for each in plan.lines:
        line = each.standing or each
        if line.gateway and line.access is not None and line.core is not None:
            yield line, line.access, line.core


def is_of_another_family(media: Media, plan: MediaPlan) -> bool:
    """Whether a peer names an address that cannot be reached from ours: IPv6 from IPv4, or the other way round."""
    for line, access, core in legs(plan):
        place = media.place(line)
        for leg, side in ((access, media.access), (core, media.core)):
            ours, peer = side.get(place), leg.peer_address
            if ours is not None and peer is not None and _is_literal(peer[0]) and (":" in peer[0]) != (":" in ours.address):
                return True
    return False


def _is_literal(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


@lru_cache(maxsize=64)
def is_tcp(transport: str) -> bool:
    return transport.upper().startswith("TCP")


@lru_cache(maxsize=64)
def is_protected(transport: str) -> bool:
    """Whether TLS or DTLS of a leg with this transport ends at the gateway."""
    return transport.upper() in {"TCP/TLS", "TCP/TLS/MSRP", "UDP/DTLS"}


def is_fresh(place: int, leg: Leg, side: Mapping[int, StreamMedia]) -> bool:
    """Whether this side of the line has no stream yet, or one whose protection is not that of the plan."""
    stream = side.get(place)
    return stream is None or bool(stream.fingerprints) != is_protected(leg.transport)


def told_setup(leg: Leg, told: str | None) -> str:
    """The a=setup of Local: the gateway's own role, where `told` is what it has heard (None: nothing yet).

    actpass leaves the role to Remote and stays; it is also what is told while the role is open. "": no attribute.
    """
    if not is_tcp(leg.transport):
        return leg.setup
    if told == "actpass":
        return told
    if leg.tcp is not None:
        return _OWN_SETUP[leg.tcp]
    return leg.setup or told or "actpass"
