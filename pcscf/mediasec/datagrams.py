"""UDP media that nobody ends here: which lines can go through the gateway, RTP with its RTCP, and UEs behind a NAT. Pure."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from pcscf.config.policy import MediaPolicy
from pcscf.mediasec.model import Leg, LinePlan, Origin
from pcscf.sdp.lines import MediaSection, Sdp
from pcscf.sdp.views import UNSPECIFIED, connection_host, effective_values, rtcp_value

RTP = frozenset({"RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"})
"""Protos in upper case: RTP over UDP, whoever protects it (RFC 3551, RFC 4585, RFC 3711, RFC 5124, RFC 5764)."""
_KINDS = frozenset({"audio", "video", "text"})


def is_rtp(leg: Leg) -> bool:
    """Whether this side of a stream has RTCP beside it."""
    return leg.transport in RTP


def kind_of(section: MediaSection) -> str:
    """The media field of the line on Iq."""
    kind = section.media.lower()
    return kind if kind in _KINDS else "application"


def unfit(offer: Sdp, index: int) -> str:
    """Why a line of datagrams cannot go through the gateway, to stand after "but"; "": it can."""
    section = offer.media[index]
    if effective_values(offer, section, "ice-ufrag") or section.has("candidate"):
        return "it brings ICE, with which its ends find their own way"
    if _is_bundled(offer, section):
        return "it is bundled with other lines, which may share one port (RFC 9143)"
    if any(_share_a_port(offer, section, each) for each in offer.media if each is not section):
        return "another line shares its port"
    if section.port_count > 1:
        return "it asks for several pairs of ports"
    return unreachable(offer, section)


def unreachable(sdp: Sdp, section: MediaSection) -> str:
    """Why the gateway cannot send to a line, to stand after "but"; "": it can, or will once the line is no longer on hold."""
    host = connection_host(sdp, section)
    if host is None:
        return "it names no address"
    if host in UNSPECIFIED:
        return ""
    address = _literal(host)
    if address is None:
        return "its address is a name"
    return "its address is that of a group" if address.is_multicast else ""


def _is_bundled(offer: Sdp, section: MediaSection) -> bool:
    mid = section.value("mid")
    for group in offer.session.values("group"):
        semantics, *members = group.split()
        if semantics.upper() == "BUNDLE" and len(members) > 1 and mid in members:
            return True
    return False


def _share_a_port(offer: Sdp, one: MediaSection, other: MediaSection) -> bool:
    if other.port != one.port or other.proto.upper().startswith("TCP"):
        return False
    return connection_host(offer, one) == connection_host(offer, other)


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    if "%" in host:   # a zone is ours, never a peer's
        return None
    try:
        return ip_address(host)
    except ValueError:
        return None


# --- RTP -------------------------------------------------------------------------------------------------------------


def rtp_legs(transport: str, offer: Sdp, section: MediaSection, before: Leg | None) -> tuple[Leg, Leg]:
    """(near, far) of a line of RTP before its answer.

    Sharing a port with RTCP waits for the answer; `before`, a leg as the exchange before left it, goes on until then.
    """
    offered = section.has("rtcp-mux")
    near = _peer(transport, offer, section)
    far = Leg(None, None, "", "", None, (), transport, rtcp_mux="offered" if offered else "")
    if before is None or not is_rtp(before):
        return replace(near, rtcp_mux=far.rtcp_mux), far
    return replace(near, rtcp_mux=before.rtcp_mux), far


def answered_rtp_legs(near: Leg, far: Leg, answer: Sdp, section: MediaSection) -> tuple[Leg, Leg]:
    """(near, far) after the answer: both sides share ports, or neither does (RFC 5761 §5.1.1)."""
    agreed = far.rtcp_mux == "offered" and section.has("rtcp-mux")
    answered = _peer(far.transport, answer, section)
    return replace(near, rtcp_mux="agreed" if agreed else ""), replace(answered, rtcp_mux="agreed" if agreed else "")


def _peer(transport: str, sdp: Sdp, section: MediaSection) -> Leg:
    host = connection_host(sdp, section)
    address = None if host is None or host in UNSPECIFIED else (host, section.port)
    return Leg(None, None, "", "", address, (), transport, rtcp=None if address is None else _rtcp(section, address))


def _rtcp(section: MediaSection, address: tuple[str, int]) -> tuple[str, int] | None:
    """Where a=rtcp leads (RFC 3605); None where that is the usual place or no place at all."""
    stated = rtcp_value(section)
    if stated is None:
        return None
    host, port = stated[0] or address[0], stated[1]
    literal = _literal(host)
    if literal is None or literal.is_unspecified or literal.is_multicast or (":" in host) != (":" in address[0]):
        return None
    return None if (host, port) == (address[0], address[1] + 1) else (host, port)


# --- NAT -------------------------------------------------------------------------------------------------------------


def latch_sources(policy: MediaPolicy, origin: Origin) -> tuple[str, ...] | None:
    """`MediaPlan.sources` for a UE that signals from `origin`."""
    if policy.latch == "never" or (policy.latch == "nat" and not origin.behind_nat):
        return None
    address = origin.address.partition("%")[0]   # a zone means something to our kernel alone
    return (address,) if address and policy.latch_from == "signalling" else ()


def with_sources(line: LinePlan, sources: tuple[str, ...] | None) -> LinePlan:
    """The line with what the gateway shall take for the UE's datagrams. `sources`: as `MediaPlan.sources`.

    Without latching the addresses in the SDP count, but not for DTLS: a certificate says more, and a NAT that nobody saw may be
    in front of it.
    """
    leg = line.access
    if leg is None or leg.transport.startswith("TCP"):
        return line
    stated = [each[0] for each in (leg.peer_address, leg.rtcp) if each is not None and _literal(each[0]) is not None]
    if sources is None:
        latched, admitted = False, () if leg.transport == "UDP/DTLS" else tuple(dict.fromkeys(stated))
    else:
        latched, admitted = True, tuple(dict.fromkeys((*sources, *stated))) if sources else ()
    return replace(line, access=replace(leg, latched=latched, sources=admitted))
