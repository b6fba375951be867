"""Typed views of a session description: effective values, media level before session level."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pcscf.sdp.lines import MediaSection, Sdp, is_port

# Octets of each hash; MD2 and MD5 must not be used (RFC 8122 §5). The order is that of strength.
HASH_OCTETS = {"sha-1": 20, "sha-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64}
UNSPECIFIED = frozenset({"0.0.0.0", "::", "0:0:0:0:0:0:0:0"})  # noqa: S104 - an address on hold, nothing binds to it

_OCTETS = re.compile(r"(?>(?:[0-9A-Fa-f]{2}:)*)[0-9A-Fa-f]{2}")
_TLS_ID = re.compile(r"[A-Za-z0-9+/_-]{20,255}")
_MSRP_URI = re.compile(r"(msrps?)://(?:[^@/\s]*@)?(\[[^\]\s]*\]|[^:/;\s]+)(?::(\d{1,5}))?(.*)", re.IGNORECASE)


def effective_values(sdp: Sdp, section: MediaSection, name: str) -> tuple[str, ...]:
    """Values of attribute `name`: those of the section, else those of the session (RFC 8122 §5, RFC 4145 §4)."""
    return section.values(name) or sdp.session.values(name)


def setup(sdp: Sdp, section: MediaSection) -> str:
    """The effective a=setup in lower case; "": none (RFC 4145 §4)."""
    value = section.value("setup")
    if value is None:
        value = sdp.session.value("setup")
    return value.lower() if value else ""


def connection(sdp: Sdp, section: MediaSection) -> str:
    """The effective a=connection, "new" or "existing"; "": none, or neither (RFC 4145 §5)."""
    value = (effective_values(sdp, section, "connection") or ("",))[0].lower()
    return value if value in {"new", "existing"} else ""


def tls_id(sdp: Sdp, section: MediaSection) -> str:
    """The effective a=tls-id; "": none, or one that is not 20 to 255 of its characters (RFC 8842 §4)."""
    value = (effective_values(sdp, section, "tls-id") or ("",))[0]
    return value if _TLS_ID.fullmatch(value) else ""


def connection_host(sdp: Sdp, section: MediaSection) -> str | None:
    """Address or name in the effective c= line, without TTL and count; None: no usable c= (legal with port 0)."""
    value = section.field("c") or sdp.session.field("c")
    if value is None:
        return None
    fields = value.split()
    return fields[2].partition("/")[0] if len(fields) == 3 else None


def connection_value(address: str) -> str:
    """The value of a c= line for an IPv4 or IPv6 address (RFC 8866 §5.7)."""
    return f"IN {'IP6' if ':' in address else 'IP4'} {address}"


def rtcp_value(section: MediaSection) -> tuple[str, int] | None:
    """(host, port) of a=rtcp, host "" where it is that of the medium (RFC 3605 §2.1); None: no a=rtcp that can be used."""
    fields = (section.value("rtcp") or "").split()
    if len(fields) not in {1, 4} or not is_port(fields[0]) or int(fields[0]) == 0:
        return None
    return (fields[3] if len(fields) == 4 else ""), int(fields[0])


def parse_fingerprint(value: str) -> tuple[str, str] | None:
    """(hash name in lower case, "AB:CD:…") of an a=fingerprint value; None: unknown hash, wrong length or not hex."""
    name, _, octets = value.partition(" ")
    name = name.lower()
    octets = octets.strip()
    if len(octets) != 3 * HASH_OCTETS.get(name, 0) - 1 or not _OCTETS.fullmatch(octets):
        return None
    return name, octets.upper()


def usable_fingerprints(values: Sequence[str], min_hash: str) -> tuple[tuple[str, str], ...]:
    """The fingerprints of at least `min_hash`, strongest hash first, order of one hash kept, duplicates dropped."""
    least = HASH_OCTETS[min_hash]
    found: dict[tuple[str, str], None] = {}
    for value in values:
        parsed = parse_fingerprint(value)
        if parsed is not None and HASH_OCTETS[parsed[0]] >= least:
            found[parsed] = None
    if len(found) < 2:
        return tuple(found)
    return tuple(sorted(found, key=lambda fingerprint: -HASH_OCTETS[fingerprint[0]]))


def path_uris(section: MediaSection) -> list[str]:
    """The URIs of a=path; the leftmost names the adjacent hop (RFC 4975 §8.2)."""
    return (section.value("path") or "").split()


def msrp_uri_address(uri: str) -> tuple[str, int] | None:
    """(host without brackets, port) of an MSRP URI, default port 2855 (RFC 4975 §6); None: not an MSRP URI."""
    match = _MSRP_URI.fullmatch(uri)
    if match is None:
        return None
    port = int(match[3] or 2855)
    return (match[2].strip("[]"), port) if 0 < port <= 65_535 else None


def move_msrp_uri(uri: str, scheme: str, authority: str) -> str:
    """The MSRP URI with another scheme ("": its own) and authority; session-id and parameters stay octet by octet.

    In a path it is the leftmost URI that moves.
    """
    match = _MSRP_URI.fullmatch(uri)
    return uri if match is None else f"{scheme or match[1]}://{authority}{match[4]}"
