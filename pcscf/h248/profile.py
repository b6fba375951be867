"""What TS 23.334 needs of Iq, and what meets it here: the tables of docs/topics/iq-profile.md, from the names that the code uses.

`python -m pcscf.h248.profile FILE` writes the tables into that page, between their marks.
"""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple

from pcscf.h248 import packages as p


class Standing(Enum):
    """How sure a spelling is."""

    CONFIRMED = "confirmed"  # a published text, or the table of a program that nobody here wrote, has it
    EXPECTED = "expected"  # the recommendation is known by number and purpose, its text was not at hand
    OURS = "ours"  # made by analogy; other names are understood as well
    PLAIN = "no package"  # commands, descriptors and SDP carry it


class Need(NamedTuple):
    """`need`: as TS 23.334 calls it. names: of `packages`. here: what controller and gateway do with it."""

    need: str
    names: tuple[str, ...]
    standing: Standing
    here: str


C, E, O, P = Standing.CONFIRMED, Standing.EXPECTED, Standing.OURS, Standing.PLAIN  # noqa: E741 - a column of the table
NEEDS: Final = (
    # reservation and configuration
    Need("Reserve, Configure AGW Connection Point", (), P, "Add, Modify with Local and Remote; both sides of a session at once"),
    Need("Release AGW Termination", (), P, "Subtract with a wildcarded response (`W-`), without statistics"),
    Need("Change Through-Connection", (), P, "the stream's Mode"),
    Need("Local and Remote Connection Address, ReserveValue", (), P, "c= and m=, `$` where the gateway chooses"),
    Need("Emergency Call Indicator, Priority information", (), P, "Emergency and Priority of the context"),
    Need("IP realm", (p.REALM,), C,
         "fixed for a termination; an unknown one is refused with 449, AuditCapability tells those there are"),
    Need("Interlinkage Topology", ("seplink",), O,
         "on without being asked: a connection on one side opens the one on the other; or the controller does it (`tcp_start`)"),
    # security
    Need("Local certificate fingerprint Request", (), O, f"`{p.FINGERPRINT_REQUEST}` in Local; other spellings are understood"),
    Need("Local, Remote certificate fingerprint", (), P, "a=fingerprint in Local and Remote"),
    Need("Establish TCP connection", (p.TCP_ESTABLISH, p.TCP_RELEASE), O,
         "package-less by a=setup (H.248.89 §10); with `tcp_start`, EstBNC and the Remote that was withheld until then; RelBNC "
         "ends the connection of a line that was closed"),
    Need("Establish TLS session", (p.TLS_ESTABLISH, p.TLS_RELEASE), O,
         "the signal makes the gateway the client; without it, it is the server"),
    Need("Start of TLS after a notification",
         (f"{p.TCP_CHANGE} {p.CHANGE_TYPE}={p.CHANGE_ESTABLISHED}", f"{p.TLS_CHANGE} {p.CHANGE_TYPE}={p.CHANGE_ESTABLISHED}"), O,
         "where Est is armed, TLS waits for that signal or a ClientHello (TR 29.828 §4.3.3.2)"),
    Need("Establish DTLS session", (p.DTLS_ESTABLISH, p.DTLS_RELEASE), O,
         "the same; RelBNC ends an association, and the role of client with it"),
    Need("DTLS association", (), P, "another a=tls-id in Local or in Remote asks for another one (RFC 8842)"),
    Need(
        "Notify TCP connection establishment Failure", (p.TCP_CHANGE, f"{p.TCP_CHANGE} {p.CHANGE_TYPE}={p.CHANGE_RELEASED}"), O,
        "armed in every Add, with the cause event beside it",
    ),
    Need("Notify TLS session establishment Failure", (p.TLS_CHANGE,), O, "the same"),
    Need("Notify DTLS session establishment Failure", (p.DTLS_CHANGE,), O, "the same"),
    Need("MSRP with paths mapped by the gateway", (), O, "TCP/MSRP and TCP/TLS/MSRP with a=path in Local and Remote"),
    # reports
    Need("IP Bearer Released", (p.CAUSE, f"{p.CAUSE} {p.GENERAL_CAUSE}", f"{p.CAUSE} {p.FAILURE_CAUSE}"), C, "ends the session"),
    Need("Termination heartbeat", (p.HANGING_TERMINATION, f"{p.HANGING_TERMINATION} {p.HANGING_TIMER}"), E,
         "armed in every Add; a context that nobody owns is subtracted"),
    Need(
        "Media Inactivity Detection",
        (p.MEDIA_STOPPED, f"{p.MEDIA_STOPPED} {p.MEDIA_STOPPED_TIME}", f"{p.MEDIA_STOPPED} {p.MEDIA_STOPPED_DIRECTION}"), C,
        "armed for the media that may not be silent; the gateway reports once",
    ),
    Need("Statistics", (p.OCTETS_SENT, p.OCTETS_RECEIVED, p.DURATION), C, "the gateway counts, and tells who asks"),
    # traffic
    Need("NAT traversal: latching", (p.LATCH, f"{p.LATCH} {p.LATCH_MODE}"), E, "for UDP; a TCP peer is whoever connects"),
    Need(
        "Remote source address filtering",
        (p.SOURCE_ADDRESS_FILTER, p.SOURCE_ADDRESS_MASK, p.SOURCE_PORT_FILTER, p.SOURCE_PORT_RANGE), C,
        "the gateway drops what comes from elsewhere",
    ),
    Need("Traffic policing", (p.POLICING, p.SUSTAINED_RATE, p.PEAK_RATE, p.BURST_SIZE), C,
         "two token buckets (TS 23.334 §6.2.5): sdr with mbs, pdr with dvt; UDP is dropped, TCP is read more slowly"),
    Need("Delay Variation Tolerance", (p.DELAY_VARIATION,), E,
         "tenths of a microsecond of the peak rate may come at once; 0.1 s without it, one packet at least"),
    Need("Differentiated services", (p.DSCP,), C, "the code point of what the gateway sends"),
    Need("RTCP handling", ("rtcph",), C, f"a port of its own, a=rtcp, or `{p.RTCP_MUX}`"),
    # the association
    Need("Register, Re-register, Restoration, Out of Service, Ordered Re-register", (), P, "ServiceChange on ROOT"),
    Need("Audit Value, Audit Capability", (), P, "of ROOT, contexts and terminations"),
    Need("Association monitoring over UDP", (p.INACTIVITY, f"{p.INACTIVITY} {p.INACTIVITY_TIMER}"), C,
         "the gateway asks when it hears nothing; the controller audits ROOT"),
    Need("Overload control", (p.OVERLOAD,), E, "armed on ROOT; the gateway gets fewer new sessions, those with urgency first"),
    Need("Resource congestion handling", (p.CONGESTION, f"{p.CONGESTION} {p.CONGESTION_REDUCTION}"), E,
         "armed on ROOT; new sessions are reduced by the percentage that is told"),
    Need(
        "Execution, provisional response and pending limits",
        (p.MG_EXECUTION_TIME, p.MGC_EXECUTION_TIME, p.MG_PROVISIONAL_TIMER, p.MGC_PROVISIONAL_TIMER, p.MG_PENDING_LIMIT,
         p.MGC_PENDING_LIMIT), C, "properties of ROOT; the gateway goes by the limits and by its own timer",
    ),
)  # fmt: skip

