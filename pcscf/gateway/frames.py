"""MSRP frames on their way from one leg to the other: their paths are mapped, everything else passes octet by octet. Pure.

A gateway that is aware of MSRP is what RFC 6714 §6.2 calls an MSRP B2BUA: each peer knows one URI of the gateway, and the
frames (RFC 4975 §9) name the hop they run on. In To-Path and From-Path only the leftmost URI is adjacent; those behind it are
the relays and the end beyond them (RFC 4976 §6), which both sides know by the same names.

Header sections are held until they are complete, bodies are not: of a body at most an end-line that has begun is kept back.
"""

from __future__ import annotations

import re
from typing import Final

from pcscf.errors import PcscfError
from pcscf.record import record

MAX_HEADER: Final = 8192
"""Octets of a frame before its body: start line, paths, header fields."""

# To-Path and From-Path stand first, in this order, and once (RFC 4975 §7.1, §9); a second one would name a hop unmapped.
_HEAD: Final = re.compile(
    rb"MSRP (?P<transaction>[A-Za-z0-9][A-Za-z0-9.\-+%=]{3,31}) (?:[A-Z]++|(?P<status>[0-9]{3})(?: [^\r\n]*+)?)\r\n"
    rb"(?i:To-Path):[ \t]*+(?P<to>[^ \t\r\n]++)(?:[ \t][^\r\n]*+)?\r\n"
    rb"(?i:From-Path):[ \t]*+(?P<from>[^ \t\r\n]++)(?:[ \t][^\r\n]*+)?\r\n"
    rb"(?>(?:(?!(?i:(?:to|from)-path)[ \t]*:)[A-Za-z][!-9;-~]*+[ \t]*+:[^\r\n]*+\r\n)*)"
)
_URI: Final = re.compile(
    rb"(?P<scheme>msrps?)://(?:[^@/;]*@)?(?P<host>\[[^\]]*\]|[^:/;]+)(?P<port>:[0-9]+)?(?P<session>/[^;]*)?;(?P<transport>[^;]+).*",
    re.IGNORECASE,
)
_START: Final = b"MSRP "
_DASHES: Final = b"-------"
_ENDS: Final = frozenset({b"$\r\n", b"+\r\n", b"#\r\n"})
_ENDS_BEGUN: Final = frozenset({end[:length] for end in _ENDS for length in range(3)})


class FrameError(PcscfError):
    """Octets that are no MSRP frame of the session: the connection must be closed."""


@record
class Paths:
    """The leftmost URIs of one leg (`own` is the gateway's, `peer` the peer's) and of the leg that its frames go on to."""

    own: bytes
    peer: bytes
    far_own: bytes
    far_peer: bytes


