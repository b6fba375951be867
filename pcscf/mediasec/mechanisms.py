"""The media that can be protected to the access edge: one row per medium (TS 33.328 §4.1, TS 24.229 §7.2A.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

TlsRoleRule: TypeAlias = Literal["by-setup", "offerer-is-client"]


@dataclass(frozen=True, slots=True)
class Medium:
    """One medium.

    name        the name of its block in the policy
    media       the media field of its m-line
    plain       proto without protection, registered spelling
    secure      proto with protection that ends at the gateway, registered spelling
    mechanism   its token in Security-Client and Security-Server
    transport   "TCP" or "UDP"
    secure_transport  how Iq names the protected transport
    tls_role    by-setup: the passive side is the server (RFC 8122 §6.2)
                offerer-is-client: whatever side opened the TCP connection (RFC 8856 §8)
    holdconn    keep: RFC 4145 §4; ignore: as if a=setup were missing (RFC 6135 §4.2.1); forbid: RFC 8842 §5.1
    setup       what an offer without a=setup means
    connection  a=connection says whether a further offer keeps the TCP connection (RFC 4145 §5); not so for MSRP (RFC 6135 §4.4)
    """

    name: str
    media: str
    plain: str
    secure: str
    mechanism: str
    transport: Literal["TCP", "UDP"]
    secure_transport: Literal["TCP/TLS", "UDP/DTLS"]
    tls_role: TlsRoleRule
    holdconn: Literal["keep", "ignore", "forbid"]
    setup: Literal["active", "actpass"]
    connection: bool = False


MSRP = Medium(
    name="msrp",
    media="message",
    plain="TCP/MSRP",
    secure="TCP/TLS/MSRP",
    mechanism="msrp-tls",
    transport="TCP",
    secure_transport="TCP/TLS",
    tls_role="by-setup",
    holdconn="ignore",
    setup="active",
)
BFCP = Medium(
    name="bfcp",
    media="application",
    plain="TCP/BFCP",
    secure="TCP/TLS/BFCP",
    mechanism="bfcp-tls",
    transport="TCP",
    secure_transport="TCP/TLS",
    tls_role="offerer-is-client",
    holdconn="keep",
    setup="active",
    connection=True,
)
FAX = Medium(
    name="fax",
    media="image",
    plain="udptl",
    secure="UDP/TLS/UDPTL",
    mechanism="udptl-dtls",
    transport="UDP",
    secure_transport="UDP/DTLS",
    tls_role="by-setup",
    holdconn="forbid",
    setup="actpass",
)

MEDIA = (MSRP, BFCP, FAX)
BY_NAME = {medium.name: medium for medium in MEDIA}
BY_MECHANISM = {medium.mechanism: medium for medium in MEDIA}
_BY_LINE = {
    (medium.media, spelled): (medium, proto is medium.secure)
    for medium in MEDIA
    for proto in (medium.plain, medium.secure)
    for spelled in (proto, proto.upper())
}


def medium_of(media: str, proto: str) -> tuple[Medium, bool] | None:
    """The medium of an m-line and whether its proto is the protected one; None: not one of ours. Case-insensitive."""
    return _BY_LINE.get((media, proto)) or _BY_LINE.get((media.lower(), proto.upper()))


def is_protected(proto: str) -> bool:
    """Whether any m-line's proto protects its media: TLS, DTLS or SRTP in its name."""
    tokens = proto.upper().split("/")
    return "TLS" in tokens or "DTLS" in tokens or "SAVP" in tokens or "SAVPF" in tokens
