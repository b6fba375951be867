"""From octets to messages (RFC 3261 §7, §18.3), and the checks that a message must pass before use (§8.2, §16.3)."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

from pcscf.errors import MalformedMessage, MessageTooLarge, UnsupportedScheme, VersionNotSupported
from pcscf.sip import grammar
from pcscf.sip.headers import KEPT, Via, is_number, parse_via, value_of_line
from pcscf.sip.layout import Layout, layout_of
from pcscf.sip.message import SIP_VERSION, Message, Request, Response, assemble_request, assemble_response

MAX_MESSAGE: Final = 65536
MAX_HEADER_LINES: Final = 256
MAX_HEADER_LINE: Final = 8192
MAX_DIGITS: Final = 16
MAX_MAX_FORWARDS: Final = 255
FEW: Final = 256
"""Results that are kept of what has few values: status lines, lengths, hops."""

KNOWN_METHODS: Final = frozenset({
    "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "UPDATE",
    "INFO", "MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER", "PUBLISH",
})  # fmt: skip
"""Spared the check of their characters; any token is a method."""

KNOWN_SCHEMES: Final = frozenset({"sip", "sips", "tel", "urn"})

class OversizedMessage(MessageTooLarge, MalformedMessage):
    """Larger than MAX_MESSAGE. Answered with 513; for whoever only asks whether it could be read, malformed."""


def parse_datagram_untrusted(data: bytes, max_message: int = MAX_MESSAGE) -> Request | Response:
    """The message in one datagram. Raises MalformedMessage or VersionNotSupported.

    Leading CRLFs are skipped; octets beyond Content-Length are ignored (RFC 3261 §18.3). The `request` of an error is
    what could be read of a request, or None: a datagram that is not worth an answer (a response, keep-alive, noise).
    """
    if data.startswith(b"\r\n"):
        data = grammar.leading_line_ends.sub(b"", data, 1)
    if len(data) > max_message:
        raise OversizedMessage(f"message larger than {max_message} octets")
    octets, blank, rest = data.partition(b"\r\n\r\n")
    head = octets.decode("utf-8", "surrogateescape")
    try:
        if not blank:
            raise MalformedMessage("no empty line ends the header section")  # noqa: TRY301 – one place adds `request`
        message, length = _parse_head(head)
        message.body = rest if length is None or length == len(rest) else _cut(rest, length)
    except (MalformedMessage, VersionNotSupported) as error:
        error.request = _salvage(head)
        raise
    return message


class StreamParser:
    """Cuts a byte stream into messages (RFC 3261 §18.3)."""

    def __init__(self, max_message: int = MAX_MESSAGE) -> None:
        self._max_message = max_message
        self._buffer = bytearray()
        self._searched = 0
        self._message: Request | Response | None = None
        self._missing = 0
        self._line_ends = 0
        self._pings = 0
        self.failure: MalformedMessage | VersionNotSupported | None = None
        """Set once the stream cannot be read any further; the connection must close."""

    @property
    def keepalives(self) -> int:
        """How many pings (double CRLF, RFC 5626 §3.5.1) came since this was last asked; each wants a CRLF in return."""
        pings, self._pings = self._pings, 0
        return pings

    @property
    def is_idle(self) -> bool:
        """Whether nothing of an unfinished message has come."""
        return not self._buffer and self._message is None

    def feed(self, data: bytes) -> list[Request | Response]:
        """The messages that `data` completes.

        Raises MalformedMessage or VersionNotSupported, with `request` as for datagrams. Messages ahead of an unreadable
        one are still returned: then `failure` is set, and the next call raises.
        """
        if self.failure is not None:
            raise self.failure
        self._buffer += data
        messages: list[Request | Response] = []
        try:
            while (message := self._next()) is not None:
                messages.append(message)
        except (MalformedMessage, VersionNotSupported) as error:
            self.failure = error
            if not messages:
                raise
        return messages

    def _next(self) -> Request | Response | None:
        message = self._message
        if message is None:
            message = self._next_head()
            if message is None:
                return None
        if len(self._buffer) < self._missing:
            self._message = message
            return None
        message.body = bytes(self._buffer[: self._missing])
        del self._buffer[: self._missing]
        self._message = None
        return message

    def _next_head(self) -> Request | Response | None:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
            self._line_ends += 1
            if self._line_ends == 2:
                self._line_ends = 0
                self._pings += 1
        if not buffer or buffer == b"\r":
            return None
        self._line_ends = 0
        end = buffer.find(b"\r\n\r\n", self._searched)
        if end < 0:
            if len(buffer) > self._max_message:
                raise OversizedMessage(f"header section larger than {self._max_message} octets")
            self._searched = max(0, len(buffer) - 3)
            return None
        self._searched = 0
        head = buffer[:end].decode("utf-8", "surrogateescape")
        del buffer[: end + 4]
        try:
            message, length = _parse_head(head)
            self._missing = _stream_length(length, self._max_message - end - 4)
        except (MalformedMessage, VersionNotSupported) as error:
            error.request = _salvage(head)
            raise
        return message


def _parse_head(head: str) -> tuple[Request | Response, int | None]:
    """The message without its body, and its Content-Length."""
    lines = head.split("\r\n")
    flat = "".join(lines)
    if "\r" in flat or "\n" in flat:
        # Whoever ends lines at a bare CR or LF would see other header fields here than we do.
        raise MalformedMessage("CR or LF that is not part of a CRLF")
    try:
        start_line = lines.pop(0)
        layout = _layout_of(lines)
    except MalformedMessage:
        start_line, *lines = grammar.continuation.split(head)
        layout = _layout_of(lines)
    if len(lines) > MAX_HEADER_LINES:
        raise MalformedMessage(f"more than {MAX_HEADER_LINES} header lines")
    if len(head) > MAX_HEADER_LINE and max(len(start_line), *map(len, lines)) > MAX_HEADER_LINE:
        raise MalformedMessage(f"a line longer than {MAX_HEADER_LINE} characters")
    message: Request | Response
    if start_line[:4].upper() == "SIP/":
        message = assemble_response(*_status_line(start_line), lines, layout)
    else:
        message = assemble_request(*_request_line(start_line), lines, layout)
    places = layout.places.get("content-length")
    if places is None:
        return message, None
    if len(places) > 1:
        raise MalformedMessage("more than one Content-Length")
    return message, _length_of_line(lines[places[0]])


def _layout_of(lines: list[str]) -> Layout:
    try:
        names = tuple([line[: line.index(":")] for line in lines])
    except ValueError:
        without = next(line for line in lines if ":" not in line)
        raise MalformedMessage(f"header line without colon: {without[:80]!r}") from None
    return layout_of(names)


@lru_cache(KEPT)
def _request_line(text: str) -> tuple[str, str, str]:
    """Method, Request-URI, version."""
    parts = text.split(" ")
    if len(parts) != 3 or not parts[1]:
        raise MalformedMessage(f"not a Request-Line: {text[:80]!r}")
    method, uri, version = parts
    if method not in KNOWN_METHODS and not grammar.token.fullmatch(method):
        raise MalformedMessage(f"not a method: {method[:80]!r}")
    _check_version(version)
    return method, uri, version


@lru_cache(FEW)
def _status_line(text: str) -> tuple[str, int, str]:
    """Version, status, reason phrase."""
    version, _, rest = text.partition(" ")
    _check_version(version)
    status, space, reason = rest.partition(" ")
    if not space or len(status) != 3 or not is_number(status) or not 100 <= int(status) <= 699:
        raise MalformedMessage(f"not a Status-Line: {text[:80]!r}")
    return version, int(status), reason


def _check_version(version: str) -> None:
    if version == SIP_VERSION or version.upper() == SIP_VERSION:
        return
    if grammar.sip_version.fullmatch(version):
        raise VersionNotSupported(f"version not supported: {version[:80]}")
    raise MalformedMessage(f"not a SIP version: {version[:80]!r}")


@lru_cache(FEW)
def _length_of_line(line: str) -> int:
    text = value_of_line(line)
    if len(text) > MAX_DIGITS or not is_number(text):
        raise MalformedMessage(f"Content-Length cannot be read: {text[:80]!r}")
    return int(text)


def _cut(rest: bytes, length: int) -> bytes:
    if length > len(rest):
        raise MalformedMessage(f"Content-Length is {length}, but only {len(rest)} octets follow")
    return rest[:length]


def _stream_length(length: int | None, room: int) -> int:
    if length is None:
        raise MalformedMessage("a message on a stream needs Content-Length")
    if length > room:
        raise OversizedMessage(f"Content-Length is {length}, but a message may have {room} octets more")
    return length


def _salvage(head: str) -> Request | None:
    """What an answer to an unreadable request can be made of: its start line and the header lines that are in order."""
    start_line, *rest = grammar.continuation.split(head)
    words = start_line.split()
    if len(words) < 2 or words[0].upper().startswith("SIP/") or not grammar.token.fullmatch(words[0]):
        return None
    lines, names = [], []
    for line in rest[:MAX_HEADER_LINES]:
        name, colon, value = line.partition(":")
        name_match = grammar.header_name.fullmatch(name)
        bare = grammar.folding.sub(" ", value)
        if colon and name_match is not None and "\r" not in bare and "\n" not in bare and len(line) <= MAX_HEADER_LINE:
            lines.append(line)
            names.append(name)
    layout = layout_of(tuple(names))
    if "via" not in layout.places:
        return None
    return assemble_request(words[0], words[1], SIP_VERSION, lines, layout)


def check_request(request: Request) -> None:
    """Whether a parsed request may be worked with (RFC 3261 §8.2, §16.3). Raises a SipError with the status to answer.

    400: a mandatory field is missing, malformed or repeated; CSeq does not fit the method; the Request-URI cannot be
    read. 416: its scheme is unknown. 505: the version is. Max-Forwards may be missing: the caller adds it (§16.6).
    """
    if request.version != SIP_VERSION:
        _check_version(request.version)
    _check_common(request)
    if request.cseq[1] != request.method:
        raise MalformedMessage(f"CSeq is for {request.cseq[1][:40]}, the request is {request.method[:40]}")
    for line in request.lines_of("Max-Forwards"):
        _check_hops(line)
    uri = request.uri_parsed
    if uri.scheme not in KNOWN_SCHEMES:
        raise UnsupportedScheme(f"Request-URI of unknown scheme {uri.scheme[:40]}:")
    if uri.headers:
        # A proxy must neither forward nor expand them (RFC 4475 §3.1.2.11).
        raise MalformedMessage("header fields in the Request-URI")


@lru_cache(FEW)
def _check_hops(line: str) -> None:
    hops = value_of_line(line)
    if not is_number(hops) or len(hops) > MAX_DIGITS or int(hops) > MAX_MAX_FORWARDS:
        raise MalformedMessage(f"Max-Forwards is not between 0 and {MAX_MAX_FORWARDS}: {hops[:40]!r}")


def check_response(response: Response) -> None:
    """Whether a parsed response may be worked with. Raises MalformedMessage: the caller drops it (RFC 3261 §18.1.2)."""
    _check_common(response)
    lines = response.lines_of("Via")
    if "," not in lines[0]:
        del lines[0]
    if any(map(grammar.maybe_not_unicast.search, lines)):
        _check_next_hop(response.values("Via"))


def _check_next_hop(vias: list[str]) -> None:
    if len(vias) > 1 and grammar.maybe_not_unicast.search(vias[1]) and not _is_unicast(parse_via(vias[1])):
        # Whoever forwards it would multiply it (RFC 4475 §3.3.10).
        raise MalformedMessage(f"the next Via is not a unicast address: {vias[1][:80]!r}")


def _is_unicast(via: Via) -> bool:
    try:
        address = ipaddress.ip_address(via.received or via.host)
    except ValueError:
        return True
    return not address.is_multicast and str(address) != "255.255.255.255"


def _check_common(message: Message) -> None:
    message.read_mandatory()
    if message.layout.repeated:
        raise MalformedMessage(f"more than one {message.layout.repeated}")
