"""The P-CSCF's configuration as one frozen value.

`load_config` is the way to get one: it also checks that the blocks fit together.

Times are seconds. Every knob has a default unless its absence could mean two things.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pcscf.config.fleet import KnownGateway, Supervision
from pcscf.config.gateway import (
    GATEWAY_PORT,
    EmbeddedHttp,
    IqTimers,
    MediaRealm,
    OwnCertificates,
    StreamLimits,
    StreamTimers,
    check_share,
)
from pcscf.config.iq import IqTls, IqTransport
from pcscf.config.rules import PolicyRule
from pcscf.config.values import (
    Address,
    Block,
    Certificate,
    Count,
    Domain,
    File,
    Hop,
    HostPort,
    Listed,
    LogLevel,
    Mid,
    Name,
    OneOrMore,
    Peer,
    Port,
    PortRange,
    Profile,
    Seconds,
    Transport,
    fault,
    own_default,
)

Announce = Literal["protected", "trusted", "always"]
TERMINATED = ("msrp-tls", "bfcp-tls", "udptl-dtls")
DEFAULT_PORTS = {"access": PortRange(12000, 21999), "core": PortRange(22000, 31999)}


class Listener(Block):
    """One SIP socket."""

    realm: Name
    """The realm that is served, a key of `realms`."""
    transport: Transport
    """udp, tcp or tls."""
    address: Address
    """Local address, IPv4 or IPv6."""
    port: Port
    """Local port; 0 lets the kernel choose (for tests)."""
    advertise: Address | None = None
    """Address in our Via, Path and Record-Route when it is not `address`: behind a 1:1 NAT, or for a wildcard."""
    announce: Announce = "protected"
    """When media security is offered to a UE (access side): `protected` over TLS only; `trusted` you vouch that the
    access network behind this socket protects signalling; `always` without that claim."""
    certificate: Certificate = None
    """TLS: file with our certificate and its chain (PEM); `lab` makes a self-signed one at each start."""
    key: File | None = None
    """TLS: file with the private key (PEM), when it is not in the certificate's file."""

    @property
    def host(self) -> str:
        """The address that peers see: goes into Via, Path and Record-Route."""
        return self.advertise or self.address

    @property
    def announces(self) -> bool:
        """Whether media security is announced to UEs on this socket: only where signalling is protected (TS 33.328)."""
        return self.announce != "protected" or self.transport == "tls"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.transport == "tls" and self.certificate is None:
            raise fault(
                "a tls listener needs a certificate",
                "add `certificate: FILE` and `key: FILE`, or `certificate: lab` for a trial",
            )
        if self.transport != "tls" and (self.certificate or self.key):
            raise fault(
                f"a {self.transport} listener has no certificate",
                "remove `certificate` and `key`, or write `transport: tls`",
            )
        if self.certificate == "lab" and self.key:
            raise fault("`certificate: lab` brings its own key", "remove `key`")
        if ip_address(self.address).is_unspecified and self.advertise is None:
            raise fault(
                f"{self.address} cannot stand in a Via",
                "add `advertise:` with the address that peers reach, or listen on that address",
            )
        return self


class AccessTimers(Block):
    """SIP timers towards UEs (TS 24.229 Table 7.7: slower radio links)."""

    t1: Seconds = 2.0
    """T1: round-trip time estimate."""
    t2: Seconds = 16.0
    """T2: longest time between retransmissions."""
    t4: Seconds = 17.0
    """T4: how long a message can stay in the network."""


class CoreTimers(Block):
    """SIP timers inside the core (RFC 3261 §17)."""

    t1: Seconds = 0.5
    """T1: round-trip time estimate."""
    t2: Seconds = 4.0
    """T2: longest time between retransmissions."""
    t4: Seconds = 5.0
    """T4: how long a message can stay in the network."""


class AccessRealm(Block):
    """A network of UEs (Gm)."""

    side: Literal["access"]
    """access: UEs register here."""
    timers: AccessTimers = own_default(AccessTimers)
    mechanisms: Listed[str] = ("msrp-tls",)
    """Media security mechanisms announced in Security-Server; [] announces none."""

    @model_validator(mode="after")
    def _terminated(self) -> Self:
        for mechanism in self.mechanisms:
            if mechanism not in TERMINATED:
                raise fault(
                    f"mechanisms: {mechanism!r} is not a media security mechanism we can serve",
                    f"write one or more of [{', '.join(TERMINATED)}], or [] for none",
                )
        return self


