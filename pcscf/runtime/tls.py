"""TLS on Gm: a certificate from files, or one made for the lab at each start (TS 33.210 §6.2: TLS 1.2 and 1.3).

And the files of TLS on Iq, where `pcscf.transport` does the rest.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pcscf.config.iq import IqTls
from pcscf.errors import ConfigError
from pcscf.transport.certificates import CIPHERS
from pcscf.transport.model import TlsFiles

LAB_LIFETIME = datetime.timedelta(days=30)


def server_context(certificate: Path | Literal["lab"], key: Path | None, host: str) -> ssl.SSLContext:
    """A server's context. Raises ConfigError naming the file that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if certificate == "lab":
        _load_lab_certificate(context, host)
        return context
    try:
        context.load_cert_chain(certificate, key, password="")   # else OpenSSL asks the terminal for one
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the certificate cannot be used: {error}", file=str(certificate),
            hint="the file must hold the chain in PEM; `key` names the private key's file if it is another") from error
    return context


def renew_context(context: ssl.SSLContext, certificate: Path, key: Path | None, host: str) -> None:
    """A server's context gets what the files hold now; connections that stand keep theirs.

    Tried elsewhere first: a context that half of a pair was put into serves nobody. Raises ConfigError, and nothing changed.
    """
    server_context(certificate, key, host)
    try:
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as error:   # they changed in that moment
        raise ConfigError(f"the certificate cannot be used: {error}", file=str(certificate), hint="send SIGHUP again") from error


def iq_files(tls: IqTls | None) -> TlsFiles | None:
    """What a configuration says about TLS on Iq."""
    return TlsFiles(tls.ca, tls.certificate, tls.key, tls.peers) if tls is not None else None


def _load_lab_certificate(context: ssl.SSLContext, host: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pcscf lab")])
    now = datetime.datetime.now(datetime.UTC)
    alternative: x509.GeneralName
    try:
        alternative = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        alternative = x509.DNSName(host)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + LAB_LIFETIME)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # The standard library reads certificates from files alone; this one is private and gone at once.
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)
