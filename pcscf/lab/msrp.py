"""MSRP on the wire (RFC 4975): URIs and their comparison, frames, a stream parser, the joining of chunks.

Nothing here does I/O; `msrp_session` puts it on a connection.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import unquote

from pcscf.errors import PcscfError

MAX_HEADER_BYTES = 8_192
MAX_CHUNK_BYTES = 1_048_576
MAX_MESSAGE_BYTES = 4_194_304
MAX_OPEN_MESSAGES = 64

HeaderList = tuple[tuple[str, str], ...]

_IDENT = r"[A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}"
_REQUEST_LINE = re.compile(rf"MSRP ({_IDENT}) ([A-Z]+)")
_RESPONSE_LINE = re.compile(rf"MSRP ({_IDENT}) (\d{{3}})(?: (.*))?")
_URI = re.compile(
    r"(msrps?)://(?:[^@/;\s]*@)?(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/;\s]+)(?::(\d{1,5}))?"
    r"(?:/([A-Za-z0-9\-._~+=/]+))?;([A-Za-z0-9]+)((?:;[^;\s]+)*)",
    re.IGNORECASE,
)
_RANGE = re.compile(r"(\d{1,15})-(\d{1,15}|\*)/(\d{1,15}|\*)")


class MsrpError(PcscfError):
    """Octets that are not MSRP: the connection must be closed."""


@dataclass(frozen=True, slots=True)
class MsrpUri:
    """An MSRP URI (RFC 4975 §6). `text` is the URI as it was written; `host` has no brackets; `port` None = absent."""

    text: str
    scheme: str
    host: str
    port: int | None
    session: str
    transport: str

    def __str__(self) -> str:
        return self.text

    def matches(self, other: MsrpUri) -> bool:
        """Whether both name the same session (RFC 4975 §6.1): every part counts, userinfo apart."""
        return self._comparable() == other._comparable()

    def _comparable(self) -> tuple[object, ...]:
        return self.scheme.lower(), _comparable_host(self.host), self.port, self.session, self.transport.lower()


def _comparable_host(host: str) -> object:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return unquote(host).lower()


def parse_uri_untrusted(text: str) -> MsrpUri:
    """One MSRP URI. Raises MsrpError."""
    match = _URI.fullmatch(text.strip())
    if match is None:
        raise MsrpError(f"not an MSRP URI: {text[:80]!r}")
    scheme, host, port, session, transport, _ = match.groups()
    return MsrpUri(
        text=text.strip(), scheme=scheme, host=host.strip("[]"), port=int(port) if port else None,
        session=session or "", transport=transport,
    )


@dataclass(frozen=True, slots=True)
class Request:
    """A request frame. `body` None = no content at all; `flag`: `$` last chunk, `+` more follow, `#` given up."""

    transaction: str
    method: str
    headers: HeaderList
    body: bytes | None = None
    flag: str = "$"

    def get(self, name: str) -> str | None:
        return _get(self.headers, name)

    def to_bytes(self) -> bytes:
        start = f"MSRP {self.transaction} {self.method}\r\n" + _header_text(self.headers)
        content = b"" if self.body is None else b"\r\n" + self.body + b"\r\n"
        return start.encode() + content + f"-------{self.transaction}{self.flag}\r\n".encode()


@dataclass(frozen=True, slots=True)
class Response:
    """A response frame; it never has a body."""

    transaction: str
    status: int
    comment: str
    headers: HeaderList

    def get(self, name: str) -> str | None:
        return _get(self.headers, name)

    def to_bytes(self) -> bytes:
        comment = f" {self.comment}" if self.comment else ""
        start = f"MSRP {self.transaction} {self.status:03d}{comment}\r\n" + _header_text(self.headers)
        return f"{start}-------{self.transaction}$\r\n".encode()


Frame = Request | Response


def _get(headers: HeaderList, name: str) -> str | None:
    return next((value for key, value in headers if key.lower() == name.lower()), None)


def _header_text(headers: HeaderList) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers)


def response_to(request: Request, status: int, comment: str = "") -> Response:
    """The response to `request` (RFC 4975 §7.2): back to the hop it came from, signed with the URI it was sent to."""
    to_path = (request.get("From-Path") or "").split(" ")[0]
    return Response(
        request.transaction, status, comment, (("To-Path", to_path), ("From-Path", request.get("To-Path") or "")),
    )


class Parser:
    """Frames out of a byte stream. `feed` raises MsrpError once; after that the connection is of no use."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        start_end = self._buffer.find(b"\r\n")
        if start_end < 0:
            if len(self._buffer) > MAX_HEADER_BYTES:
                raise MsrpError("start line without end")
            return None
        start_line = _text(self._buffer[:start_end])
        match = _REQUEST_LINE.fullmatch(start_line) or _RESPONSE_LINE.fullmatch(start_line)
        if match is None:
            raise MsrpError(f"not an MSRP start line: {start_line[:80]!r}")
        end = self._find_end_line(match[1].encode(), start_end)
        if end is None:
            return None
        content = bytes(self._buffer[start_end + 2:end])
        flag = chr(self._buffer[end + 7 + len(match[1])])
        del self._buffer[:end + 7 + len(match[1]) + 3]
        self._searched = 0
        headers, body = _split_content(content)
        if match.re is _REQUEST_LINE:
            return Request(match[1], match[2], headers, body, flag)
        return Response(match[1], int(match[2]), match[3] or "", headers)

    def _find_end_line(self, transaction: bytes, start_end: int) -> int | None:
        """Where the end line begins. It stands at the start of a line, so the CRLF before it is part of the search."""
        marker = b"\r\n-------" + transaction
        position = max(start_end, self._searched - len(marker) - 3)
        while (position := self._buffer.find(marker, position)) >= 0:
            tail = bytes(self._buffer[position + len(marker):position + len(marker) + 3])
            if len(tail) < 3:
                break
            if tail in {b"$\r\n", b"+\r\n", b"#\r\n"}:
                return position + 2
            position += 1
        self._searched = len(self._buffer)
        if len(self._buffer) > MAX_CHUNK_BYTES + MAX_HEADER_BYTES:
            raise MsrpError("frame too long")
        return None


