"""SIP, SIPS and other URIs (RFC 3261 §19.1, RFC 3966)."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from pcscf.errors import MalformedMessage, UnsupportedScheme
from pcscf.sip import grammar

Params = tuple[tuple[str, str | None], ...]

SIP_SCHEMES: Final = frozenset({"sip", "sips"})

# Parameters that make two URIs differ when only one of them has it (RFC 3261 §19.1.4).
_DECISIVE_PARAMS: Final = frozenset({"user", "ttl", "method", "maddr", "transport"})
_VISUAL_SEPARATORS: Final = str.maketrans("", "", "-.()")


def find_param(params: Params, name: str) -> str | None:
    """Value of the parameter `name` (lower case), "" for one without value, None when there is none."""
    for key, value in params:
        if key == name or key.lower() == name:
            return "" if value is None else value
    return None


class Uri(NamedTuple):
    """A parsed URI; `str()` writes it.

    scheme: lower case. host: IPv6 without brackets. params: names as written, value None for a flag.
    headers: what follows "?", not unescaped. Absent parts are "".
    Schemes other than sip and sips have no host and keep all after the colon in `user` (tel: without its parameters).
    """

    scheme: str
    user: str
    password: str
    host: str
    port: int | None
    params: Params
    headers: str

    def param(self, name: str) -> str | None:
        """Value of the parameter `name` (lower case), "" for a flag, None when absent."""
        return find_param(self.params, name)

    @property
    def is_sip(self) -> bool:
        return self.scheme in SIP_SCHEMES

    def require_sip(self) -> Uri:
        """This URI; raises UnsupportedScheme unless it is a SIP or SIPS URI."""
        if self.scheme not in SIP_SCHEMES:
            raise UnsupportedScheme(f"not a SIP URI: {self.scheme}:")
        return self

    def __str__(self) -> str:
        userinfo = f"{self.user}:{self.password}" if self.password else self.user
        params = "".join([f";{name}" if value is None else f";{name}={value}" for name, value in self.params])
        if not self.host:
            return f"{self.scheme}:{userinfo}{params}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (
            f"{self.scheme}:{userinfo}{'@' if userinfo else ''}{host}{'' if self.port is None else f':{self.port}'}"
            f"{params}{'?' if self.headers else ''}{self.headers}"
        )


@lru_cache(1024)
def parse_uri(text: str) -> Uri:
    """Reads any absolute URI. Raises MalformedMessage."""
    match = grammar.sip_uri.fullmatch(text)
    if match is None:
        return _parse_other(text)
    if "%" in text and grammar.bad_escape.search(text):
        raise MalformedMessage(f"URI has a % that escapes nothing: {text[:80]!r}")
    scheme, user, password, host, port, params, headers = match.groups()
    if host[0] == "[":
        host = _ipv6(host)
    if port is not None and int(port) > 65535:
        raise MalformedMessage(f"URI has a port above 65535: {text[:80]!r}")
    return Uri(
        scheme.lower(),
        user or "",
        password or "",
        host,
        int(port) if port is not None else None,
        _split_params(params) if params else (),
        headers or "",
    )


def _ipv6(host: str) -> str:
    try:
        ipaddress.IPv6Address(host[1:-1])
    except ValueError:
        raise MalformedMessage(f"not an IPv6 address: {host[:80]!r}") from None
    return host[1:-1]


def _parse_other(text: str) -> Uri:
    match = grammar.absolute_uri.fullmatch(text)
    if match is None or match[1].lower() in SIP_SCHEMES:
        raise MalformedMessage(f"not a URI: {text[:80]!r}")
    scheme, rest = match[1].lower(), match[2]
    if scheme != "tel":
        return Uri(scheme, rest, "", "", None, (), "")
    number, _, params = rest.partition(";")
    return Uri(scheme, number, "", "", None, _split_params(";" + params) if params else (), "")


def _split_params(text: str) -> Params:
    pairs = [piece.partition("=") for piece in text.split(";")[1:]]
    return tuple([(name, value if equals else None) for name, equals, value in pairs])


def same_uri(one: Uri, other: Uri) -> bool:
    """Whether two URIs are equivalent (RFC 3261 §19.1.4; tel: RFC 3966 §5)."""
    if one == other:
        return True
    if one.scheme != other.scheme:
        return False
    if one.scheme == "tel":
        return _number(one) == _number(other) and _comparable(one.params) == _comparable(other.params)
    if not one.is_sip:
        return one.user == other.user
    return (
        _unescape(one.user) == _unescape(other.user)
        and _unescape(one.password) == _unescape(other.password)
        and same_host(one.host, other.host)
        and one.port == other.port
        and _same_params(_comparable(one.params), _comparable(other.params))
        and _comparable_headers(one.headers) == _comparable_headers(other.headers)
    )


def same_host(one: str, other: str) -> bool:
    """Whether two hosts (IPv6 without brackets) are the same name or the same address."""
    if one == other or one.lower() == other.lower():
        return True
    if ":" not in one or ":" not in other:
        return False
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other)
    except ValueError:
        return False


def _number(uri: Uri) -> str:
    return uri.user.translate(_VISUAL_SEPARATORS).lower()


def _unescape(text: str) -> bytes:
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))


def _comparable(params: Params) -> dict[bytes, bytes]:
    return {_unescape(name).lower(): _unescape(value or "").lower() for name, value in params}


def _same_params(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> bool:
    if any(one[name] != other[name] for name in one.keys() & other.keys()):
        return False
    return not any(name.decode("ascii", "replace") in _DECISIVE_PARAMS for name in one.keys() ^ other.keys())


def _comparable_headers(headers: str) -> list[tuple[bytes, bytes]]:
    pairs = [field.partition("=") for field in headers.split("&")] if headers else []
    return sorted((_unescape(name).lower(), _unescape(value)) for name, _, value in pairs)
