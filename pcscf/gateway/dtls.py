"""The DTLS end of a termination: datagrams in, datagrams out, no I/O. The sibling of `endpoint.TlsEndpoint`.

As with TLS, no application datagram passes in either direction before the peer's certificate has matched one of the
fingerprints of the Remote descriptor (RFC 7345 §4.1, RFC 8122 §6.2).

A server keeps nothing of a peer that has not shown, by returning a cookie, that it receives at the address it sends
from (RFC 6347 §4.2.1); from then on it hears that address alone. One application datagram is one record, and one
record is one datagram. OpenSSL's retransmission timer runs on the wall clock: the caller asks how long it has, and
says when that is over.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from OpenSSL import SSL

from pcscf.gateway.cause import Cause
from pcscf.gateway.certificate import Fingerprint, Identity
from pcscf.gateway.endpoint import (
    TLS12_SUITES,
    Authenticated,
    Failed,
    PeerClosed,
    TlsRole,
    authenticated_context,
)

DTLS1_2: Final = 0xFEFD
"""The version that is spoken (RFC 6347 §4.1); none below it (TS 33.210 §6.2.1)."""

RECORD_HEADER: Final = 13
RECORD_OVERHEAD: Final = RECORD_HEADER + 8 + 16
"""Octets that a record is longer than what it carries: header, explicit nonce and tag of AES-GCM (RFC 5288 §3)."""

MAX_PLAIN: Final = 16384
MAX_DATAGRAM: Final = MAX_PLAIN + RECORD_OVERHEAD
"""Longer ones hold no record of ours."""

_GROUP: Final = Path(__file__).with_name("ffdhe2048.dh")
_HANDSHAKE: Final = 22
_APPLICATION_DATA: Final = 23
_NETWORK_CHUNK: Final = 65536
_COOKIE: Final = 16
_MANY: Final = 1000
"""More records than a datagram and what OpenSSL holds back of earlier ones can have."""


class DtlsContext:
    """What all DTLS endpoints share: DTLS 1.2 only, and a certificate per kind of key.

    secret: at least 16 random octets, from which cookies are made.
    """

    def __init__(self, identities: Sequence[Identity], secret: bytes) -> None:
        context = authenticated_context(SSL.DTLS_METHOD, TLS12_SUITES, identities)
        context.set_min_proto_version(DTLS1_2)
        context.set_max_proto_version(DTLS1_2)
        context.load_tmp_dh(str(_GROUP))
        # Memory buffers know no path MTU: OpenSSL shall neither ask for it nor fall back to what they answer.
        assert SSL.OP_NO_QUERY_MTU is not None  # noqa: S101 - every OpenSSL that cryptography is built with has it
        context.set_options(SSL.OP_NO_QUERY_MTU)
        context.set_cookie_generate_callback(_cookie)
        context.set_cookie_verify_callback(_is_cookie)
        self.secret = secret
        self._context = context

    def connection(self, endpoint: DtlsEndpoint) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(endpoint)
        return connection


class DtlsEndpoint(Authenticated):
    """One DTLS association over memory buffers, authenticated both ways by certificate fingerprint.

    source, here and in `receive`: the peer's address in octets that are the same for the same address. A server learns
    it (`peer`, b"" until then). mtu: octets of the longest datagram that is sent.

    events: what happened since the caller last emptied the list. A client's ClientHello is ready to be taken right
    after construction.
    """

    __slots__ = ("_context", "_last_words", "_mtu", "_plain", "_source", "peer")

    def __init__(
        self, context: DtlsContext, role: TlsRole, fingerprints: tuple[Fingerprint, ...], *, mtu: int, peer: bytes = b""
    ) -> None:
        super().__init__(fingerprints)
        self.peer = peer
        self._context = context
        self._mtu = mtu
        self._source = peer
        self._last_words: list[bytes] = []
        self._plain: list[bytes] = []
        self._connection = context.connection(self)
        self._connection.set_ciphertext_mtu(mtu)
        if role is TlsRole.CLIENT:
            self._connection.set_connect_state()
            self._advance(self._connection, _MANY)
        else:
            self._connection.set_accept_state()

    @property
    def max_plain(self) -> int:
        """Octets of the longest application datagram that fits."""
        return self._mtu - RECORD_OVERHEAD

    @property
    def cookie(self) -> bytes:
        """What the source of the datagram at hand must return."""
        return hmac.digest(self._context.secret, self._source, "sha256")[:_COOKIE]

    def receive(self, datagram: bytes | memoryview, source: bytes) -> None:
        """A datagram from the network. One from anybody but the peer is dropped, as is what is no record at all."""
        connection = self._connection
        if connection is None or not RECORD_HEADER < len(datagram) <= MAX_DATAGRAM:
            return
        if not self.peer:
            self._listen(connection, datagram, source)
        elif source == self.peer:
            connection.bio_write(datagram)
            # OpenSSL is asked for more than the usual single record only where there can be more.
            lone = self._done and len(datagram) == RECORD_HEADER + (datagram[11] << 8 | datagram[12])
            self._advance(connection, records=1 if lone else _MANY)

    def send(self, datagram: bytes | memoryview) -> None:
        """Encrypts an application datagram. RuntimeError before `established`: this is the last gate, and it does not buffer.

        ValueError for one that is empty or longer than `max_plain`.
        """
        connection = self._connection
        if not self._done or connection is None:
            raise RuntimeError("application data for a peer that is not verified")
        if not 0 < len(datagram) <= self.max_plain:
            raise ValueError(f"a datagram of {len(datagram)} octets where 1 to {self.max_plain} fit")
        try:
            connection.send(datagram)
        except SSL.Error as error:
            self._fail(connection, self._cause(error))

    def discard(self) -> None:
        """OpenSSL's connection and this object name each other: without this, its memory waits for the cyclic collector."""
        self._connection = None
        self._last_words.clear()
        self._plain.clear()

    def next_timer(self) -> float | None:
        """Seconds until `handle_timer` is due; None while nothing waits for an answer."""
        return self._connection.DTLSv1_get_timeout() if self._connection is not None and not self._done else None

    def handle_timer(self) -> None:
        """The flight that was not answered goes out again, and the next wait is twice as long (RFC 6347 §4.2.4.1)."""
        connection = self._connection
        if connection is not None and not self._done:
            try:
                connection.DTLSv1_handle_timeout()
            except SSL.Error:
                self._fail(connection, Cause.HANDSHAKE_TIMEOUT)

    def take_network(self) -> list[bytes]:
        """Every datagram that must go out to the peer, or, while there is none, to the source of what was last received."""
        connection = self._connection
        if connection is None:
            last_words, self._last_words = self._last_words, []
            return last_words
        return self._drain(connection)

    def take_plain(self) -> list[bytes]:
        if not self._done or self._connection is None:
            return []
        plain, self._plain = self._plain, []
        return plain

    def _listen(self, connection: SSL.Connection, datagram: bytes | memoryview, source: bytes) -> None:
        """Asks for a cookie; with the right one the handshake begins."""
        if datagram[0] != _HANDSHAKE:
            return
        self._source = source
        connection.bio_write(datagram)
        try:
            connection.DTLSv1_listen()
        except SSL.Error:
            # What it answered waits in the buffer, and the next datagram finds it as if nothing had been. But it has left
            # its complaints in the thread's error queue, where another connection would take them for its own.
            _forget_errors(connection)
            return
        self.peer = source
        connection.bio_write(datagram)  # OpenSSL only looked at it
        self._advance(connection, _MANY)

    def _advance(self, connection: SSL.Connection, records: int) -> None:
        if not self._done:
            self._shake_hands(connection)
        if self._done:
            self._decrypt(connection, records)

    def _decrypt(self, connection: SSL.Connection, records: int) -> None:
        try:
            for _ in range(records):
                self._plain.append(connection.recv(MAX_PLAIN))
        except SSL.WantReadError:
            return
        except SSL.ZeroReturnError:
            self.events.append(PeerClosed())
        except SSL.Error as error:
            self._fail(connection, self._cause(error))

    def _fail(self, connection: SSL.Connection, cause: Cause) -> None:
        self.events.append(Failed(cause, self._alert))
        self._last_words = self._drain(connection)
        self._plain.clear()
        self._connection = None

    def _drain(self, connection: SSL.Connection) -> list[bytes]:
        """What OpenSSL wrote, cut between records: its buffer does not keep datagrams apart."""
        chunks: list[bytes] = []
        try:
            while not chunks or len(chunks[-1]) == _NETWORK_CHUNK:
                chunks.append(connection.bio_read(_NETWORK_CHUNK))
        except SSL.WantReadError:
            pass
        return datagrams(b"".join(chunks) if len(chunks) > 1 else chunks[0], self._mtu) if chunks else []


def datagrams(records: bytes, mtu: int) -> list[bytes]:
    """Whole records, in datagrams of at most `mtu` octets: handshake records together, application data alone."""
    found: list[bytes] = []
    start = at = 0
    while at < len(records):
        end = at + RECORD_HEADER + int.from_bytes(records[at + 11:at + RECORD_HEADER])
        alone = records[at] == _APPLICATION_DATA or records[start] == _APPLICATION_DATA
        if at > start and (alone or end - start > mtu):
            found.append(records[start:at])
            start = at
        at = end
    if start < len(records):
        found.append(records[start:])
    return found


def _forget_errors(connection: SSL.Connection) -> None:
    """Listening begins with an empty error queue; without a datagram it adds nothing to it."""
    try:
        connection.DTLSv1_listen()
    except SSL.Error:
        pass


def _cookie(connection: SSL.Connection) -> bytes:
    endpoint: DtlsEndpoint = connection.get_app_data()
    return endpoint.cookie


def _is_cookie(connection: SSL.Connection, cookie: bytes) -> bool:
    endpoint: DtlsEndpoint = connection.get_app_data()
    return hmac.compare_digest(cookie, endpoint.cookie)
