"""The record layer of DTLS 1.2 with AES-GCM (RFC 6347 §4.1, RFC 5288), for what follows a handshake. Pure.

OpenSSL makes the handshake and could protect what follows. But it keeps some 70 KiB of each connection to its end, most of which
has served when the handshake is over: buffers for its messages, record layers of both epochs, the certificate of the peer.
What is needed from then on are two keys, two counters and a window.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

DTLS1_2: Final = 0xFEFD
"""The version that is spoken (RFC 6347 §4.1); none below it (TS 33.210 §6.2.1)."""

CHANGE_CIPHER_SPEC: Final = 20
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23

RECORD_HEADER: Final = 13
_EXPLICIT_NONCE: Final = 8
_TAG: Final = 16
RECORD_OVERHEAD: Final = RECORD_HEADER + _EXPLICIT_NONCE + _TAG
"""Octets that a protected record is longer than what it carries (RFC 5288 §3)."""

_HEADER: Final = struct.Struct("!BHQH")       # type, version, epoch and sequence number, length
_ADDITIONAL: Final = struct.Struct("!QBHH")   # the same, as AES-GCM authenticates it, with the length of the plaintext
_SALT: Final = 4
PROTECTED: Final = 1 << 48
"""The first number of the epoch that a handshake ends with. Without renegotiation there is no other."""
_LAST: Final = 2 * PROTECTED - 1
_WINDOW: Final = 64
_WINDOW_MASK: Final = (1 << _WINDOW) - 1
_KEY_OCTETS: Final = {"AES128": 16, "AES256": 32}


Record: TypeAlias = tuple[int, int, int, int, int]
"""Type, version, number (epoch and sequence number), and where it starts and ends among others, header included."""


class Exhausted(Exception):
    """All sequence numbers of the epoch are used up; none may be used again (RFC 6347 §4.1)."""


def records_untrusted(octets: bytes | memoryview) -> Iterator[Record]:
    """The whole records that stand one behind the other; what is cut off at the end is none."""
    at = 0
    while at + RECORD_HEADER <= len(octets):
        kind, version, number, length = _HEADER.unpack_from(octets, at)
        end = at + RECORD_HEADER + length
        if end > len(octets):
            return
        yield kind, version, number, at, end
        at = end


class Sent:
    """What has been sent under the own key while OpenSSL had it: nothing of it may be used again."""

    __slots__ = ("_nonce", "_number")

    def __init__(self) -> None:
        self._number = self._nonce = -1

    def note(self, octets: bytes) -> None:
        """Records as they left, in their order."""
        for _, _, number, start, _ in records_untrusted(octets):
            if number >= PROTECTED:
                at = start + RECORD_HEADER
                self._number = number
                self._nonce = int.from_bytes(octets[at:at + _EXPLICIT_NONCE])

    @property
    def next(self) -> tuple[int, int]:
        """Number and explicit nonce of the next record. OpenSSL counts nonces on from a random one, and so do we: where numbers
        never come again, nonces do not. Raises Exhausted where it was not seen to have begun.
        """
        if self._number < 0:
            raise Exhausted("nothing was sent yet that tells where to go on")
        return self._number + 1, self._nonce + 1 & 0xFFFF_FFFF_FFFF_FFFF


class Protection:
    """Protects what we send, opens what the peer has sent.

    suite: in OpenSSL's spelling, one with AES-GCM; master, client_random, server_random: 48, 32 and 32 octets of the handshake;
    `sent`: what has left under our key.
    """

    __slots__ = ("_newest", "_nonce", "_number", "_own", "_own_salt", "_peer", "_peer_salt", "_seen")

    def __init__(
        self, suite: str, master: bytes, client_random: bytes, server_random: bytes, sent: Sent, *, is_client: bool
    ) -> None:
        digest = "sha384" if suite.endswith("SHA384") else "sha256"
        size = next(octets for name, octets in _KEY_OCTETS.items() if f"{name}-GCM" in suite)
        # RFC 5246 §6.3; AES-GCM has no keys for a MAC (RFC 5288 §3)
        block = expanded(master, b"key expansion" + server_random + client_random, digest, 2 * (size + _SALT))
        keys = block[:size], block[size:2 * size]
        salts = block[2 * size:2 * size + _SALT], block[2 * size + _SALT:]
        if not is_client:
            keys, salts = keys[::-1], salts[::-1]
        self._own, self._peer = AESGCM(keys[0]), AESGCM(keys[1])
        self._own_salt, self._peer_salt = salts
        self._number, self._nonce = sent.next
        self._newest = PROTECTED - 1
        self._seen = 0

    def protect(self, kind: int, plain: bytes | memoryview) -> bytes:
        """The record that carries this. Raises Exhausted."""
        number, nonce = self._number, self._nonce
        if number > _LAST:
            raise Exhausted("every sequence number has been used")
        self._number, self._nonce = number + 1, nonce + 1 & 0xFFFF_FFFF_FFFF_FFFF
        explicit, size = nonce.to_bytes(_EXPLICIT_NONCE), len(plain)
        sealed = self._own.encrypt(self._own_salt + explicit, plain, _ADDITIONAL.pack(number, kind, DTLS1_2, size))
        return _HEADER.pack(kind, DTLS1_2, number, _EXPLICIT_NONCE + len(sealed)) + explicit + sealed

    def repeated(self, flight: bytes, times: int) -> bytes:
        """The messages of a flight that we sent, each in a new record (RFC 6347 §4.2.4). Raises Exhausted.

        flight: ChangeCipherSpec and what follows it, as it left; times: how often it has been repeated, with this one.
        """
        made = b""
        for kind, version, number, start, end in records_untrusted(flight):
            if number < PROTECTED:
                body = flight[start + RECORD_HEADER:end]
                made += _HEADER.pack(kind, version, number + times, len(body)) + body
            else:
                made += self.protect(kind, _opened(self._own, self._own_salt, flight, kind, number, start, end))
        return made

    def open_untrusted(self, datagram: bytes | memoryview) -> Iterator[tuple[int, bytes]]:
        """Type and content of every record that is genuine and new; the others are passed over (RFC 6347 §4.1.2.6, §4.1.2.7)."""
        for kind, version, number, start, end in records_untrusted(datagram):
            if version != DTLS1_2 or end - start < RECORD_OVERHEAD or not self._is_new(number):
                continue
            try:
                plain = _opened(self._peer, self._peer_salt, datagram, kind, number, start, end)
            except InvalidTag:
                continue
            self._note(number)
            yield kind, plain

    def _is_new(self, number: int) -> bool:
        behind = self._newest - number
        return PROTECTED <= number <= _LAST and (behind < 0 or (behind < _WINDOW and not self._seen >> behind & 1))

    def _note(self, number: int) -> None:
        """Only what was genuine moves the window."""
        ahead = number - self._newest
        if ahead > 0:
            self._seen = (self._seen << min(ahead, _WINDOW) | 1) & _WINDOW_MASK
            self._newest = number
        else:
            self._seen |= 1 << -ahead


def _opened(key: AESGCM, salt: bytes, octets: bytes | memoryview, kind: int, number: int, start: int, end: int) -> bytes:
    """Raises InvalidTag."""
    body = start + RECORD_HEADER + _EXPLICIT_NONCE
    nonce = salt + octets[body - _EXPLICIT_NONCE:body]
    return key.decrypt(nonce, octets[body:end], _ADDITIONAL.pack(number, kind, DTLS1_2, end - body - _TAG))


def expanded(secret: bytes, seed: bytes, digest: str, size: int) -> bytes:
    """`size` octets of P_hash (RFC 5246 §5); `seed` has the label in front."""
    block, made = seed, b""
    while len(made) < size:
        block = hmac.digest(secret, block, digest)
        made += hmac.digest(secret, block + seed, digest)
    return made[:size]
