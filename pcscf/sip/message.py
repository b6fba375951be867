"""SIP messages: a start line, header lines exactly as received, a body (RFC 3261 §7).

A message is a layout, which says where each field stands, and its header lines as text, so that a line nobody changed leaves
byte-equal. Values are unfolded when asked for.
Text is UTF-8 with surrogateescape: octets that are not UTF-8 survive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Final, Generic, Self, TypeVar

from pcscf.errors import MalformedMessage
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
from pcscf.sip.layout import KEYS, Layout, layout_of
from pcscf.sip.status import REASON_PHRASES
from pcscf.sip.uri import Uri, parse_uri

SIP_VERSION: Final = "SIP/2.0"

_READ_ONCE: Final = {"via": "top_via", "from": "from_tag", "to": "to_tag", "cseq": "cseq", "call-id": "call_id"}
"""Key of a field → the attribute that keeps what was read of it."""

_COPIED: Final = ("from", "to", "call-id", "cseq")
_COPIED_TO_100: Final = (*_COPIED, "timestamp")
_TOP: Final = (0,)

_T = TypeVar("_T")


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
    """What requests and responses share. `name` arguments are long forms in any case; "Via" finds "v" too."""

    layout: Layout
    _lines: list[str]
    body: bytes
    version: str

    def __init__(self, headers: Iterable[tuple[str, str]] = (), body: bytes = b"", version: str = SIP_VERSION) -> None:
        self._lines = [_line(name, value) for name, value in headers]
        self.layout = layout_of(tuple([line[: line.index(":")] for line in self._lines]))
        self.body = body
        self.version = version

    def _changed(self, key: str) -> None:
        if key in _READ_ONCE:
            self.__dict__.pop(_READ_ONCE[key], None)

    def _start(self) -> str:
        raise NotImplementedError

    @property
    def start_line(self) -> str:
        """The Request-Line or Status-Line."""
        return self._start()

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """(name, value) per line as received: all left of the colon, all right of it with blanks and folding.

        A copy: the methods below change the message.
        """
        pairs = [line.partition(":") for line in self._lines]
        return tuple([(name, value) for name, _, value in pairs])

    @property
    def keys(self) -> tuple[str, ...]:
        """Per header line its long name in lower case."""
        return self.layout.keys

    # --- reading

    def get(self, name: str) -> str | None:
        """Value of the first line of that name, unfolded and trimmed."""
        places = self.layout.places.get(KEYS[name])
        return None if places is None else value_of_line(self._lines[places[0]])

    def lines_of(self, name: str) -> list[str]:
        """The lines of that name, names included, exactly as received."""
        places, lines = self.layout.places.get(KEYS[name]), self._lines
        if places is None:
            return []
        return [lines[places[0]]] if len(places) == 1 else [lines[place] for place in places]

    def lines_with(self, keys: frozenset[str]) -> list[str]:
        """The lines whose key is one of these, in the order of the message."""
        lines = self._lines
        return [lines[place] for place in self.layout.places_of(keys)]

    def get_all(self, name: str) -> list[str]:
        """One value per line, unfolded and trimmed."""
        return list(map(value_of_line, self.lines_of(name)))

    def values(self, name: str) -> list[str]:
        """The comma-separated elements of all lines in order; commas within quotes and <> do not split."""
        places = self.layout.places.get(KEYS[name])
        if places is None:
            return []
        if len(places) == 1:
            return list(elements_of_line(self._lines[places[0]]))
        return list(chain.from_iterable([elements_of_line(self._lines[place]) for place in places]))

    def has(self, name: str) -> bool:
        """Whether there is a line of that name."""
        return KEYS[name] in self.layout.places

    __contains__ = has

    # --- changing

    def set(self, name: str, value: str) -> None:
        """One line of that name: the first keeps its place and spelling, the others go. Appended if there was none."""
        self.set_values(name, (value,))

    def add(self, name: str, value: str) -> None:
        """A new line at the end."""
        self._insert(len(self._lines), KEYS[name], _line(name, value))

    def prepend(self, name: str, value: str) -> None:
        """A new line before the first of that name; where there is none, after the Via lines, or at the top."""
        key, places = KEYS[name], self.layout.places
        place = places[key][0] if key in places else places["via"][-1] + 1 if "via" in places else 0
        self._insert(place, key, _line(name, value))

    def _insert(self, place: int, key: str, line: str) -> None:
        self._lines.insert(place, line)
        self.layout = self.layout.with_line(place, key)
        if key in _READ_ONCE:
            self._changed(key)

    def remove(self, name: str) -> None:
        """All lines of that name."""
        key = KEYS[name]
        if key in self.layout.places:
            self._remove(self.layout.places[key])
            self._changed(key)

    def remove_all(self, keys: frozenset[str]) -> None:
        """All lines whose key is one of these. Of no use for the fields that are read once."""
        places = self.layout.places_of(keys)
        if places:
            self._remove(places)

    def _remove(self, places: tuple[int, ...]) -> None:
        self.layout = self.layout.without(places)
        for place in reversed(places):
            del self._lines[place]

    def remove_first_value(self, name: str) -> None:
        """Without the first element (Via, Route …); the rest of its line stays as it came, an emptied line goes."""
        key, lines = KEYS[name], self._lines
        places = self.layout.places.get(key)
        if places is None:
            return
        place = places[0]
        line = lines[place]
        if "," not in line or end_of_element(line, colon := line.index(":") + 1) == len(line):
            self._remove((place,))
        else:
            lines[place] = line[:colon] + line[end_of_element(line, colon) + 1 :]
        if key in _READ_ONCE:
            self._changed(key)

    def set_values(self, name: str, values: Sequence[str]) -> None:
        """One line per value at the place of the first of that name and spelled so, or at the end; [] removes all."""
        key, lines = KEYS[name], self._lines
        places = self.layout.places.get(key)
        if places is None:
            lines += [_line(name, value) for value in values]
        else:
            first, *others = places
            name = lines[first].partition(":")[0]
            for place in reversed(others):
                del lines[place]
            lines[first : first + 1] = [_line(name, value) for value in values]
        if len(values) != (0 if places is None else len(places)):
            self.layout = self.layout.with_count(key, len(values))
        if key in _READ_ONCE:
            self._changed(key)

    def replace_first_line(self, name: str, value: str) -> None:
        """Puts `value`, written exactly so, right of the colon of the first line of that name.

        Raises ValueError if there is none.
        """
        self.rewrite_first_line(name, lambda line: f"{line.partition(':')[0]}:{value}")
        self._changed(KEYS[name])

    def rewrite_first_line(self, name: str, rewrite: Callable[[str], str]) -> None:
        """Puts what `rewrite` makes of the first line of that name, as received, in its place.

        Raises ValueError if there is none. Of no use for the fields that are read once.
        """
        places = self.layout.places.get(KEYS[name])
        if places is None:
            raise ValueError(f"there is no {name}")
        self._lines[places[0]] = rewrite(self._lines[places[0]])

    def prepend_via(self, value: str, via: Via) -> None:
        """A new Via line on top; `via` is what `value` says."""
        place = self.layout.places.get("via", _TOP)[0]
        self._lines.insert(place, f"Via: {value}")
        self.layout = self.layout.with_line(place, "via")
        self.top_via = via

    def replace_top_via(self, raw: str, via: Via) -> None:
        """Puts `raw` right of the colon of the first Via line; `via` is what its first element says now."""
        place = self.layout.places["via"][0]
        self._lines[place] = f"{self._lines[place].partition(':')[0]}:{raw}"
        self.top_via = via

    def first_line(self, name: str) -> str | None:
        """What stands right of the colon in the first line of that name, exactly as received."""
        places = self.layout.places.get(KEYS[name])
        return None if places is None else self._lines[places[0]].partition(":")[2]

    def set_body(self, body: bytes, content_type: str | None = None) -> None:
        """Replaces the body and corrects Content-Length; sets Content-Type if given."""
        self.body = body
        if content_type is not None:
            self.set("Content-Type", content_type)
        self.set("Content-Length", str(len(body)))

    def copy_lines(self, source: Message, *names: str) -> None:
        """Appends the lines of these names from `source`, exactly as received, in the order of `names`."""
        for name in names:
            for line in source.lines_of(name):
                self._insert(len(self._lines), KEYS[name], line)

    # --- mandatory fields, read once

    def _first_line(self, key: str) -> str:
        """The first line of that key, "" when there is none."""
        places = self.layout.places.get(key)
        return "" if places is None else self._lines[places[0]]

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

    def read_mandatory(self) -> None:
        """Reads all of the above at once. Raises MalformedMessage, also for what is missing or empty."""
        lines, places = self._lines, self.layout.places
        try:
            via = places["via"][0]
            if "top_via" not in self.__dict__:
                self.top_via = via_of_line(lines[via])
            self.from_tag = tag_of_line(lines[places["from"][0]])
            self.to_tag = tag_of_line(lines[places["to"][0]])
            self.call_id = call_id_of_line(lines[places["call-id"][0]])
            self.cseq = cseq_of_line(lines[places["cseq"][0]])
        except KeyError:
            missing = [key for key in _READ_ONCE if key not in places]
            raise MalformedMessage(f"missing: {', '.join(missing)}") from None

    # --- writing

    @property
    def length(self) -> int:
        """Octets on the wire, each character of the header section counted as one."""
        return sum(map(len, self._lines)) + 2 * len(self._lines) + len(self._start()) + 4 + len(self.body)

    def to_bytes(self) -> bytes:
        """The message on the wire; byte-identical to what was received as long as nothing was changed."""
        head = "\r\n".join([self._start(), *self._lines]) + "\r\n\r\n"
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

    def _start(self) -> str:
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
        twin.layout = self.layout
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

    def _start(self) -> str:
        return f"{self.version} {self.status} {self.reason}"

    def copy(self) -> Self:
        twin = object.__new__(type(self))
        twin.version = self.version
        twin.status = self.status
        twin.reason = self.reason
        twin.body = self.body
        twin._lines = self._lines.copy()
        twin.layout = self.layout
        return twin

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.get('CSeq')}>"


def assemble_request(method: str, uri: str, version: str, lines: list[str], layout: Layout) -> Request:
    """For the parser: header lines as received (folding within) and their layout."""
    request = object.__new__(Request)
    request.method = method
    request.uri = uri
    request.version = version
    request.body = b""
    request._lines = lines
    request.layout = layout
    return request


def assemble_response(version: str, status: int, reason: str, lines: list[str], layout: Layout) -> Response:
    """For the parser: header lines as received (folding within) and their layout."""
    response = object.__new__(Response)
    response.version = version
    response.status = status
    response.reason = reason
    response.body = b""
    response._lines = lines
    response.layout = layout
    return response


def response_to(request: Request, status: int, reason: str = "", *, to_tag: str = "") -> Response:
    """A response without body (RFC 3261 §8.2.6): Via lines, From, To, Call-ID and CSeq as received.

    reason: the phrase of the RFC when "". to_tag: added to To unless it has a tag or `status` is 100.
    A 100 carries Timestamp.
    Fields that the request lacks are left out, so that a malformed request can be answered.
    """
    lines = request.lines_of("Via")
    keys = ["via"] * len(lines)
    for key in _COPIED_TO_100 if status == 100 else _COPIED:
        line = request._first_line(key)
        if line:
            lines.append(line)
            keys.append(key)
    lines.append("Content-Length: 0")
    keys.append("content-length")
    response = assemble_response(SIP_VERSION, status, reason or REASON_PHRASES.get(status, ""), lines, layout_of(tuple(keys)))
    if to_tag and status != 100:
        _add_to_tag(response, to_tag)
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
