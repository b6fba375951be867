from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pcscf.errors import ConfigError
from pcscf.transport.certificates import PeerCertificate, client_context, server_context
from pcscf.transport.model import TlsFiles
from tests.support.iqcertificates import Authority, fingerprint


def shown(files: TlsFiles) -> PeerCertificate:
    der = x509.load_pem_x509_certificate(files.certificate.read_bytes()).public_bytes(serialization.Encoding.DER)
    certificate = PeerCertificate.read_untrusted(der)
    assert certificate is not None
    return certificate


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.parametrize(
    ("mid", "carried"),
    [
        ("[192.0.2.7]:2944", True), ("[192.0.2.7]", True), ("[192.0.2.8]:2944", False),
        ("[2001:db8:0:0::7]:2945", True), ("[2001:db8::8]", False),
        ("<GW1.example.net>:2944", True), ("<gw2.example.net>", False), ("<1.gw.example.net>", False),
        ("gw1.example.net", False), ("agw/1", False), ("MTP{00ff}", False), ("", False), ("[]", False),
    ],
)  # fmt: skip
def test_a_certificate_speaks_for_the_addresses_and_names_in_it(authority: Authority, mid: str, carried: bool) -> None:
    files = authority.issue("192.0.2.7", "2001:db8::7", "gw1.example.net", "*.gw.example.net")
    assert shown(files).carries(mid) is carried
    assert shown(files).speaks_for(mid, {}) is carried


def test_a_certificate_without_names_speaks_for_nobody(authority: Authority) -> None:
    assert not shown(authority.issue()).carries("<an.entity>")


def test_a_pin_decides_alone(authority: Authority) -> None:
    pinned, other = authority.issue(), authority.issue("192.0.2.7")
    for written in (fingerprint(pinned), fingerprint(pinned).replace(":", "").lower()):
        files = replace(pinned, pins={"agw/1": written, "[192.0.2.7]:2944": written})
        assert shown(pinned).speaks_for("AGW/1", files.pins)
        assert shown(pinned).speaks_for("[192.0.2.7]:2944", files.pins)
        assert not shown(other).speaks_for("[192.0.2.7]:2944", files.pins), "though its address stands in it"
        assert not shown(other).speaks_for("agw/1", files.pins)


def test_what_is_no_certificate() -> None:
    assert PeerCertificate.read_untrusted(b"\x30\x03\x02\x01\x00") is None


@pytest.mark.parametrize("make", [server_context, client_context])
def test_contexts_ask_for_a_certificate_and_know_no_old_tls(authority: Authority, make: object) -> None:
    assert callable(make)
    context = make(authority.issue("192.0.2.7"))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert {each["name"] for each in context.get_ciphers() if each["protocol"] != "TLSv1.3"} == {
        f"ECDHE-{key}-AES{size}" for key in ("ECDSA", "RSA") for size in ("128-GCM-SHA256", "256-GCM-SHA384")
    }


@pytest.mark.parametrize("spoilt", ["ca", "certificate", "key"])
@pytest.mark.parametrize("content", ["", "this is no PEM", None])
def test_files_that_cannot_be_used_are_named(authority: Authority, spoilt: str, content: str | None, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    if content is not None:
        bad.write_text(content)
    files = authority.issue("192.0.2.7")
    files = TlsFiles(**{"ca": files.ca, "certificate": files.certificate, spoilt: bad})
    with pytest.raises(ConfigError) as caught:
        server_context(files)
    assert caught.value.file == str(files.ca if spoilt == "ca" else files.certificate)
    assert caught.value.hint
