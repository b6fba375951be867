"""A session description as a lossless list of lines (RFC 8866 §5).

Text is read as ISO 8859-1, one character per octet, so whatever came in goes out again octet by octet. Lines that
nobody edits keep their spelling, blanks and line ending.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from typing import TypeAlias

from pcscf.errors import MalformedSdp

MAX_SDP_BYTES = 65_535  # a session description travels in one SIP message
MAX_LINES = 2_000
MAX_MEDIA = 64
MAX_PORT = 65_535

_NONE: tuple[str, ...] = ()
_CRLF_LINES = re.compile(r"(?>(?:[a-z]=[^\r\n\0]*+\r\n)*)[a-z]=[^\r\n\0]*+")
_MAX_KNOWN = 512
_MAX_KNOWN_CHARACTERS = 1024
_LINE = re.compile(r"[a-z]=[^\r\n\0]*\r?")


_Places: TypeAlias = tuple[Mapping[str, Sequence[int]], Mapping[str, int]]
"""Indexes of the a= lines by name in lower case, and of the first line of each other type by its letter."""

_known: dict[tuple[str, ...], _Places] = {}
"""Where lines stand follows from their names, which are the same in all descriptions of one kind. Shared, never changed."""


def _learn(names: tuple[str, ...]) -> _Places:
    places: dict[str, list[int]] = {}
    fields: dict[str, int] = {}
    for place, name in enumerate(names):
        if name[0] == "a":
            places.setdefault(name[2:].rstrip().lower(), []).append(place)
        else:
            fields.setdefault(name, place)
    if sum(map(len, names)) <= _MAX_KNOWN_CHARACTERS:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        _known[names] = places, fields
    return places, fields


class Section:
    """The session part, or one m-line with the lines under it. `lines` carry no line ending.

    Attribute names compare in lower case: peers exist that write them otherwise. Values come without blanks around
    them. Edit `lines` only through the methods.
    """

    __slots__ = ("_fields", "_places", "lines")

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self._places: Mapping[str, Sequence[int]] | None = None
        self._fields: Mapping[str, int] = {}

    @property
    def places(self) -> Mapping[str, Sequence[int]]:
        """Indexes in `lines` of the a= lines, by name in lower case."""
        return self._places if self._places is not None else self._find_places()

    def _find_places(self) -> Mapping[str, Sequence[int]]:
        names = tuple([line.partition(":")[0] if line[0] == "a" else line[0] for line in self.lines])
        self._places, self._fields = _known.get(names) or _learn(names)
        return self._places

    def has(self, name: str) -> bool:
        """Whether there is an attribute `name` (lower case)."""
        return name in (self._places if self._places is not None else self._find_places())

    def values(self, name: str) -> tuple[str, ...]:
        """All values of attribute `name` (lower case), in order; that of a flag is ""."""
        places = (self._places if self._places is not None else self._find_places()).get(name)
        if places is None:
            return _NONE
        if len(places) == 1:
            return (self.lines[places[0]].partition(":")[2].strip(),)
        return tuple([self.lines[place].partition(":")[2].strip() for place in places])

    def value(self, name: str) -> str | None:
        """The first value of attribute `name` (lower case)."""
        places = (self._places if self._places is not None else self._find_places()).get(name)
        return None if places is None else self.lines[places[0]].partition(":")[2].strip()

    def field(self, letter: str) -> str | None:
        """The value of the first line of type `letter` ("c", "o", …, but no "a"), blanks around it removed."""
        place = self._place_of(letter)
        return None if place is None else self.lines[place][2:].strip()

    def replace_field(self, letter: str, value: str) -> bool:
        """Give the first line of type `letter` another value; False: there is none."""
        place = self._place_of(letter)
        if place is None:
            return False
        if self.lines[place][2:].strip() != value:
            self.lines[place] = f"{letter}={value}"
        return True

    def _place_of(self, letter: str) -> int | None:
        if self._places is not None:
            return self._fields.get(letter)
        for place, line in enumerate(self.lines):
            if line[0] == letter:
                return place
        return None

    def set_connection(self, value: str) -> None:
        """Replace c=, or insert it where RFC 8866 §5 wants it in an m-section: after m= and i=."""
        if not self.replace_field("c", value):
            place = 2 if len(self.lines) > 1 and self.lines[1][0] == "i" else 1
            self.lines.insert(place, f"c={value}")
            self._places = None

    def copy(self) -> Section:
        """An equal section to edit."""
        section = Section(self.lines.copy())
        section._places, section._fields = self._places, self._fields
        return section

    def set_attributes(self, changes: Mapping[str, Sequence[str]]) -> None:
        """Give each attribute named in `changes` (lower case) these values: at the place of its first line, else at the
        end. An empty sequence removes the attribute. A line whose value stays keeps its octets.
        """
        places, lines = self.places, self.lines
        edits: dict[int, Sequence[str]] = {}
        added: list[str] = []
        for name, values in changes.items():
            found = places.get(name)
            if found is None:
                added += [_attribute_line(name, value) for value in values]
            elif not values:
                for place in found:
                    edits[place] = _NONE
            elif tuple(values) != self.values(name):
                for place in found:
                    edits[place] = _NONE
                written = lines[found[0]][2:].partition(":")[0].rstrip()
                edits[found[0]] = [_attribute_line(written, value) for value in values]
        if edits or added:
            for place in sorted(edits, reverse=True):
                lines[place : place + 1] = edits[place]
            lines += added
            self._places = None

    def remove_values(self, name: str, values: Container[str]) -> None:
        """Take away the lines of an attribute (lower case) that have one of these values; its other lines keep their places."""
        unwanted = [place for place, value in zip(self.places.get(name, ()), self.values(name), strict=True) if value in values]
        for place in reversed(unwanted):
            del self.lines[place]
        if unwanted:
            self._places = None


class MediaSection(Section):
    """One m-line (RFC 8866 §5.14) with the lines under it. `port` is 0..65535, `port_count` 1 unless written."""

    __slots__ = ("formats", "media", "port", "port_count", "proto")

    def __init__(self, lines: list[str]) -> None:
        """`lines` begin with an m-line. Raises ValueError, with the reason, when it cannot be read."""
        Section.__init__(self, lines)
        fields = lines[0][2:].split(None, 3)
        if len(fields) != 4:
            raise ValueError("m= needs media, port, proto and a format")
        self.media, port, self.proto, formats = fields
        self.formats = formats.rstrip()
        port, slash, count = port.partition("/")
        if not (is_port(port) and (not slash or is_port(count))):
            raise ValueError(f"'{fields[1]}' is not a port of 0 to {MAX_PORT}")
        self.port = int(port)
        self.port_count = int(count) if slash else 1

    def closed(self) -> MediaSection:
        """A bare m-line with port 0 for the same media (RFC 3264 §6)."""
        return MediaSection([f"m={self.media} 0 {self.proto} {self.formats}"])

    def copy(self) -> MediaSection:
        """An equal section to edit."""
        section = MediaSection.__new__(MediaSection)
        section.lines, section._places, section._fields = self.lines.copy(), self._places, self._fields
        section.media, section.port, section.port_count = self.media, self.port, self.port_count
        section.proto, section.formats = self.proto, self.formats
        return section

    def set_media(self, port: int, proto: str) -> None:
        """Give the m-line another port and proto; media and formats stay."""
        if port != self.port or proto != self.proto:
            self.port, self.port_count, self.proto = port, 1, proto
            self.lines[0] = f"m={self.media} {port} {proto} {self.formats}"


class Sdp:
    """A session description: the session part and one section per m-line, in order."""

    __slots__ = ("_ending", "_tail", "media", "session")

    def __init__(self, session: Section, media: list[MediaSection], ending: str = "\r\n", tail: str = "\r\n") -> None:
        self.session = session
        self.media = media
        self._ending = ending
        self._tail = tail

    def copy(self) -> Sdp:
        """An equal description to edit."""
        return Sdp(self.session.copy(), [m.copy() for m in self.media], self._ending, self._tail)

    def to_bytes(self) -> bytes:
        """The octets: of an unedited description exactly those it was parsed from."""
        return (self._ending.join(self.lines()) + self._tail).encode("latin-1")

    def lines(self) -> list[str]:
        """The lines of all sections, without their endings."""
        lines = self.session.lines.copy()
        for section in self.media:
            lines += section.lines
        return lines


def parse_sdp_untrusted(data: bytes) -> Sdp:
    """Read a session description of a peer.

    Raises MalformedSdp when the m-lines cannot be told for certain. Missing or misplaced o=, s=, t= and c= lines, bare
    LF and blank lines at the end are common in the field and do not matter to us.
    """
    if len(data) > MAX_SDP_BYTES:
        raise MalformedSdp(f"{len(data)} octets, more than {MAX_SDP_BYTES}")
    text = data.decode("latin-1")
    body = text.rstrip("\r\n")
    tail = text[len(body) :]
    ending = "\r\n"
    if not _CRLF_LINES.fullmatch(body):
        # With mixed line endings each line keeps its own CR, a blank at the end of its value.
        ending = "\n"
        if tail.startswith("\r\n"):
            body += "\r"
            tail = tail[1:]
        for number, line in enumerate(body.split(ending), 1):
            if not _LINE.fullmatch(line):
                raise MalformedSdp("is not of the form <letter>=<value>", line=number)
    if (count := body.count("\n") + 1) > MAX_LINES:
        raise MalformedSdp(f"{count} lines, more than {MAX_LINES}")
    first, *others = body.split(f"{ending}m=")
    session = first.split(ending)
    if session[0].rstrip() != "v=0":
        raise MalformedSdp("does not begin with v=0", line=1)
    if len(others) > MAX_MEDIA:
        start = len(session) + sum(other.count("\n") + 1 for other in others[:MAX_MEDIA]) + 1
        raise MalformedSdp(f"{len(others)} m-lines, more than {MAX_MEDIA}", line=start)
    start = len(session) + 1
    media: list[MediaSection] = []
    for other in others:
        lines = f"m={other}".split(ending)
        try:
            media.append(MediaSection(lines))
        except ValueError as error:
            raise MalformedSdp(str(error), line=start) from None
        start += len(lines)
    return Sdp(Section(session), media, ending, tail)


def is_port(text: str) -> bool:
    """Whether `text` is a number of 0..65535."""
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= MAX_PORT


def _attribute_line(name: str, value: str) -> str:
    return f"a={name}:{value}" if value else f"a={name}"
