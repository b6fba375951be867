"""One MSRP session on one connection (RFC 4975): binds it, sends and receives messages, answers strictly."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from pcscf.lab.medium import NotTakenError, Running, SessionClosedError
from pcscf.lab.msrp import (
    Assembler,
    ByteRange,
    Frame,
    MsrpError,
    MsrpUri,
    Parser,
    Received,
    Request,
    Response,
    parse_uri_untrusted,
    response_to,
)
from pcscf.lab.streams import Stream
from pcscf.lab.tap import Direction, Tap

TRANSACTION_TIMEOUT = 30.0   # seconds to wait for a response (RFC 4975 §7.1.1)
CHUNK_BYTES = 2_048          # what may go in one uninterruptible chunk (RFC 4975 §5.1)


class SendRefusedError(NotTakenError):
    """The peer answered a SEND with `status`."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(f"the peer answered {status} {comment}".rstrip())
        self.status = status


@dataclass(frozen=True, slots=True)
class Report:
    """A REPORT that came for a message of ours."""

    message_id: str
    status: int
    byte_range: str


class MsrpSession(Running[Received]):
    """A session between `local` (our whole URI) and `remote` (the peer's path, nearest hop first).

    `claim` is asked when the first request for this session arrives on an accepted connection: False means that the
    session lives on another connection already (506). A connection that we opened is claimed from the start.
    """

    def __init__(
        self, stream: Stream, *,
        local: MsrpUri, remote: tuple[MsrpUri, ...], tap: Tap, flow: str,
        claim: Callable[[MsrpSession], bool] | None = None,
    ) -> None:
        super().__init__()
        self.local = local
        self.remote = remote
        self.reports: list[Report] = []
        self._stream = stream
        self._tap = tap
        self._flow = flow
        self._opens = claim is None
        self._claim = claim
        self._assembler = Assembler()
        self._waiting: dict[str, asyncio.Future[Response]] = {}

    async def bind(self) -> None:
        """Send the empty SEND by which the active side binds the connection (RFC 4975 §5.4, RFC 6135 §4.2.2)."""
        await self._transact("SEND", (("Message-ID", _token()), ("Byte-Range", "1-0/0")), None)

    async def greet(self) -> None:
        """The active side binds; the passive one was bound before it came to be a session."""
        if self._opens:
            await self.bind()

    async def send_text(self, text: str) -> None:
        await self.send(text)

    async def receive_text(self) -> str:
        return (await self.receive()).content.decode(errors="replace")

    async def send(self, text: str, *, content_type: str = "text/plain", success_report: bool = False) -> str:
        """Send `text`, in as many chunks as it needs; returns its Message-ID once every chunk was answered with 200.

        Raises SendRefusedError, SessionClosedError or TimeoutError.
        """
        content = text.encode()
        message_id = _token()
        for start in range(0, max(len(content), 1), CHUNK_BYTES):
            piece = content[start:start + CHUNK_BYTES]
            last = start + len(piece) == len(content)
            place = ByteRange(start + 1, start + len(piece), len(content))
            headers = [("Message-ID", message_id)]
            if success_report:
                headers.append(("Success-Report", "yes"))
            headers += [("Byte-Range", str(place)), ("Content-Type", content_type)]
            await self._transact("SEND", tuple(headers), piece, "$" if last else "+")
        return message_id

    async def receive(self) -> Received:
        """The next complete message. Raises SessionClosedError when no more can come."""
        return await self._next_that_came()

    async def wait_closed(self) -> None:
        await asyncio.wait([self._task])

    async def _transact(
        self, method: str, headers: tuple[tuple[str, str], ...], body: bytes | None, flag: str = "$",
    ) -> None:
        self._check_open()
        transaction = _token()
        while body is not None and f"-------{transaction}".encode() in body:
            transaction = _token()
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting[transaction] = answer
        try:
            self._write(Request(transaction, method, (*self._paths(), *headers), body, flag))
            async with asyncio.timeout(TRANSACTION_TIMEOUT):
                response = await answer
        finally:
            self._waiting.pop(transaction, None)
        if response.status != 200:
            raise SendRefusedError(response.status, response.comment)

    def _paths(self) -> tuple[tuple[str, str], ...]:
        return ("To-Path", " ".join(map(str, self.remote))), ("From-Path", str(self.local))

    def _write(self, frame: Frame) -> None:
        self._show("out", frame)
        self._stream.write(frame.to_bytes())

    async def _run(self) -> None:
        parser = Parser()
        try:
            while data := await self._stream.read():
                for frame in parser.feed(data):
                    self._show("in", frame)
                    self._take(frame)
            self.failure = self.failure or "the peer closed the connection"
        except (OSError, MsrpError) as error:   # ssl.SSLError is an OSError
            self.failure = str(error)
        except asyncio.CancelledError:
            self.failure = self.failure or "closed by us"
            raise
        finally:
            self._end()

    def _end(self) -> None:
        self._stream.close()
        self._came.put_nowait(None)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(SessionClosedError(self.failure))

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Response):
            answer = self._waiting.get(frame.transaction)
            if answer is not None and not answer.done():
                answer.set_result(frame)
            return
        status, comment = self._judge(frame)
        quiet = {"yes": False, "no": True, "partial": status == 200}.get(frame.get("Failure-Report") or "yes", False)
        if frame.method != "REPORT" and not quiet:
            self._write(response_to(frame, status, comment))
        if status == 200:
            self._deliver(frame)

    def _judge(self, request: Request) -> tuple[int, str]:
        """Status for a request: first whose it is (RFC 4975 §5.4, §7.3), then whether it can be understood."""
        try:
            targets = [parse_uri_untrusted(uri) for uri in (request.get("To-Path") or "").split()]
        except MsrpError:
            return 400, "To-Path cannot be read"
        if len(targets) != 1 or not targets[0].matches(self.local):
            return 481, "no such session here"
        if self._claim is not None:
            if not self._claim(self):
                return 506, "session in use on another connection"
            self._claim = None
        if not request.get("From-Path"):
            return 400, "From-Path is absent"
        if request.method not in {"SEND", "REPORT"}:
            return 501, "method unknown"
        if request.body is not None and not request.get("Content-Type"):
            return 400, "Content-Type is absent"
        if not request.get("Message-ID"):
            return 400, "Message-ID is absent"
        return 200, "OK"

    def _deliver(self, request: Request) -> None:
        if request.method == "REPORT":
            status = (request.get("Status") or "").split()
            code = int(status[1]) if len(status) > 1 and status[1].isdecimal() else 0
            self.reports.append(Report(request.get("Message-ID") or "", code, request.get("Byte-Range") or ""))
            return
        if request.body is None:
            return   # binds the connection and carries nothing
        message = self._assembler.receive(request)
        if message is None:
            return
        self._came.put_nowait(message)
        if request.get("Success-Report") == "yes":
            length = len(message.content)
            self._write(Request(_token(), "REPORT", (
                ("To-Path", request.get("From-Path") or ""), ("From-Path", str(self.local)),
                ("Message-ID", message.message_id), ("Byte-Range", f"1-{length}/{length}"), ("Status", "000 200 OK"),
            )))

    def _show(self, direction: Direction, frame: Frame) -> None:
        if isinstance(frame, Response):
            text = f"{frame.status} {frame.comment}".rstrip()
        else:
            length = 0 if frame.body is None else len(frame.body)
            text = f"{frame.method} {length} octets" if length else f"{frame.method} (empty)"
        self._tap.event(
            "MSRP", direction, text, flow=self._flow, local=self._stream.local, peer=self._stream.peer,
            facts={"id": f"{frame.transaction}/{text}"},
        )


def _token() -> str:
    """A fresh ident of RFC 4975 §9."""
    return secrets.token_hex(8)