def _text(data: bytes | bytearray) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MsrpError("header text is not UTF-8") from error


def _split_content(content: bytes) -> tuple[HeaderList, bytes | None]:
    """Header fields and body of what stands between start line and end line."""
    head, blank_line, rest = content.partition(b"\r\n\r\n")
    if content.startswith(b"\r\n"):
        raise MsrpError("frame without header fields")
    if len(head) > MAX_HEADER_BYTES:
        raise MsrpError("header fields too long")
    headers = []
    for line in _text(head).split("\r\n"):
        name, colon, value = line.partition(":")
        if line and not (colon and name):
            raise MsrpError(f"not a header field: {line[:80]!r}")
        if line:
            headers.append((name, value.strip()))
    if not blank_line:
        return tuple(headers), None
    return tuple(headers), rest.removesuffix(b"\r\n")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Byte-Range: `start` counts from 1; `end` and `total` None = `*`."""

    start: int = 1
    end: int | None = None
    total: int | None = None

    def __str__(self) -> str:
        return f"{self.start}-{self.end or '*'}/{'*' if self.total is None else self.total}"


def parse_byte_range_untrusted(text: str | None) -> ByteRange:
    """A Byte-Range; an absent one is the whole message. Raises MsrpError."""
    if text is None:
        return ByteRange()
    match = _RANGE.fullmatch(text.strip())
    if match is None or int(match[1]) < 1:
        raise MsrpError(f"not a Byte-Range: {text[:80]!r}")
    end, total = (None if part == "*" else int(part) for part in match.groups()[1:])
    return ByteRange(int(match[1]), end, total)


@dataclass(frozen=True, slots=True)
class Received:
    """A complete message."""

    message_id: str
    content_type: str
    content: bytes


@dataclass(slots=True)
class _Building:
    content_type: str = ""
    content: bytearray = field(default_factory=bytearray)
    filled: list[tuple[int, int]] = field(default_factory=list)   # half-open octet ranges, unsorted
    total: int | None = None

    def complete(self) -> bool:
        if self.total is None:
            return False
        reached = 0
        for start, end in sorted(self.filled):
            if start > reached:
                return False
            reached = max(reached, end)
        return reached >= self.total


class Assembler:
    """Joins the chunks of messages, in whatever order they come; a later chunk overwrites (RFC 4975 §7.3.1)."""

    def __init__(self) -> None:
        self._open: dict[str, _Building] = {}

    def receive(self, send: Request) -> Received | None:
        """The message that `send` completes, or None. Raises MsrpError where the limits or the syntax are broken."""
        message_id = send.get("Message-ID") or ""
        if send.flag == "#":
            self._open.pop(message_id, None)
            return None
        place = parse_byte_range_untrusted(send.get("Byte-Range"))
        body = send.body or b""
        start = place.start - 1
        if start + len(body) > MAX_MESSAGE_BYTES:
            self._open.pop(message_id, None)
            raise MsrpError("message too long")
        if message_id not in self._open and len(self._open) >= MAX_OPEN_MESSAGES:
            raise MsrpError("too many unfinished messages")
        building = self._open.setdefault(message_id, _Building())
        building.content_type = send.get("Content-Type") or building.content_type
        if len(building.content) < start:
            building.content.extend(bytes(start - len(building.content)))
        building.content[start:start + len(body)] = body
        building.filled.append((start, start + len(body)))
        if send.flag == "$":
            building.total = start + len(body)
        if not building.complete():
            return None
        del self._open[message_id]
        return Received(message_id, building.content_type, bytes(building.content[:building.total]))
