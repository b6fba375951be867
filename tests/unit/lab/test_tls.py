"""Certificates and fingerprints, against OpenSSL's own words."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from pcscf.lab import tls

IDENTITY = tls.self_signed("alice@ims.example")
DER = ssl.PEM_cert_to_DER_cert(IDENTITY.certificate.decode())


@pytest.mark.parametrize("hash_name", tls.HASHES)
def test_openssl_computes_the_same_fingerprint(hash_name: str, tmp_path: Path) -> None:
    file = tmp_path / "certificate.pem"
    file.write_bytes(IDENTITY.certificate)
    told = subprocess.run(
        ["openssl", "x509", "-in", file, "-noout", "-fingerprint", f"-{hash_name.replace('-', '')}"],
        capture_output=True, text=True, check=True,
    ).stdout
    assert told.strip().partition("=")[2] == IDENTITY.fingerprint(hash_name)[1]


def test_the_strongest_hash_counts() -> None:
    strong, weak = IDENTITY.fingerprint("sha-512"), ("sha-256", ":".join(["00"] * 32))
    assert tls.check_fingerprint(DER, (weak, strong)) == f"sha-512 {strong[1]}"
    with pytest.raises(tls.PeerRefusedError, match="is not the one"):
        tls.check_fingerprint(DER, (IDENTITY.fingerprint("sha-256"), ("sha-384", ":".join(["00"] * 48))))


def test_case_does_not_count_and_one_of_several_is_enough() -> None:
    name, value = IDENTITY.fingerprint()
    assert tls.check_fingerprint(DER, (("SHA-256", "00:11"), ("SHA-256", value.lower()))) == f"{name} {value}"


@pytest.mark.parametrize("expected", [(), (("sha-1", "00:11"),), (("md5", "00:11"),)])
def test_without_a_usable_hash_nobody_is_trusted(expected: tuple[tls.Fingerprint, ...]) -> None:
    with pytest.raises(tls.PeerRefusedError, match="no fingerprint"):
        tls.check_fingerprint(DER, expected)


def test_without_a_certificate_nobody_is_trusted() -> None:
    with pytest.raises(tls.PeerRefusedError, match="no certificate"):
        tls.check_fingerprint(None, (IDENTITY.fingerprint(),))


def test_old_tls_is_off() -> None:
    for context in (tls.client_context(IDENTITY), tls.server_context(IDENTITY)):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
