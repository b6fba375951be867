"""A media gateway (IMS-AGW): the blocks that an embedded and a stand-alone gateway share, and the latter's file."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from itertools import pairwise
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from pcscf.config.iq import IqTls, IqTransport
from pcscf.config.policy import HashName
from pcscf.config.values import (
    Address,
    Block,
    Count,
    File,
    HostPort,
    Listed,
    LogLevel,
    Mid,
    Name,
    OneOrMore,
    Port,
    Ports,
    Profile,
    Seconds,
    Word,
    fault,
    own_default,
)

GATEWAY_PORT = 2945
"""Our gateway's usual Iq port, so that it and a controller on 2944 fit on one host."""
GATEWAY_HTTP_PORT = 9294
"""Its usual port for status and metrics."""


def check_share(what: str, realm: MediaRealm, workers: int) -> None:
    """Raises a fault where not every worker gets two ports."""
    count = sum(map(len, realm.ports))
    if workers > 1 and count < 2 * workers:
        raise fault(f"{what}: {count} ports for {workers} workers", "write a longer range, or fewer workers")


def _reachable(address: str) -> str:
    parsed = ip_address(address)
    if parsed.is_unspecified:
        raise fault("a wildcard cannot stand in a c= line", "name the address that peers reach")
    if parsed.is_multicast:
        raise fault(f"{address} is a multicast address", "name an address of this host")
    return address


MediaAddress = Annotated[Address, AfterValidator(_reachable)]


class MediaRealm(Block):
    """Where the gateway receives and sends the media of one realm."""

    addresses: Annotated[OneOrMore[MediaAddress], Field(min_length=1, max_length=64)]
    """Local addresses for media, IPv4 and IPv6. Sessions take turns on those of the family that is asked for; where none is, the
    first address says which."""
    ports: Annotated[OneOrMore[Ports], Field(min_length=1, max_length=64)]
    """Local ports for media on each of them, FIRST-LAST, one range or several. Stay below the kernel's ephemeral range; busy
    ports are skipped."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for number, address in enumerate(self.addresses):
            if address in self.addresses[:number]:
                raise fault(f"addresses: {address} stands there twice", "name every address once")
        ranges = sorted(self.ports, key=lambda each: each.first)
        for one, other in pairwise(ranges):
            if other.first <= one.last:
                raise fault(f"ports: {one} and {other} overlap", f"write {one.first}-{max(one.last, other.last)}, or part them")
        return self


class IqTimers(Block):
    """Timers of H.248 transactions (RFC 3525 Annex D.1), seconds."""

    retransmit: Seconds = 0.2
    """First retransmission of an unanswered request over UDP; doubles each time."""
    retransmit_max: Seconds = 4.0
    """Longest time between two retransmissions."""
    t_max: Seconds = 15.0
    """T-MAX: a request without any reply is given up after this time."""
    long: Seconds = 30.0
    """LONG-TIMER: how long a reply is kept to answer duplicates; longer than t_max."""
    execution: Seconds = 0.5
    """Normal execution time: when a request takes longer, a TransactionPending is sent."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.long <= self.t_max:
            raise fault(
                f"long ({self.long:g} s) must be longer than t_max ({self.t_max:g} s)",
                "raise long, or lower t_max (RFC 3525 D.1)",
            )
        if self.retransmit > self.retransmit_max:
            raise fault("retransmit must not exceed retransmit_max", "lower retransmit, or raise retransmit_max")
        return self


class StreamTimers(Block):
    """Deadlines of a gateway's streams."""

    tcp_connect: Seconds = 10.0
    """A TCP connection that the gateway opens must be up within this time, or the failure is reported."""
    tcp_accept: Seconds = 60.0
    """A TCP connection that the gateway waits for must come within this time after the answer, or the failure is reported."""
    tls_yield: Seconds = 0.3
    """As TLS client on a connection that it accepted (BFCP), the gateway waits this long for a ClientHello of the other end."""
    tls_handshake: Seconds = 10.0
    """A TLS handshake must be finished within this time, or the failure is reported and the connection closed."""
    graceful_stop: Seconds = 1.0
    """How long a stop waits for the controller's reply to the goodbye (ServiceChange)."""


class StreamLimits(Block):
    """Bounds of a gateway. What exceeds them is refused at once, never queued."""

    contexts: Count = 10_000
    """Contexts (sessions with media) at the same time; one more gets H.248 error 412."""
    write_buffer: Annotated[int, Field(ge=4096, le=16_777_216)] = 131_072
    """Octets that wait for one slow receiver before the sender is no longer read."""
    buffered: Annotated[int, Field(ge=1_048_576, le=68_719_476_736)] = 134_217_728
    """Octets that wait for all slow receivers together; then the one that has been slow for longest loses its connection."""
    half_open: Count = 1000
    """Handshakes of TLS and DTLS that may be under way at the same time; further ones wait to begin."""
    handshake_rate: Count = 1000
    """Handshakes that may begin in a second; further ones wait, so that running sessions go on."""


