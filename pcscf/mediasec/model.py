"""What is decided about an offer and its answer: records that SDP and Iq share, so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Literal, TypeAlias

from pcscf.record import record

TcpRole: TypeAlias = Literal["accept", "connect"]
TlsRole: TypeAlias = Literal["server", "client"]
PathMode: TypeAlias = Literal["agnostic", "sessmatch", "aware", ""]
RtcpMux: TypeAlias = Literal["offered", "agreed", ""]
Action: TypeAlias = Literal["forward", "reject", "release-session"]
Fingerprint: TypeAlias = tuple[str, str]  # (hash name in lower case, "AB:CD:…" in upper case)


class Direction(Enum):
    """Which way the SDP offer travels. Who sent the INVITE does not matter: a 200 or an UPDATE may carry an offer."""

    OFFER_FROM_UE = "offer-from-ue"
    OFFER_FROM_CORE = "offer-from-core"


class Mode(StrEnum):
    """What becomes of one m-line.

    TERMINATE   offered protected by the UE: TLS or DTLS ends at the gateway, plain towards the core
    PROTECT     offered plain by the core: TLS or DTLS between gateway and UE
    PASS        a protected transport that is not ours to end
    PLAIN       an unprotected transport that stays so
    DISABLED    an offered line that cannot be honoured: goes on with port 0
    UNUSED      an offered line that came with port 0
    RELEASED    a TERMINATE or PROTECT line that its answer closed
    FAILED      a PROTECT line whose answer gave up protection
    """

    TERMINATE = "terminate"
    PROTECT = "protect"
    PASS = "pass"  # noqa: S105 - the name of a mode, not a secret
    PLAIN = "plain"
    DISABLED = "disabled"
    UNUSED = "unused"
    RELEASED = "released"
    FAILED = "failed"


PROTECTED = frozenset({Mode.TERMINATE, Mode.PROTECT})
LIVE = PROTECTED | {Mode.PASS, Mode.PLAIN}


@dataclass(frozen=True, slots=True)
class Agreed:
    """The mediasec mechanisms of one binding: `ue` listed by the UE, `net` announced to it (TS 24.229 §7.2A.7)."""

    ue: frozenset[str] = frozenset()
    net: frozenset[str] = frozenset()

    def on(self, mechanism: str) -> bool:
        """Whether both sides agreed on `mechanism`."""
        return mechanism in self.ue and mechanism in self.net


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the gateway can do.

    terminate  media whose TLS or DTLS it ends, by name
    anchor     what it can stand in the path of: "TCP", "UDP", and "RTP", which needs a second port for its RTCP
    """

    terminate: frozenset[str] = frozenset({"msrp", "bfcp", "fax"})
    anchor: frozenset[str] = frozenset({"TCP", "UDP", "RTP"})


@record
class Origin:
    """Where the signalling of a UE comes from: `address`, "" while nobody knows. behind_nat: the UE knows another address."""

    address: str = ""
    behind_nat: bool = False


NOWHERE = Origin()


@record
class Leg:
    """What the gateway does on one side of one stream.

    tcp                what it does with TCP; None: no TCP, or open until the answer is known, or holdconn
    tls                its TLS or DTLS role; None: no protection ends here, or open until the answer is known
    setup              the a=setup that we send to this side; "": none
    peer_setup         what the peer sent, defaults filled in; "": not known yet, or none
    peer_address       (host, port) of the peer; None: not known yet, or on hold with the unspecified address
    peer_fingerprints  the usable ones, strongest hash first
    transport          transport on Iq: "TCP", "TCP/TLS", "UDP", "UDP/DTLS"; of RTP the proto of its line
    path               the a=path of MSRP that we send to this side where the gateway maps the paths of frames; "$:$" stands for
                       the gateway's address; "": not known yet, or none
    peer_path          what the peer sent; "" likewise
    tls_id             the a=tls-id that names our end of the DTLS association (RFC 8842 §4); "": no DTLS ends here
    peer_tls_id        what the peer sent; "": not known yet, or none
    rtcp               of RTP: where the peer wants its RTCP, where it said so (RFC 3605); None: on the port after that of RTP
    rtcp_mux           of RTP: RTCP shares its port (RFC 5761) – "offered", the gateway is ready for it; "agreed"; "": it does not
    latched            the peer is where its datagrams come from, whatever `peer_address` says (H.248.37)
    sources            addresses from which its datagrams may come; (): the gateway is not told
    """

    tcp: TcpRole | None
    tls: TlsRole | None
    setup: str
    peer_setup: str
    peer_address: tuple[str, int] | None
    peer_fingerprints: tuple[Fingerprint, ...]
    transport: str
    path: str = ""
    peer_path: str = ""
    rtcp: tuple[str, int] | None = None
    rtcp_mux: RtcpMux = ""
    latched: bool = False
    sources: tuple[str, ...] = ()
    tls_id: str = ""
    peer_tls_id: str = ""

    def with_paths(self, path: str, peer_path: str) -> Leg:
        """The same leg with the a=path of either side."""
        return Leg(
            self.tcp, self.tls, self.setup, self.peer_setup, self.peer_address, self.peer_fingerprints, self.transport, path,
            peer_path, self.rtcp, self.rtcp_mux, self.latched, self.sources,
        )  # fmt: skip


