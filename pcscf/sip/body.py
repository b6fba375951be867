"""The session description in a body: alone, or as the one part of its kind in a multipart (RFC 3261 §7.4, RFC 5621)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from pcscf.errors import BodyNotSupported, MalformedMessage
from pcscf.sip.headers import parse_params, unfold, unquote
from pcscf.sip.message import Message

SDP: Final = "application/sdp"
OPEN_MULTIPARTS: Final = frozenset({"multipart/mixed", "multipart/alternative", "multipart/related"})
"""Those whose parts may change: what is signed or encrypted may not (RFC 1847)."""
EARLY_SESSION: Final = "early-session"
"""Disposition type and option tag of a description that is of another session than this one (RFC 3959)."""
MAX_PARTS: Final = 32
MAX_BOUNDARY: Final = 70   # RFC 2046 §5.1.1

_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\r\n]|\r?\n[ \t])*)(?:\r?\n|\Z)")
_EMPTY_LINE: Final = re.compile(rb"\A\r?\n|\r?\n\r?\n")
_PLAIN_ENCODINGS: Final = frozenset({"", "7bit", "8bit", "binary"})
_DESCRIBES_BODY: Final = ("Content-Type", "Content-Encoding", "Content-Disposition", "Content-Language")


@dataclass(frozen=True, slots=True)
class Description:
    """`sdp` stands in the body from `start` on. `length`: where its part says its own Content-Length, from and to."""

    sdp: bytes
    start: int = 0
    length: tuple[int, int] | None = None


class _Part(NamedTuple):
    """A part of a multipart: its boundary line begins at `opened`, its header at `start`, and the next boundary at `end`."""

    opened: int
    start: int
    end: int
    fields: dict[str, str]
    description: Description | None

    @property
    def disposition(self) -> str:
        return self.fields.get("content-disposition", "")


def description_untrusted(message: Message) -> Description | None:
    """The description of the session that `message` carries, None where it carries none; one of an early session does not count.

    Raises BodyNotSupported where that cannot be told, or where it could not be rewritten in its place: an encoded, nested,
    signed or encrypted body, one with several descriptions, one that is no multipart though it says so.
    """
    if not message.body:
        return None
    kind, parameters = _kind(message)
    if kind == SDP:
        _check(message.get("Content-Encoding") or "", "")
        return None if _is_early(message.get("Content-Disposition") or "") else Description(message.body)
    if not kind.startswith("multipart/"):
        return None
    found = [part.description for part in _parts(message, kind, parameters) if not _is_early(part.disposition)]
    described = [each for each in found if each is not None]
    if len(described) > 1:
        raise BodyNotSupported("the multipart has several session descriptions")
    return described[0] if described else None


def put_description(message: Message, found: Description, sdp: bytes) -> None:
    """Put `sdp` where `found` stands in `message`. All other octets stay; one that is the same leaves the message as it came."""
    if sdp == found.sdp:
        return
    body = message.body
    end = found.start + len(found.sdp)
    head, tail = body[: found.start], body[end:]
    if found.length is not None:
        first, last = found.length
        head = body[:first] + str(len(sdp)).encode() + body[last : found.start]
    message.set_body(head + sdp + tail)


def edit_descriptions_untrusted(message: Message, edit: Callable[[bytes], bytes]) -> None:
    """Put what `edit` makes of it in the place of every description in `message`, whatever session it is of.

    Raises BodyNotSupported where one may be hidden.
    """
    kind, parameters = _kind(message)
    if kind == SDP:
        put_description(message, Description(message.body), edit(message.body))
    elif kind.startswith("multipart/"):
        for part in reversed(list(_parts(message, kind, parameters))):   # from behind, so that places before it stay right
            if part.description is not None:
                put_description(message, part.description, edit(part.description.sdp))


def early_session_is_required_untrusted(message: Message) -> bool:
    """Whether a description of an early session must be understood: `handling` is "required" where it is not said
    (RFC 3261 §20.11). Raises BodyNotSupported as `description_untrusted`.
    """
    return any(_is_required(disposition) for disposition in _early_dispositions(message))


def drop_early_sessions_untrusted(message: Message) -> None:
    """Take the descriptions of early sessions out of `message`; a body that is left without parts goes as a whole.

    Raises BodyNotSupported as `description_untrusted`.
    """
    if not _early_dispositions(message):
        return
    kind, parameters = _kind(message)
    if kind == SDP:
        drop_body(message)
        return
    parts = list(_parts(message, kind, parameters))
    early = [part for part in parts if _is_early(part.disposition)]
    if len(early) == len(parts):
        drop_body(message)
        return
    body = message.body
    for part in reversed(early):
        body = body[: part.opened] + body[part.end :]
    message.set_body(body)


def drop_body(message: Message) -> None:
    """Send the message on without its body and what describes it."""
    for name in _DESCRIBES_BODY:
        message.remove(name)
    message.set_body(b"")


def _early_dispositions(message: Message) -> list[str]:
    """The Content-Disposition of every description of an early session."""
    if not message.body:
        return []
    kind, parameters = _kind(message)
    if kind == SDP:
        found = [message.get("Content-Disposition") or ""]
    elif kind.startswith("multipart/") and EARLY_SESSION.encode() in message.body.lower():
        found = [part.disposition for part in _parts(message, kind, parameters)]
    else:
        found = []
    return [each for each in found if _is_early(each)]


def _is_early(disposition: str) -> bool:
    return disposition.partition(";")[0].strip().lower() == EARLY_SESSION


def _is_required(disposition: str) -> bool:
    parameters = [each.strip().lower().replace(" ", "") for each in disposition.split(";")[1:]]
    return "handling=optional" not in parameters


def _kind(message: Message) -> tuple[str, str]:
    """The media type of the body in lower case, and the parameters of it."""
    kind, _, parameters = (message.get("Content-Type") or "").partition(";")
    return kind.strip().lower(), parameters


def _boundary(parameters: str) -> str:
    try:
        named = [value or "" for name, value in parse_params(f";{parameters}") if name.lower() == "boundary"]
    except MalformedMessage as error:
        raise BodyNotSupported(error.what) from error
    boundary = unquote(named[0]) if len(named) == 1 else ""
    if not (0 < len(boundary) <= MAX_BOUNDARY and boundary.isascii() and boundary.isprintable()):
        raise BodyNotSupported("the multipart has no boundary that can be used")
    return boundary


def _parts(message: Message, kind: str, parameters: str) -> Iterator[_Part]:
    """The parts of a multipart in order. Raises BodyNotSupported."""
    if kind not in OPEN_MULTIPARTS or message.get("Content-Encoding"):
        raise BodyNotSupported(f"a session description in {kind[:60]} cannot be read and rewritten")
    body, boundary = message.body, _boundary(parameters)
    line = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*(?:\r?\n|\Z)")
    place, parts = line.search(body), 0
    while place is not None and not place[1]:
        # The line break before a boundary belongs to it, also where it ends the boundary before (an empty part).
        following = line.search(body, max(place.end() - 2, place.start() + 1))
        if following is None:
            raise BodyNotSupported("the multipart has no end")
        parts += 1
        if parts > MAX_PARTS:
            raise BodyNotSupported(f"the multipart has more than {MAX_PARTS} parts")
        yield _part(body, place.start(), place.end(), max(place.end(), following.start()))
        place = following
    if not parts:
        raise BodyNotSupported("the multipart has no part")


def _part(body: bytes, opened: int, start: int, end: int) -> _Part:
    """The part whose header begins at `start`."""
    part = body[start:end]
    gap = _EMPTY_LINE.search(part)
    head = part[: gap.start()] if gap is not None else part
    fields: dict[str, str] = {}
    places: dict[str, tuple[int, int]] = {}
    at = 0
    while at < len(head):
        field = _FIELD.match(head, at)
        if field is None:
            raise BodyNotSupported("a part of the multipart has a header that cannot be read")
        name = field[1].decode("ascii").lower()
        if name in fields:
            raise BodyNotSupported(f"a part of the multipart has {name[:40]} twice")
        fields[name] = unfold(field[2].decode("utf-8", "surrogateescape")).strip()
        places[name] = field.span(2)
        at = field.end()
    kind = fields.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("multipart/"):
        raise BodyNotSupported("a multipart in a multipart cannot be read")
    if kind != SDP:
        return _Part(opened, start, end, fields, None)
    if gap is None:
        raise BodyNotSupported("a part of the multipart has no empty line after its header")
    _check(fields.get("content-encoding", ""), fields.get("content-transfer-encoding", ""))
    length = None
    if "content-length" in fields:
        first, last = places["content-length"]
        length = start + first, start + last
        blanks = part[first:last]
        length = length[0] + len(blanks) - len(blanks.lstrip()), length[1] - len(blanks) + len(blanks.rstrip())
    return _Part(opened, start, end, fields, Description(part[gap.end() :], start + gap.end(), length))


def _check(encoding: str, transfer_encoding: str) -> None:
    """Raises BodyNotSupported for a description that is encoded."""
    if encoding or transfer_encoding.lower() not in _PLAIN_ENCODINGS:
        raise BodyNotSupported("a session description must come without an encoding")
