"""Where the gateway's certificates come from: its own making, or the operator's PEM files.

What keeps a file from serving is told so that a person can mend it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from pcscf.errors import ConfigError
from pcscf.gateway.certificate import RSA_BITS, Identity, self_signed, self_signed_rsa, signed_anew
from pcscf.gateway.config import CertificateSettings
from pcscf.gateway.credentials import Credentials

Clock: TypeAlias = Callable[[], datetime]

LEAST_LIFETIME: Final = timedelta(days=2)
NO_END: Final = timedelta(days=365)
"""Of a certificate that is never renewed: its process must not outlive it."""

_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384"}
"""Those that TS 33.210 §6.2 names."""
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
_WORLD: Final = 0o004


class Certificates:
    """Where credentials come from: our own making, or the operator's files. Raises ConfigError for files that cannot serve.

    `now`: aware, UTC.
    """

    def __init__(self, settings: CertificateSettings, now: Clock) -> None:
        self._settings = settings
        self._now = now
        self._current = self._made()

    @property
    def current(self) -> Credentials:
        """Those of the last renewal."""
        return self._current

    def for_stream(self) -> Credentials:
        """What a stream that becomes protected shows from then on."""
        return self._of_its_own() if self._settings.per_stream else self._current

    def made_anew(self) -> Credentials:
        """Fresh ones, or what the files hold now; to be handed to `renew`. Raises ConfigError.

        A new RSA key takes a good part of a second: this may run in another thread.
        """
        return self._made()

    def renew(self, made: Credentials) -> None:
        """Streams that become protected from now on show these."""
        self._current = made

    def _made(self) -> Credentials:
        now = self._now()
        if not self._settings.files:
            lifetime = self._lifetime
            return Credentials((self_signed(now, lifetime=lifetime), self_signed_rsa(now, lifetime=lifetime)))
        found = [load_identity(certificate, key, now) for certificate, key in self._settings.files]
        curves = [one for one in found if one.kind == "ec"]
        others = [one for one in found if one.kind == "rsa"]
        for kind, same in (("elliptic curve", curves), ("RSA", others)):
            if len(same) > 1:
                raise ConfigError(f"{len(same)} certificates with an {kind} key", hint="name one per kind of key at most")
        return Credentials([*curves, *others])

    def _of_its_own(self) -> Credentials:
        """A certificate that no other stream has. A curve's key is made on the way; with an RSA key it is another certificate
        for the same one, since making that key takes too long.
        """
        now, lifetime = self._now(), self._lifetime
        return Credentials([
            self_signed(now, lifetime=lifetime) if one.kind == "ec"
            else signed_anew(one, now, lifetime)
            for one in self._current.identities
        ])  # fmt: skip

    @property
    def _lifetime(self) -> timedelta:
        """Long enough for what is reserved just before the next renewal."""
        return timedelta(seconds=2 * self._settings.renew_after) + LEAST_LIFETIME if self._settings.renew_after else NO_END


def load_identity(certificate: Path, key: Path, now: datetime) -> Identity:
    """The first certificate of one file with the key of the other; both may stand in one file. `now`: aware.

    Raises ConfigError: not readable, not PEM, expired or not valid yet, weak, or not the key of the certificate.
    """
    shown = _certificate(certificate)
    secret = _key(key)
    _check_dates(shown, certificate, now)
    _check_strength(shown, secret, certificate, key)
    if _public(shown.public_key()) != _public(secret.public_key()):
        raise ConfigError(
            f"is not the key of the certificate in {certificate}", file=str(key), hint="name the key that it was made with")
    return Identity(shown, secret)


def _certificate(file: Path) -> x509.Certificate:
    data = _read(file)
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError:
        raise ConfigError(
            "holds no certificate in PEM", file=str(file), hint="it begins with -----BEGIN CERTIFICATE-----; for DER: "
            "openssl x509 -inform DER") from None


def _key(file: Path) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    data = _read(file)
    try:
        if file.stat().st_mode & _WORLD:
            raise ConfigError("everybody can read this key", file=str(file), hint=f"chmod 600 {file}")
    except OSError as error:
        raise _unreadable(file, error) from None
    try:
        secret = load_pem_private_key(data, password=None)
    except TypeError:
        raise ConfigError(
            "is encrypted, and nobody is there to give its password", file=str(file), hint="openssl pkey -in FILE -out FILE2"
        ) from None
    except ValueError:
        raise ConfigError(
            "holds no private key in PEM", file=str(file), hint="it begins with -----BEGIN PRIVATE KEY-----") from None
    if not isinstance(secret, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ConfigError(
            "is neither an RSA key nor one on an elliptic curve", file=str(file), hint="use P-256, P-384 or RSA (TS 33.210 §6.2)")
    return secret


def _check_dates(shown: x509.Certificate, file: Path, now: datetime) -> None:
    if now > shown.not_valid_after_utc:
        raise ConfigError(f"expired on {shown.not_valid_after_utc:%Y-%m-%d}", file=str(file), hint="renew it")
    if now < shown.not_valid_before_utc:
        raise ConfigError(
            f"is not valid before {shown.not_valid_before_utc:%Y-%m-%d %H:%M} UTC", file=str(file), hint="check the clock")


def _check_strength(
    shown: x509.Certificate, secret: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, file: Path, key: Path
) -> None:
    if isinstance(secret, rsa.RSAPrivateKey):
        if secret.key_size < RSA_BITS:
            raise ConfigError(f"is a weak RSA key of {secret.key_size} bits", file=str(key), hint=f"use at least {RSA_BITS} bits")
    elif secret.curve.name not in _CURVES:
        raise ConfigError(f"is on the curve {secret.curve.name}", file=str(key), hint=f"use {' or '.join(_CURVES.values())}")
    made_with = shown.signature_hash_algorithm
    if made_with is None or made_with.name not in _HASHES:
        name = made_with.name if made_with is not None else shown.signature_algorithm_oid.dotted_string
        raise ConfigError(f"is signed with {name}, which is too weak", file=str(file), hint="have it signed with SHA-256")


def _public(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"cannot be read: {(error.strerror or str(error)).lower()}", file=str(file), hint="check the path and the permissions")