class CoreRealm(Block):
    """The network of the SIP core (Mw)."""

    side: Literal["core"]
    """core: the way to the I- and S-CSCF."""
    next_hop: Hop
    """The core's entry, "sip:ADDRESS:PORT" with optional ;transport=udp|tcp."""
    timers: CoreTimers = own_default(CoreTimers)


Realm = Annotated[AccessRealm | CoreRealm, Field(discriminator="side")]


class Iq(Block):
    """Our end of Iq, where gateways register."""

    address: Address = "127.0.0.1"
    """Local address for H.248 messages."""
    port: Port = 2944
    """Local port; 2944 is the port of text-encoded H.248."""
    mid: Mid | None = None
    """Our mId; by default "[address]:port"."""
    transport: Annotated[OneOrMore[IqTransport], Field(min_length=1)] = ("udp",)
    """What gateways may use: udp, tcp (TPKT packets), tls or sctp (where the kernel has it); one of them, or udp beside one of
    the others on the same port. Beside tls, udp is for the embedded gateway alone."""
    tls: IqTls | None = None
    """Certificates for `transport: tls`."""

    @model_validator(mode="after")
    def _transports_that_go_together(self) -> Self:
        connected = [each for each in dict.fromkeys(self.transport) if each != "udp"]
        if len(connected) > 1:
            raise fault(f"one port cannot carry both {' and '.join(connected)}", "keep one of them; udp may stand beside it")
        if "tls" in self.transport and self.tls is None:
            raise fault("Iq over tls needs certificates", "add `tls: {ca: FILE, certificate: FILE, key: FILE}`")
        return self

    @property
    def own_mid(self) -> str:
        """The mId as it is written on Iq."""
        return self.mid or f"[{self.address}]:{self.port}"


class Heartbeat(Block):
    """How the loss of a gateway is noticed."""

    interval: Seconds = 10.0
    """An idle gateway is audited this often."""
    lost_after: Annotated[int, Field(ge=1, le=100)] = 3
    """Unanswered audits in a row after which the gateway counts as lost and its sessions are released."""
    silence: Seconds = 30.0
    """A gateway that hears nothing from us for so long asks whether we are there (H.248.14), and then looks for another
    controller."""


