"""The session description in a body: alone, or as the one part of its kind in a multipart (RFC 3261 §7.4, RFC 5621)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pcscf.errors import BodyNotSupported, MalformedMessage
from pcscf.sip.headers import parse_params, unfold, unquote
from pcscf.sip.message import Message

SDP: Final = "application/sdp"
OPEN_MULTIPARTS: Final = frozenset({"multipart/mixed", "multipart/alternative", "multipart/related"})
"""Those whose parts may change: what is signed or encrypted may not (RFC 1847)."""
MAX_PARTS: Final = 32
MAX_BOUNDARY: Final = 70   # RFC 2046 §5.1.1

_FIELD: Final = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\r\n]|\r?\n[ \t])*)(?:\r?\n|\Z)")
_EMPTY_LINE: Final = re.compile(rb"\A\r?\n|\r?\n\r?\n")
_PLAIN_ENCODINGS: Final = frozenset({"", "7bit", "8bit", "binary"})


@dataclass(frozen=True, slots=True)
class Description:
    """`sdp` stands in the body from `start` on. `length`: where its part says its own Content-Length, from and to."""

    sdp: bytes
    start: int = 0
    length: tuple[int, int] | None = None


def description_untrusted(message: Message) -> Description | None:
    """The session description that `message` carries, None where it carries none.

    Raises BodyNotSupported where that cannot be told, or where it could not be rewritten in its place: an encoded, nested,
    signed or encrypted body, one with several descriptions, one that is no multipart though it says so.
    """
    if not message.body:
        return None
    kind, _, parameters = (message.get("Content-Type") or "").partition(";")
    kind = kind.strip().lower()
    if kind == SDP:
        _check(message.get("Content-Encoding") or "", "", message.get("Content-Disposition") or "")
        return Description(message.body)
    if not kind.startswith("multipart/"):
        return None
    if kind not in OPEN_MULTIPARTS or message.get("Content-Encoding"):
        raise BodyNotSupported(f"a session description in {kind[:60]} cannot be read and rewritten")
    return _only_description(message.body, _boundary(parameters))


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


def drop_body(message: Message) -> None:
    """Send the message on without its body and what describes it."""
    for name in ("Content-Type", "Content-Encoding", "Content-Disposition", "Content-Language"):
        message.remove(name)
    message.set_body(b"")


def _boundary(parameters: str) -> str:
    try:
        named = [value or "" for name, value in parse_params(f";{parameters}") if name.lower() == "boundary"]
    except MalformedMessage as error:
        raise BodyNotSupported(error.what) from error
    boundary = unquote(named[0]) if len(named) == 1 else ""
    if not (0 < len(boundary) <= MAX_BOUNDARY and boundary.isascii() and boundary.isprintable()):
        raise BodyNotSupported("the multipart has no boundary that can be used")
    return boundary


def _only_description(body: bytes, boundary: str) -> Description | None:
    line = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*(?:\r?\n|\Z)")
    found: Description | None = None
    place, parts = line.search(body), 0
    while place is not None and not place[1]:
        # The line break before a boundary belongs to it, also where it ends the boundary before (an empty part).
        following = line.search(body, max(place.end() - 2, place.start() + 1))
        if following is None:
            raise BodyNotSupported("the multipart has no end")
        parts += 1
        if parts > MAX_PARTS:
            raise BodyNotSupported(f"the multipart has more than {MAX_PARTS} parts")
        one = _description_in(body, place.end(), max(place.end(), following.start()))
        if one is not None and found is not None:
            raise BodyNotSupported("the multipart has several session descriptions")
        found = one or found
        place = following
    if not parts:
        raise BodyNotSupported("the multipart has no part")
    return found


def _description_in(body: bytes, start: int, end: int) -> Description | None:
    """The description that is the part between `start` and `end`, None where it is something else."""
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
        return None
    if gap is None:
        raise BodyNotSupported("a part of the multipart has no empty line after its header")
    _check(
        fields.get("content-encoding", ""), fields.get("content-transfer-encoding", ""), fields.get("content-disposition", ""))
    length = None
    if "content-length" in fields:
        first, last = places["content-length"]
        length = start + first, start + last
        blanks = part[first:last]
        length = length[0] + len(blanks) - len(blanks.lstrip()), length[1] - len(blanks) + len(blanks.rstrip())
    return Description(part[gap.end() :], start + gap.end(), length)


def _check(encoding: str, transfer_encoding: str, disposition: str) -> None:
    """Raises BodyNotSupported for a description that is encoded, or of another session than this one (RFC 3959)."""
    if encoding or transfer_encoding.lower() not in _PLAIN_ENCODINGS:
        raise BodyNotSupported("a session description must come without an encoding")
    if disposition.partition(";")[0].strip().lower() == "early-session":
        raise BodyNotSupported("an early session beside the session cannot be served")
