"""HTTP digest as SIP uses it (RFC 3261 §22, RFC 8760): MD5 and SHA-256, with and without qop=auth; both sides."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pcscf.errors import PcscfError

ALGORITHMS = {"MD5": "md5", "SHA-256": "sha256"}

_PARAMETER = re.compile(r'\s*([A-Za-z0-9_\-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^",\s]+))\s*(?:,|$)')


class DigestError(PcscfError):
    """A challenge or credentials that cannot be used."""


def parse_digest_untrusted(value: str) -> dict[str, str]:
    """Parameters of a `Digest …` challenge or of credentials, names in lower case. Raises DigestError."""
    scheme, _, text = value.strip().partition(" ")
    if scheme.lower() != "digest":
        raise DigestError(f"scheme {scheme!r} is not Digest")
    parameters: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _PARAMETER.match(text, position)
        if match is None:
            raise DigestError(f"cannot read digest parameters at {text[position:position + 20]!r}")
        name, quoted, token = match.groups()
        parameters[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else token
        position = match.end()
    return parameters


def digest_response(parameters: Mapping[str, str], method: str, password: str) -> str:
    """The `response` that `parameters` (of credentials) must carry (RFC 3261 §22.4). Raises DigestError."""
    algorithm = parameters.get("algorithm", "MD5").upper()
    if algorithm not in ALGORITHMS:
        raise DigestError(f"digest algorithm {algorithm} is not supported", hint="MD5 and SHA-256 are")

    def h(text: str) -> str:
        return hashlib.new(ALGORITHMS[algorithm], text.encode(), usedforsecurity=False).hexdigest()

    try:
        a1 = h(f"{parameters['username']}:{parameters['realm']}:{password}")
        a2 = h(f"{method}:{parameters['uri']}")
        if "qop" not in parameters:
            return h(f"{a1}:{parameters['nonce']}:{a2}")
        middle = f"{parameters['nonce']}:{parameters['nc']}:{parameters['cnonce']}:{parameters['qop']}"
    except KeyError as missing:
        raise DigestError(f"digest parameter {missing} is absent") from missing
    return h(f"{a1}:{middle}:{a2}")


@dataclass(slots=True)
class DigestClient:
    """A user's credentials; counts the uses of a nonce."""

    username: str
    password: str
    _nonce: str = ""
    _count: int = 0

    def authorization(self, challenge: str, method: str, uri: str, cnonce: str) -> str:
        """Value of Authorization or Proxy-Authorization for `challenge`. Raises DigestError."""
        asked = parse_digest_untrusted(challenge)
        if "nonce" not in asked or "realm" not in asked:
            raise DigestError("challenge without realm or nonce")
        self._count = self._count + 1 if asked["nonce"] == self._nonce else 1
        self._nonce = asked["nonce"]
        given = {"username": self.username, "realm": asked["realm"], "nonce": asked["nonce"], "uri": uri}
        if "algorithm" in asked:
            given["algorithm"] = asked["algorithm"]
        if "opaque" in asked:
            given["opaque"] = asked["opaque"]
        if "qop" in asked:
            if "auth" not in re.split(r"[,\s]+", asked["qop"]):
                raise DigestError(f"qop {asked['qop']!r} is not supported")
            given |= {"qop": "auth", "nc": f"{self._count:08x}", "cnonce": cnonce}
        given["response"] = digest_response(given, method, self.password)
        return "Digest " + ", ".join(
            f"{name}={value}" if name in {"algorithm", "qop", "nc"} else f'{name}="{_escape(value)}"'
            for name, value in given.items()
        )


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def challenge(realm: str, nonce: str, algorithm: str = "MD5", *, stale: bool = False) -> str:
    """Value of WWW-Authenticate."""
    value = f'Digest realm="{realm}", nonce="{nonce}", algorithm={algorithm}, qop="auth"'
    return value + (", stale=true" if stale else "")


def verify_untrusted(credentials: str, method: str, passwords: Mapping[str, str]) -> str | None:
    """The user whose password made `credentials`, else None. The caller checks the nonce. Raises DigestError."""
    given = parse_digest_untrusted(credentials)
    user = given.get("username", "")
    name = user if user in passwords else user.partition("@")[0]
    if name not in passwords:
        return None
    expected = digest_response(given, method, passwords[name])
    return name if hmac.compare_digest(expected, given.get("response", "")) else None
