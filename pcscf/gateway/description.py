"""The session descriptions inside Local and Remote descriptors (RFC 3525 §7.1.8), with CHOOSE (`$`) in place of values.

This is the dialect of Iq, not SIP's SDP: one m-line, `o=`, `s=` and `t=` optional, `$` for what the gateway shall
choose.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from pcscf.errors import H248Error
from pcscf.gateway.certificate import OFFERED, STRENGTH, Fingerprint
from pcscf.gateway.items import unsupported_value
from pcscf.h248.packages import DEFAULT_HASH, NEW_CONNECTION, requested_hash
from pcscf.record import record

MAX_LINES: Final = 64
REMEMBERED: Final = 1024
"""Descriptions that are not read again when they come again. What a controller asks for is the same in all its calls, but for
the paths of MSRP and the names of DTLS associations."""
MAX_REMEMBERED: Final = 2048
"""Characters of the longest description that is remembered."""
CHOOSE: Final = "$"

TCP_TRANSPORTS: Final = frozenset({"tcp", "tcp/msrp", "tcp/bfcp"})
TLS_TRANSPORTS: Final = frozenset({"tcp/tls", "tcp/tls/msrp", "tcp/tls/bfcp"})
RTP_TRANSPORTS: Final = frozenset({
    "rtp/avp", "rtp/avpf", "rtp/savp", "rtp/savpf", "udp/tls/rtp/savp", "udp/tls/rtp/savpf",
})  # fmt: skip
"""Passed on as it comes, protected or not: a port for RTP and the next one for its RTCP (RFC 3605 §2.1)."""
DTLS_TRANSPORTS: Final = frozenset({"udp/dtls", "udp/tls/udptl"})
UDP_TRANSPORTS: Final = frozenset({"udp", "udptl"}) | RTP_TRANSPORTS | DTLS_TRANSPORTS
_TRANSPORTS: Final = TCP_TRANSPORTS | TLS_TRANSPORTS | UDP_TRANSPORTS
SETUP_VALUES: Final = frozenset({"", "active", "passive", "actpass", "holdconn"})

_UNSPECIFIED: Final = ("0.0.0.0", "::")   # noqa: S104 - what peers say, nothing is bound to it
_VALUE = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+\Z")
_OCTETS: Final = {"sha-1": 20, "sha-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64}
_CONNECTION, _MEDIA, _FINGERPRINT, _SETUP, _PATH = "c=", "m=", "a=fingerprint:", "a=setup:", "a=path:"
_RTCP, _RTCP_MUX, _TLS_ID = "a=rtcp:", "a=rtcp-mux", "a=tls-id:"
_CHOOSE_AUTHORITY: Final = "$:$"
_MSRP_PATH = re.compile(r"msrps?://[^\s/;]+(?:/[^\s;]*)?;[^\s]+(?: msrps?://[^\s/;]+(?:/[^\s;]*)?;[^\s]+)*", re.IGNORECASE)


@record
class Description:
    """One session description. `address` and `port` may be `$`; `address` is "" when there is no c= line.

    secure: whether TLS or DTLS that ends here runs on it. fingerprints: the complete ones whose hash can be verified;
    `wanted`: hash names requested with `$`. path: of MSRP, "" where the stream is not to be read as MSRP; host and port of its
    first URI may be `$`. datagram: UDP. rtp: with a port for RTCP beside it. rtcp: what a=rtcp (RFC 3605) says, address ""
    where it is that of the medium; None without it. rtcp_mux: RFC 5761. tls_id: the DTLS association that it speaks of
    (RFC 8842 §4), "" where it does not say.
    """

    lines: tuple[str, ...]
    family: str
    address: str
    media: str
    port: str
    transport: str
    secure: bool
    setup: str
    fingerprints: tuple[Fingerprint, ...]
    wanted: tuple[str, ...]
    path: str = ""
    datagram: bool = False
    rtp: bool = False
    rtcp: tuple[str, int] | None = None
    rtcp_mux: bool = False
    tls_id: str = ""

    @property
    def rtcp_target(self) -> tuple[str, int] | None:
        """Where RTCP goes when it has a port of its own."""
        target = self.target
        if target is None or not self.rtp:
            return None
        host, port = self.rtcp if self.rtcp is not None else ("", target[1] + 1)
        return (host or target[0], port) if port < 65536 and host not in _UNSPECIFIED else None

    @property
    def chooses(self) -> bool:
        return CHOOSE in (self.address, self.port) or bool(self.wanted) or _CHOOSE_AUTHORITY in self.path

    @property
    def is_new(self) -> bool:
        """Whether another connection is asked for (RFC 4145 §5)."""
        return any(line.lower() == NEW_CONNECTION for line in self.lines)

    @property
    def target(self) -> tuple[str, int] | None:
        """Address and port when both are known and usable. The unspecified address is none: the kernel takes it for our own."""
        if self.address in ("", CHOOSE, *_UNSPECIFIED) or self.port in (CHOOSE, "0"):
            return None
        return self.address, int(self.port)

    @property
    def text(self) -> str:
        return "".join(f"{line}\r\n" for line in self.lines)


def parse_description_untrusted(text: str) -> Description:
    """Reads the first session description of a Local or Remote descriptor; further ones are alternatives (RFC 3525 §7.1.8).

    Raises H248Error: 474 what is not SDP, 515 a transport that the gateway does not serve, 449 a hash it does not know.
    """
    unique = len(text) > MAX_REMEMBERED or _PATH in text or _TLS_ID in text
    return _read(text) if unique else _remembered(text)


def _read(text: str) -> Description:
    lines = _first(text)
    media: list[str] = []
    connection = ""
    setup: str | None = None
    stated: list[str] = []
    path = ""
    rtcp: tuple[str, int] | None = None
    tls_id = ""
    for line in lines:
        if line.startswith(_MEDIA):
            media.append(line)
        elif line.startswith(_CONNECTION):
            connection = line  # that of the medium stands after that of the session and counts before it
        elif line.startswith(_FINGERPRINT):
            stated.append(line[len(_FINGERPRINT):])
        elif setup is None and line.startswith(_SETUP):
            setup = line[len(_SETUP):].strip().lower()
        elif line.startswith(_PATH):
            path = line[len(_PATH):].strip()
        elif line.startswith(_RTCP) and CHOOSE not in line:
            rtcp = _rtcp(line)
        elif line.startswith(_TLS_ID):
            tls_id = line[len(_TLS_ID):].strip()
    if len(media) != 1:
        raise H248Error(474, f"{len(media)} m= lines where one is expected")
    kind, port, transport = _media(media[0])
    family, address = _connection(connection) if connection else ("", "")
    setup = setup or ""
    if setup not in SETUP_VALUES:
        raise H248Error(474, f"a=setup:{setup}")
    if path and not _MSRP_PATH.fullmatch(path):
        raise H248Error(474, f"{_PATH}{path[:60]}")
    fingerprints: list[Fingerprint] = []
    wanted: list[str] = []
    for value in stated:
        fingerprint = _fingerprint(value)
        if fingerprint.value == CHOOSE:
            wanted.append(fingerprint.hash)
        elif fingerprint.hash in STRENGTH:
            fingerprints.append(fingerprint)
    known = transport.lower()
    return Description(
        tuple(lines), family, address, kind, port, transport, known in TLS_TRANSPORTS or known in DTLS_TRANSPORTS, setup,
        tuple(fingerprints), tuple(wanted), path, known in UDP_TRANSPORTS, known in RTP_TRANSPORTS, rtcp,
        _RTCP_MUX in lines, tls_id,
    )  # fmt: skip


_remembered = lru_cache(REMEMBERED)(_read)


def resolve(
    wish: Description, address: str, port: int, fingerprints: Callable[[str], tuple[Fingerprint, ...]]
) -> Description:
    """The Local descriptor to return: every `$` replaced, `o=`, `s=` and `t=` added where they are missing.

    `fingerprints`: ours under a hash, one per certificate (RFC 8122 §5). With TLS they are stated even when the
    controller did not ask for them.
    """
    own = tuple(one for name in wish.wanted for one in fingerprints(name))
    if wish.secure and not own and not wish.fingerprints:
        own = fingerprints(DEFAULT_HASH)
    family, before, media, after = _frame(wish, address, own)
    line = media.replace(f" {CHOOSE} ", f" {port} ", 1)
    path = wish.path
    if _CHOOSE_AUTHORITY in path:
        path = path.replace(_CHOOSE_AUTHORITY, f"[{address}]:{port}" if ":" in address else f"{address}:{port}", 1)
        after = tuple([f"{_PATH}{path}" if one.startswith(_PATH) else one for one in after])
    return Description(
        (*before, line, *after), family, address, wish.media, str(port), wish.transport, wish.secure, wish.setup,
        (*wish.fingerprints, *own), (), path, wish.datagram, wish.rtp, None, wish.rtcp_mux, wish.tls_id,
    )  # fmt: skip


@lru_cache(REMEMBERED)
def _frame(
    wish: Description, address: str, own: tuple[Fingerprint, ...]
) -> tuple[str, tuple[str, ...], str, tuple[str, ...]]:
    """The answer but for its port: address family, the lines before the m= line, that line, and those after it."""
    family = "IP6" if ":" in address else "IP4"
    given = {line[:2]: line for line in wish.lines if line[:2] in ("o=", "s=", "t=")}
    lines = ["v=0", given.get("o=", f"o=- 0 0 IN {family} {address}"), given.get("s=", "s=-"), given.get("t=", "t=0 0")]
    lines += [line for line in wish.lines if line[:2] not in ("v=", "o=", "s=", "t=", "c=") and not _asks(line)]
    where = next(index for index, line in enumerate(lines) if line.startswith(_MEDIA))
    before = (*lines[:where], f"c=IN {family} {address}")
    return family, before, lines[where], (*lines[where + 1:], *(f"{_FINGERPRINT}{one}" for one in own))


def _first(text: str) -> list[str]:
    lines: list[str] = []
    for raw in text.replace("\r", "\n").split("\n"):
        line = raw.strip(" \t")
        if not line:
            continue
        if line.startswith("v=") and lines:
            break
        if len(line) < 2 or line[1] != "=":
            raise H248Error(474, f"not an SDP line: {line[:40]}")
        lines.append(line)
        if len(lines) > MAX_LINES:
            raise H248Error(474, f"more than {MAX_LINES} lines")
    return lines


def _media(line: str) -> tuple[str, str, str]:
    fields = line[2:].split()
    if len(fields) < 4:
        raise H248Error(474, f"incomplete {line[:40]}")
    kind, port, transport = fields[:3]
    if port != CHOOSE and not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 65536):
        raise H248Error(474, f"port in {line[:40]}")
    if transport.lower() not in _TRANSPORTS:
        raise H248Error(515, f"Unsupported Media Type: transport {transport[:20]}")
    return kind, port if port == CHOOSE else str(int(port)), transport


def _connection(line: str) -> tuple[str, str]:
    """Family and address."""
    fields = line[2:].split()
    if len(fields) != 3 or fields[0].upper() != "IN" or fields[1].upper() not in ("IP4", "IP6"):
        raise H248Error(474, line[:60])
    family, address = fields[1].upper(), fields[2]
    if address == CHOOSE:
        return family, address
    try:
        version, spelt = _address(address.partition("%")[0])
    except ValueError:
        raise H248Error(474, line[:60]) from None
    if version != int(family[2]):
        raise H248Error(474, line[:60])
    return family, spelt


@lru_cache(REMEMBERED)
def _address(text: str) -> tuple[int, str]:
    """Version and usual spelling. Raises ValueError."""
    parsed = ip_address(text)
    return parsed.version, str(parsed)


def _fingerprint(text: str) -> Fingerprint:
    """A complete fingerprint; its value is `$` when ours is asked for, in any of its spellings."""
    asked = requested_hash(text)
    if asked is not None:
        if asked not in OFFERED:
            raise unsupported_value("fingerprint", asked)
        return Fingerprint(asked, CHOOSE)
    fields = text.split()
    if len(fields) != 2:
        raise H248Error(474, f"{_FINGERPRINT}{text[:60]}")
    name, value = fields[0].lower(), fields[1].upper()
    if not _VALUE.match(value) or (name in _OCTETS and len(value) != 3 * _OCTETS[name] - 1):
        raise H248Error(474, f"{_FINGERPRINT}{text[:60]}")
    return Fingerprint(name, value)


def _rtcp(line: str) -> tuple[str, int]:
    """Address ("" where none stands there) and port of a=rtcp (RFC 3605 §2.1)."""
    port, _, where = line[len(_RTCP):].strip().partition(" ")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise H248Error(474, line[:60])
    return (_connection(f"c={where}")[1] if where else ""), int(port)


def _asks(line: str) -> bool:
    """Whether the answer has something of ours in place of this line. The port of RTCP is always the one after that of RTP."""
    return (line.startswith(_FINGERPRINT) and line.endswith(CHOOSE)) or line.startswith(_RTCP)
