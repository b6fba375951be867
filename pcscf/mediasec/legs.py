"""What the gateway does on either side of a stream: TCP roles by a=setup, TLS roles by medium.

The offerer's side is called near, the answerer's far. On the near side we answer, on the far side we offer. The roles
of our media are negotiated per leg; protection that is not ours keeps its a=setup end to end, because the ends derive
their TLS roles from it.
"""

from __future__ import annotations

from typing import TypeAlias

from pcscf.mediasec.mechanisms import MSRP, Medium
from pcscf.mediasec.model import Fingerprint, Leg, PathMode, TcpRole, TlsRole
from pcscf.sdp.lines import MediaSection, Sdp
from pcscf.sdp.offer import OPPOSITE, PASSIVE_ANSWER, SETUP_ANSWERS, SETUP_COMPLEMENT
from pcscf.sdp.views import UNSPECIFIED, connection_host, msrp_uri_address, path_uris, setup

Peer: TypeAlias = tuple[tuple[str, int] | None, tuple[Fingerprint, ...]]  # address and usable fingerprints

_TCP: dict[str, TcpRole] = {"passive": "accept", "active": "connect"}
_TLS: dict[str, TlsRole] = {"passive": "server", "active": "client"}


def peer_address(sdp: Sdp, section: MediaSection, path_mode: PathMode) -> tuple[str, int] | None:
    """Where the peer of this line is reached: at c= and m= (RFC 6714 §4.2); at a=path where MSRP does without CEMA.

    A name in the path is not looked up where c= and m= say its address as well (RFC 4975 §8.1).
    """
    if path_mode in {"sessmatch", "aware"} and (uris := path_uris(section)):
        address = msrp_uri_address(uris[0])
        if path_mode == "sessmatch" or (address is not None and _is_literal(address[0])):
            return address
    host = connection_host(sdp, section)
    return None if host is None or host in UNSPECIFIED else (host, section.port)


