"""One call of a user agent: its SIP dialog (RFC 3261 §12) and its media."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from pcscf.errors import PcscfError
from pcscf.lab import media
from pcscf.lab.agent import token
from pcscf.lab.media import MsrpMedia
from pcscf.lab.medium import End, MediaFailedError, MediaLine, NotTakenError, Session, SessionClosedError
from pcscf.lab.tap import Tap
from pcscf.lab.tls import Fingerprint, Identity, TlsFacts
from pcscf.sip.headers import NameAddr, parse_name_addr
from pcscf.sip.message import Request, Response
from pcscf.sip.uri import Uri, parse_uri

MAX_FORWARDS = "70"


@dataclass(frozen=True, slots=True)
class Habits:
    """How a user agent does its media.

    medium       what it offers, and takes
    setup        what it writes in an offer; "" leaves the attribute out (RFC 4975 alone)
    choice       what it answers where the offer leaves the choice
    identity     the certificate that it shows; None without TLS
    announced    the certificate whose fingerprint stands in its SDP: `identity`, unless a fault is wanted
    e2ae         value of a=3ge2ae in its offers
    cema         of MSRP: whether it speaks RFC 6714
    floorctrl    of BFCP: what it offers to be, c-only or s-only; an answer complements the offer
    """

    secure: bool = False
    setup: str = "active"
    choice: Literal["active", "passive"] = "passive"
    cema: bool = True
    identity: Identity | None = None
    announced: Identity | None = None
    e2ae: str = ""
    medium: Literal["msrp", "bfcp", "t38"] = "msrp"
    floorctrl: Literal["c-only", "s-only"] = "c-only"

    def shown(self, *, secure: bool) -> tuple[Fingerprint, ...]:
        """The fingerprints of our SDP."""
        announced = self.announced or self.identity
        return (announced.fingerprint(),) if secure and announced else ()

    def describe(self, host: str, port: int, *, setup: str, secure: bool, e2ae: str = "") -> MsrpMedia:
        """Our MSRP line; `secure` follows the offer when we answer."""
        return MsrpMedia(
            address=host, port=port, path=(media.new_uri(host, port, secure=secure),), secure=secure, setup=setup,
            cema=self.cema, fingerprints=self.shown(secure=secure), e2ae=e2ae,
        )


@dataclass(frozen=True, slots=True)
class Manners:
    """What a user agent does with a call that comes in.

    reject         status that every call gets; 0 answers
    ring           whether 180 goes before the answer
    delay          seconds before the answer
    reply          what answers each message; {text} stands for the message; "" stays silent
    hang_up_after  number of messages after which it sends BYE; 0 leaves that to the other side
    """

    reject: int = 0
    ring: bool = False
    delay: float = 0.0
    reply: str = ""
    hang_up_after: int = 0


@dataclass(slots=True)
class Dialog:
    """Our half of a dialog. routes: the route set, nearest hop first; cseq: the last number we used."""

    call_id: str
    local: NameAddr
    remote: NameAddr
    remote_target: str
    routes: list[str]
    cseq: int

    @property
    def local_tag(self) -> str:
        return self.local.param("tag") or ""

    @property
    def next_hop(self) -> Uri:
        return parse_name_addr(self.routes[0]).uri_parsed if self.routes else parse_uri(self.remote_target)

    @classmethod
    def of_caller(cls, invite: Request, response: Response) -> Dialog:
        """RFC 3261 §12.1.2. Raises MalformedMessage."""
        return cls(
            invite.call_id, invite.from_, response.to, _contact(response),
            list(reversed(response.values("Record-Route"))), invite.cseq[0],
        )

    @classmethod
    def of_callee(cls, invite: Request, tag: str) -> Dialog:
        """RFC 3261 §12.1.1. Raises MalformedMessage."""
        local = NameAddr(invite.to.display, invite.to.uri, (("tag", tag),))
        return cls(invite.call_id, local, invite.from_, _contact(invite), invite.values("Record-Route"), 0)

    def request(self, method: str) -> Request:
        """The next request of ours in this dialog; an ACK takes the number of its INVITE. No Via yet."""
        if method != "ACK":
            self.cseq += 1
        return Request(method, self.remote_target, [
            ("Max-Forwards", MAX_FORWARDS),
            *(("Route", route) for route in self.routes),
            ("From", str(self.local)),
            ("To", str(self.remote)),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.cseq} {method}"),
            ("Content-Length", "0"),
        ])


def _contact(message: Request | Response) -> str:
    contacts = message.values("Contact")
    return parse_name_addr(contacts[0]).uri if contacts else message.from_.uri


@dataclass(slots=True)
class Call:
    """A call that was answered. `hang_up_by` sends the BYE; `on_end` lets the user agent forget the call."""

    dialog: Dialog
    media_end: End
    remote: MediaLine
    tap: Tap
    hang_up_by: Callable[[Call, str], Awaitable[None]]
    on_end: Callable[[Call], None]
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)   # the ACK was sent or came: media may start
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    ended_by: Literal["", "us", "peer"] = ""
    reason: str = ""            # the Reason of the BYE (RFC 3326)
    tls: TlsFacts | None = None
    failure: str = ""           # why there is no media session
    _session: Session | None = None
    _media: asyncio.Task[None] | None = None

    @property
    def local(self) -> MediaLine:
        return self.media_end.local

    def start_media(self) -> None:
        """Open the media in the background, once confirmed."""
        self._media = asyncio.create_task(self._open())

    async def _open(self) -> None:
        await self.confirmed.wait()
        try:
            self._session, self.tls = await self.media_end.open(self.remote, self.tap, self.dialog.call_id)
            await self._session.greet()
        except (PcscfError, TimeoutError) as error:
            self.failure = str(error) or "no answer to what we said first"

    async def session(self) -> Session:
        """The session that stands. Raises MediaFailedError."""
        if self._media is not None:
            await asyncio.wait([self._media])   # which ends cancelled where the call ends first
        if self._session is None or self.failure:
            raise MediaFailedError(self.failure or "the call ended without a media session")
        return self._session

    async def send_text(self, text: str) -> None:
        """Raises MediaFailedError, where the session closes or the peer refuses as well."""
        session = await self.session()
        try:
            await session.send_text(text)
        except (NotTakenError, SessionClosedError, TimeoutError) as error:
            raise MediaFailedError(str(error) or "no answer to what we sent") from error

    async def receive_text(self) -> str:
        """The next text of the peer. Raises MediaFailedError once none can come any more."""
        session = await self.session()
        try:
            return await session.receive_text()
        except SessionClosedError as error:
            raise MediaFailedError(str(error)) from error

    async def hang_up(self, reason: str = "") -> None:
        """Close the session, then send BYE, with `reason` as its Reason."""
        if self._note_end("us", reason):
            await self._close_media()
            await self.hang_up_by(self, reason)

    async def end(self, by: Literal["us", "peer"], reason: str) -> None:
        """The call is over: note who ended it and why, close the media."""
        if self._note_end(by, reason):
            await self._close_media()

    def _note_end(self, by: Literal["us", "peer"], reason: str) -> bool:
        if self.ended.is_set():
            return False
        self.ended_by, self.reason = by, reason
        self.ended.set()
        self.on_end(self)
        return True

    async def _close_media(self) -> None:
        if self._media is not None and not self._media.done():
            self._media.cancel()
            await asyncio.gather(self._media, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        await self.media_end.close()


def new_call_id() -> str:
    return f"{token()}{token()}"
