"""Typed views of header field values (RFC 3261 §20). Values are given unfolded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from pcscf.errors import MalformedMessage
from pcscf.sip import grammar
from pcscf.sip.uri import Params, Uri, find_param, parse_uri, same_host

if TYPE_CHECKING:
    from pcscf.sip.message import Request

MAGIC_COOKIE: Final = "z9hG4bK"
MAX_CSEQ: Final = 2**32 - 1
"""RFC 3261 §8.1.1.5 asks for less than 2**31; what fits 32 bits is let through, as RFC 4475 §3.1.2.4 does."""
MAX_DELTA_SECONDS: Final = 2**32 - 1
MALFORMED_EXPIRES: Final = 3600
"""What an unreadable expiry counts as (RFC 3261 §20.10, §20.19)."""


_ASKED: Final = ("rport", None)

KEPT: Final = 1024
"""Results of each parser of field values that are kept: the messages of a call repeat one another's fields."""


def unfold(value: str) -> str:
    """A raw field value as one line, blanks trimmed (RFC 3261 §7.3.1)."""
    if "\n" in value:
        value = grammar.folding.sub(" ", value)
    return value.strip(" \t")


def value_of_line(line: str) -> str:
    """The value of a header line as received: unfolded, blanks trimmed."""
    value = line.partition(":")[2]
    return unfold(value) if "\n" in value else value.strip(" \t")


def is_number(text: str) -> bool:
    """Whether `text` is 1*DIGIT."""
    return text.isascii() and text.isdecimal()


def split_values(text: str) -> list[str]:
    """The elements of a comma-separated value, trimmed.

    Commas within quotes and <> do not split; blank elements are left out.
    """
    if "," not in text:
        text = text.strip(" \t")
        return [text] if text else []
    if '"' not in text and "<" not in text:
        pieces = text.split(",")
    else:
        pieces = []
        position = 0
        while position <= len(text):
            end = end_of_element(text, position)
            pieces.append(text[position:end])
            position = end + 1
    return [trimmed for piece in pieces if (trimmed := piece.strip(" \t"))]


@lru_cache(KEPT)
def elements_of_line(line: str) -> tuple[str, ...]:
    """`split_values` of the value of a header line."""
    return tuple(split_values(value_of_line(line)))


def end_of_element(text: str, start: int = 0) -> int:
    """Index of the comma that ends the list element at `start`, or len(text). Takes raw (folded) values too."""
    match = grammar.list_element.match(text, start)
    return match.end() if match is not None else len(text)


def parse_params(text: str) -> Params:
    """`;name=value;flag` as pairs; quoted values keep their quotes. Raises MalformedMessage."""
    found = grammar.generic_param.findall(text)
    if found and found[-1][2]:
        raise MalformedMessage(f"parameters cannot be read: {text[:80]!r}")
    return tuple([(name, value or None) for name, value, _ in found])


def format_params(params: Iterable[tuple[str, str | None]]) -> str:
    return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in params])


def unquote(text: str) -> str:
    """The content of a quoted-string; other text as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    inner = text[1:-1]
    return grammar.quoted_pair.sub(r"\1", inner) if "\\" in inner else inner


def quote(text: str) -> str:
    """`text` as a quoted-string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class NameAddr(NamedTuple):
    """From, To, Contact, Route, Record-Route, Path, Service-Route …: `"display" <uri>;params`.

    `str()` always writes the <>.
    display: without quotes and escapes. params: names as written, value None for a flag, quotes kept.
    """

    display: str
    uri: str
    params: Params = ()

    def param(self, name: str) -> str | None:
        """Value of the header parameter `name` (lower case), "" for a flag, None when absent."""
        return find_param(self.params, name)

    @property
    def uri_parsed(self) -> Uri:
        """Raises MalformedMessage."""
        return parse_uri(self.uri)

    def __str__(self) -> str:
        display = f"{quote(self.display)} " if self.display else ""
        return f"{display}<{self.uri}>{format_params(self.params)}"


@lru_cache(KEPT)
def parse_name_addr(text: str) -> NameAddr:
    """One name-addr or addr-spec with its parameters. Raises MalformedMessage."""
    match = grammar.name_addr.fullmatch(text)
    if match is not None:
        quoted, plain, uri, params = match.groups()
        display = unquote(quoted) if quoted is not None else plain.rstrip(" \t")
        return NameAddr(display, uri, parse_params(params) if params else ())
    match = grammar.addr_spec.fullmatch(text)
    if match is None:
        raise MalformedMessage(f"not an address: {text[:80]!r}")
    return NameAddr("", match[1], parse_params(match[2]) if match[2] else ())


def parse_tag(text: str) -> str:
    """The tag of a From or To value, "" without one, and nothing else of it. Raises MalformedMessage."""
    match = grammar.from_spec.fullmatch(text)
    if match is None:
        raise MalformedMessage(f"not an address: {text[:80]!r}")
    lowered = text.lower()
    if lowered.find("tag") != lowered.rfind("tag"):
        # Perhaps two tags: the first counts, here as in NameAddr.
        return parse_name_addr(text).param("tag") or ""
    return match[1] or ""


@lru_cache(KEPT)
def tag_of_line(line: str) -> str:
    """`parse_tag` of a From or To line."""
    return parse_tag(value_of_line(line))