MISSING: Final = (
    ("Realm Availability", "ipra", "the realms that a gateway has are what it was configured with"),
    ("ICE (STUN)", "stun and others", "lines with ICE pass by the gateway"),
    ("ECN, media grouping, ATCF/ATGW with three terminations", "", "no procedure here uses them"),
    ("Segmentation", "seg", "a message is as long as its transport can carry: 65,507 octets over UDP, 65,531 over TCP and SCTP"),
    ("Binary encoding", "", "text only, as in the profile of TISPAN (TS 183 018)"),
)
"""What TS 23.334 or TS 29.334 has, the package for it, and what is here instead."""


def needs() -> str:
    """The table of what is met."""
    lines = ["| TS 23.334 | H.248 | Spelling | Here |", "|---|---|---|---|"]
    for need in NEEDS:
        names = ", ".join(f"`{name}`" for name in need.names) or "–"
        lines.append(f"| {need.need} | {names} | {need.standing.value} | {need.here} |")
    return "\n".join(lines)


def missing() -> str:
    """The table of what is not there."""
    lines = ["| Not here | Package | Instead |", "|---|---|---|"]
    lines += [f"| {what} | {f'`{package}`' if package else '–'} | {instead} |" for what, package, instead in MISSING]
    return "\n".join(lines)


def known_packages() -> str:
    """The table of packages, as an audit tells them."""
    lines = ["| Package | Version | Also read as |", "|---|---|---|"]
    for package in p.PACKAGES:
        aliases = ", ".join(f"`{alias}`" for alias in package.aliases) or "–"
        lines.append(f"| `{package.name}` | {package.version} | {aliases} |")
    return "\n".join(lines)


TABLES: Final = {"needs": needs, "missing": missing, "packages": known_packages}


def written(page: str) -> str:
    """The page with its tables as they are now; each stands between `<!-- NAME -->` and `<!-- /NAME -->`. ValueError: no mark."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        start = page.index(begin) + len(begin)
        page = page[:start] + table() + page[page.index(end, start - 1) :]
    return page


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(written(file.read_text()))
