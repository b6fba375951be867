"""What the gateway must be told. Plain values: files and their schema are the business of whoever reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pcscf.h248.transaction import H248Timers
from pcscf.transport.model import Kind, TlsFiles

EMBEDDED_PARENT: Final = "PCSCF_GATEWAY_PARENT"
"""Environment variable with the process id of the parent that embeds this gateway."""


@dataclass(frozen=True, slots=True)
class Realm:
    """An IP realm (ipdc/realm): the gateway's own addresses in it, of either family, and the port ranges on each, inclusive."""

    name: str
    addresses: tuple[str, ...]
    ports: tuple[tuple[int, int], ...] = ((40000, 49999),)


@dataclass(frozen=True, slots=True)
class GatewayTimers:
    """Seconds. The media timers are those of TS 23.334 style failure reports; the others govern the Iq association."""

    tcp_connect: float = 10.0
    tls_handshake: float = 10.0
    linger: float = 1.0
    """How long a failed connection stays open so that the alert reaches the peer before the reset."""
    tcp_accept: float = 60.0
    """How long a leg whose two ends are known waits for its peer to connect."""
    tls_yield: float = 0.3
    """How long a TLS client on an accepted connection lets its peer be the client."""
    registration_wait: float = 2.0
    """Upper bound of the random wait before the first registration (RFC 3525 §9.2)."""
    registration_retry: float = 2.0
    registration_retry_max: float = 30.0
    adoption_grace: float = 30.0
    """How long an embedded gateway keeps its sessions after its parent died."""
    parent_watch: float = 0.5
    graceful_stop: float = 1.0


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """`write_buffer`: bytes that may wait for a slow peer before the other side is no longer read; buffered: those of all slow
    peers together, before the one that has been slow for longest is given up.

    half_open: handshakes of TLS and DTLS that may be under way; handshake_rate: those that may begin in a second.
    datagram: octets of the longest DTLS datagram, headers of IP and UDP not counted; what would be longer is dropped.
    """

    contexts: int = 10_000
    write_buffer: int = 131_072
    buffered: int = 134_217_728
    half_open: int = 1000
    handshake_rate: int = 1000
    datagram: int = 1400


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    """files: the operator's own, certificate and key in PEM, one per kind of key; without any the gateway makes its own.

    renew_after: seconds after which it makes new ones, or reads the files again; 0 for never. per_stream: each protected stream
    shows a certificate of its own.
    """

    files: tuple[tuple[Path, Path], ...] = ()
    renew_after: float = 86_400.0
    per_stream: bool = False


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """`mid`: message identifier as written on Iq, such as "[127.0.0.1]:2945"; `bind`: address and port of Iq (port 0 = any).

    transport: of Iq; over TCP and TLS the gateway connects, from the address of `bind` and any port. tls: the certificates then.
    controllers: addresses of the P-CSCF's Iq, tried in order. realms: the first one is the default.
    parent: process id of the parent that embeds this gateway, 0 when it stands alone.
    """

    mid: str
    controllers: tuple[tuple[str, int], ...]
    realms: tuple[Realm, ...]
    bind: tuple[str, int] = ("127.0.0.1", 0)
    transport: Kind = "udp"
    tls: TlsFiles | None = None
    profile: str = "iqprofile/1"
    minimum_hash: str = "sha-256"
    parent: int = 0
    timers: GatewayTimers = field(default_factory=GatewayTimers)
    h248: H248Timers = field(default_factory=H248Timers)
    limits: GatewayLimits = field(default_factory=GatewayLimits)
    certificates: CertificateSettings = field(default_factory=CertificateSettings)
