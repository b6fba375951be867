"""T.38 fax as a medium of calls: its line (ITU-T T.38 annex D, RFC 7345), and the sockets of both sides."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from pcscf.errors import MalformedSdp, MediaNotAcceptable
from pcscf.lab.call import Habits
from pcscf.lab.datagrams import DtlsDatagrams, PlainDatagrams, UdpSocket
from pcscf.lab.description import Section, answer_setup, fingerprint_attributes, read_sections_untrusted, write_section
from pcscf.lab.fax_session import FaxSession
from pcscf.lab.medium import End, MediaFailedError, Opened
from pcscf.lab.secure import Layer, SecureEnd
from pcscf.lab.streams import show_tls
from pcscf.lab.tap import Tap
from pcscf.lab.tls import Fingerprint, Identity, PeerRefusedError

PLAIN, SECURE = "UDPTL", "UDP/TLS/UDPTL"   # as compared; the first one is written in lower case (T.38 §D.2.3)
MAX_DATAGRAM = 150    # octets that we ask for (TS 26.114 annex L)
LEAST_DATAGRAM = 72   # a piece of a page without any redundancy


@dataclass(frozen=True, slots=True)
class FaxLine:
    """One side's T.38 line. setup and tls_id belong to DTLS and are "" without; max_datagram in octets."""

    address: str
    port: int
    secure: bool = False
    setup: str = ""
    tls_id: str = ""
    max_datagram: int = MAX_DATAGRAM
    fingerprints: tuple[Fingerprint, ...] = ()
    e2ae: str = ""

    def to_sdp(self, session: int) -> bytes:
        attributes = [
            "T38FaxVersion:0", "T38MaxBitRate:9600", "T38FaxRateManagement:transferredTCF",
            f"T38FaxMaxDatagram:{self.max_datagram}", "T38FaxUdpEC:t38UDPRedundancy",
        ]
        attributes += [f"setup:{self.setup}"] if self.setup else []
        attributes += [f"tls-id:{self.tls_id}"] if self.tls_id else []
        attributes += [f"3ge2ae:{self.e2ae}"] if self.e2ae else []
        attributes += fingerprint_attributes(self.fingerprints)
        line = f"image {self.port} {SECURE if self.secure else PLAIN.lower()} t38"
        return write_section(self.address, line, attributes, session=session)


def read_line_untrusted(body: bytes) -> FaxLine:
    """The first T.38 line that is in use. Raises MalformedSdp, or MediaNotAcceptable where there is none."""
    for section in read_sections_untrusted(body):
        if section.in_use and section.kind in {("image", PLAIN), ("image", SECURE)} and section.words[3].lower() == "t38":
            return FaxLine(
                address=section.address, port=section.port, secure=section.kind[1] == SECURE, setup=section.setup,
                tls_id=section.first("tls-id"), max_datagram=_max_datagram(section), fingerprints=section.fingerprints,
                e2ae=section.e2ae,
            )
    raise MediaNotAcceptable("the session description has no T.38 line in use")


def _max_datagram(section: Section) -> int:
    told = section.first("T38FaxMaxDatagram") or str(MAX_DATAGRAM)
    if not told.isascii() or not told.isdecimal() or len(told) > 6:
        raise MalformedSdp(f"T38FaxMaxDatagram is no number: {told[:20]!r}")
    if int(told) < LEAST_DATAGRAM:
        raise MediaNotAcceptable(f"T38FaxMaxDatagram {told} is too small; {LEAST_DATAGRAM} would do")
    return int(told)


@dataclass(slots=True)
class FaxEnd:
    """answers: whether we are the answerer, which is the called fax machine."""

    local: FaxLine
    identity: Identity | None
    socket: UdpSocket
    answers: bool

    async def open(self, remote: FaxLine, tap: Tap, flow: str) -> Opened:
        peer = (remote.address, remote.port)
        if not self.local.secure:
            return Opened(self._session(PlainDatagrams(self.socket, peer), remote, tap, flow), None)
        if self.identity is None:
            raise MediaFailedError("no certificate for DTLS")
        server = self._is_server(remote)
        try:
            end = SecureEnd(Layer.DTLS, self.identity, remote.fingerprints, server=server)
        except PeerRefusedError as error:
            raise MediaFailedError(str(error)) from error
        datagrams = DtlsDatagrams(self.socket, peer, end)
        facts = await datagrams.prove()
        show_tls(tap, "DTLS", facts, "in" if server else "out", flow, self.socket.local, peer)
        return Opened(self._session(datagrams, remote, tap, flow), facts)

    def _is_server(self, remote: FaxLine) -> bool:
        """The active side sends the ClientHello (RFC 7345 §4). Raises MediaFailedError."""
        if self.answers:
            return self.local.setup == "passive"
        if remote.setup not in {"active", "passive"}:
            raise MediaFailedError("the answer says neither setup:active nor setup:passive")
        return remote.setup == "active"

    def _session(self, datagrams: PlainDatagrams | DtlsDatagrams, remote: FaxLine, tap: Tap, flow: str) -> FaxSession:
        return FaxSession(datagrams, caller=not self.answers, limit=remote.max_datagram, tap=tap, flow=flow)

    async def close(self) -> None:
        self.socket.close()


@dataclass(frozen=True, slots=True)
class FaxMedium:
    habits: Habits

    def read_untrusted(self, body: bytes) -> FaxLine:
        return read_line_untrusted(body)

    async def offer(self, host: str) -> End:
        secure = self.habits.secure
        return await self._end(host, self.habits.setup if secure else "", secure, self.habits.e2ae, answers=False)

    async def answer(self, offer: FaxLine, host: str) -> End:
        if offer.secure and self.habits.identity is None:
            raise MediaNotAcceptable("no certificate for DTLS here")
        setup = answer_setup(offer.setup or "actpass", self.habits.choice) if offer.secure else ""
        return await self._end(host, setup, offer.secure, "", answers=True)

    async def _end(self, host: str, setup: str, secure: bool, e2ae: str, *, answers: bool) -> End:
        socket = await UdpSocket.open(host)
        line = FaxLine(
            host, socket.local[1], secure, setup, _new_tls_id() if secure else "",
            fingerprints=self.habits.shown(secure=secure), e2ae=e2ae,
        )
        return FaxEnd(line, self.habits.identity, socket, answers)


def _new_tls_id() -> str:
    """At least 120 bits of randomness in 20 to 255 characters (RFC 8842 §4)."""
    return secrets.token_hex(16)
