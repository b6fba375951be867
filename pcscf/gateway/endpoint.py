"""The two ends of a connection that a termination can have: TLS, and plain TCP. Bytes in, bytes out, no I/O.

No application byte passes a `TlsEndpoint`, in either direction, before the peer's certificate has matched one of the
fingerprints that the controller gave in the Remote descriptor (RFC 8122 §6.2, TS 33.328 §6.2). In TLS 1.3 a server
could already write after its own Finished, before it has seen the client's certificate: here it cannot, because nothing
is encrypted or decrypted until the handshake is complete on this side, and the handshake only completes through
`_verify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, Protocol, TypeAlias

from OpenSSL import SSL, crypto
from OpenSSL._util import ffi, lib

from pcscf.gateway.cause import Cause
from pcscf.gateway.certificate import Fingerprint, Identity

MAX_RECORD: Final = 16384
"""Largest TLS plaintext record in bytes (RFC 8446 §5.1)."""

_NETWORK_CHUNK: Final = 65536

# TS 33.210 §6.2.3, RFC 7345 §4.1; the last one needs an RSA certificate at the server
TLS12_SUITES: Final = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:DHE-RSA-AES128-GCM-SHA256"
)
TLS13_SUITES: Final = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

# Before any certificate's notBefore, so that every chain ends with "not yet valid": the one verification error for
# which OpenSSL sends the alert that RFC 8122 §6.2 asks for. The fingerprint is compared there.
_BEFORE_EVERY_CERTIFICATE: Final = datetime(1, 1, 2)
_NOT_YET_VALID: Final = 9
_WEAK_KEY_OR_DIGEST: Final = frozenset({66, 67, 68})

# RFC 8446 §6, RFC 5246 §7.2
_ALERTS: Final = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 22: "record_overflow", 40: "handshake_failure",
    41: "no_certificate", 42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
    45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter", 48: "unknown_ca", 49: "access_denied",
    50: "decode_error", 51: "decrypt_error", 70: "protocol_version", 71: "insufficient_security", 80: "internal_error",
    86: "inappropriate_fallback", 90: "user_canceled", 109: "missing_extension", 110: "unsupported_extension",
    116: "certificate_required", 120: "no_application_protocol",
}  # fmt: skip
WARNING: Final = 1
FATAL: Final = 2
CLOSE_NOTIFY: Final = 0
NO_RENEGOTIATION: Final = 100
_NO_COMMON_ALERTS: Final = frozenset({"protocol_version", "insufficient_security", "handshake_failure"})


class TlsRole(Enum):
    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class Established:
    """The peer is verified. `version` "TLSv1.3", `cipher` in OpenSSL's spelling; all empty on plain TCP."""

    version: str
    cipher: str
    peer_fingerprint: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing passes any more. `alert`: "sent bad_certificate", "received handshake_failure", or "" when there was none."""

    cause: Cause
    alert: str


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The peer said that it sends no more (close_notify); our direction stays open."""


EndpointEvent: TypeAlias = Established | Failed | PeerClosed


class Endpoint(Protocol):
    """What a connection needs of either kind. `take_…` hand over everything there is and forget it.

    events: what happened since the caller last emptied the list.
    """

    @property
    def events(self) -> list[EndpointEvent]: ...
    @property
    def established(self) -> bool: ...
    @property
    def pending(self) -> bool:
        """Whether `take_plain` has something."""

    def receive_data(self, data: bytes | memoryview) -> None: ...
    def send(self, data: bytes) -> None: ...
    def close(self) -> None: ...
    def discard(self) -> None:
        """The connection under it is gone: gives back what it holds."""

    def take_network(self) -> bytes: ...
    def take_plain(self) -> bytes: ...


class PlainEndpoint:
    """TCP without TLS: established from the start, bytes unchanged."""

    __slots__ = ("_network", "_plain", "events")

    def __init__(self) -> None:
        self._network: list[bytes] = []
        self._plain: list[bytes] = []
        self.events: list[EndpointEvent] = [Established("", "", "")]

    @property
    def established(self) -> bool:
        return True

    @property
    def pending(self) -> bool:
        return bool(self._plain)

    def receive_data(self, data: bytes | memoryview) -> None:
        self._plain.append(bytes(data))

    def send(self, data: bytes) -> None:
        self._network.append(data)

    def close(self) -> None:
        """Nothing to say: the end of a plain stream is the FIN."""

    def discard(self) -> None:
        self._network.clear()
        self._plain.clear()

    def take_network(self) -> bytes:
        return _take(self._network)

    def take_plain(self) -> bytes:
        return _take(self._plain)


