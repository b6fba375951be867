"""The DTLS end of a termination: datagrams in, datagrams out, no I/O. The sibling of `endpoint.TlsEndpoint`.

As with TLS, no application datagram passes in either direction before the peer's certificate has matched one of the
fingerprints of the Remote descriptor (RFC 7345 §4.1, RFC 8122 §6.2).

A server keeps nothing of a peer that has not shown, by returning a cookie, that it receives at the address it sends
from (RFC 6347 §4.2.1); from then on it hears that address alone. One application datagram is one record, and one
record is one datagram. OpenSSL makes the handshake and is gone with its end: what follows is protected by `records`.
OpenSSL's retransmission timer runs on the wall clock: the caller asks how long it has, and says when that is over.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from OpenSSL import SSL, crypto

from pcscf.gateway.cause import Cause
from pcscf.gateway.certificate import Fingerprint, Identity
from pcscf.gateway.endpoint import (
    CLOSE_NOTIFY,
    FATAL,
    NO_RENEGOTIATION,
    TLS12_SUITES,
    WARNING,
    Authenticated,
    Failed,
    PeerClosed,
    TlsRole,
    alert_name,
    authenticated_context,
)
from pcscf.gateway.records import (
    ALERT,
    APPLICATION_DATA,
    DTLS1_2,
    HANDSHAKE,
    PROTECTED,
    RECORD_HEADER,
    RECORD_OVERHEAD,
    Exhausted,
    Protection,
    Sent,
    records_untrusted,
)

MAX_PLAIN: Final = 16384
MAX_DATAGRAM: Final = MAX_PLAIN + RECORD_OVERHEAD
"""Longer ones hold no record of ours."""
EARLY: Final = 16
"""Datagrams that came before the end of the handshake, protected with what it has not agreed on yet."""

_GROUP: Final = Path(__file__).with_name("ffdhe2048.dh")
_BEGINNINGS: Final = (b"\0", b"\1")   # HelloRequest, ClientHello
_FINISHED: Final = b"\x14"
_NETWORK_CHUNK: Final = 65536
_COOKIE: Final = 16


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
    """One DTLS association, authenticated both ways by certificate fingerprint.

    source, here and in `receive`: the peer's address in octets that are the same for the same address. A server learns
    it (`peer`, b"" until then). mtu: octets of the longest datagram that is sent. cookie: what the source of the datagram at
    hand must return.

    events: what happened since the caller last emptied the list. A client's ClientHello is ready to be taken right
    after construction.
    """

    __slots__ = (
        "_context", "_early", "_last_flight", "_mtu", "_network", "_peer_is_done", "_plain", "_protection", "_repeats", "_role",
        "_sent", "_shown", "cookie", "peer",
    )  # fmt: skip

    def __init__(
        self, context: DtlsContext, role: TlsRole, fingerprints: tuple[Fingerprint, ...], *, mtu: int, peer: bytes = b""
    ) -> None:
        super().__init__(fingerprints)
        self.peer = peer
        self._role = role
        self._context: DtlsContext | None = context
        self._mtu = mtu
        self.cookie = b""
        self._shown: crypto.X509 | None = None
        self._network: list[bytes] = []
        self._plain: list[bytes] = []
        self._early: deque[bytes] = deque(maxlen=EARLY)
        self._last_flight = b""
        self._repeats = 0
        self._peer_is_done = False
        self._sent = Sent()
        self._protection: Protection | None = None
        if role is TlsRole.CLIENT:
            connection = self._connect(context)
            connection.set_connect_state()
            self._advance(connection)

    @property
    def established(self) -> bool:
        return self._protection is not None

    @property
    def shown(self) -> str:
        """The fingerprint of the certificate of ours that the peer saw; "" before `established`."""
        return f"sha-256 {self._shown.digest('sha256').decode()}" if self._shown is not None else ""

    @property
    def max_plain(self) -> int:
        """Octets of the longest application datagram that fits."""
        return self._mtu - RECORD_OVERHEAD

    def receive(self, datagram: bytes | memoryview, source: bytes) -> None:
        """A datagram from the network. One from anybody but the peer is dropped, as is what is no record at all."""
        if not RECORD_HEADER < len(datagram) <= MAX_DATAGRAM:
            return
        if not self.peer:
            self._listen(datagram, source)
        elif source == self.peer:
            if self._protection is not None:
                self._open(self._protection, datagram)
            elif self._connection is not None:
                if any(number >= PROTECTED for _, _, number, _, _ in records_untrusted(datagram)):
                    self._early.append(bytes(datagram))
                self._connection.bio_write(datagram)
                self._advance(self._connection)

    def send(self, datagram: bytes | memoryview) -> None:
        """Encrypts an application datagram. RuntimeError before `established`: this is the last gate, and it does not buffer.

        ValueError for one that is empty or longer than `max_plain`.
        """
        protection = self._protection
        if protection is None:
            raise RuntimeError("application data for a peer that is not verified")
        if not 0 < len(datagram) <= self.max_plain:
            raise ValueError(f"a datagram of {len(datagram)} octets where 1 to {self.max_plain} fit")
        self._protect(protection, APPLICATION_DATA, datagram)

    def close(self) -> None:
        """Says close_notify: we send no more, but still read."""
        if self._protection is not None and not self._was_closed:
            self._was_closed = True
            self._protect(self._protection, ALERT, bytes((WARNING, CLOSE_NOTIFY)))

    def discard(self) -> None:
        """OpenSSL's connection and this object name each other: without this, its memory waits for the cyclic collector."""
        self._context = self._connection = self._protection = None
        self._early.clear()
        self._network.clear()
        self._plain.clear()

    def next_timer(self) -> float | None:
        """Seconds until `handle_timer` is due; None while nothing waits for an answer."""
        return self._connection.DTLSv1_get_timeout() if self._connection is not None else None

    def handle_timer(self) -> None:
        """The flight that was not answered goes out again, and the next wait is twice as long (RFC 6347 §4.2.4.1)."""
        connection = self._connection
        if connection is not None:
            try:
                connection.DTLSv1_handle_timeout()
            except SSL.Error:
                self._fail(connection, Cause.HANDSHAKE_TIMEOUT)

    def take_network(self) -> list[bytes]:
        """Every datagram that must go out to the peer, or, while there is none, to the source of what was last received."""
        if self._connection is not None:
            self._drain(self._connection)
        network, self._network = self._network, []
        return network

    def take_plain(self) -> list[bytes]:
        if self._protection is None:
            return []
        plain, self._plain = self._plain, []
        return plain

    # --- the handshake -----------------------------------------------------------------------------------------------

    def _connect(self, context: DtlsContext) -> SSL.Connection:
        connection = self._connection = context.connection(self)
        connection.set_ciphertext_mtu(self._mtu)
        return connection

    def _listen(self, datagram: bytes | memoryview, source: bytes) -> None:
        """Asks for a cookie; with the right one the handshake begins."""
        context = self._context
        if datagram[0] != HANDSHAKE or context is None:
            return
        connection = self._connection
        if connection is None:
            connection = self._connect(context)
            connection.set_accept_state()
        self.cookie = hmac.digest(context.secret, source, "sha256")[:_COOKIE]
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
        self._advance(connection)

    def _advance(self, connection: SSL.Connection) -> None:
        self._shake_hands(connection)
        if self._done and self._connection is not None:
            self._take_over(connection)

    def _take_over(self, connection: SSL.Connection) -> None:
        """The handshake is complete: its keys are ours from here on, and OpenSSL's part ends."""
        before = len(self._network)
        self._drain(connection)
        flight = b"".join(self._network[before:])
        try:
            protection = self._protection = Protection(
                connection.get_cipher_name() or "", connection.master_key() or b"", connection.client_random() or b"",
                connection.server_random() or b"", self._sent, is_client=self._role is TlsRole.CLIENT,
            )  # fmt: skip
        except Exhausted:
            self._fail(connection, Cause.TLS_PROTOCOL)
            return
        self._shown = connection.get_certificate()
        self._connection = None
        early, self._early = self._early, deque()
        for datagram in early:   # OpenSSL has seen them; what it made of them is gone with it
            self._open(protection, datagram)
        if self._role is TlsRole.SERVER:
            self._last_flight = flight

    def _fail(self, connection: SSL.Connection, cause: Cause) -> None:
        self._drain(connection)
        self._end(cause)

    def _end(self, cause: Cause) -> None:
        self.events.append(Failed(cause, self._alert))
        self._connection = self._protection = None
        self._early.clear()
        self._plain.clear()

    def _drain(self, connection: SSL.Connection) -> None:
        """What OpenSSL wrote, cut between records: its buffer does not keep datagrams apart."""
        chunks: list[bytes] = []
        try:
            while not chunks or len(chunks[-1]) == _NETWORK_CHUNK:
                chunks.append(connection.bio_read(_NETWORK_CHUNK))
        except SSL.WantReadError:
            pass
        if chunks:
            octets = b"".join(chunks)
            self._sent.note(octets)
            self._network += datagrams(octets, self._mtu)

    # --- after it ----------------------------------------------------------------------------------------------------

    def _open(self, protection: Protection, datagram: bytes | memoryview) -> None:
        for kind, content in protection.open_untrusted(datagram):
            if self._peer_is_done:
                return
            if kind == APPLICATION_DATA:
                if content:
                    self._plain.append(content)
            elif kind == ALERT:
                self._heed(content)
            elif kind == HANDSHAKE:
                self._shake_hands_no_more(protection, content[:1])

    def _shake_hands_no_more(self, protection: Protection, message: bytes) -> None:
        if message == _FINISHED and self._last_flight:
            # Our last flight was lost: the client asks for it with its own, and again while it does not come.
            self._repeats += 1
            self._protect_again(protection)
        elif message in _BEGINNINGS:
            self._protect(protection, ALERT, bytes((WARNING, NO_RENEGOTIATION)))   # RFC 5246 §7.2.2

    def _heed(self, alert: bytes) -> None:
        """Warnings other than the end mean nothing to us (RFC 5246 §7.2)."""
        if len(alert) != 2:
            return
        level, description = alert
        if description == CLOSE_NOTIFY:
            self._peer_is_done = True
            self.events.append(PeerClosed())
        elif level == FATAL:
            self._peer_is_done = True
            self.note_alert(f"received {alert_name(description)}")
            self._end(Cause.PEER_ALERT)

    def _protect(self, protection: Protection, kind: int, content: bytes | memoryview) -> None:
        try:
            self._network.append(protection.protect(kind, content))
        except Exhausted:
            self._end(Cause.TLS_PROTOCOL)

    def _protect_again(self, protection: Protection) -> None:
        try:
            self._network.append(protection.repeated(self._last_flight, self._repeats))
        except Exhausted:
            self._end(Cause.TLS_PROTOCOL)


def datagrams(octets: bytes, mtu: int) -> list[bytes]:
    """Whole records of a handshake, as many of them in a datagram as `mtu` octets hold."""
    found: list[bytes] = []
    first = last = 0
    for _, _, _, start, end in records_untrusted(octets):
        if start > first and end - first > mtu:
            found.append(octets[first:start])
            first = start
        last = end
    if first < last:
        found.append(octets[first:last])
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
