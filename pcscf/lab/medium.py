"""What the media of the lab have in common, so that a call need not know which it has: lines, ends and sessions."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from pcscf.errors import PcscfError
from pcscf.lab.tap import Tap
from pcscf.lab.tls import Fingerprint, TlsFacts


class MediaFailedError(PcscfError):
    """The connection of the media did not come about."""


class SessionClosedError(PcscfError):
    """The connection is gone; `what` says why."""


class NotTakenError(PcscfError):
    """The peer did not take what we sent; `what` says what it answered."""


class MediaLine(Protocol):
    """One side's line of a session description. setup "" = absent; fingerprints as (hash, value); e2ae: a=3ge2ae or ""."""

    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def secure(self) -> bool: ...
    @property
    def setup(self) -> str: ...
    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]: ...
    @property
    def e2ae(self) -> str: ...

    def to_sdp(self, session: int) -> bytes:
        """A session description with this one line."""


class Session(Protocol):
    """Media that runs. What it carries is text to those who talk: a message, the words of a floor request, a page."""

    failure: str

    async def greet(self) -> None:
        """What has to be said before anything else, by the side that says it; returns once it was answered."""

    async def send_text(self, text: str) -> None:
        """Returns once the peer has it. Raises NotTakenError, SessionClosedError or TimeoutError."""

    async def receive_text(self) -> str:
        """The next text of the peer. Raises SessionClosedError once none can come any more."""

    async def close(self) -> None: ...


class Opened(NamedTuple):
    session: Session
    tls: TlsFacts | None


class End(Protocol):
    """Our end of a stream. Its port is open before its line is sent."""

    @property
    def local(self) -> MediaLine: ...

    async def open(self, remote: Any, tap: Tap, flow: str) -> Opened:
        """Bring the stream up with the peer's line; nothing crosses before the peer is proven. Raises MediaFailedError."""

    async def close(self) -> None: ...


class Medium(Protocol):
    """One kind of media, done as somebody's habits say."""

    def read_untrusted(self, body: bytes) -> MediaLine:
        """The first line of this kind that is in use. Raises MalformedSdp, or MediaNotAcceptable where there is none."""

    async def offer(self, host: str) -> End:
        """Our end for an offer of ours. Raises OSError."""

    async def answer(self, offer: Any, host: str) -> End:
        """Our end that answers `offer`. Raises SipError where we cannot, and OSError."""
