"""The one table of package, item and parameter names that Iq uses (TS 29.334 §5.14).

What we write is the constant; what we read goes through `canonical`, which knows other spellings in any case. The items of the
TCP, TLS and DTLS packages (H.248.89, H.248.90, H.248.93) are spelt after the generic bearer package (Q.1950), whose names
implementations share; a site whose gateway spells them otherwise changes this table and nothing else.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Package(NamedTuple):
    """A package by its name in text encoding, the version we support, and other names it goes by."""

    name: str
    version: int
    aliases: tuple[str, ...] = ()


PACKAGES: Final = (
    Package("g", 1),  # generic, H.248.1 §E.1
    Package("root", 2),  # base root, H.248.1 §E.2
    Package("ipnapt", 1),  # IP NAPT traversal, H.248.37
    Package("gm", 2),  # gate management, H.248.43
    Package("tman", 1),  # traffic management, H.248.53
    Package("ipdc", 1),  # IP domain connection, H.248.41
    Package("hangterm", 1),  # hanging termination detection, H.248.36
    Package("ds", 2),  # differentiated services, H.248.52
    Package("rtcph", 1),  # RTCP handling, H.248.57
    Package("it", 1),  # inactivity timer, H.248.14
    Package("ocp", 1),  # overload control, H.248.11
    Package("chp", 1),  # congestion handling, H.248.10
    Package("adid", 1, ("aadid",)),  # application data inactivity detection, H.248.40
    Package("nt", 1),  # network statistics, H.248.1 §E.11
    Package("tcpbcc", 1, ("tcp", "tcpcc", "tcpbc")),  # TCP basic connection control, H.248.89
    Package("tlsbsc", 1, ("tls", "tlssc", "tlsbs", "tlsbcc")),  # TLS basic session control, H.248.90
    Package("dtlsbsc", 1, ("dtls", "dtlssc", "dtlsbs", "dtlsbcc")),  # DTLS basic session control, H.248.93
    Package("seplink", 1, ("seplk", "interlink")),  # stream endpoint interlinkage, H.248.92
)

# Signals that open and end a bearer or a security session; on a security package EstBNC makes the gateway the client.
TCP_ESTABLISH: Final = "tcpbcc/EstBNC"
TCP_RELEASE: Final = "tcpbcc/RelBNC"
TLS_ESTABLISH: Final = "tlsbsc/EstBNC"
TLS_RELEASE: Final = "tlsbsc/RelBNC"
DTLS_ESTABLISH: Final = "dtlsbsc/EstBNC"
DTLS_RELEASE: Final = "dtlsbsc/RelBNC"

# Events that report their failure or end, with the parameter Type and its values.
TCP_CHANGE: Final = "tcpbcc/BNCChange"
TLS_CHANGE: Final = "tlsbsc/BNCChange"
DTLS_CHANGE: Final = "dtlsbsc/BNCChange"
CHANGE_TYPE: Final = "Type"
CHANGE_RELEASED: Final = "Rel"
CHANGE_ESTABLISHED: Final = "Est"

# The cause event and its parameters.
CAUSE: Final = "g/cause"
GENERAL_CAUSE: Final = "Generalcause"
FAILURE_CAUSE: Final = "Failurecause"
CAUSE_NORMAL_RELEASE: Final = "NR"
CAUSE_UNAVAILABLE_RESOURCES: Final = "UR"
CAUSE_FAILURE_TEMPORARY: Final = "FT"
CAUSE_FAILURE_PERMANENT: Final = "FP"
CAUSE_INTERWORKING_ERROR: Final = "IW"

HANGING_TERMINATION: Final = "hangterm/thb"
HANGING_TIMER: Final = "timerx"  # seconds
INACTIVITY: Final = "it/ito"
INACTIVITY_TIMER: Final = "mit"  # units of 10 ms
MEDIA_STOPPED: Final = "adid/ipstop"
MEDIA_STOPPED_TIME: Final = "dt"  # seconds
MEDIA_STOPPED_DIRECTION: Final = "dir"  # IN, OUT, BOTH
OVERLOAD: Final = "ocp/mg_overload"
CONGESTION: Final = "chp/mgcon"
CONGESTION_REDUCTION: Final = "reduction"  # per cent

REALM: Final = "ipdc/realm"
LATCH: Final = "ipnapt/latch"
LATCH_MODE: Final = "napt"  # OFF, LATCH, RELATCH
DSCP: Final = "ds/dscp"
SOURCE_ADDRESS_FILTER: Final = "gm/saf"
SOURCE_ADDRESS_MASK: Final = "gm/sam"
SOURCE_PORT_FILTER: Final = "gm/spf"
SOURCE_PORT_RANGE: Final = "gm/spr"
POLICING: Final = "tman/pol"
SUSTAINED_RATE: Final = "tman/sdr"  # octets per second
PEAK_RATE: Final = "tman/pdr"  # octets per second
BURST_SIZE: Final = "tman/mbs"  # octets
DELAY_VARIATION: Final = "tman/dvt"  # tenths of a microsecond

OCTETS_SENT: Final = "nt/os"
OCTETS_RECEIVED: Final = "nt/or"
DURATION: Final = "nt/dur"  # milliseconds

MG_PROVISIONAL_TIMER: Final = "root/MGProvisionalResponseTimerValue"  # milliseconds
MG_PENDING_LIMIT: Final = "root/MGOriginatedPendingLimit"
MGC_PROVISIONAL_TIMER: Final = "root/MGCProvisionalResponseTimerValue"  # milliseconds
MGC_PENDING_LIMIT: Final = "root/MGCOriginatedPendingLimit"
MG_EXECUTION_TIME: Final = "root/normalMGExecutionTime"  # milliseconds
MGC_EXECUTION_TIME: Final = "root/normalMGCExecutionTime"  # milliseconds

STREAM: Final = "Stream"

_ITEM_ALIASES: Final = {
    TCP_ESTABLISH: ("Est", "Establish", "EstConn", "EstTCP"),
    TCP_RELEASE: ("Release", "RelConn", "RelTCP"),
    TLS_ESTABLISH: ("Est", "Establish", "EstTLS", "EstSess"),
    TLS_RELEASE: ("Release", "RelTLS", "RelSess"),
    DTLS_ESTABLISH: ("Est", "Establish", "EstDTLS", "EstSess"),
    DTLS_RELEASE: ("Release", "RelDTLS", "RelSess"),
    TCP_CHANGE: ("BNCChg", "BNCRel", "ConnChg", "ConnRel"),
    TLS_CHANGE: ("BNCChg", "BNCRel", "SessChg", "SessRel"),
    DTLS_CHANGE: ("BNCChg", "BNCRel", "SessChg", "SessRel"),
    REALM: ("realmid", "ipdomain"),
    LATCH: ("napt",),
    MEDIA_STOPPED: ("ipstp",),
    HANGING_TERMINATION: ("heartbeat",),
    OVERLOAD: ("mgoverload", "overload"),
    CONGESTION: ("mgcongestion",),
}
ITEMS: Final = (
    TCP_ESTABLISH, TCP_RELEASE, TLS_ESTABLISH, TLS_RELEASE, DTLS_ESTABLISH, DTLS_RELEASE, TCP_CHANGE, TLS_CHANGE, DTLS_CHANGE,
    CAUSE, HANGING_TERMINATION, INACTIVITY, MEDIA_STOPPED, OVERLOAD, CONGESTION, REALM, LATCH, DSCP, SOURCE_ADDRESS_FILTER,
    SOURCE_ADDRESS_MASK, SOURCE_PORT_FILTER, SOURCE_PORT_RANGE, POLICING, SUSTAINED_RATE, PEAK_RATE, BURST_SIZE, DELAY_VARIATION,
    OCTETS_SENT, OCTETS_RECEIVED, DURATION,
    MG_PROVISIONAL_TIMER, MG_PENDING_LIMIT, MGC_PROVISIONAL_TIMER, MGC_PENDING_LIMIT, MG_EXECUTION_TIME, MGC_EXECUTION_TIME,
)  # fmt: skip
"""Every item by its name; what each is for stands in `pcscf.h248.profile`."""

_PACKAGE_OF: Final = {spelling.lower(): package.name for package in PACKAGES for spelling in (package.name, *package.aliases)}
_CANONICAL: Final = {
    f"{name.partition('/')[0]}/{item}".lower(): name
    for name in ITEMS
    for item in (name.partition("/")[2], *_ITEM_ALIASES.get(name, ()))
}


def canonical(name: str) -> str:
    """Our spelling of "package/item", in whatever spelling and case it came; what the table does not hold comes back as it is.

    An item that the table does not hold still gets the canonical name of a known package.

    >>> canonical("TLS/estbnc")
    'tlsbsc/EstBNC'
    """
    package, slash, item = name.partition("/")
    known = _PACKAGE_OF.get(package.lower())
    if not slash or known is None:
        return name
    written = f"{known}/{item}"
    return _CANONICAL.get(written.lower(), written)


def package_of(name: str) -> str:
    """The canonical package name of "package/item"; an unknown package comes back in lower case."""
    package = name.partition("/")[0].lower()
    return _PACKAGE_OF.get(package, package)


def is_supported(name: str) -> bool:
    """Whether the package of "package/item" stands in the table (else the answer is error 440)."""
    return name.partition("/")[0].lower() in _PACKAGE_OF


FINGERPRINT_REQUEST: Final = "a=fingerprint:sha-256 $"
"""The line in Local that asks the gateway for its own fingerprint (TS 23.334, Local certificate fingerprint Request)."""

NEW_CONNECTION: Final = "a=connection:new"
"""The line in Remote that asks for another TCP connection in place of the one that stands (RFC 4145 §5)."""

RTCP_MUX: Final = "a=rtcp-mux"
"""The line in Local and in Remote by which RTCP shares the port of RTP (RFC 5761)."""

DEFAULT_HASH: Final = "sha-256"
_FINGERPRINT_REQUEST: Final = re.compile(r"\s*(?:(?P<hash>[A-Za-z0-9-]+|\$)\s+)?\$\s*")


def requested_hash(fingerprint: str) -> str | None:
    """The hash that an `a=fingerprint:` value asks for, in lower case; None when the value is a fingerprint, not a request.

    "sha-256 $", "SHA-256 $", "$", "$ $" and "- $" are requests; one that leaves the hash open asks for sha-256.
    """
    match = _FINGERPRINT_REQUEST.fullmatch(fingerprint)
    if match is None:
        return None
    name = (match["hash"] or "$").lower()
    return DEFAULT_HASH if name in ("$", "-") else name