class GatewayRegistration(Block):
    """How the gateway registers with a controller."""

    wait: Seconds = 2.0
    """Longest random wait before the first registration, against an avalanche (RFC 3525 §9.2)."""
    retry: Seconds = 2.0
    """Wait before the next attempt; doubles with every failure."""
    retry_max: Seconds = 30.0
    """Longest wait between attempts."""


class GatewayIq(Block):
    """The gateway's own end of Iq."""

    address: Address = "127.0.0.1"
    """Local address for H.248 messages."""
    port: Port = GATEWAY_PORT
    """Local UDP port; 0 lets the kernel choose, then `mid` must be given. Connections have ports of their own."""
    transport: IqTransport = "udp"
    """How controllers are reached: udp, tcp (TPKT packets on port 2944), tls or sctp (where the kernel has it)."""
    tls: IqTls | None = None
    """Certificates for `transport: tls`."""
    timers: IqTimers = own_default(IqTimers)
    """Timers of H.248 transactions. A controller that leaves a request without reply for `t_max` is asked once more whether it is
    there, and after as long again the next one is."""

    @model_validator(mode="after")
    def _with_certificates(self) -> Self:
        if self.transport == "tls" and self.tls is None:
            raise fault("Iq over tls needs certificates", "add `tls: {ca: FILE, certificate: FILE, key: FILE}`")
        return self


class CertificateFile(Block):
    """A certificate of the operator's own. It may be self-signed: peers compare its fingerprint, nothing else."""

    certificate: File
    """PEM; the first certificate in it is shown. ECDSA (P-256, P-384) or RSA from 2048 bits on, signed with SHA-256 or better."""
    key: File | None = None
    """PEM, not encrypted, not readable by everybody; by default in the same file."""


class OwnCertificates(Block):
    """What a gateway shows on TLS and DTLS."""

    files: Listed[CertificateFile] = ()
    """At most one with an ECDSA key and one with RSA; by default the gateway makes one of each. TLS shows ECDSA where there is
    one, DTLS both: its mandatory suites need RSA (RFC 7345 §4.1)."""
    renew_after: Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False), Word("seconds")] = 86_400.0
    """It makes new ones, or reads the files again, this often, and at SIGHUP; running streams keep theirs. 0: at SIGHUP alone."""
    per_stream: bool = False
    """Every protected stream shows a certificate that no other has (some milliseconds and 30 kB each); not with `files`."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.files and self.per_stream:
            raise fault("per_stream: certificates from files are the same for all streams", "drop files, or per_stream")
        return self


class GatewayHttp(Block):
    """Status and metrics over HTTP: /status (JSON) and /metrics (Prometheus). It asks nobody who they are."""

    address: Address = "127.0.0.1"
    """Local address; whoever reaches it can read how many sessions there are and where their ports lie."""
    port: Port = GATEWAY_HTTP_PORT
    """Local TCP port; 0 for none."""


class EmbeddedHttp(GatewayHttp):
    """The same of an embedded gateway."""

    port: Port = 0
    """Local TCP port, such as 9294; 0 for none."""


class GatewayFile(Block):
    """`pcscf gateway FILE`: a gateway on its own."""

    mid: Mid | None = None
    """The gateway's mId; by default "[iq.address]:iq.port"."""
    iq: GatewayIq = own_default(GatewayIq)
    controllers: Annotated[Listed[HostPort], Field(min_length=1)]
    """Controllers in order of preference, ADDRESS:PORT (port 2944 when left out); nobody else is answered."""
    realms: Annotated[Mapping[Name, MediaRealm], Field(min_length=1)]
    """Media addresses and ports per realm, named as on Iq (`ipdc/realm`); the first is the default."""
    profile: Profile = "iqprofile/1"
    """Profile named in the registration, NAME/VERSION."""
    min_hash: HashName = "sha-256"
    """Weakest hash that counts in a fingerprint, whatever a controller asks for."""
    registration: GatewayRegistration = own_default(GatewayRegistration)
    timers: StreamTimers = own_default(StreamTimers)
    limits: StreamLimits = own_default(StreamLimits)
    certificates: OwnCertificates = own_default(OwnCertificates)
    adoption_grace: Seconds = 30.0
    """An embedded gateway keeps its sessions this long for another P-CSCF when the one that started it died."""
    http: GatewayHttp = own_default(GatewayHttp)
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes, each a gateway with an mId of its own (the ports of `mid`, `iq` and `http` count up) and its share of the media
    ports; one per CPU is enough. `limits` hold for each."""
    log_level: LogLevel = "info"
    """The least severe records that are written."""

    @model_validator(mode="after")
    def _enough_for_all(self) -> Self:
        for name, realm in self.realms.items():
            check_share(f"realms.{name}.ports", realm, self.workers)
        return self

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.mid is None and self.iq.port == 0:
            raise fault("a gateway on any free port needs an mId", "add `mid: NAME`, or choose iq.port")
        return self

    @property
    def own_mid(self) -> str:
        """The mId as it is written on Iq."""
        return self.mid or f"[{self.iq.address}]:{self.iq.port}"
