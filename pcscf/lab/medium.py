"""What the media of the lab have in common, so that a call need not know which it has: lines, ends and sessions."""

from __future__ import annotations

import asyncio
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from pcscf.errors import PcscfError
from pcscf.lab.tap import Tap
from pcscf.lab.tls import Fingerprint, TlsFacts

T = TypeVar("T")


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


class Running(Generic[T]):
    """A session that a task of its own carries (`_run`): what came waits to be taken until that has ended; `failure` says why."""

    def __init__(self) -> None:
        self.failure = ""
        self._came: asyncio.Queue[T | None] = asyncio.Queue()   # None: nothing more can come
        self._task = asyncio.create_task(self._run())

    @property
    def closed(self) -> bool:
        return self._task.done()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        """To its end, where `_came` is told that nothing more comes."""
        raise NotImplementedError

    async def _next_that_came(self) -> T:
        """Raises SessionClosedError once nothing more can come."""
        came = await self._came.get()
        if came is None:
            self._came.put_nowait(None)
            raise SessionClosedError(self.failure or "the session is over")
        return came

    def _check_open(self) -> None:
        if self.closed:
            raise SessionClosedError(self.failure or "the session is over")


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