class Embedded(Block):
    """The gateway that is started as a child process."""

    enabled: bool = True
    """false: no child process; gateways of their own register instead."""
    address: Address | None = None
    """The child's Iq address, its port is chosen by the kernel; by default that of `iq`."""
    mid: Mid | None = None
    """The child's mId; by default "[address]:2945"."""
    media: Mapping[Name, MediaRealm] = Field(default_factory=dict)
    """Media addresses and ports per realm; by default the addresses of the realm's listeners, ports 12000-21999 on the
    access side and 22000-31999 on the core side."""
    grace: Seconds = 30.0
    """How long the child keeps its sessions when its parent died, before it ends."""
    restart_after: Seconds = 0.5
    """A child that died is started again after this time; doubles with every death in a row."""
    restart_after_max: Seconds = 30.0
    """Longest time before a restart."""
    timers: StreamTimers = own_default(StreamTimers)
    limits: StreamLimits = own_default(StreamLimits)
    certificates: OwnCertificates = own_default(OwnCertificates)
    http: EmbeddedHttp = own_default(EmbeddedHttp)
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Child processes, each a gateway with an mId of its own (the port of `mid` counts up) and its share of the media ports; one
    per CPU is enough. `limits` hold for each."""

    @model_validator(mode="after")
    def _enough_for_all(self) -> Self:
        for name, realm in self.media.items():
            check_share(f"media.{name}.ports", realm, self.workers)
        return self


def _embedded(value: object) -> object:
    return {"enabled": value} if isinstance(value, bool) else value


class Gateways(Block):
    """The media gateways (IMS-AGW)."""

    iq: Iq = own_default(Iq)
    allow: Listed[Peer] = ()
    """Who may register: addresses, networks, mIds (easily forged over UDP: prefer addresses). Empty: only the embedded
    gateway and those of `known`."""
    known: Listed[KnownGateway] = ()
    """Gateways of their own, with what is to be known about each."""
    profiles: Listed[Profile] = ()
    """Profiles that may be named in a registration, NAME/VERSION; none: any. Another one is refused with H.248 error 459."""
    successor: HostPort | None = None
    """Another controller, ADDRESS:PORT: a clean stop hands the gateways over to it."""
    attempt: Seconds = 1.5
    """A gateway that has not answered a reservation within this time is passed over where another one can serve."""
    patience: Annotated[float, Field(ge=0, le=60)] = 0.0
    """How long a new session waits for a gateway when none can serve it; 0: 503 at once."""
    embedded: Annotated[Embedded, BeforeValidator(_embedded, json_schema_input_type=bool | Embedded)] = Field(
        default_factory=lambda: Embedded(enabled=False)
    )
    """A gateway of our own as a child process: true, false, or a mapping."""
    heartbeat: Heartbeat = own_default(Heartbeat)
    supervision: Supervision = own_default(Supervision)
    timers: IqTimers = own_default(IqTimers)

    @model_validator(mode="after")
    def _embedded_is_reached(self) -> Self:
        if self.embedded.enabled and set(self.iq.transport) == {"tls"}:
            raise fault("the embedded gateway has no certificate", "write `iq: {transport: [udp, tls]}`, or `embedded: false`")
        if not self.embedded.enabled and {"udp", "tls"} <= set(self.iq.transport):
            raise fault("udp beside tls is for the embedded gateway alone", "write `iq: {transport: tls}`")
        return self

    @property
    def datagrams_from(self) -> str:
        """The only host whose datagrams count on Iq, "" for any: beside TLS nobody else may come without a certificate."""
        return self.embedded_address if "tls" in self.iq.transport else ""

    @property
    def embedded_transport(self) -> IqTransport:
        """How the embedded gateway reaches us."""
        return "udp" if "udp" in self.iq.transport else self.iq.transport[0]

    @property
    def embedded_address(self) -> str:
        """The embedded gateway's Iq address."""
        return self.embedded.address or self.iq.address

    @property
    def embedded_mid(self) -> str:
        """The embedded gateway's mId, stable over its restarts."""
        return self.embedded.mid or f"[{self.embedded_address}]:{GATEWAY_PORT}"

    def admits(self, mid: str, address: str) -> bool:
        """Whether a gateway with this mId, heard from this address, may register. Fails closed."""
        source = ip_address(address)
        for known in self.known:
            if known.mid.lower() == mid.lower():
                return source == ip_address(known.address.host)
        if self.embedded.enabled and source == ip_address(self.embedded_address):
            return True
        for entry in self.allow:
            if entry.lower() == mid.lower():
                return True
            try:
                if source in ip_network(entry):
                    return True
            except ValueError:
                continue
        return False


class Registration(Block):
    """How long bindings live. The registrar grants the expiry; these are bounds on what is kept here."""

    min_expiry: Seconds = 60.0
    """A binding is kept at least this long, even if the registrar granted less."""
    max_expiry: Seconds = 604_800.0
    """A binding is kept no longer than this, even if the registrar granted more."""
    grace: Seconds = 30.0
    """A binding outlives its expiry by this time, for a refresh that is under way."""
    challenge: Seconds = 240.0
    """After a 401, the UE has this long to answer the challenge (reg-await-auth)."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_expiry > self.max_expiry:
            raise fault("min_expiry must not exceed max_expiry", "lower min_expiry, or raise max_expiry")
        return self


class Deadlines(Block):
    """A deadline for every wait, so that nothing hangs."""

    invite: Annotated[float, Field(gt=180, le=3600)] = 185.0
    """Timer C: an INVITE that rings but is not answered; more than 180 s (RFC 3261 §16.6)."""
    register_reply: Seconds = 32.0
    """The core's final response to a REGISTER."""
    request_reply: Seconds = 32.0
    """The final response to any other request."""
    tombstone: Seconds = 32.0
    """How long an ended session still answers requests that crossed its end."""
    ack: Seconds = 32.0
    """The ACK for a 2xx; then the session is released."""
    iq_reply: Seconds = 5.0
    """A gateway's reply to one transaction; then the call goes on without the gateway's help, or gets 503."""
    session: Seconds = 86_400.0
    """A session in which nothing is signalled is released after this time."""
    connect: Seconds = 5.0
    """A TCP connection that we open."""
    tls_handshake: Seconds = 10.0
    """The TLS handshake of a UE on Gm."""
    idle_connection: Seconds = 900.0
    """A TCP or TLS connection without binding on which no message is received is closed."""
    shutdown: Seconds = 10.0
    """How long a clean stop waits for what is under way."""


