"""SIP messages: a start line, header lines exactly as received, a body (RFC 3261 §7).

A message keeps its header lines as text and beside them their keys (long names in lower case), so that a line nobody
changed leaves byte-equal, and finding a field is one search through a short list. Values are unfolded when asked for.
Text is UTF-8 with surrogateescape: octets that are not UTF-8 survive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final, Generic, Self, TypeVar

from pcscf.errors import MalformedMessage
from pcscf.sip import grammar
from pcscf.sip.headers import (
    NameAddr,
    Via,
    call_id_of_line,
    cseq_of_line,
    elements_of_line,
    end_of_element,
    parse_name_addr,
    tag_of_line,
    unfold,
    value_of_line,
    via_of_line,
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
_READ_ONCE: Final = {"via": "top_via", "from": "from_tag", "to": "to_tag", "cseq": "cseq", "call-id": "call_id"}
"""Key of a field → the attribute that keeps what was read of it."""

_T = TypeVar("_T")


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


class _ReadOnce(Generic[_T]):
    """An attribute that is read when first asked for. It then stays with the message until its field is changed."""

    def __init__(self, read: Callable[[Any], _T]) -> None:
        self._read = read
        self._name = read.__name__
        self.__doc__ = read.__doc__

    def __get__(self, message: Message, _: type[Message]) -> _T:
        value = self._read(message)
        setattr(message, self._name, value)
        return value


class Message:
    """What requests and responses share. `name` arguments are long forms in any case; "Via" finds "v" too.

    keys: per header line its long name in lower case. Only to be looked at.
    """

    def __init__(self, headers: Iterable[tuple[str, str]] = (), body: bytes = b"", version: str = SIP_VERSION) -> None:
        self._lines = [_line(name, value) for name, value in headers]
        self.keys = [KEYS[line[: line.index(":")]] for line in self._lines]
        self.body = body
        self.version = version

    def _changed(self, key: str) -> None:
        if key in _READ_ONCE:
            self.__dict__.pop(_READ_ONCE[key], None)

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

    # --- reading

    def _places(self, key: str) -> list[int]:
        """Indexes of the lines with that key."""
        keys = self.keys
        count = keys.count(key)
        if not count:
            return []
        place = keys.index(key)
        places = [place]
        while len(places) < count:
            place = keys.index(key, place + 1)
            places.append(place)
        return places

    def get(self, name: str) -> str | None:
        """Value of the first line of that name, unfolded and trimmed."""
        key = KEYS[name]
        keys = self.keys
        if key not in keys:
            return None
        value = self._lines[keys.index(key)].partition(":")[2]
        return unfold(value) if "\n" in value else value.strip(" \t")

    def lines_of(self, name: str) -> list[str]:
        """The lines of that name, names included, exactly as received."""
        key = KEYS[name]
        return self._lines_of(key) if key in self.keys else []

    def _lines_of(self, key: str) -> list[str]:
        keys = self.keys
        place = keys.index(key)
        end = place + keys.count(key)
        if keys[place:end].count(key) < end - place:
            return [self._lines[each] for each in self._places(key)]
        return self._lines[place:end]

    def get_all(self, name: str) -> list[str]:
        """One value per line, unfolded and trimmed."""
        return list(map(value_of_line, self.lines_of(name)))

    def values(self, name: str) -> list[str]:
        """The comma-separated elements of all lines in order; commas within quotes and <> do not split."""
        key = KEYS[name]
        keys = self.keys
        if key not in keys:
            return []
        if keys.count(key) == 1:
            return list(elements_of_line(self._lines[keys.index(key)]))
        return list(chain.from_iterable(map(elements_of_line, self._lines_of(key))))

    def __contains__(self, name: str) -> bool:
        return KEYS[name] in self.keys

    # --- changing

    def set(self, name: str, value: str) -> None:
        """One line of that name: the first keeps its place and spelling, the others go. Appended if there was none."""
        key = KEYS[name]
        keys = self.keys
        if keys.count(key) != 1:
            self.set_values(name, [value])
            return
        place = keys.index(key)
        lines = self._lines
        lines[place] = _line(lines[place].partition(":")[0], value)
        if key in _READ_ONCE:
            self._changed(key)

    def add(self, name: str, value: str) -> None:
        """A new line at the end."""
        self._insert(len(self._lines), KEYS[name], _line(name, value))

    def prepend(self, name: str, value: str) -> None:
        """A new line before the first of that name; where there is none, after the Via lines, or at the top."""
        key = KEYS[name]
        keys = self.keys
        place = 0
        if key in keys:
            place = keys.index(key)
        elif "via" in keys:
            place = len(keys) - keys[::-1].index("via")
        self._insert(place, key, _line(name, value))

    def _insert(self, index: int, key: str, line: str) -> None:
        self._lines.insert(index, line)
        self.keys.insert(index, key)
        if key in _READ_ONCE:
            self._changed(key)

    def remove(self, name: str) -> None:
        """All lines of that name."""
        key = KEYS[name]
        for place in reversed(self._places(key)):
            del self._lines[place], self.keys[place]
        self._changed(key)

    def remove_first_value(self, name: str) -> None:
        """Without the first element (Via, Route …); the rest of its line stays as it came, an emptied line goes."""
        key = KEYS[name]
        keys, lines = self.keys, self._lines
        if key not in keys:
            return
        index = keys.index(key)
        line = lines[index]
        if "," not in line or end_of_element(line, colon := line.index(":") + 1) == len(line):
            del lines[index], keys[index]
        else:
            lines[index] = line[:colon] + line[end_of_element(line, colon) + 1 :]
        if key in _READ_ONCE:
            self._changed(key)

    def set_values(self, name: str, values: Sequence[str]) -> None:
        """One line per value at the place of the first of that name and spelled so, or at the end; [] removes all."""
        key = KEYS[name]
        keys, lines = self.keys, self._lines
        count = keys.count(key)
        place = end = len(keys)
        if count:
            place = keys.index(key)
            end = place + 1
            name = lines[place].partition(":")[0]
            for extra in reversed(self._places(key)[1:]) if count > 1 else ():
                del lines[extra], keys[extra]
        lines[place:end] = [_line(name, value) for value in values]
        keys[place:end] = [key] * len(values)
        if key in _READ_ONCE:
            self._changed(key)

    def replace_first_line(self, name: str, value: str) -> None:
        """Puts `value`, written exactly so, right of the colon of the first line of that name.

        Raises ValueError if there is none.
        """
        key = KEYS[name]
        index = self.keys.index(key)
        line = self._lines[index]
        self._lines[index] = line[: line.index(":") + 1] + value
        self._changed(key)

    def rewrite_first_line(self, name: str, rewrite: Callable[[str], str]) -> None:
        """Puts what `rewrite` makes of the first line of that name, as received, in its place.

        Raises ValueError if there is none. Of no use for the fields that are read once.
        """
        place = self.keys.index(KEYS[name])
        self._lines[place] = rewrite(self._lines[place])

    def prepend_via(self, value: str, via: Via) -> None:
        """A new Via line on top; `via` is what `value` says."""
        keys = self.keys
        place = keys.index("via") if "via" in keys else 0
        self._lines.insert(place, f"Via: {value}")
        keys.insert(place, "via")
        self.top_via = via

    def replace_top_via(self, raw: str, via: Via) -> None:
        """Puts `raw` right of the colon of the first Via line; `via` is what its first element says now."""
        place = self.keys.index("via")
        self._lines[place] = f"{self._lines[place].partition(':')[0]}:{raw}"
        self.top_via = via

    def first_line(self, name: str) -> str | None:
        """What stands right of the colon in the first line of that name, exactly as received."""
        key = KEYS[name]
        return self._lines[self.keys.index(key)].partition(":")[2] if key in self.keys else None

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
                self._insert(len(self.keys), key, lines[place])

    # --- mandatory fields, read once

    def _first_line(self, key: str) -> str:
        """The first line of that key, "" when there is none."""
        keys = self.keys
        return self._lines[keys.index(key)] if key in keys else ""

    @_ReadOnce
    def call_id(self) -> str:
        """Empty when absent."""
        return value_of_line(self._first_line("call-id"))

    @_ReadOnce
    def cseq(self) -> tuple[int, str]:
        """(number, method). Raises MalformedMessage."""
        return cseq_of_line(self._first_line("cseq"))

    @property
    def from_(self) -> NameAddr:
        """Raises MalformedMessage."""
        return parse_name_addr(self.get("From") or "")

    @property
    def to(self) -> NameAddr:
        """Raises MalformedMessage."""
        return parse_name_addr(self.get("To") or "")

    @_ReadOnce
    def from_tag(self) -> str:
        """Empty when there is none (RFC 2543). Raises MalformedMessage."""
        return tag_of_line(self._first_line("from"))

    @_ReadOnce
    def to_tag(self) -> str:
        """Empty outside a dialog. Raises MalformedMessage."""
        return tag_of_line(self._first_line("to"))

    @_ReadOnce
    def top_via(self) -> Via:
        """Raises MalformedMessage."""
        return via_of_line(self._first_line("via"))

    def first_lines(self) -> dict[str, str]:
        """Key → the first line of that name."""
        return dict(zip(reversed(self.keys), reversed(self._lines), strict=True))

    def read_mandatory(self) -> dict[str, str]:
        """Reads all of the above at once; gives `first_lines`. Raises MalformedMessage, also for what is missing or empty."""
        first = self.first_lines()
        try:
            _ = first["via"], self.top_via
            self.from_tag = tag_of_line(first["from"])
            self.to_tag = tag_of_line(first["to"])
            self.call_id = call_id_of_line(first["call-id"])
            self.cseq = cseq_of_line(first["cseq"])
        except KeyError:
            missing = [key for key in _READ_ONCE if key not in first]
            raise MalformedMessage(f"missing: {', '.join(missing)}") from None
        return first

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
        raise NotImplementedError


class Request(Message):
    """`headers` given to the constructor are written as `Name: value`."""

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

    @property
    def start_line(self) -> str:
        return f"{self.method} {self.uri} {self.version}"

    @property
    def uri_parsed(self) -> Uri:
        """The Request-URI. Raises MalformedMessage."""
        return parse_uri(self.uri)

    def copy(self) -> Self:
        twin = object.__new__(type(self))
        twin.method = self.method
        twin.uri = self.uri
        twin.version = self.version
        twin.body = self.body
        twin._lines = self._lines.copy()
        twin.keys = self.keys.copy()
        return twin

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri} {self.get('CSeq')}>"


class Response(Message):
    """`headers` given to the constructor are written as `Name: value`."""

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
        twin = object.__new__(type(self))
        twin.version = self.version
        twin.status = self.status
        twin.reason = self.reason
        twin.body = self.body
        twin._lines = self._lines.copy()
        twin.keys = self.keys.copy()
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
    request.keys = keys
    return request


def assemble_response(version: str, status: int, reason: str, lines: list[str], keys: list[str]) -> Response:
    """For the parser: header lines as received (folding within) with their keys, in step."""
    response = object.__new__(Response)
    response.version = version
    response.status = status
    response.reason = reason
    response.body = b""
    response._lines = lines
    response.keys = keys
    return response


def response_to(request: Request, status: int, reason: str = "", *, to_tag: str = "") -> Response:
    """A response without body (RFC 3261 §8.2.6): Via lines, From, To, Call-ID and CSeq as received.

    reason: the phrase of the RFC when "". to_tag: added to To unless it has a tag or `status` is 100.
    A 100 carries Timestamp.
    Fields that the request lacks are left out, so that a malformed request can be answered.
    """
    first = request.first_lines()
    lines = request.lines_of("Via")
    keys = ["via"] * len(lines)
    for key in ("from", "to", "call-id", "cseq", *(("timestamp",) if status == 100 else ())):
        if key in first:
            lines.append(first[key])
            keys.append(key)
    response = assemble_response(SIP_VERSION, status, reason or REASON_PHRASES.get(status, ""), lines, keys)
    if to_tag and status != 100:
        _add_to_tag(response, to_tag)
    lines.append("Content-Length: 0")
    keys.append("content-length")
    return response


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
