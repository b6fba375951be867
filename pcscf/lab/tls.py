"""TLS of the lab's endpoints on the standard library: self-signed certificates and fingerprints (RFC 8122)."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pcscf.errors import PcscfError

Fingerprint = tuple[str, str]   # (hash as in a=fingerprint, upper-case octets with colons)

HASHES = ("sha-512", "sha-384", "sha-256", "sha-224")   # strongest first; SHA-1 and MD5 prove nothing

CONNECT_TIMEOUT = 10.0   # seconds, handshake included


class PeerRefusedError(PcscfError):
    """The peer's certificate is not the one that its SDP names."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A key and its self-signed certificate, PEM in memory."""

    certificate: bytes
    key: bytes

    def fingerprint(self, hash_name: str = "sha-256") -> Fingerprint:
        return hash_name, fingerprint_of(ssl.PEM_cert_to_DER_cert(self.certificate.decode()), hash_name)


def self_signed(name: str, *, days: int = 30) -> Identity:
    """A P-256 key and a certificate for `name`, valid from an hour ago: clocks of two hosts differ."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return Identity(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption(),
        ),
    )


def fingerprint_of(certificate_der: bytes, hash_name: str) -> str:
    """`AB:CD:…` (RFC 8122 §5). `hash_name` must be one of HASHES."""
    return hashlib.new(hash_name.replace("-", ""), certificate_der).digest().hex(":").upper()


def check_fingerprint(certificate_der: bytes | None, expected: tuple[Fingerprint, ...]) -> str:
    """The certificate's fingerprint by the strongest hash that `expected` names (RFC 8122 §6.2).

    Raises PeerRefusedError unless `expected` holds it.
    """
    if certificate_der is None:
        raise PeerRefusedError("the peer showed no certificate")
    for hash_name in HASHES:
        named = {value.upper() for name, value in expected if name.lower() == hash_name}
        if named:
            actual = fingerprint_of(certificate_der, hash_name)
            if actual not in named:
                raise PeerRefusedError(f"certificate {hash_name} {actual[:11]}… is not the one in the SDP")
            return f"{hash_name} {actual}"
    raise PeerRefusedError("the SDP names no fingerprint with a usable hash")


def client_context(identity: Identity | None = None, *, trust: Path | None = None) -> ssl.SSLContext:
    """A client. `identity` is shown when asked for; `trust` None: any certificate, the caller compares it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trust is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(trust)
    if identity is not None:
        _load(context, identity)
    return context


def server_context(identity: Identity) -> ssl.SSLContext:
    """A server that asks for no client certificate: the standard library cannot accept a self-signed one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, identity)
    return context


def _load(context: ssl.SSLContext, identity: Identity) -> None:
    with tempfile.TemporaryDirectory(prefix="pcscf-lab-") as folder:   # load_cert_chain reads files only
        path = Path(folder, "identity.pem")
        path.touch(mode=0o600)
        path.write_bytes(identity.key + identity.certificate)
        context.load_cert_chain(path)


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What a finished handshake came to."""

    version: str
    cipher: str
    peer_fingerprint: str


async def connect(
    host: str, port: int, identity: Identity, expected: tuple[Fingerprint, ...],
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, TlsFacts]:
    """A TLS connection whose server certificate has been compared with `expected`; no application octet was sent.

    Raises OSError (ssl.SSLError included), TimeoutError or PeerRefusedError.
    """
    if not any(name.lower() in HASHES for name, _ in expected):
        raise PeerRefusedError("the SDP names no fingerprint with a usable hash")
    async with asyncio.timeout(CONNECT_TIMEOUT):
        reader, writer = await asyncio.open_connection(host, port, ssl=client_context(identity), server_hostname="")
    channel: ssl.SSLObject = writer.get_extra_info("ssl_object")
    try:
        shown = check_fingerprint(channel.getpeercert(binary_form=True), expected)
    except PeerRefusedError:
        writer.transport.abort()
        raise
    cipher = channel.cipher()
    return reader, writer, TlsFacts(channel.version() or "", cipher[0] if cipher else "", shown)
