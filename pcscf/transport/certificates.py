"""TLS on Iq: both ends show a certificate, and speak only for the mIds that it carries (TS 33.210 §6.2: TLS 1.2 and 1.3).

A certificate carries an mId whose address stands in it as iPAddress, or whose domain name as dNSName. For an mId that is pinned,
the fingerprint decides alone. Both count only for a certificate that the CA file vouches for.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from cryptography import x509

from pcscf.errors import ConfigError
from pcscf.h248.mid import MID, is_mid
from pcscf.transport.model import TlsFiles

CIPHERS: Final = ":".join((
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What Iq needs of a peer's certificate. names: addresses and domain names, the latter in lower case."""

    fingerprint: str
    names: frozenset[str]

    @classmethod
    def read_untrusted(cls, der: bytes) -> PeerCertificate | None:
        """None: it cannot be read."""
        try:
            extension = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
            addresses = extension.value.get_values_for_type(x509.IPAddress)
            domains = extension.value.get_values_for_type(x509.DNSName)
        except x509.ExtensionNotFound:
            addresses, domains = [], []
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
            return None
        names = frozenset([*map(str, addresses), *(domain.lower() for domain in domains)])
        return cls(hashlib.sha256(der).hexdigest(), names)

    def speaks_for(self, mid: str, pins: Mapping[str, str]) -> bool:
        """Whether its owner may use this mId. pins: see `TlsFiles`."""
        pinned = next((each for name, each in pins.items() if name.lower() == mid.lower()), None)
        return self.carries(mid) if pinned is None else self.fingerprint == pinned.replace(":", "").lower()

    def carries(self, mid: str) -> bool:
        """Whether the address or domain name of an mId stands in it; a device name never does."""
        shape = MID.fullmatch(mid)
        if shape is None:
            return False
        if shape["address"]:
            return is_mid(mid) and str(ip_address(shape["address"])) in self.names
        return (shape["domain"] or "").lower() in self.names - {""}


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Of a controller. Raises ConfigError naming the file that cannot be used."""
    return _context(ssl.PROTOCOL_TLS_SERVER, files)


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Of a gateway. The name is checked by `speaks_for`. Raises ConfigError naming the file that cannot be used."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, files)


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(files.certificate, files.key, password="")  # else OpenSSL asks the terminal for one
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the certificate for Iq cannot be used: {error}", file=str(files.certificate),
            hint="the file must hold the chain in PEM; `key` names the private key's file if it is another",
        ) from error  # fmt: skip
    try:
        context.load_verify_locations(files.ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the certificates of those who vouch for Iq's peers cannot be read: {error}", file=str(files.ca),
            hint="the file must hold one certificate or several in PEM",
        ) from error  # fmt: skip
    return context
