"""Half-call and binding tokens, and the branch that carries them.

A token is random and carries a keyed hash, so nobody can guess or alter one. It stands in our Record-Route (a session), in our
Path (a binding) and in our branches. It finds the record, and in-dialog requests are admitted by it, not only by their flow.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from enum import Enum
from hashlib import blake2s
from hmac import compare_digest

from pcscf.sip.headers import parse_via
from pcscf.sip.message import Request

MAGIC_COOKIE = "z9hG4bK"
RANDOM_OCTETS = 10
SEAL_OCTETS = 8
TOKEN = re.compile(r"[A-Za-z0-9]{2}[A-Za-z0-9_-]{24}")   # kind, worker, and 18 octets in base64 without padding
HASH_LENGTH = 12
STEERING = frozenset({"route", "proxy-require", "proxy-authorization"})


class TokenKind(Enum):
    """What a token names, by its first letter."""

    SESSION = "s"
    BINDING = "b"


KINDS = {kind.value: kind for kind in TokenKind}


class Tokens:
    """Makes and checks the tokens of one worker. `secret` seals them; `random(n)` gives n octets."""

    def __init__(self, secret: bytes, random: Callable[[int], bytes], worker: str = "0") -> None:
        self._key = blake2s(secret, person=b"token").digest()
        self._random = random
        self._worker = worker

    def make(self, kind: TokenKind) -> str:
        head = kind.value + self._worker
        octets = self._random(RANDOM_OCTETS)
        return head + urlsafe_b64encode(octets + self._seal(head, octets)).decode()

    def kind_untrusted(self, text: str) -> TokenKind | None:
        """What `text` names when it is a token of ours, unaltered; None for everything else. Cannot fail."""
        kind = KINDS.get(text[:1])
        if kind is None or not TOKEN.fullmatch(text):
            return None
        octets = urlsafe_b64decode(text[2:])
        seal = self._seal(text[:2], octets[:RANDOM_OCTETS])
        return kind if compare_digest(seal, octets[RANDOM_OCTETS:]) else None

    def branch(self, token: str, loop_hash: str) -> str:
        """A new branch: cookie, the loop hash, the token it serves, and what makes it unique (RFC 3261 §16.6 step 8)."""
        unique = self._random(6).hex()
        return f"{MAGIC_COOKIE}{loop_hash}.{token}.{unique}"

    def tag(self) -> str:
        """A To-tag for a response of our own (RFC 3261 §19.3)."""
        return self._random(8).hex()

    def tls_id(self) -> str:
        """The name of a DTLS association of ours: 32 characters, 128 bits of chance (RFC 8842 §4)."""
        return self._random(16).hex()

    def _seal(self, head: str, octets: bytes) -> bytes:
        return blake2s(head.encode() + octets, key=self._key, digest_size=SEAL_OCTETS).digest()


def loop_hash(request: Request) -> str:
    """Hash of all that steers a request (RFC 3261 §16.6 step 8): the same again means a loop, another means a spiral."""
    steering = "\n".join((
        request.uri, request.from_tag, request.to_tag, request.call_id, str(request.cseq[0]), *request.lines_with(STEERING)))
    return blake2s(steering.encode("utf-8", "surrogateescape"), digest_size=HASH_LENGTH // 2).hexdigest()


def has_looped(request: Request, steering: str, is_ours: Callable[[str, int], bool]) -> bool:
    """Whether a Via of ours in `request` carries the hash `steering` that the request has now (RFC 3261 §16.3 step 4)."""
    mark = f"{MAGIC_COOKIE}{steering}."
    if mark not in "".join(request.lines_of("Via")):
        return False
    suspects = [parse_via(value) for value in request.values("Via") if mark in value]
    return any(via.branch.startswith(mark) and is_ours(via.host, via.port or 5060) for via in suspects)
