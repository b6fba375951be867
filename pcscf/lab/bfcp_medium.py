"""BFCP as a medium of calls: its line (RFC 4583, RFC 8856), and the connection that an offer and its answer ask for.

Whoever dials, the offerer is the TLS client and the answerer the TLS server (RFC 4583 §8, RFC 8856 §8).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from pcscf.errors import MalformedSdp, MediaNotAcceptable
from pcscf.lab.bfcp_session import Conference, FloorParticipant, FloorServer
from pcscf.lab.call import Habits
from pcscf.lab.description import Section, answer_setup, fingerprint_attributes, read_sections_untrusted, write_section
from pcscf.lab.medium import End, MediaFailedError, Opened
from pcscf.lab.streams import Listener, PlainStream, Stream, dial, secure_stream
from pcscf.lab.tap import Tap
from pcscf.lab.tls import Fingerprint, Identity, TlsFacts

PLAIN, SECURE = "TCP/BFCP", "TCP/TLS/BFCP"
DISCARD_PORT = 9   # what the active side writes (RFC 4145 §4.1)
MAX_FLOORS = 32

ROLES = {"c-only": "s-only", "s-only": "c-only"}   # what answers what


@dataclass(frozen=True, slots=True)
class BfcpLine:
    """One side's BFCP line. conference None: this side is no floor control server. connection: new, existing or ""."""

    address: str
    port: int
    secure: bool = False
    setup: str = ""
    connection: str = "new"
    floorctrl: str = "c-only"
    conference: Conference | None = None
    fingerprints: tuple[Fingerprint, ...] = ()
    e2ae: str = ""

    def to_sdp(self, session: int) -> bytes:
        attributes = [f"floorctrl:{self.floorctrl}"]
        if self.conference is not None:
            attributes += [f"confid:{self.conference.id}", f"userid:{self.conference.user}"]
            attributes += [f"floorid:{floor}" for floor in self.conference.floors]
        attributes += [f"setup:{self.setup}"] if self.setup else []
        attributes += [f"connection:{self.connection}"] if self.connection else []
        attributes += [f"3ge2ae:{self.e2ae}"] if self.e2ae else []
        attributes += fingerprint_attributes(self.fingerprints)
        line = f"application {self.port} {SECURE if self.secure else PLAIN} *"
        return write_section(self.address, line, attributes, session=session)


def read_line_untrusted(body: bytes) -> BfcpLine:
    """The first BFCP line that is in use. Raises MalformedSdp, or MediaNotAcceptable where there is none."""
    for section in read_sections_untrusted(body):
        if section.in_use and section.kind in {("application", PLAIN), ("application", SECURE)}:
            return BfcpLine(
                address=section.address, port=section.port, secure=section.kind[1] == SECURE, setup=section.setup,
                connection=section.first("connection").lower(), floorctrl=section.first("floorctrl").lower() or "c-only",
                conference=_conference(section), fingerprints=section.fingerprints, e2ae=section.e2ae,
            )
    raise MediaNotAcceptable("the session description has no BFCP line in use")


def _conference(section: Section) -> Conference | None:
    if not section.first("confid"):
        return None
    floors = [(value.split() or [""])[0] for value in section.all("floorid")]
    try:
        conference = Conference(int(section.first("confid")), int(section.first("userid")), tuple(map(int, floors)))
    except ValueError as error:
        raise MalformedSdp("confid, userid and floorid are numbers") from error
    if not 0 <= conference.id < 1 << 32 or not 0 <= conference.user < 1 << 16 or len(floors) > MAX_FLOORS:
        raise MalformedSdp("confid, userid or floorid out of range")
    if not floors or not all(0 <= floor < 1 << 16 for floor in conference.floors):
        raise MalformedSdp("a floor control server needs a=floorid")
    return conference


@dataclass(slots=True)
class BfcpEnd:
    """listener: where we may be the passive side; answers: whether we are the answerer, which is the TLS server."""

    local: BfcpLine
    identity: Identity | None
    listener: Listener | None
    answers: bool

    async def open(self, remote: BfcpLine, tap: Tap, flow: str) -> Opened:
        if self.listener is not None and (self.answers or remote.setup == "active"):
            pair = await self.listener.accept()
        else:
            pair = await dial(remote.address, remote.port)
        await self.close()
        stream: Stream
        facts: TlsFacts | None = None
        if self.local.secure:
            if self.identity is None:
                pair[1].close()
                raise MediaFailedError("no certificate for TLS")
            stream, facts = await secure_stream(
                pair, self.identity, remote.fingerprints, server=self.answers, tap=tap, flow=flow,
            )
        else:
            stream = PlainStream(pair)
        if self.local.conference is not None:
            return Opened(FloorServer(stream, self.local.conference, tap, flow), facts)
        if remote.conference is not None:
            return Opened(FloorParticipant(stream, remote.conference, tap, flow), facts)
        stream.close()
        raise MediaFailedError("neither side is a floor control server")

    async def close(self) -> None:
        if self.listener is not None:
            self.listener.close()
            self.listener = None


@dataclass(frozen=True, slots=True)
class BfcpMedium:
    habits: Habits

    def read_untrusted(self, body: bytes) -> BfcpLine:
        return read_line_untrusted(body)

    async def offer(self, host: str) -> End:
        habits = self.habits
        line = BfcpLine(
            host, DISCARD_PORT, habits.secure, habits.setup, floorctrl=habits.floorctrl,
            conference=_new_conference() if habits.floorctrl == "s-only" else None,
            fingerprints=habits.shown(secure=habits.secure), e2ae=habits.e2ae,
        )
        return await self._end(line, listens=habits.setup in {"passive", "actpass"}, answers=False)

    async def answer(self, offer: BfcpLine, host: str) -> End:
        habits = self.habits
        if offer.secure and habits.identity is None:
            raise MediaNotAcceptable("no certificate for TLS here")
        role = ROLES.get(offer.floorctrl, habits.floorctrl)
        if role == "c-only" and offer.conference is None:
            raise MediaNotAcceptable("the offer names no conference, and asks us to be the participant")
        setup = answer_setup(offer.setup, habits.choice)
        line = BfcpLine(
            host, DISCARD_PORT, offer.secure, setup, floorctrl=role,
            conference=_new_conference() if role == "s-only" else None, fingerprints=habits.shown(secure=offer.secure),
        )
        return await self._end(line, listens=setup == "passive", answers=True)

    async def _end(self, line: BfcpLine, *, listens: bool, answers: bool) -> End:
        listener = await Listener.open(line.address) if listens else None
        if listener is not None:
            line = replace(line, port=listener.address[1])
        return BfcpEnd(line, self.habits.identity, listener, answers)


def _new_conference() -> Conference:
    """RFC 8856 §5.2: IDs that are unguessable enough for a lab."""
    return Conference(1 + secrets.randbelow((1 << 32) - 1), 1 + secrets.randbelow((1 << 16) - 1))
