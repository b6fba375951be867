from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pcscf.errors import ConfigError
from pcscf.runtime.tls import server_context


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None = None) -> ssl.SSLObject:
    """A handshake of two contexts in memory; the client's end. Raises what either of them raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    unfinished = [ours, theirs]
    for _ in range(10):
        for end in list(unfinished):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            unfinished.remove(end)
    assert not unfinished
    return ours


def trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def certificate(folder: Path, host: str, *, password: bytes | None = None, days: int = 1) -> tuple[Path, Path]:
    """Files with a self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256()))
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    files = folder / "pcscf.pem", folder / "pcscf.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
    return files


@pytest.mark.parametrize(("host", "kind", "value"), [
    ("203.0.113.1", x509.IPAddress, ip_address("203.0.113.1")),
    ("2001:db8::1", x509.IPAddress, ip_address("2001:db8::1")),
    ("pcscf.ims.example", x509.DNSName, "pcscf.ims.example"),
])
def test_the_lab_certificate_names_the_host(host: str, kind: type[x509.GeneralName], value: object) -> None:
    end = handshake(server_context("lab", None, host), trusting())
    der = end.getpeercert(binary_form=True)
    assert der is not None
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(kind) == [value]


def test_two_lab_certificates_differ() -> None:
    one, other = (handshake(server_context("lab", None, "h"), trusting()).getpeercert(binary_form=True) for _ in range(2))
    assert one != other


def test_a_client_that_trusts_the_file_verifies_us(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path, "pcscf.ims.example")
    client = ssl.create_default_context(cafile=str(chain))
    end = handshake(server_context(chain, key, "203.0.113.1"), client, "pcscf.ims.example")
    assert end.version() in ("TLSv1.2", "TLSv1.3")


def test_certificate_and_key_may_share_a_file(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path, "pcscf.ims.example")
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + chain.read_bytes())
    assert handshake(server_context(both, None, ""), trusting()).cipher() is not None


def test_tls_1_2_is_spoken_with_forward_secrecy_only() -> None:
    client = trusting()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    cipher = handshake(server_context("lab", None, "h"), client).cipher()
    assert cipher is not None
    assert cipher[0].startswith("ECDHE-ECDSA-AES")
    client.set_ciphers("AES128-SHA:AES128-GCM-SHA256")
    with pytest.raises(ssl.SSLError):
        handshake(server_context("lab", None, "h"), client)


def test_nothing_older_than_tls_1_2() -> None:
    assert server_context("lab", None, "h").minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        server_context(tmp_path / "missing.pem", None, "h")
    assert refused.value.file == str(tmp_path / "missing.pem")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_file_without_a_certificate(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "wrong.pem").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be used"):
        server_context(tmp_path / "wrong.pem", None, "h")


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    chain, _ = certificate(tmp_path, "h")
    _, key = certificate(tmp_path / "other", "h")
    with pytest.raises(ConfigError):
        server_context(chain, key, "h")


def test_a_certificate_without_its_key(tmp_path: Path) -> None:
    chain, _ = certificate(tmp_path, "h")
    with pytest.raises(ConfigError):
        server_context(chain, None, "h")


def test_a_locked_key_is_refused_and_nobody_is_asked_for_its_password(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path, "h", password=b"secret")
    with pytest.raises(ConfigError):
        server_context(chain, key, "h")
