"""Certificate files of an operator: what serves, and what is told where one does not."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from pcscf.errors import ConfigError
from pcscf.gateway.certificates import Certificates, load_identity
from pcscf.gateway.config import CertificateSettings
from tests.support.peers import require_peer

NOW = datetime(2026, 11, 26, tzinfo=UTC)
DAY = timedelta(days=1)
SHA256 = hashes.SHA256()
P256, P384, P521 = (ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1))
RSA = rsa.generate_private_key(65537, 2048)


def certificate(
    key: object, *, begins: datetime = NOW - DAY, ends: datetime = NOW + DAY, digest: hashes.HashAlgorithm | None = SHA256,
    signer: object = None,
) -> bytes:  # fmt: skip
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gw")])
    builder = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())  # type: ignore[attr-defined]
               .serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends))
    return builder.sign(signer or key, digest).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


def private(key: object, password: bytes = b"") -> bytes:
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden)  # type: ignore[attr-defined, no-any-return]


def written(folder: Path, shown: bytes, secret: bytes, mode: int = 0o600) -> tuple[Path, Path]:
    files = folder / "gw.crt", folder / "gw.secret"
    for file, data in zip(files, (shown, secret), strict=True):
        file.write_bytes(data)
        file.chmod(mode)
    return files


@pytest.mark.parametrize("key", [P256, P384, RSA], ids=["P-256", "P-384", "RSA"])
def test_what_serves(tmp_path: Path, key: object) -> None:
    shown = certificate(key)
    identity = load_identity(*written(tmp_path, shown, private(key)), NOW)
    assert identity.certificate == x509.load_pem_x509_certificate(shown)


def test_both_in_one_file_with_a_chain_behind(tmp_path: Path) -> None:
    shown = certificate(P256)
    file = tmp_path / "gw.all"
    file.write_bytes(private(P256) + shown + certificate(P384))
    file.chmod(0o600)
    assert load_identity(file, file, NOW).certificate == x509.load_pem_x509_certificate(shown)


DSA = dsa.generate_private_key(2048)
SMALL = rsa.generate_private_key(65537, 1024)
ED = ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize(
    ("shown", "secret", "what", "hint"),
    [
        (b"nothing", private(P256), "holds no certificate in PEM", "BEGIN CERTIFICATE"),
        (certificate(P256), b"nothing", "holds no private key in PEM", "BEGIN PRIVATE KEY"),
        (certificate(P256), private(P256, b"secret"), "is encrypted", "openssl pkey"),
        (certificate(P256), private(P384), "is not the key of the certificate in", "made with"),
        (certificate(P256), private(RSA), "is not the key of the certificate in", "made with"),
        (certificate(P256, ends=NOW - timedelta(hours=1)), private(P256), "expired on 2026-11-25", "renew"),
        (certificate(P256, begins=NOW + timedelta(hours=1)), private(P256),
         "not valid before 2026-11-26 01:00 UTC", "clock"),
        (certificate(SMALL), private(SMALL), "weak RSA key of 1024 bits", "2048"),
        (certificate(P521), private(P521), "on the curve secp521r1", "P-256 or P-384"),
        (certificate(DSA), private(DSA), "neither an RSA key nor", "P-256"),
        (certificate(ED, digest=None), private(ED), "neither an RSA key nor", "P-256"),
        (certificate(P256, signer=ED, digest=None), private(P256), "too weak", "SHA-256"),
    ],
)
def test_what_does_not(tmp_path: Path, shown: bytes, secret: bytes, what: str, hint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_identity(*written(tmp_path, shown, secret), NOW)
    assert what in raised.value.what
    assert hint in raised.value.hint
    assert Path(raised.value.file).parent == tmp_path
    for line in secret.splitlines()[1:-1]:
        assert line.decode() not in str(raised.value)


def test_a_certificate_signed_with_sha_1(tmp_path: Path) -> None:
    """Nothing signs with it any more but OpenSSL's command, when it is told to."""
    require_peer("openssl")
    key, shown = tmp_path / "gw.secret", tmp_path / "gw.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-sha1", "-nodes", "-subj", "/CN=gw", "-keyout", key, "-out", shown],
        check=True, capture_output=True)
    with pytest.raises(ConfigError, match="signed with sha1, which is too weak"):
        load_identity(shown, key, datetime.now(UTC))


def test_a_key_that_everybody_can_read(tmp_path: Path) -> None:
    files = written(tmp_path, certificate(P256), private(P256), 0o644)
    with pytest.raises(ConfigError, match="everybody can read this key") as raised:
        load_identity(*files, NOW)
    assert raised.value.hint.startswith("chmod 600")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_identity(tmp_path / "none", tmp_path / "none", NOW)


def test_one_per_kind_of_key_and_tls_shows_the_curve(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    first = written(folders[0], certificate(RSA), private(RSA))
    second = written(folders[1], certificate(P256), private(P256))
    found = Certificates(CertificateSettings((first, second)), lambda: NOW).for_stream()
    assert len(found.fingerprints("sha-256", datagram=True)) == 2
    [shown] = found.fingerprints("sha-256", datagram=False)
    assert shown == load_identity(*second, NOW).fingerprint("sha-256")
    assert found.fingerprints("sha-1", datagram=False) == ()
    with pytest.raises(ConfigError, match="2 certificates with an RSA key"):
        Certificates(CertificateSettings((first, first)), lambda: NOW)


def test_a_renewal_that_fails_changes_nothing(tmp_path: Path) -> None:
    now = [NOW]
    files = written(tmp_path, certificate(P256), private(P256))
    certificates = Certificates(CertificateSettings((files,)), lambda: now[0])
    before = certificates.for_stream()
    now[0] = NOW + 2 * DAY
    with pytest.raises(ConfigError, match="expired"):
        certificates.made_anew()
    assert certificates.for_stream() is before
    written(tmp_path, certificate(P256, ends=NOW + 9 * DAY), private(P256))
    certificates.renew(certificates.made_anew())
    assert certificates.for_stream().fingerprints("sha-256", datagram=False) != before.fingerprints("sha-256", datagram=False)


def test_our_own_last_until_the_next_but_one() -> None:
    certificates = Certificates(CertificateSettings(renew_after=86_400), lambda: NOW)
    for one in certificates.current.identities:
        assert NOW + 3 * DAY < one.certificate.not_valid_after_utc <= NOW + 5 * DAY


def test_each_stream_its_own() -> None:
    certificates = Certificates(CertificateSettings(per_stream=True), lambda: NOW)
    made = [certificates.for_stream() for _ in range(3)]
    prints = {one for each in made for one in each.fingerprints("sha-256", datagram=True)}
    assert len(prints) == 6
    assert not prints & set(certificates.current.fingerprints("sha-256", datagram=True))
