"""Plans as SDP makes them, for tests of Iq."""

from __future__ import annotations

from pcscf.config.policy import MediaPolicy
from pcscf.mediasec.model import Agreed, Direction, MediaPlan
from pcscf.mediasec.plan import decide, settle
from pcscf.sdp.lines import Sdp, parse_sdp_untrusted

BOTH = Agreed(frozenset({"msrp-tls", "bfcp-tls"}), frozenset({"msrp-tls", "bfcp-tls"}))
UE_PRINT = ":".join(f"{octet:02X}" for octet in range(32))
GATEWAY_PRINT = ":".join(f"{octet:02X}" for octet in range(100, 132))

MSRP_TLS = "m=message 7654 TCP/TLS/MSRP *\na=accept-types:text/plain\na=path:msrps://203.0.113.9:7654/u1;tcp\na=msrp-cema\n"
MSRP = "m=message 2855 TCP/MSRP *\na=accept-types:text/plain\na=path:msrp://198.51.100.9:2855/c1;tcp\na=msrp-cema\n"
BFCP_TLS = "m=application 50002 TCP/TLS/BFCP *\na=floorctrl:c-only\n"
BFCP = "m=application 50010 TCP/BFCP *\na=floorctrl:s-only\n"


def sdp(host: str, *sections: str) -> Sdp:
    family = "IP6" if ":" in host else "IP4"
    head = f"v=0\no=- 1 1 IN {family} {host}\ns=-\nc=IN {family} {host}\nt=0 0\n"
    return parse_sdp_untrusted((head + "".join(sections)).replace("\n", "\r\n").encode())


def protection(setup: str, *, requested: bool = True) -> str:
    wish = "a=3ge2ae:requested\n" if requested else ""
    return f"a=setup:{setup}\na=fingerprint:SHA-256 {UE_PRINT}\n{wish}"


def from_ue(setup: str = "active", *more: str, host: str = "203.0.113.9") -> MediaPlan:
    """The UE offers protected MSRP."""
    offer = sdp(host, MSRP_TLS + protection(setup), *more)
    return decide(MediaPolicy(), BOTH, offer, Direction.OFFER_FROM_UE)


def from_core(setup: str = "actpass", *more: str) -> MediaPlan:
    """The core offers plain MSRP to a UE that agreed on its protection."""
    offer = sdp("198.51.100.9", MSRP + f"a=setup:{setup}\n", *more)
    return decide(MediaPolicy(), BOTH, offer, Direction.OFFER_FROM_CORE)


def answered_by_core(plan: MediaPlan, setup: str = "passive", *more: str) -> MediaPlan:
    return settle(plan, sdp("198.51.100.9", MSRP + f"a=setup:{setup}\n", *more))


def answered_by_ue(plan: MediaPlan, setup: str, *more: str) -> MediaPlan:
    return settle(plan, sdp("203.0.113.9", MSRP_TLS + protection(setup, requested=False), *more))