class FrameReader:
    """What the peer of one leg sends. `feed_untrusted` raises FrameError once; after that the connection is of no use.

    `paths` may be set anew between two calls; without them nothing may be fed.
    """

    __slots__ = ("_bindings", "_dropping", "_from", "_held", "_marker", "_paths", "_to")

    def __init__(self) -> None:
        self._paths: Paths | None = None
        self._held = b""
        self._marker = b""       # what ends the body that passes now; empty between frames
        self._dropping = False   # the frame answers one of ours and goes no further
        self._bindings: set[bytes] = set()
        self._to = self._from = b""   # as the peer spelt our URI and its own before

    @property
    def paths(self) -> Paths | None:
        """None until both legs are known."""
        return self._paths

    @paths.setter
    def paths(self, paths: Paths) -> None:
        if paths != self._paths:
            self._paths = paths
            self._to, self._from = paths.own, paths.peer

    def binding(self, own_path: str, peer_path: str, token: str) -> bytes:
        """The empty SEND by which an end that opened the connection binds it to the session (RFC 4975 §5.4).

        `token`: 4 to 32 characters of an ident, fresh. The response is kept from the other leg; one that refuses is an error.
        """
        transaction = token.encode()
        self._bindings.add(transaction)
        return (
            f"MSRP {token} SEND\r\nTo-Path: {peer_path}\r\nFrom-Path: {own_path}\r\n"
            f"Message-ID: {token}\r\nByte-Range: 1-0/0\r\n-------{token}$\r\n"
        ).encode()

    def feed_untrusted(self, data: bytes) -> bytes:
        """What goes on to the other leg now. Raises FrameError."""
        if self._held:
            data = self._held + data
        out: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            if self._marker:
                at = self._pass_body(data, at, out)
                if self._marker:
                    break
            else:
                after = self._pass_head(data, at, out)
                if after == at:
                    break
                at = after
        self._held = data[at:]
        return out[0] if len(out) == 1 else b"".join(out)

    def _pass_head(self, data: bytes, at: int, out: list[bytes]) -> int:
        """Passes a complete header section, and with it the end-line of a frame without a body; `at`: more must come."""
        head = _HEAD.match(data, at)
        if head is None:
            begun = data.startswith(_START, at) or _START.startswith(data[at:at + len(_START)])
            if not begun or data.count(b"\r\n", at) >= 3:
                raise FrameError("no MSRP frame with To-Path and From-Path begins here")
            return _wait(data, at)
        after = head.end()
        transaction, status = head.group("transaction", "status")
        if after - at > MAX_HEADER:
            raise FrameError(f"a header section of more than {MAX_HEADER} octets")
        end, has_body = after, data.startswith(b"\r\n", after)
        if not has_body:
            line_end = data.find(b"\r\n", after)
            if line_end < 0:
                return _wait(data, at)
            end = line_end + 2
            if not data.startswith(_DASHES + transaction, after) or data[after + 7 + len(transaction):end] not in _ENDS:
                raise FrameError("neither a header field nor the end-line of the frame")
        self._dropping = False
        if status is not None and transaction in self._bindings:
            self._dropping = True
            self._bindings.discard(transaction)
            if status != b"200":
                raise FrameError(f"the peer answered {status.decode()} to the SEND that binds the session")
        else:
            self._map(data, at, head, end, out)
        if has_body:
            # The line end of the blank line may be that before the end-line, where a body was announced and is missing.
            self._marker = b"\r\n" + _DASHES + transaction
        return end

    def _map(self, data: bytes, at: int, head: re.Match[bytes], end: int, out: list[bytes]) -> None:
        paths = self._paths
        if paths is None:
            raise ValueError("frames before both paths are known")
        to, origin = head.group("to", "from")
        if to != self._to:
            if not same_uri(to, paths.own):
                raise FrameError("To-Path is not the path that the peer was given")
            self._to = to
        if origin != self._from:
            if not same_uri(origin, paths.peer):
                raise FrameError("From-Path is not the path that the peer gave")
            self._from = origin
        to_starts, to_ends = head.span("to")
        from_starts, from_ends = head.span("from")
        out += (data[at:to_starts], paths.far_peer, data[to_ends:from_starts], paths.far_own, data[from_ends:end])

    def _pass_body(self, data: bytes, at: int, out: list[bytes]) -> int:
        """Passes what is certain; the marker is empty afterwards when the end-line was among it."""
        marker = self._marker
        keep = len(data)
        found = data.find(marker, at)
        while found >= 0:
            end = found + len(marker)
            tail = data[end:end + 3]
            if tail in _ENDS:
                self._marker = b""
                keep = end + 3
                break
            if tail in _ENDS_BEGUN:
                keep = found
                break
            found = data.find(marker, found + 1)
        else:
            # The marker has one CR, its first octet: only the last CR can begin it.
            begun = data.rfind(b"\r", max(at, keep - len(marker) + 1))
            if begun >= 0 and marker.startswith(data[begun:]):
                keep = begun
        if keep > at and not self._dropping:
            out.append(data[at:keep])
        return keep


def same_uri(one: bytes, other: bytes) -> bool:
    """Whether two MSRP URIs are equal (RFC 4975 §6.1): userinfo and parameters do not count, a missing port is no port."""
    parts = []
    for uri in (one, other):
        match = _URI.fullmatch(uri)
        if match is None:
            return False
        scheme, host, port, session, transport = match.group("scheme", "host", "port", "session", "transport")
        parts.append((scheme.lower(), host.lower(), int(port[1:]) if port else None, session, transport.lower()))
    return parts[0] == parts[1]


def _wait(data: bytes, at: int) -> int:
    if len(data) - at > MAX_HEADER:
        raise FrameError(f"a header section of more than {MAX_HEADER} octets")
    return at
