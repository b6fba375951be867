"""SIP messages: a start line, header lines exactly as received, a body (RFC 3261 §7).

A message keeps its header lines as text and beside them their keys (long names in lower case), so that a line nobody
changed leaves byte-equal, and finding a field is one search through a short list. Values are unfolded when asked for.
Text is UTF-8 with surrogateescape: octets that are not UTF-8 survive.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Self

from pcscf.errors import MalformedMessage
from pcscf.sip import grammar
from pcscf.sip.headers import (
    NameAddr,
    Via,
    end_of_element,
    parse_cseq,
    parse_name_addr,
    parse_tag,
    parse_via,
    split_values,
    unfold,
)
from pcscf.sip.status import REASON_PHRASES
from pcscf.sip.uri import Uri, parse_uri

SIP_VERSION: Final = "SIP/2.0"

COMPACT_FORMS: Final = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}

_MAX_KNOWN_NAMES: Final = 4096
_MAX_KNOWN_NAME_LENGTH: Final = 48
_CACHED_FIELDS: Final = frozenset({"from", "to", "cseq", "call-id"})


class _Keys(dict[str, str]):
    """Header name as written → its key. Remembers a bounded number of spellings; names from the network fill it."""

    def __missing__(self, name: str) -> str:
        match = grammar.header_name.fullmatch(name)
        if match is None:
            raise MalformedMessage(f"not a header field name: {name[:80]!r}")
        key = match[1].lower()
        key = COMPACT_FORMS.get(key, key)
        if len(self) < _MAX_KNOWN_NAMES and len(name) <= _MAX_KNOWN_NAME_LENGTH:
            self[name] = key
        return key


KEYS: Final = _Keys()


def _line(name: str, value: str) -> str:
    if "\n" in value or "\r" in value:
        value = unfold(value)
        if "\n" in value or "\r" in value:
            raise ValueError(f"{name}: a header field value must be one line")
    return f"{name}:{value}" if value[:1] in {" ", "\t"} else f"{name}: {value}"


class Message:
    """What requests and responses share. `name` arguments are long forms in any case; "Via" finds "v" too."""

    __slots__ = ("_call_id", "_cseq", "_from_tag", "_keys", "_lines", "_to_tag", "_via", "body", "version")

    def __init__(self, headers: Iterable[tuple[str, str]] = (), body: bytes = b"", version: str = SIP_VERSION) -> None:
        self._lines = [_line(name, value) for name, value in headers]
        self._keys = [KEYS[line[: line.index(":")]] for line in self._lines]
        self.body = body
        self.version = version
        self._forget()

    def _forget(self) -> None:
        self._cseq: tuple[int, str] | None = None
        self._via: Via | None = None
        self._from_tag: str | None = None
        self._to_tag: str | None = None
        self._call_id: str | None = None

    def _changed(self, key: str) -> None:
        if key == "via":
            self._via = None
        elif key in _CACHED_FIELDS:
            self._forget()

    @property
    def start_line(self) -> str:
        raise NotImplementedError

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """(name, value) per line as received: all left of the colon, all right of it with blanks and folding.

        A copy: the methods below change the message.
        """
        pairs = [line.partition(":") for line in self._lines]
        return tuple([(name, value) for name, _, value in pairs])

    @property
    def keys(self) -> Sequence[str]:
        """Per header line its long name in lower case. Not to be changed."""
        return self._keys

    # --- reading

    def _places(self, key: str) -> list[int]:
        """Indexes of the lines with that key."""
        keys = self._keys
        count = keys.count(key)
        if not count:
            return []
        place = keys.index(key)
        places = [place]
        while len(places) < count:
            place = keys.index(key, place + 1)
            places.append(place)
        return places

    def _value(self, place: int) -> str:
        value = self._lines[place].partition(":")[2]
        return unfold(value) if "\n" in value else value.strip(" \t")

    def get(self, name: str) -> str | None:
        """Value of the first line of that name, unfolded and trimmed."""
        key = KEYS[name]
        keys = self._keys
        if key not in keys:
            return None
        value = self._lines[keys.index(key)].partition(":")[2]
        return unfold(value) if "\n" in value else value.strip(" \t")

    def get_all(self, name: str) -> list[str]:
        """One value per line, unfolded and trimmed."""
        return [self._value(place) for place in self._places(KEYS[name])]

    def values(self, name: str) -> list[str]:
        """The comma-separated elements of all lines in order; commas within quotes and <> do not split."""
        places = self._places(KEYS[name])
        if not places:
            return []
        elements = split_values(self._value(places[0]))
        for place in places[1:]:
            elements += split_values(self._value(place))
        return elements

    def __contains__(self, name: str) -> bool:
        return KEYS[name] in self._keys

    # --- changing

    def set(self, name: str, value: str) -> None:
        """One line of that name: the first keeps its place and spelling, the others go. Appended if there was none."""
        key = KEYS[name]
        if self._keys.count(key) != 1:
            self.set_values(name, [value])
            return
        place = self._keys.index(key)
        self._lines[place] = _line(self._lines[place].partition(":")[0], value)
        self._changed(key)

    def add(self, name: str, value: str) -> None:
        """A new line at the end."""
        self._insert(len(self._lines), KEYS[name], _line(name, value))

    def prepend(self, name: str, value: str) -> None:
        """A new line before the first of that name; where there is none, after the Via lines, or at the top."""
        key = KEYS[name]
        keys = self._keys
        place = 0
        if key in keys:
            place = keys.index(key)
        elif "via" in keys:
            place = len(keys) - keys[::-1].index("via")
        self._insert(place, key, _line(name, value))

    def _insert(self, index: int, key: str, line: str) -> None:
        self._lines.insert(index, line)
        self._keys.insert(index, key)
        self._changed(key)

    def remove(self, name: str) -> None:
        """All lines of that name."""
        key = KEYS[name]
        for place in reversed(self._places(key)):
            del self._lines[place], self._keys[place]
        self._changed(key)

    def remove_first_value(self, name: str) -> None:
        """Without the first element (Via, Route …); the rest of its line stays as it came, an emptied line goes."""
        key = KEYS[name]
        if key not in self._keys:
            return
        index = self._keys.index(key)
        line = self._lines[index]
        if "," not in line or end_of_element(line, colon := line.index(":") + 1) == len(line):
            del self._lines[index], self._keys[index]
        else:
            self._lines[index] = line[:colon] + line[end_of_element(line, colon) + 1 :]
        self._changed(key)

    def set_values(self, name: str, values: Sequence[str]) -> None:
        """One line per value at the place of the first of that name and spelled so, or at the end; [] removes all."""
        key = KEYS[name]
        places = self._places(key)
        place = len(self._lines)
        if places:
            place = places[0]
            name = self._lines[place].partition(":")[0]
        for extra in reversed(places):
            del self._lines[extra], self._keys[extra]
        self._lines[place:place] = [_line(name, value) for value in values]
        self._keys[place:place] = [key] * len(values)
        self._changed(key)

    def replace_first_line(self, name: str, value: str) -> None:
        """Puts `value`, written exactly so, right of the colon of the first line of that name.

        Raises ValueError if there is none.
        """
        key = KEYS[name]
        index = self._keys.index(key)
        line = self._lines[index]
        self._lines[index] = line[: line.index(":") + 1] + value
        self._changed(key)

    def prepend_via(self, value: str, via: Via) -> None:
        """A new Via line on top; `via` is what `value` says."""
        keys = self._keys
        place = keys.index("via") if "via" in keys else 0
        self._lines.insert(place, f"Via: {value}")
        keys.insert(place, "via")
        self._via = via

    def replace_top_via(self, raw: str, via: Via) -> None:
        """Puts `raw` right of the colon of the first Via line; `via` is what its first element says now."""
        self.replace_first_line("Via", raw)
        self._via = via

    def first_line(self, name: str) -> str | None:
        """What stands right of the colon in the first line of that name, exactly as received."""
        key = KEYS[name]
        return self._lines[self._keys.index(key)].partition(":")[2] if key in self._keys else None

    def set_body(self, body: bytes, content_type: str | None = None) -> None:
        """Replaces the body and corrects Content-Length; sets Content-Type if given."""
        self.body = body
        if content_type is not None:
            self.set("Content-Type", content_type)
        self.set("Content-Length", str(len(body)))

    def copy_lines(self, source: Message, *names: str) -> None:
        """Appends the lines of these names from `source`, exactly as received, in the order of `names`."""
        lines = source._lines
        for name in names:
            key = KEYS[name]
            for place in source._places(key):
                self._lines.append(lines[place])
                self._keys.append(key)
        self._forget()

    # --- mandatory fields, read once

    @property
    def call_id(self) -> str:
        """Empty when absent."""
        if self._call_id is None:
            self._call_id = self.get("Call-ID") or ""
        return self._call_id

    @property
    def cseq(self) -> tuple[int, str]:
        """(number, method). Raises MalformedMessage."""
        if self._cseq is None:
            self._cseq = parse_cseq(self.get("CSeq") or "")
        return self._cseq

    @property
    def from_(self) -> NameAddr:
        """Raises MalformedMessage."""
        return parse_name_addr(self.get("From") or "")

    @property
    def to(self) -> NameAddr:
        """Raises MalformedMessage."""
        return parse_name_addr(self.get("To") or "")

    @property
    def from_tag(self) -> str:
        """Empty when there is none (RFC 2543). Raises MalformedMessage."""
        if self._from_tag is None:
            self._from_tag = parse_tag(self.get("From") or "")
        return self._from_tag

    @property
    def to_tag(self) -> str:
        """Empty outside a dialog. Raises MalformedMessage."""
        if self._to_tag is None:
            self._to_tag = parse_tag(self.get("To") or "")
        return self._to_tag

    @property
    def top_via(self) -> Via:
        """Raises MalformedMessage."""
        if self._via is None:
            value = self.get("Via") or ""
            self._via = parse_via(value[: end_of_element(value)] if "," in value else value)
        return self._via

    # --- writing

    @property
    def length(self) -> int:
        """Octets on the wire, each character of the header section counted as one."""
        return sum(map(len, self._lines)) + 2 * len(self._lines) + len(self.start_line) + 4 + len(self.body)

    def to_bytes(self) -> bytes:
        """The message on the wire; byte-identical to what was received as long as nothing was changed."""
        head = "\r\n".join([self.start_line, *self._lines]) + "\r\n\r\n"
        return head.encode("utf-8", "surrogateescape") + self.body

    def copy(self) -> Self:
        """An independent message with the same content."""
        twin = object.__new__(type(self))
        twin._lines = self._lines.copy()
        twin._keys = self._keys.copy()
        twin._cseq, twin._via, twin._call_id = self._cseq, self._via, self._call_id
        twin._from_tag, twin._to_tag = self._from_tag, self._to_tag
        twin.body = self.body
        twin.version = self.version
        return twin


class Request(Message):
    """`headers` given to the constructor are written as `Name: value`."""

    __slots__ = ("_uri_parsed", "method", "uri")

    def __init__(
        self,
        method: str,
        uri: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        version: str = SIP_VERSION,
    ) -> None:
        super().__init__(headers, body, version)
        self.method = method
        self.uri = uri
        self._uri_parsed: tuple[str, Uri] | None = None

    @property
    def start_line(self) -> str:
        return f"{self.method} {self.uri} {self.version}"

    @property
    def uri_parsed(self) -> Uri:
        """The Request-URI. Raises MalformedMessage."""
        if self._uri_parsed is None or self._uri_parsed[0] != self.uri:
            self._uri_parsed = (self.uri, parse_uri(self.uri))
        return self._uri_parsed[1]

    def copy(self) -> Self:
        twin = super().copy()
        twin.method = self.method
        twin.uri = self.uri
        twin._uri_parsed = self._uri_parsed
        return twin

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri} {self.get('CSeq')}>"


class Response(Message):
    """`headers` given to the constructor are written as `Name: value`."""

    __slots__ = ("reason", "status")

    def __init__(
        self,
        status: int,
        reason: str = "",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        version: str = SIP_VERSION,
    ) -> None:
        super().__init__(headers, body, version)
        self.status = status
        self.reason = reason

    @property
    def start_line(self) -> str:
        return f"{self.version} {self.status} {self.reason}"

    def copy(self) -> Self:
        twin = super().copy()
        twin.status = self.status
        twin.reason = self.reason
        return twin

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.get('CSeq')}>"


def assemble_request(method: str, uri: str, version: str, lines: list[str], keys: list[str]) -> Request:
    """For the parser: header lines as received (folding within) with their keys, in step."""
    request = object.__new__(Request)
    request.method = method
    request.uri = uri
    request.version = version
    request.body = b""
    request._lines = lines
    request._keys = keys
    request._cseq = request._via = request._from_tag = request._to_tag = request._call_id = request._uri_parsed = None
    return request


def assemble_response(version: str, status: int, reason: str, lines: list[str], keys: list[str]) -> Response:
    """For the parser: header lines as received (folding within) with their keys, in step."""
    response = object.__new__(Response)
    response.version = version
    response.status = status
    response.reason = reason
    response.body = b""
    response._lines = lines
    response._keys = keys
    response._cseq = response._via = response._from_tag = response._to_tag = response._call_id = None
    return response


def response_to(request: Request, status: int, reason: str = "", *, to_tag: str = "") -> Response:
    """A response without body (RFC 3261 §8.2.6): Via lines, From, To, Call-ID and CSeq as received.

    reason: the phrase of the RFC when "". to_tag: added to To unless it has a tag or `status` is 100.
    A 100 carries Timestamp.
    Fields that the request lacks are left out, so that a malformed request can be answered.
    """
    lines, keys = request._lines, request._keys
    kept = [place for place in (*request._places("via"), *_first_places(keys)) if place >= 0]
    response = assemble_response(
        SIP_VERSION, status, reason or REASON_PHRASES.get(status, ""),
        [lines[place] for place in kept], [keys[place] for place in kept])
    if status == 100:
        response.copy_lines(request, "Timestamp")
    elif to_tag:
        _add_to_tag(response, to_tag)
    response.add("Content-Length", "0")
    return response


def _first_places(keys: list[str]) -> list[int]:
    """Indexes of the first From, To, Call-ID and CSeq; -1 for one that is missing."""
    return [keys.index(key) if key in keys else -1 for key in ("from", "to", "call-id", "cseq")]


def _add_to_tag(response: Response, tag: str) -> None:
    raw = response.first_line("To")
    if raw is None:
        return
    try:
        if response.to_tag:
            return
    except MalformedMessage:
        return
    response.replace_first_line("To", f"{raw.rstrip()};tag={tag}")