class Limits(Block):
    """Bounds of what one process holds. What exceeds them is refused, never queued."""

    registrations: Count = 100_000
    """Bindings."""
    registrations_per_flow: Count = 64
    """Bindings over one flow (a phone has one; a gateway of phones has more)."""
    sessions: Count = 20_000
    """Sessions (half-calls) that have not ended."""
    message_size: Annotated[int, Field(ge=2048, le=1_048_576)] = 65_535
    """Octets of one SIP message."""
    connections: Count = 50_000
    """TCP and TLS connections, unfinished TLS handshakes included. Those that we make ourselves are never refused."""
    connections_per_address: Count = 1_000
    """TCP and TLS connections from one address, of IPv6 from one /64; a NAT puts many UEs behind one."""


class Log(Block):
    """What is written about the work."""

    level: LogLevel = "info"
    """The least severe records that are written: debug, info, warning, error. At debug every session tells what was decided
    about each line of an offer, and why; at info only what is out of the ordinary is told, and who registers."""
    format: Literal["console", "json"] = "console"
    """console for people, json for machines; both go to standard error."""


class Trace(Block):
    """What crossed the wire."""

    file: File | None = None
    """A line per message on the wire is appended to this file. Who speaks with whom and when is personal data."""


class Http(Block):
    """The P-CSCF's status and metrics over HTTP: / (text), /status (JSON), /metrics (Prometheus). It asks nobody who they are."""

    address: Address = "127.0.0.1"
    """Local address; whoever reaches it can read how many registrations and sessions there are and which gateways, but nobody's
    identity."""
    port: Port = 0
    """Local TCP port, such as 9293; 0 for none. `pcscf status` needs none."""


class Config(Block):
    """A whole configuration file."""

    home_domain: Domain
    """The home network's domain: names the registrar's realm for UEs."""
    name: Domain = Field(default_factory=lambda fields: f"pcscf.{fields['home_domain']}")
    """This P-CSCF in P-headers, Warnings and logs; by default pcscf.<home_domain>. Via and Path carry addresses."""
    visited_network: Domain = Field(default_factory=lambda fields: fields["home_domain"])
    """P-Visited-Network-ID and orig-ioi; by default home_domain."""
    listeners: Annotated[Mapping[Name, Listener], Field(min_length=1)]
    """SIP sockets by name."""
    realms: Annotated[Mapping[Name, Realm], Field(min_length=1)]
    """Networks by name."""
    gateways: Gateways = own_default(Gateways)
    policies: Listed[PolicyRule] = ()
    """Policies in order; the first one that matches decides, and where none does every knob has its default."""
    registration: Registration = own_default(Registration)
    timers: Deadlines = own_default(Deadlines)
    limits: Limits = own_default(Limits)
    log: Log = own_default(Log)
    trace: Trace = own_default(Trace)
    http: Http = own_default(Http)

    @property
    def iq(self) -> Iq:
        return self.gateways.iq

    @property
    def access_realms(self) -> dict[str, AccessRealm]:
        return {name: realm for name, realm in self.realms.items() if isinstance(realm, AccessRealm)}

    @property
    def core_name(self) -> str:
        """The name of the one core realm."""
        return next(name for name, realm in self.realms.items() if isinstance(realm, CoreRealm))

    @property
    def core(self) -> CoreRealm:
        """The one core realm."""
        return next(realm for realm in self.realms.values() if isinstance(realm, CoreRealm))

    def listeners_of(self, realm: str) -> dict[str, Listener]:
        """The listeners of a realm, in the order of the file."""
        return {name: listener for name, listener in self.listeners.items() if listener.realm == realm}

    def embedded_media(self) -> dict[str, MediaRealm]:
        """Media addresses and ports of the embedded gateway for every realm, defaults filled in."""
        return {name: self.gateways.embedded.media.get(name) or self._default_media(name) for name in self.realms}

    def _default_media(self, realm: str) -> MediaRealm:
        by_family: dict[int, str] = {}
        for listener in self.listeners_of(realm).values():
            by_family.setdefault(ip_address(listener.address).version, listener.address)
        return MediaRealm(addresses=tuple(by_family.values()), ports=(DEFAULT_PORTS[self.realms[realm].side],))
