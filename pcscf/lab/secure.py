"""TLS and DTLS on memory buffers, in either role, with self-signed certificates on both sides (RFC 8122, RFC 7345).

The standard library has no DTLS, and as a TLS server it cannot take a self-signed client certificate and compare it.
"""

from __future__ import annotations

import ssl
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL

from pcscf.lab.tls import HASHES, Fingerprint, Identity, PeerRefusedError, TlsFacts, check_fingerprint

READ_BYTES = 65_536
MTU = 1_200               # octets of a DTLS datagram, at most
_DTLS_RECORD_HEADER = 13  # octets, the last two of which are the length of the rest (RFC 6347 §4.1)


class Layer(Enum):
    """TLS over a stream, or over datagrams; each from version 1.2 on."""

    TLS = (SSL.TLS_METHOD, ssl.TLSVersion.TLSv1_2.value)
    DTLS = (SSL.DTLS_METHOD, 0xFEFD)


class SecureError(OSError):
    """The handshake or the connection failed."""


class SecureEnd:
    """One end. Octets of the network go in by `feed` and come out by `outgoing`; `expected` is what the peer's SDP names."""

    def __init__(self, layer: Layer, identity: Identity, expected: tuple[Fingerprint, ...], *, server: bool) -> None:
        """Raises PeerRefusedError where `expected` proves nothing."""
        if not any(name.lower() in HASHES for name, _ in expected):
            raise PeerRefusedError("the SDP names no fingerprint with a usable hash")
        method, lowest = layer.value
        context = SSL.Context(method)
        context.set_min_proto_version(lowest)
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_QUERY_MTU)
        context.use_certificate(x509.load_pem_x509_certificate(identity.certificate))
        key = serialization.load_pem_private_key(identity.key, None)
        context.use_privatekey(key)  # type: ignore[arg-type]  # of a kind that self_signed made
        # Any certificate: it is compared with the SDP's fingerprint afterwards, before anything is said.
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        self._layer = layer
        self._expected = expected
        self._connection = SSL.Connection(context, None)
        if layer is Layer.DTLS:
            self._connection.set_ciphertext_mtu(MTU)
        if server:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()

    def handshake(self) -> TlsFacts | None:
        """Go as far as can be; the facts once the peer is proven. Raises SecureError or PeerRefusedError."""
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return None
        except SSL.Error as error:
            raise SecureError(f"{self._layer.name} handshake failed: {_reason(error)}") from error
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        der = certificate.public_bytes(serialization.Encoding.DER) if certificate is not None else None
        shown = check_fingerprint(der, self._expected)
        return TlsFacts(self._connection.get_protocol_version_name(), self._connection.get_cipher_name() or "", shown)

    def feed(self, data: bytes) -> None:
        self._connection.bio_write(data)

    def outgoing(self) -> bytes:
        """What must be sent now."""
        try:
            return self._connection.bio_read(READ_BYTES)
        except SSL.WantReadError:
            return b""

    def outgoing_datagrams(self) -> list[bytes]:
        """The same for DTLS: a record each, so that one record is one datagram (RFC 7345 §5)."""
        datagrams, rest = [], b"".join(iter(self.outgoing, b""))
        while rest:
            length = _DTLS_RECORD_HEADER + int.from_bytes(rest[_DTLS_RECORD_HEADER - 2:_DTLS_RECORD_HEADER])
            datagrams.append(rest[:length])
            rest = rest[length:]
        return datagrams

    def received(self) -> bytes | None:
        """The next piece of what the peer said; None: nothing for now, b"": it closed. Raises SecureError."""
        try:
            return self._connection.recv(READ_BYTES)
        except SSL.WantReadError:
            return None
        except SSL.ZeroReturnError:
            return b""
        except SSL.Error as error:
            raise SecureError(f"{self._layer.name} failed: {_reason(error)}") from error

    def send(self, data: bytes) -> None:
        """Over DTLS, one record. Raises SecureError."""
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise SecureError(f"{self._layer.name} failed: {_reason(error)}") from error

    def say_goodbye(self) -> None:
        """Close with an alert."""
        try:
            self._connection.shutdown()
        except SSL.Error:
            return   # before the end of the handshake there is nothing to close

    def timeout(self) -> float | None:
        """Seconds until a flight of DTLS is to be repeated; None while nobody waits."""
        return self._connection.DTLSv1_get_timeout()

    def repeat(self) -> None:
        """The time is over: repeat the flight. Raises SecureError."""
        try:
            self._connection.DTLSv1_handle_timeout()
        except SSL.Error as error:
            raise SecureError(f"DTLS handshake failed: {_reason(error)}") from error


def _reason(error: SSL.Error) -> str:
    found = error.args[0] if error.args else None
    if isinstance(found, list) and found and isinstance(found[0], tuple):
        return str(found[0][-1]) or type(error).__name__
    return type(error).__name__