def _is_literal(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def offered_setup(medium: Medium, sdp: Sdp, section: MediaSection) -> str:
    """What the offer's a=setup means for this medium; "" where the medium forbids what stands there."""
    value = setup(sdp, section)
    if value == "holdconn" and medium.holdconn != "ignore":
        return value if medium.holdconn == "keep" else ""
    return value if value in {"active", "passive", "actpass"} else medium.setup


def answered_setup(medium: Medium, offered: str, sdp: Sdp, section: MediaSection) -> str:
    """What the answer's a=setup means to our offer of `offered`; "" where the answer is illegal (RFC 4145 §4.1)."""
    value = setup(sdp, section)
    if not value or (value == "holdconn" and medium.holdconn == "ignore"):
        # A DTLS answer without the attribute gets the role that lets the UE's ClientHello open its NAT.
        return "active" if medium.transport == "UDP" else SETUP_COMPLEMENT[offered]
    if value == "holdconn" and medium.holdconn == "forbid":
        return ""
    return value if value in SETUP_ANSWERS[offered] else ""


def far_offer(medium: Medium, near: str, *, protected: bool, to_core: bool, path_mode: PathMode) -> str:
    """The a=setup that we offer on the far side when the offerer's means `near`; "" on a line that has none."""
    if medium.transport == "UDP":
        return "actpass" if protected else ""
    if near == "holdconn":
        return near
    if medium is MSRP:
        # An MSRP end that opens sends the SEND that binds the connection (RFC 4975 §5.4). A gateway that opened both
        # connections and cannot send it would leave both ends waiting: the far side must open when the near side will not.
        if near == "passive" and path_mode != "aware":
            return near
        # With actpass the core's peer may dial the UE's path, which is not ours (RFC 6135 §4.2.2).
        if to_core and path_mode == "agnostic":
            return near
    return "actpass"


def near_leg(medium: Medium, offered: str, peer: Peer, *, protected: bool) -> Leg:
    """Our side of the offerer's connection: we let the offerer open where that is legal."""
    return _answering(medium, PASSIVE_ANSWER[offered], offered, peer, protected=protected)


def _answering(medium: Medium, ours: str, offered: str, peer: Peer, *, protected: bool) -> Leg:
    tls: TlsRole | None = None
    if protected and ours in _TLS:
        tls = "server" if medium.tls_role == "offerer-is-client" else _TLS[ours]
    if medium.transport == "UDP":
        tcp, ours, offered = None, ours if protected else "", offered if protected else ""
    else:
        tcp = _TCP.get(ours)
    transport = medium.secure_transport if protected else medium.transport
    return Leg(tcp, tls, ours, offered, *peer, transport)


def undecided_near_leg(medium: Medium, offered: str, peer: Peer, *, protected: bool) -> Leg:
    """The core's near side while its role waits for the answer; known already where the offer leaves no choice."""
    if offered == "actpass" and medium.transport == "TCP":
        return Leg(None, None, "", offered, *peer, medium.secure_transport if protected else medium.transport)
    return near_leg(medium, offered, peer, protected=protected)


def far_leg(medium: Medium, offering: str, *, protected: bool) -> Leg:
    """The side to which we offer, before its answer."""
    tls: TlsRole | None = "client" if protected and medium.tls_role == "offerer-is-client" else None
    return Leg(None, tls, offering, "", None, (), medium.secure_transport if protected else medium.transport)


def answered_far_leg(medium: Medium, leg: Leg, answered: str, peer: Peer) -> Leg:
    """The far side once its answer means `answered`."""
    protected = leg.transport == medium.secure_transport
    if medium.transport == "UDP":
        tls = _TLS.get(OPPOSITE[answered]) if protected else None
        return Leg(None, tls, leg.setup, answered if protected else "", *peer, leg.transport)
    if answered == "holdconn":
        return Leg(None, None, leg.setup, answered, *peer, leg.transport)
    tls = leg.tls if medium.tls_role == "offerer-is-client" or not protected else _TLS[OPPOSITE[answered]]
    return Leg(_TCP[OPPOSITE[answered]], tls, leg.setup, answered, *peer, leg.transport)


def answered_near_leg(medium: Medium, leg: Leg, far_answered: str) -> Leg:
    """The near side once the far side answered `far_answered`."""
    protected = leg.transport == medium.secure_transport
    if medium.transport == "UDP":
        return leg
    if far_answered == "holdconn":
        return Leg(None, None, "holdconn", leg.peer_setup, leg.peer_address, leg.peer_fingerprints, leg.transport)
    if leg.peer_setup == "actpass" and not leg.setup:
        # The UE opens: then an MSRP peer in the core need not dial the UE's path, and we may open to it as well.
        ours = "active" if medium is MSRP and far_answered == "active" else "passive"
        peer = leg.peer_address, leg.peer_fingerprints
        return _answering(medium, ours, leg.peer_setup, peer, protected=protected)
    return leg


def transparent_legs(transport: str, sdp: Sdp, section: MediaSection, path_mode: PathMode) -> tuple[Leg, Leg]:
    """(near, far) of a line without RTP that keeps its a=setup end to end, before its answer."""
    address = peer_address(sdp, section, path_mode)
    if transport == "UDP":
        return Leg(None, None, "", "", address, (), transport), Leg(None, None, "", "", None, (), transport)
    written = setup(sdp, section)
    offered = written if written in SETUP_ANSWERS else "active"
    near = Leg(_TCP.get(OPPOSITE.get(offered, "")), None, "", offered, address, (), transport)
    return near, Leg(_TCP.get(offered), None, written, "", None, (), transport)


def answered_transparent_legs(
    near: Leg, far: Leg, sdp: Sdp, section: MediaSection, path_mode: PathMode
) -> tuple[Leg, Leg]:
    """(near, far) of such a line after its answer."""
    address = peer_address(sdp, section, path_mode)
    if near.transport == "UDP":
        return near, Leg(None, None, "", "", address, (), far.transport)
    written = setup(sdp, section)
    answered = written if written in SETUP_ANSWERS[near.peer_setup] else SETUP_COMPLEMENT[near.peer_setup]
    return (
        Leg(_TCP.get(answered), None, written, near.peer_setup, near.peer_address, (), near.transport),
        Leg(_TCP.get(OPPOSITE[answered]), None, far.setup, answered, address, (), far.transport),
    )