def authenticated_context(method: int, suites: bytes, identities: Sequence[Identity]) -> SSL.Context:
    """What TLS and DTLS have in common: AEAD suites only, no resumption, no renegotiation, and the peer must show a certificate.

    `method`: one of OpenSSL's; identities: one per kind of key. Connections name their `Authenticated` as app data.
    """
    context = SSL.Context(method)
    context.set_cipher_list(suites)
    context.set_options(
        SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)   # most streams are idle most of the time, and a buffer is 17 kB
    # With no cache and no self-contained tickets there is nothing that a session could be resumed from.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    for identity in identities:
        context.use_certificate(identity.certificate)
        context.use_privatekey(identity.key)
    store = context.get_cert_store()
    assert store is not None  # noqa: S101 - a fresh context always has one
    store.set_time(_BEFORE_EVERY_CERTIFICATE)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
    lib.SSL_CTX_set_info_callback(context._context, _NOTE_ALERT)
    return context


class Authenticated:
    """Who the peer of a handshake is, and what becomes of the handshake because of it.

    `fingerprints`: what the peer's certificate may have, already narrowed to the strongest hash; one of them must match.
    """

    __slots__ = ("_accepted", "_alert", "_connection", "_done", "_peer", "_refused", "_was_closed", "events")

    def __init__(self, fingerprints: tuple[Fingerprint, ...]) -> None:
        self._accepted = fingerprints
        self._peer = ""
        self._refused = False
        self._alert = ""
        self._done = False
        self._was_closed = False
        self._connection: SSL.Connection | None = None
        self.events: list[EndpointEvent] = []

    @property
    def established(self) -> bool:
        """The handshake is complete and the peer's certificate matched; nothing has failed since."""
        return self._done and self._connection is not None

    def judge(self, certificate: crypto.X509) -> bool:
        """Called by the verification of the handshake with the peer's own certificate: is it the one that was promised?

        Its octets are hashed, nothing in them is read: OpenSSL takes certificates that other parsers choke on.
        """
        octets = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        for one in self._accepted:
            if one.is_of(octets):
                self._peer = str(one)
                self._refused = False
                return True
        self._refused = True
        return False

    def note_alert(self, text: str) -> None:
        self._alert = text

    def close(self) -> None:
        """Says close_notify: we send no more, but still read."""
        if self._done and self._connection is not None and not self._was_closed:
            self._was_closed = True
            try:
                self._connection.shutdown()
            except SSL.Error as error:
                self._fail(self._connection, self._cause(error))

    def _shake_hands(self, connection: SSL.Connection) -> None:
        """As far as what the peer has sent leads. The one place where an endpoint becomes established."""
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            self._fail(connection, self._cause(error))
            return
        if not self._peer:
            # Only a handshake without a certificate exchange ends here, such as a resumed one; none is offered.
            self._refused = True
            self._fail(connection, self._cause(SSL.Error()))
            return
        self._done = True
        version, cipher = connection.get_protocol_version_name(), connection.get_cipher_name() or ""
        self.events.append(Established(version, cipher, self._peer))

    def _fail(self, connection: SSL.Connection, cause: Cause) -> None:
        """Keeps the alert for the network, forgets the connection with everything in it."""
        raise NotImplementedError

    def _cause(self, error: SSL.Error) -> Cause:
        queue = error.args[0] if error.args else ()
        reasons = " ".join(str(entry[2]) for entry in queue) if isinstance(queue, list) else ""  # SysCallError has a number
        if self._refused:
            return Cause.FINGERPRINT_MISMATCH
        if "did not return a certificate" in reasons:
            return Cause.NO_CERTIFICATE
        name = self._alert.partition(" ")[2]
        if not self._done and name in _NO_COMMON_ALERTS:
            return Cause.NO_COMMON_PARAMETERS
        if self._alert.startswith("received"):
            return Cause.PEER_ALERT
        return Cause.TLS_PROTOCOL


class TlsContext:
    """What all TLS endpoints of one identity share: TLS 1.2 and 1.3 only."""

    def __init__(self, identity: Identity) -> None:
        context = authenticated_context(SSL.TLS_METHOD, TLS12_SUITES, (identity,))
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_tls13_ciphersuites(TLS13_SUITES)
        self.identity = identity
        self._context = context

    def connection(self, endpoint: TlsEndpoint) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(endpoint)
        return connection


