"""The gateway's own certificate, and certificate fingerprints (RFC 8122 §5).

Authentication on the media plane is by fingerprint: certificates are self-signed, and no path is validated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

LIFETIME: Final = timedelta(days=365)

CLOCK_SKEW: Final = timedelta(hours=1)

RSA_BITS: Final = 2048

_DIGESTS: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha-1": hashes.SHA1(),  # noqa: S303 - only used where the operator asks for it (`min_hash`), for old RCS fleets
    "sha-224": hashes.SHA224(),
    "sha-256": hashes.SHA256(),
    "sha-384": hashes.SHA384(),
    "sha-512": hashes.SHA512(),
}
STRENGTH: Final = tuple(_DIGESTS)
"""Hash names of RFC 8122 §5 that can be verified, weakest first. MD5 and MD2 must not be used (§5)."""

OFFERED: Final = STRENGTH[STRENGTH.index("sha-256"):]
"""Hash names for which the gateway states a fingerprint of its own certificate."""


class Fingerprint(NamedTuple):
    """`hash` in lower case, `value` as upper-case hexadecimal pairs joined by colons."""

    hash: str
    value: str

    def __str__(self) -> str:
        return f"{self.hash} {self.value}"

    def is_of(self, certificate: bytes) -> bool:
        """Whether it is that of a certificate in DER. False for a hash that cannot be verified."""
        algorithm = _DIGESTS.get(self.hash)
        if algorithm is None:
            return False
        digest = hashes.Hash(algorithm)
        digest.update(certificate)
        return digest.finalize().hex(":").upper() == self.value


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its private key, which never leaves the process."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @property
    def kind(self) -> str:
        """Of the key: "ec" or "rsa"."""
        return "ec" if isinstance(self.key, ec.EllipticCurvePrivateKey) else "rsa"

    def fingerprint(self, hash_name: str) -> Fingerprint:
        """The fingerprint under one of `OFFERED`; KeyError for any other name."""
        return fingerprint_of(self.certificate, hash_name)


def self_signed(now: datetime, name: str = "IMS-AGW", *, lifetime: timedelta = LIFETIME) -> Identity:
    """A new ECDSA P-256 certificate, valid from shortly before `now` (aware, UTC)."""
    return _identity(ec.generate_private_key(ec.SECP256R1()), now, name, lifetime)


def self_signed_rsa(now: datetime, name: str = "IMS-AGW", *, lifetime: timedelta = LIFETIME) -> Identity:
    """A new certificate with an RSA key, which the suites that RFC 7345 §4.1 demands need."""
    return _identity(rsa.generate_private_key(65537, RSA_BITS), now, name, lifetime)


def signed_anew(identity: Identity, now: datetime, lifetime: timedelta, name: str = "IMS-AGW") -> Identity:
    """Another self-signed certificate for the same key, with other fingerprints."""
    return _identity(identity.key, now, name, lifetime)


def _identity(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, now: datetime, name: str, lifetime: timedelta) -> Identity:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .sign(key, hashes.SHA256())
    )
    return Identity(certificate, key)


def fingerprint_of(certificate: x509.Certificate, hash_name: str) -> Fingerprint:
    """The fingerprint of the DER form under one of `STRENGTH`; KeyError for any other name."""
    return Fingerprint(hash_name, certificate.fingerprint(_DIGESTS[hash_name]).hex(":").upper())


def strongest(offered: Iterable[Fingerprint], minimum: str = "sha-256") -> tuple[Fingerprint, ...]:
    """The fingerprints of the strongest offered hash that is at least `minimum` (RFC 8122 §5.1); empty when none is.

    Any one of the result may match: a peer with several certificates states one line for each.
    """
    found: dict[str, list[Fingerprint]] = {}
    for one in offered:
        found.setdefault(one.hash, []).append(one)
    if found:
        for name in reversed(STRENGTH[STRENGTH.index(minimum):]):
            if name in found:
                return tuple(found[name])
    return ()
