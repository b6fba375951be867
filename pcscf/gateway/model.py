"""What a context is made of (RFC 3525 §6), and what the relay is told about it.

The context table changes its model and then states, per stream of a termination, the `LegPlan` that follows from it.
The relay never sees a descriptor, and the table never sees a socket.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple, Protocol, TypeAlias

from pcscf.gateway.certificate import Fingerprint
from pcscf.gateway.credentials import Credentials
from pcscf.gateway.description import Description
from pcscf.gateway.endpoint import TlsRole
from pcscf.gateway.policing import Contract
from pcscf.gateway.statistics import Count, Kind
from pcscf.h248.message import Events, Mode, Property, Services
from pcscf.record import record

Address: TypeAlias = tuple[str, int]


class TcpRole(Enum):
    ACCEPT = "accept"
    CONNECT = "connect"


class Layer(Enum):
    """What of a bearer is up."""

    TCP = "tcp"
    TLS = "tls"
    DTLS = "dtls"


class LegKey(NamedTuple):
    """One stream of one termination: one connection."""

    context: int
    termination: str
    stream: int


@record
class SourceFilter:
    """Who may open a connection, or send datagrams (H.248.43). None: not filtered by that."""

    networks: tuple[IPv4Network | IPv6Network, ...] | None
    ports: tuple[int, int] | None

    def admits(self, remote: Address) -> bool:
        address = ip_address(remote[0].partition("%")[0])
        return (self.networks is None or any(address in network for network in self.networks)) and (
            self.ports is None or self.ports[0] <= remote[1] <= self.ports[1]
        )


@record
class LegPlan:
    """How one connection shall be.

    remote: None while unknown; fingerprints: those of the strongest usable hash of the Remote descriptor.
    receives/sends: whether application bytes may come from, or go to, the peer (stream mode).
    triggers: how many times EstBNC asked to connect now. partner: the leg of the same stream on the other termination.
    generation: how many times a=connection:new asked for another connection, or RelBNC ended one.
    contract: how much the peer may send (tman), None for as much as it likes.
    own_path, peer_path: a=path of Local and of Remote; "" while unknown, and both where the gateway does not read MSRP.

    datagram: UDP, and `secure` means DTLS. rtp: there is a second port, for RTCP; rtcp: where RTCP goes, None while
    unknown or where it shares the port of RTP (rtcp_mux). latch: 0 to send to `remote`, else to where datagrams come
    from; it grows when the controller wants a new source to be taken. credentials: what we show where it is `secure`. tls_ids:
    a=tls-id as last said in Local and in Remote. holds_tls: TLS waits until the controller makes us its client, or the peer
    shows to be it: the controller is told first that TCP is up (TR 29.828 §4.3.3.2).
    """

    local: Address
    tcp: TcpRole | None
    secure: bool
    tls: TlsRole
    remote: Address | None
    fingerprints: tuple[Fingerprint, ...]
    receives: bool
    sends: bool
    triggers: int = 0
    generation: int = 0
    source: SourceFilter | None = None
    dscp: int | None = None
    contract: Contract | None = None
    partner: LegKey | None = None
    own_path: str = ""
    peer_path: str = ""
    datagram: bool = False
    rtp: bool = False
    rtcp: Address | None = None
    rtcp_mux: bool = False
    latch: int = 0
    credentials: Credentials | None = None
    tls_ids: tuple[str, str] = ("", "")
    holds_tls: bool = False

    @property
    def kind(self) -> Kind:
        if self.datagram:
            return "dtls" if self.secure else "udp"
        return "tls" if self.secure else "tcp"

    @property
    def aware(self) -> bool:
        """Whether the gateway reads and maps MSRP frames on this leg."""
        return bool(self.own_path or self.peer_path)

    @property
    def complete(self) -> bool:
        """Whether a connection may be made: the peer is known, and with TLS also what its certificate must be."""
        ready = self.datagram or self.tcp is not None
        return self.remote is not None and ready and (not self.secure or bool(self.fingerprints))

    @property
    def association(self) -> tuple[object, ...]:
        """What a connection depends on: when this changes, the connection is replaced (RFC 7345 §4.5, RFC 8842 §3.1)."""
        return (
            self.local, self.secure, self.tcp, self.tls, self.remote, self.fingerprints, self.generation, self.aware,
            self.credentials, self.tls_ids,
        )  # fmt: skip

    def replaces(self, old: LegPlan) -> bool:
        """Whether a connection of the old plan must go. TLS that was held back begins on the one that stands."""
        if old.holds_tls and self.tls is TlsRole.CLIENT:
            old = replace(old, tls=self.tls)
        return old.association != self.association


@record
class Configure:
    """The leg shall be as planned; opens it when it is new."""

    leg: LegKey
    plan: LegPlan


@record
class Close:
    """The leg and its port are released."""

    leg: LegKey
    local: Address


@record
class ControllerOrder:
    """The controller sent ServiceChange on ROOT (hand-off, restart, out of service)."""

    services: Services


Effect: TypeAlias = Configure | Close | ControllerOrder


@record
class Wanted:
    """What a local address shall be. family: "IP4", "IP6", or "" for that of the realm; address and port: "" and None are
    left to us.

    datagram: UDP. pair: an even port, and the next one is ours as well (RFC 3550 §11).
    """

    realm: str
    family: str = ""
    address: str = ""
    port: int | None = None
    datagram: bool = False
    pair: bool = False


class Ports(Protocol):
    """Where local addresses come from. Each port given out is listening already, so an early SYN finds a listener."""

    def reserve(self, wanted: Wanted) -> Address:
        """Raises H248Error: 449 the realm has no such address; 510 no port is left, or no more sockets can be opened."""

    def release(self, local: Address) -> None:
        """Gives back an address for which no leg was configured."""


class Traffic(Protocol):
    """What has passed on the legs."""

    def idle_since(self, leg: LegKey, direction: str) -> float:
        """When bytes last passed on that leg ("IN", "OUT", "BOTH"), monotonic seconds."""

    def count(self, leg: LegKey) -> Count:
        """What the leg has counted so far."""


@dataclass(slots=True)
class Stream:
    """A stream of a termination: its two descriptors and what was settled about its connection."""

    id: int
    local: Description
    address: Address
    remote: Description | None = None
    mode: Mode = Mode.SEND_RECEIVE
    tls_client: bool = False
    triggers: int = 0
    generation: int = 0
    tcp: TcpRole | None = None
    properties: dict[str, Property] = field(default_factory=dict)
    latch: int = 0
    credentials: Credentials | None = None
    tls_ids: tuple[str, str] = ("", "")

    def copy(self) -> Stream:
        """One to try a change on."""
        return Stream(self.id, self.local, self.address, self.remote, self.mode, self.tls_client, self.triggers,
                      self.generation, self.tcp, self.properties, self.latch, self.credentials, self.tls_ids)  # fmt: skip


@dataclass(slots=True)
class Termination:
    """created, and touched: when Iq last spoke of it (monotonic); events: what is armed, with its RequestID."""

    id: str
    realm: str
    created: float
    touched: float
    streams: dict[int, Stream] = field(default_factory=dict)
    events: Events = field(default_factory=Events)

    def copy(self) -> Termination:
        """One to try a change on, with its streams."""
        streams = {number: stream.copy() for number, stream in self.streams.items()}
        return Termination(self.id, self.realm, self.created, self.touched, streams, self.events)


@dataclass(slots=True)
class Context:
    id: int
    priority: int | None = None
    emergency: bool | None = None
    terminations: dict[str, Termination] = field(default_factory=dict)