class TlsEndpoint(Authenticated):
    """One TLS connection over memory buffers, authenticated both ways by certificate fingerprint.

    The caller creates the endpoint only once the fingerprints are known, so a handshake never waits half done. A
    client's ClientHello is ready to be taken right after construction.
    """

    __slots__ = ("_last_words", "_plain")

    def __init__(self, context: TlsContext, role: TlsRole, fingerprints: tuple[Fingerprint, ...]) -> None:
        super().__init__(fingerprints)
        self._last_words = b""
        self._plain: list[bytes] = []
        self._connection = context.connection(self)
        if role is TlsRole.CLIENT:
            self._connection.set_connect_state()
            self._shake_hands(self._connection)
        else:
            self._connection.set_accept_state()

    @property
    def pending(self) -> bool:
        return bool(self._plain)

    def receive_data(self, data: bytes | memoryview) -> None:
        """Bytes from the network. What they carry is decrypted at once, so hand in no more than may be held."""
        connection = self._connection
        if connection is None or not data:
            return
        connection.bio_write(data)
        if not self._done:
            self._shake_hands(connection)
        if self._done:
            self._decrypt(connection)

    def send(self, data: bytes) -> None:
        """Encrypts application bytes. RuntimeError before `established`: this is the last gate, and it does not buffer."""
        connection = self._connection
        if not self._done or connection is None:
            raise RuntimeError("application data for a peer that is not verified")
        try:
            view = memoryview(data)
            while view:
                view = view[connection.send(view[:MAX_RECORD]):]
        except SSL.Error as error:
            self._fail(connection, self._cause(error))

    def discard(self) -> None:
        """OpenSSL's connection and this object name each other: without this, its memory waits for the cyclic collector."""
        self._connection = None
        self._last_words = b""
        self._plain.clear()

    def take_network(self) -> bytes:
        """Everything that must go out on the network, alerts of a failed handshake included."""
        connection = self._connection
        if connection is None:
            last_words, self._last_words = self._last_words, b""
            return last_words
        return _drain(connection)

    def take_plain(self) -> bytes:
        return _take(self._plain) if self._done and self._connection is not None else b""

    def _decrypt(self, connection: SSL.Connection) -> None:
        try:
            while True:
                self._plain.append(connection.recv(MAX_RECORD))
        except SSL.WantReadError:
            return
        except SSL.ZeroReturnError:
            self.events.append(PeerClosed())
        except SSL.Error as error:
            self._fail(connection, self._cause(error))

    def _fail(self, connection: SSL.Connection, cause: Cause) -> None:
        self.events.append(Failed(cause, self._alert))
        self._last_words = _drain(connection)
        self._plain.clear()
        self._connection = None


def _verify(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, _ok: int) -> bool:
    """OpenSSL asks once per finding. Only the one that every chain has, for the peer's own certificate, is decided here."""
    if error in _WEAK_KEY_OR_DIGEST:
        return False
    if error == _NOT_YET_VALID and depth == 0:
        endpoint: Authenticated = connection.get_app_data()
        return endpoint.judge(certificate)
    return True


def alert_name(description: int) -> str:
    return _ALERTS.get(description, f"alert {description}")


def _note_alert(ssl: object, where: int, value: int) -> None:
    if where & SSL.SSL_CB_ALERT and value >> 8 == FATAL:
        endpoint: Authenticated = SSL.Connection._reverse_mapping[ssl].get_app_data()
        direction = "sent" if where & SSL.SSL_CB_WRITE else "received"
        endpoint.note_alert(f"{direction} {alert_name(value & 0xFF)}")


# OpenSSL calls it for each of the two dozen steps of a handshake. Context.set_info_callback would look the Connection up at every
# one of them; only an alert is worth it.
_NOTE_ALERT: Final = ffi.callback("void (*)(const SSL *, int, int)", _note_alert)


def _drain(connection: SSL.Connection) -> bytes:
    chunks: list[bytes] = []
    try:
        while not chunks or len(chunks[-1]) == _NETWORK_CHUNK:
            chunks.append(connection.bio_read(_NETWORK_CHUNK))
    except SSL.WantReadError:
        pass
    return _take(chunks)


def _take(chunks: list[bytes]) -> bytes:
    """All of the chunks as one, without a copy in the usual case of a single one; the list is empty afterwards."""
    if not chunks:
        return b""
    data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    chunks.clear()
    return data
