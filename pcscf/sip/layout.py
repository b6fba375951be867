"""The layout of a message: which header fields it has, in which order – all that can be said of it without reading a value.

Messages of one kind from one sender have the same layout, so whatever follows from it is found once: where a field stands,
whether one that may stand once stands twice, and which layout comes of it when lines come and go.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final

from pcscf.errors import MalformedMessage
from pcscf.sip import grammar

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

SINGLE: Final = (
    "from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type", "content-encoding", "expires",
    "min-expires", "session-expires", "min-se", "event", "refer-to", "referred-by", "replaces", "rseq", "rack", "date",
    "timestamp", "subject", "user-agent", "p-charging-vector",
)  # fmt: skip
"""Keys of the fields that may stand once."""

_MAX_KNOWN_NAMES: Final = 4096
_MAX_KNOWN_NAME_LENGTH: Final = 48
_MAX_KNOWN_LAYOUTS: Final = 512
_MAX_KNOWN_LINES: Final = 64
_MAX_STEPS: Final = 64
_NOWHERE: Final[tuple[int, ...]] = ()


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


class Layout:
    """Shared by all messages that have it, and never changed.

    keys      per line the long name of its field in lower case
    places    per key the indexes of its lines, in order
    repeated  a key of SINGLE that stands more than once, "" where there is none
    """

    __slots__ = ("_found", "_steps", "keys", "places", "repeated")

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = tuple(keys)
        self.places: dict[str, tuple[int, ...]] = {}
        for place, key in enumerate(self.keys):
            self.places[key] = (*self.places.get(key, _NOWHERE), place)
        self.repeated = next((key for key in SINGLE if len(self.places.get(key, _NOWHERE)) > 1), "")
        self._steps: dict[Hashable, Layout] = {}
        self._found: dict[frozenset[str], tuple[int, ...]] = {}

    def places_of(self, keys: frozenset[str]) -> tuple[int, ...]:
        """The indexes of all lines with one of these keys, in order. `keys` is a constant of the program."""
        found = self._found.get(keys)
        if found is None:
            found = self._found[keys] = tuple([place for place, key in enumerate(self.keys) if key in keys])
        return found

    def with_line(self, place: int, key: str) -> Layout:
        """With another line at `place`."""
        return self._steps.get((place, key)) or self._step((place, key), (*self.keys[:place], key, *self.keys[place:]))

    def without(self, places: tuple[int, ...]) -> Layout:
        """Without the lines at these places."""
        return self._steps.get(places) or self._step(
            places, [key for place, key in enumerate(self.keys) if place not in places])

    def with_count(self, key: str, count: int) -> Layout:
        """With so many lines of that key where its first one stands, or at the end."""
        return self._steps.get((key, count)) or self._step((key, count), self._counted(key, count))

    def _counted(self, key: str, count: int) -> list[str]:
        place = self.places[key][0] if key in self.places else len(self.keys)
        before = [each for each in self.keys[:place] if each != key]
        return [*before, *[key] * count, *[each for each in self.keys[place:] if each != key]]

    def _step(self, step: Hashable, keys: Iterable[str]) -> Layout:
        layout = Layout(keys)
        if len(self._steps) < _MAX_STEPS and len(layout.keys) <= _MAX_KNOWN_LINES:
            self._steps[step] = layout
        return layout


_known: dict[tuple[str, ...], Layout] = {}


def layout_of(names: tuple[str, ...]) -> Layout:
    """The layout of header lines with these names, as written. Raises MalformedMessage for what is not a name."""
    return _known.get(names) or _learn(names)


def _learn(names: tuple[str, ...]) -> Layout:
    layout = Layout(map(KEYS.__getitem__, names))
    if len(names) <= _MAX_KNOWN_LINES and max(map(len, names), default=0) <= _MAX_KNOWN_NAME_LENGTH:
        if len(_known) >= _MAX_KNOWN_LAYOUTS:
            _known.clear()
        _known[names] = layout
    return layout
