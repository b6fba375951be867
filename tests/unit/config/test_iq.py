"""How Iq is carried, by configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcscf.config import findings
from pcscf.config.load import ConfigErrors, load_config, load_gateway
from pcscf.runtime import settings
from pcscf.runtime.embedded import gateway_file
from pcscf.runtime.tls import iq_files
from pcscf.transport.model import TlsFiles

SITE = """\
home_domain: ims.example
listeners:
  gm: {realm: access, transport: udp, address: 127.0.0.1, port: 5060}
  mw: {realm: core, transport: udp, address: 127.0.0.1, port: 5070}
realms: {access: {side: access}, core: {side: core, next_hop: "sip:192.0.2.9:5060"}}
gateways:
  embedded: false
  allow: [192.0.2.7]
  iq: IQ
"""
GATEWAY = "controllers: [192.0.2.1]\nrealms: {access: {addresses: 127.0.0.1, ports: 2000-2999}}\niq: IQ\n"
PRINT = "AB:" * 31 + "CD"
TLS = f"{{ca: ca.pem, certificate: own.pem, key: own.key, peers: {{'[192.0.2.7]:2944': '{PRINT}'}}}}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name in ("ca.pem", "own.pem", "own.key"):
        (tmp_path / name).touch()
    return tmp_path / "site.yaml"


def test_udp_unless_it_is_said(file: Path) -> None:
    file.write_text(SITE.replace("IQ", "{}"))
    config = load_config(file)
    assert (settings.iq(config).kinds, settings.iq(config).tls) == (("udp",), None)
    assert gateway_file(config)["iq"]["transport"] == "udp"


@pytest.mark.parametrize(
    ("written", "offered", "embedded"),
    [
        ("tcp", ("tcp",), "tcp"), ("[udp, tcp]", ("udp", "tcp"), "udp"), (f"[udp, tls], tls: {TLS}", ("udp", "tls"), "udp"),
        ("sctp", ("sctp",), "sctp"), ("[sctp, udp]", ("sctp", "udp"), "udp"),
    ],
)  # fmt: skip
def test_what_is_offered(
    file: Path, written: str, offered: tuple[str, ...], embedded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "kernel_has_sctp", lambda: True)
    file.write_text(SITE.replace("IQ", f"{{transport: {written}}}").replace("embedded: false", "embedded: true"))
    config = load_config(file)
    assert settings.iq(config).kinds == offered
    assert settings.iq(config).datagrams_from == ("127.0.0.1" if "tls" in offered else "")
    assert gateway_file(config)["iq"]["transport"] == embedded


def test_the_certificates_of_both_ends(file: Path) -> None:
    here = file.parent
    wanted = TlsFiles(here / "ca.pem", here / "own.pem", here / "own.key", {"[192.0.2.7]:2944": PRINT})
    file.write_text(SITE.replace("IQ", f"{{transport: tls, tls: {TLS}}}"))
    assert settings.iq(load_config(file)).tls == wanted
    file.write_text(GATEWAY.replace("IQ", f"{{transport: tls, tls: {TLS}}}"))
    assert iq_files(load_gateway(file).iq.tls) == wanted


@pytest.mark.parametrize(
    ("written", "what", "hint"),
    [
        ("{transport: sctp}", "the kernel of this machine has no SCTP", "`modprobe sctp`), or write udp, tcp or tls"),
        ("{transport: ws}", "cannot be 'ws'", "write udp, tcp, tls or sctp"),
        ("{transport: tls}", "Iq over tls needs certificates", "add `tls: {ca: FILE"),
        (f"{{transport: tls, tls: {TLS.replace('CD', 'C')}}}", "no SHA-256 fingerprint", "openssl x509"),
    ],
)
@pytest.mark.parametrize("text", [SITE, GATEWAY], ids=["controller", "gateway"])
def test_what_cannot_be_is_told_with_its_remedy(
    file: Path, text: str, written: str, what: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "kernel_has_sctp", lambda: False)
    file.write_text(text.replace("IQ", written))
    with pytest.raises(ConfigErrors) as caught:
        (load_config if text is SITE else load_gateway)(file)
    [error] = caught.value.errors
    assert error.line == text[: text.index("IQ")].count("\n") + 1
    assert what in error.what
    assert hint in error.hint


@pytest.mark.parametrize(
    ("written", "what"),
    [
        (f"{{transport: [tcp, tls], tls: {TLS}}}", "one port cannot carry both tcp and tls"),
        ("{transport: [udp, tcp, sctp]}", "one port cannot carry both tcp and sctp"),
        ("{transport: []}", "must not be empty"),
        (f"{{transport: [udp, tls], tls: {TLS}}}", "udp beside tls is for the embedded gateway alone"),
    ],
)
def test_what_a_controller_cannot_offer(file: Path, written: str, what: str) -> None:
    file.write_text(SITE.replace("IQ", written))
    with pytest.raises(ConfigErrors, match=what):
        load_config(file)


def test_the_embedded_gateway_must_reach_us(file: Path) -> None:
    file.write_text(SITE.replace("IQ", f"{{transport: tls, tls: {TLS}}}").replace("embedded: false", "embedded: true"))
    with pytest.raises(ConfigErrors, match="the embedded gateway has no certificate"):
        load_config(file)


def test_files_that_are_not_there(file: Path) -> None:
    file.write_text(SITE.replace("IQ", f"{{transport: tls, tls: {TLS.replace('own.', 'other.')}}}"))
    with pytest.raises(ConfigErrors) as caught:
        load_config(file)
    assert [error.what for error in caught.value.errors] == [
        f"gateways.iq.tls.{key}: there is no file {file.parent / name}"
        for key, name in (("certificate", "other.pem"), ("key", "other.key"))
    ]