def is_unique(branch: str) -> bool:
    """Whether a branch begins with the magic cookie (RFC 3261 §8.1.1.7). The bare cookie is not unique."""
    return branch.startswith(MAGIC_COOKIE) and branch != MAGIC_COOKIE


class Via(NamedTuple):
    """One Via element (RFC 3261 §20.42). transport: as written. host: IPv6 without brackets. `str()` writes it."""

    transport: str
    host: str
    port: int | None
    params: Params

    def param(self, name: str) -> str | None:
        """Value of the parameter `name` (lower case), "" for a flag, None when absent."""
        return find_param(self.params, name)

    @property
    def branch(self) -> str:
        """The branch, "" when there is none (RFC 2543)."""
        return find_param(self.params, "branch") or ""

    @property
    def received(self) -> str | None:
        """The source address that the receiver saw, IPv6 without brackets (RFC 5118 §4.5)."""
        value = find_param(self.params, "received")
        return value.strip("[]") if value else None

    @property
    def rport(self) -> int | None:
        """The source port (RFC 3581 §3). 0: asked for and not filled in; None: not asked for."""
        value = find_param(self.params, "rport")
        if value is None:
            return None
        return int(value) if is_number(value) and int(value[:6]) <= 65535 else 0

    @property
    def has_magic_cookie(self) -> bool:
        """Whether the branch is unique per transaction."""
        return is_unique(self.branch)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"SIP/2.0/{self.transport} {host}{port}{format_params(self.params)}"


def parse_via(text: str) -> Via:
    """One Via element. Raises MalformedMessage."""
    match = grammar.via_parm.fullmatch(text)
    if match is None:
        raise MalformedMessage(f"Via cannot be read: {text[:80]!r}")
    transport, host, port, params = match.groups()
    if port is not None and int(port) > 65535:
        raise MalformedMessage(f"Via has a port above 65535: {text[:80]!r}")
    return Via(
        transport,
        host[1:-1] if host[0] == "[" else host,
        int(port) if port is not None else None,
        parse_params(params) if params else (),
    )


@lru_cache(KEPT)
def via_of_line(line: str) -> Via:
    """The first element of a Via line. Raises MalformedMessage."""
    value = value_of_line(line)
    return parse_via(value[: end_of_element(value)] if "," in value else value)


def stamp_received(request: Request, remote: tuple[str, int]) -> None:
    """Writes the source of a request into its top Via: `received` and `rport` (RFC 3261 §18.2.1, RFC 3581 §4).

    What the sender put there itself is replaced; all else stays as it came. A Via that cannot be read is left alone.
    """
    try:
        via = request.top_via
    except MalformedMessage:
        return
    host, port = remote
    asked = _ASKED in via.params or via.rport is not None
    told = asked or not same_host(via.host, host)
    if not told and via.received is None:
        return
    raw = request.first_line("Via") or ""
    end = end_of_element(raw) if "," in raw else len(raw)
    element, params = _filled(raw[:end], via.params, port)
    if told:
        text = element.rstrip()
        element = f"{text};received={host}{element[len(text) :]}"
        params = (*params, ("received", host))
    request.replace_top_via(element + raw[end:], Via(via.transport, via.host, via.port, params))


def _filled(element: str, params: Params, port: int) -> tuple[str, Params]:
    """A raw Via element and its parameters with `port` as rport, and without received."""
    lowered = element.lower()
    if _ASKED in params and lowered.count("rport") == 1 and ";rport" in element and "received" not in lowered:
        # As every phone writes it. The one "rport" is the parameter that we were told is a flag.
        place = params.index(_ASKED)
        return element.replace(";rport", f";rport={port}"), (*params[:place], ("rport", str(port)), *params[place + 1 :])

    def filled(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        return f";{match[1]}={port}" if match[1].lower() == "rport" else ""

    kept = [(name, str(port) if name.lower() == "rport" else value) for name, value in params if name.lower() != "received"]
    return grammar.source_param.sub(filled, element), tuple(kept)


@lru_cache(KEPT)
def call_id_of_line(line: str) -> str:
    """The value of a Call-ID line. Raises MalformedMessage where it is none: empty, or with blanks."""
    call_id = value_of_line(line)
    if not call_id or " " in call_id or "\t" in call_id:
        raise MalformedMessage(f"Call-ID cannot be read: {call_id[:80]!r}")
    return call_id


def parse_cseq(text: str) -> tuple[int, str]:
    """CSeq as (number, method). Raises MalformedMessage."""
    match = grammar.cseq.fullmatch(text)
    if match is None or (number := int(match[1])) > MAX_CSEQ:
        raise MalformedMessage(f"CSeq cannot be read: {text[:80]!r}")
    return number, match[2]


@lru_cache(KEPT)
def cseq_of_line(line: str) -> tuple[int, str]:
    """`parse_cseq` of a CSeq line."""
    return parse_cseq(value_of_line(line))


def contact_expires(params: Params, expires_header: str | None, default: int) -> int:
    """Lifetime of a contact in seconds: its own parameter, else the Expires field, else `default` (RFC 3261 §10.2.1.1).

    What cannot be read counts as 3600 (§20.10); what does not fit 32 bits as their largest value.
    """
    text = find_param(params, "expires")
    if text is None:
        text = expires_header
    if text is None:
        return default
    if not is_number(text):
        return MALFORMED_EXPIRES
    return min(int(text[:20]), MAX_DELTA_SECONDS)