@record
class LinePlan:
    """What becomes of the m-line at `index`, by which `rule`, and why (`reason`, a sentence for a person).

    medium     name in the table of media ("msrp", "bfcp", "fax"); None: not one of them
    gateway    the line uses a stream of the gateway; then `access` and `core` say what happens on either side
    path_mode  a=path of MSRP: "agnostic" stays untouched, "sessmatch" gets authority and scheme per leg; "aware" likewise,
               and the gateway maps the paths of frames; "" not MSRP
    mapped     the UE sees the protected transport, which ends at the gateway; the core the plain one, unless `core_protected`
    min_hash   weakest hash that counts in the answer's fingerprints
    connection the number of the line's connection in the session, from 1; a further exchange that replaces or closes it, or
               opens the line again, counts on
    renewal    a=connection of a further offer on a line that has a connection, "" where it is missing; None: no such offer
    standing   the line as the exchange before left it, while it uses the gateway: it holds until the answer decides (RFC 3264 §8)
    core_protected  the core sees the protected transport too, with another TLS or DTLS that the gateway ends as well
    kind       media field on Iq of a line that is of none of our media
    """

    index: int
    mode: Mode
    rule: str
    reason: str
    medium: str | None = None
    gateway: bool = False
    access: Leg | None = None
    core: Leg | None = None
    path_mode: PathMode = ""
    mapped: bool = False
    min_hash: str = "sha-256"
    connection: int = 1
    renewal: str | None = None
    standing: LinePlan | None = None
    core_protected: bool = False
    kind: str = "application"


@record
class OfferedMedia:
    """What an answer must repeat of an m-line of its offer, as the offerer wrote it.

    has_tls_id: the offer names the DTLS association (RFC 8842 §5.3)
    """

    media: str
    proto: str
    formats: str
    has_tls_id: bool


@record
class MediaPlan:
    """The decision about one offer, and after `settle` about its answer.

    action      forward; reject the offer with `status` and `warning`; release-session: both sides get BYE, `warning` says why
    downgraded  indexes of plain lines whose protection the UE had agreed at registration
    offered     every m-line of the offer, in order
    sources     where UDP media of the UE may come from that are taken for the UE's; (): from anywhere; None: nothing is latched
    settled     the answer is in
    """

    direction: Direction
    lines: tuple[LinePlan, ...]
    action: Action = "forward"
    status: int = 0
    warning: str = ""
    downgraded: tuple[int, ...] = ()
    offered: tuple[OfferedMedia, ...] = ()
    sources: tuple[str, ...] | None = None
    settled: bool = False


@record
class StreamMedia:
    """What the gateway gave for one side of one line: `port` is 1..65535, `fingerprints` empty on a plain side.

    tls_id: what the gateway was told last of our name of the DTLS association; "" where the side speaks no DTLS. rtcp: the port
    of RTCP; 0: it is the one after `port`, if there is any.
    """

    address: str
    port: int
    fingerprints: tuple[Fingerprint, ...] = ()
    tls_id: str = ""
    rtcp: int = 0


SideMedia: TypeAlias = Mapping[int, StreamMedia]  # by index of the m-line
