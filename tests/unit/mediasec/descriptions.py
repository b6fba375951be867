"""Session descriptions to decide about, and the gateway that the tests pretend to have."""

from __future__ import annotations

import re

from pcscf.mediasec import plan
from pcscf.mediasec.model import Agreed, Capabilities, MediaPlan, StreamMedia
from pcscf.sdp.lines import MediaSection, Sdp, parse_sdp_untrusted
from pcscf.sdp.views import setup

UE_HASH = ":".join(f"{(17 * octet) % 256:02X}" for octet in range(32))
CORE_HASH = ":".join(f"{(29 * octet + 5) % 256:02X}" for octet in range(32))
GATEWAY_HASH = ":".join(f"{(43 * octet + 9) % 256:02X}" for octet in range(32))
WEAK_HASH = ":".join(f"{octet:02X}" for octet in range(20))

UE_FINGERPRINT = f"a=fingerprint:sha-256 {UE_HASH}"
CORE_FINGERPRINT = f"a=fingerprint:sha-256 {CORE_HASH}"
GATEWAY_FINGERPRINT = f"a=fingerprint:sha-256 {GATEWAY_HASH}"
REQUESTED = "a=3ge2ae:requested"
TLS_ID = "gateway-association-0001"

MECHANISMS = frozenset({"msrp-tls", "bfcp-tls", "udptl-dtls"})
ALL_AGREED = Agreed(MECHANISMS, MECHANISMS)
NOTHING_AGREED = Agreed()
EVERYTHING = Capabilities(frozenset({"msrp", "bfcp", "fax"}), frozenset({"TCP", "UDP"}))

UE_ADDRESS = "192.0.2.61"
CORE_ADDRESS = "198.51.100.88"
ACCESS_SIDE = {
    index: StreamMedia("203.0.113.5", 20_000 + 10 * index, (("sha-256", GATEWAY_HASH),)) for index in range(8)
}
CORE_SIDE = {index: StreamMedia("198.51.100.5", 40_000 + 10 * index) for index in range(8)}

AUDIO = ("m=audio 5004 RTP/AVP 0", "a=rtpmap:0 PCMU/8000")


def description(*lines: str, address: str = UE_ADDRESS) -> Sdp:
    """A description with these lines after the usual session lines; session-level a= lines may come first."""
    session = ("v=0", f"o=- 700 1 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0")
    return parse_sdp_untrusted("\r\n".join((*session, *lines, "")).encode())


def msrp(
    *attributes: str, secure: bool = True, port: int = 9, cema: bool = True, path: str = "", host: str = UE_ADDRESS
) -> tuple[str, ...]:
    """The lines of an MSRP section."""
    path = path or f"{'msrps' if secure else 'msrp'}://{host}:{port}/s4Lt;tcp"
    return (
        f"m=message {port} {'TCP/TLS/MSRP' if secure else 'TCP/MSRP'} *",
        "a=accept-types:message/cpim text/plain",
        f"a=path:{path}",
        *(("a=msrp-cema",) if cema else ()),
        *attributes,
        "a=max-size:9000",
    )


def bfcp(*attributes: str, secure: bool = True, port: int = 50_000) -> tuple[str, ...]:
    """The lines of a BFCP section."""
    proto = "TCP/TLS/BFCP" if secure else "TCP/BFCP"
    return (f"m=application {port} {proto} *", "a=floorctrl:c-only", "a=confid:7", *attributes, "a=connection:new")


def fax(*attributes: str, secure: bool = True, port: int = 6_100) -> tuple[str, ...]:
    """The lines of a T.38 section."""
    proto = "UDP/TLS/UDPTL" if secure else "udptl"
    return (f"m=image {port} {proto} t38", "a=T38FaxVersion:0", "a=T38FaxTranscodingMMR", *attributes)


def rules() -> set[str]:
    """The names of the rules in the table of `pcscf.mediasec.plan`."""
    _, _, table = (plan.__doc__ or "").partition("offer of the UE")
    return set(re.findall(r"(?:^|\s)((?:A|AA|C|CA)[0-9]+)  ", table))


def only(decided: MediaPlan) -> str:
    """The rule of a plan with one line."""
    (line,) = decided.lines
    return line.rule


def attribute_lines(section: MediaSection, *without: str) -> list[str]:
    """The a= lines of a section but those named."""
    return [
        line for line in section.lines if line[0] == "a" and line[2:].partition(":")[0].lower() not in set(without)
    ]


def effective_setup(sdp: Sdp, index: int = 0) -> str:
    """What the receiver of `sdp` reads as a=setup of one line."""
    return setup(sdp, sdp.media[index])
