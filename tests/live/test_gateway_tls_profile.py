"""The TLS profile (TS 33.210 §6.2, RFC 7345 §4.1), offered by OpenSSL piece by piece: what the gateway takes and refuses."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pcscf.gateway.certificate import Fingerprint, fingerprint_of
from pcscf.gateway.config import CertificateSettings
from pcscf.gateway.endpoint import TLS12_SUITES, TLS13_SUITES
from tests.live import test_gateway_dtls as over_dtls
from tests.live.test_gateway_certificates import pem
from tests.live.test_gateway_openssl import UE, client, files, openssl, reserve
from tests.support.gatewaybed import Bench, Local, add, bench, new_identity
from tests.support.peers import require_peer

SUITES = TLS12_SUITES.decode().split(":")
GROUPS = ("P-256", "P-384", "X25519")   # secp256r1 mandatory, the others recommended (TS 33.210 §6.2.2, RFC 8446 §9.1)


@pytest.fixture(autouse=True)
def present() -> None:
    require_peer("openssl")


async def said(gateway: Bench, local: Local, folder: Path, *more: str) -> dict[str, str]:
    """What came of a handshake; the words of the UE arrived."""
    async with openssl(*client(local, *more, *files(UE, folder))) as run:
        await gateway.until("tls-established")
        run.say(b"Q\n")
        await run.end()
    return dict((await gateway.until("tls-established")).facts)


@pytest.mark.interop("openssl", "gateway as TLS server: {suite}, alone")
@pytest.mark.parametrize("suite", [one for one in SUITES if not one.startswith("DHE")])
async def test_each_suite_of_tls_1_2(suite: str, tmp_path: Path) -> None:
    own = new_identity("own", rsa="RSA" in suite)
    async with bench(certificates=CertificateSettings(files=(pem(own, tmp_path, "own"),))) as gateway:
        access_side, _ = await reserve(gateway)
        assert (await said(gateway, access_side, tmp_path, "-tls1_2", "-cipher", suite))["cipher"] == suite


@pytest.mark.interop("openssl", "gateway as TLS server: {suite}, alone")
@pytest.mark.parametrize("suite", TLS13_SUITES.decode().split(":"))
async def test_each_suite_of_tls_1_3(suite: str, tmp_path: Path) -> None:
    async with bench() as gateway:
        access_side, _ = await reserve(gateway)
        found = await said(gateway, access_side, tmp_path, "-tls1_3", "-ciphersuites", suite)
        assert (found["version"], found["cipher"]) == ("TLSv1.3", suite)


@pytest.mark.interop("openssl", "gateway as TLS server: group {group}, alone, {version}")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("group", GROUPS)
async def test_each_group(group: str, version: str, tmp_path: Path) -> None:
    async with bench() as gateway:
        access_side, _ = await reserve(gateway)
        # In TLS 1.2 the groups also name the curve that our certificate may have.
        offered = group if version == "-tls1_3" or group == "P-256" else f"{group}:P-256"
        assert (await said(gateway, access_side, tmp_path, version, "-groups", offered))["version"]


@pytest.mark.interop("openssl", "gateway as DTLS server: group {group}, alone")
@pytest.mark.parametrize("group", GROUPS)
async def test_each_group_over_dtls(group: str, tmp_path: Path) -> None:
    async with bench(timers=over_dtls.SLOW) as gateway, over_dtls.core() as far:
        ue = new_identity("ue", rsa=True)   # the groups would have to name the curve of its certificate as well
        access_side, core_side = await over_dtls.reserve(gateway, far, fingerprints=[str(ue.fingerprint("sha-256"))])
        offered = ("-cipher", "ECDHE-RSA-AES128-GCM-SHA256", "-groups", group)
        async with openssl(*over_dtls.client(access_side, *offered, *files(ue, tmp_path))) as run:
            await over_dtls.echoed(run, far, core_side)


def _all_others() -> str:
    """Every suite of TLS 1.2 and before that OpenSSL can offer and that is not of the profile."""
    known = subprocess.run(["openssl", "ciphers", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"], capture_output=True, text=True, check=True)
    others = [one for one in known.stdout.strip().split(":") if one not in SUITES and not one.startswith("TLS_")]
    assert len(others) > 80
    return ":".join([*others, "@SECLEVEL=0"])


@pytest.mark.interop("openssl", "gateway as TLS server: every suite that is not of the profile, refused, with either kind of key")
@pytest.mark.parametrize("key", ["ECDSA", "RSA"])
async def test_all_other_suites_are_refused(key: str, tmp_path: Path) -> None:
    own = new_identity("own", rsa=key == "RSA")
    async with bench(certificates=CertificateSettings(files=(pem(own, tmp_path, "own"),))) as gateway:
        access_side, _ = await reserve(gateway)
        async with openssl(*client(access_side, "-tls1_2", "-cipher", _all_others(), *files(UE, tmp_path))) as run:
            assert b"alert handshake failure" in await run.end()
        assert (await gateway.until("tls-failed")).facts["cause"] == "NO_COMMON_PARAMETERS"


@pytest.mark.interop("openssl", "gateway as DTLS server: every suite that is not of the profile, refused")
async def test_all_other_suites_are_refused_over_dtls(tmp_path: Path) -> None:
    async with bench(timers=over_dtls.SLOW) as gateway, over_dtls.core() as far:
        access_side, _ = await over_dtls.reserve(gateway, far)
        async with openssl(*over_dtls.client(access_side, "-cipher", _all_others(), *files(over_dtls.UE, tmp_path))) as run:
            assert b"alert handshake failure" in await run.end()
        assert (await gateway.until("tls-failed")).facts["cause"] == "NO_COMMON_PARAMETERS"


@pytest.mark.interop("openssl", "gateway as TLS server: only CCM suites of TLS 1.3, refused")
async def test_other_suites_of_tls_1_3_are_refused(tmp_path: Path) -> None:
    async with bench() as gateway:
        access_side, _ = await reserve(gateway)
        ccm = "TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256"
        async with openssl(*client(access_side, "-tls1_3", "-ciphersuites", ccm, *files(UE, tmp_path))) as run:
            assert b"alert handshake failure" in await run.end()
        assert (await gateway.until("tls-failed")).facts["cause"] == "NO_COMMON_PARAMETERS"


@pytest.mark.interop("openssl", "gateway as TLS server: only signatures with SHA-1, refused")
async def test_signatures_with_sha_1_are_refused(tmp_path: Path) -> None:
    async with bench() as gateway:
        access_side, _ = await reserve(gateway)
        more = ("-tls1_2", "-cipher", "ALL:@SECLEVEL=0", "-sigalgs", "ECDSA+SHA1:RSA+SHA1")
        async with openssl(*client(access_side, *more, *files(UE, tmp_path))) as run:
            await run.end()
        assert (await gateway.until("tls-failed")).facts["cause"] in ("NO_COMMON_PARAMETERS", "TLS_PROTOCOL")


@pytest.mark.interop("openssl", "gateway as TLS server: renegotiation in TLS 1.2 is refused, octets go on")
async def test_no_renegotiation(tmp_path: Path) -> None:
    async with bench() as gateway:
        access_side, core_side = await reserve(gateway)
        reader, writer = await asyncio.open_connection(*core_side.address)
        async with openssl(*client(access_side, "-tls1_2", "-state", *files(UE, tmp_path))) as run:
            run.say(b"before\n")
            async with asyncio.timeout(5):
                assert await reader.readline() == b"before\n"
            run.say(b"R\n")
            await run.until(b"no renegotiation")
        assert gateway.kinds().count("tls-established") == 1
        writer.close()


@pytest.mark.interop("openssl", "gateway as TLS server: early data of TLS 1.3 is not taken, with a ticket either")
async def test_no_early_data(tmp_path: Path) -> None:
    session, early = tmp_path / "session", tmp_path / "early"
    early.write_bytes(b"too early\n")
    shown = files(UE, tmp_path)
    async with bench() as gateway:
        for more in (("-sess_out", str(session)), ("-sess_in", str(session), "-early_data", str(early))):
            access_side, core_side = await reserve(gateway)
            reader, writer = await asyncio.open_connection(*core_side.address)
            async with openssl(*client(access_side, "-tls1_3", *more, *shown)) as run:
                await run.until(b"Verify return code")
                run.say(b"hello\n")
                async with asyncio.timeout(5):
                    assert await reader.readline() == b"hello\n"
                writer.write(b"answer\n")
                await run.until(b"answer\n")
                run.say(b"Q\n")
                printed = await run.end()
            assert b"New, TLSv1.3" in printed
            assert b"Early data was accepted" not in printed
            writer.close()
    assert session.exists()


@pytest.mark.interop("openssl", "gateway as TLS server: a certificate that was promised, with an RSA key of 1024 bits, refused")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_a_weak_key_is_refused_even_when_it_was_promised(version: str, tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 1024)
    name = UE.certificate.subject
    weak = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(UE.certificate.not_valid_before_utc).not_valid_after(UE.certificate.not_valid_after_utc)
        .sign(key, SHA256())
    )
    shown = tmp_path / "weak.all"
    shown.write_bytes(weak.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    promised: Fingerprint = fingerprint_of(weak, "sha-256")
    async with bench() as gateway:
        access_side, _ = await gateway.open(
            add("access", ours="passive", theirs="active", fingerprints=[str(promised)], secure=True),
            add("core", ours="passive", theirs="active"))
        arguments = client(access_side, version, "-cipher", "ALL:@SECLEVEL=0", "-cert", str(shown), "-key", str(shown))
        async with openssl(*arguments) as run:
            assert b"alert" in await run.end()
        assert (await gateway.until("tls-failed")).facts["cause"] != "FINGERPRINT_MISMATCH"
        assert "tls-established" not in gateway.kinds()


@pytest.mark.interop("openssl", "gateway as DTLS client: {what}, refused")
@pytest.mark.parametrize("what", ["DTLS 1.0", "suites that are not of the profile"])
async def test_the_gateway_as_dtls_client_refuses(what: str, tmp_path: Path) -> None:
    version, suites = ("-dtls1", "ALL:@SECLEVEL=0") if what == "DTLS 1.0" else ("-dtls1_2", _all_others())
    serving = over_dtls.s_server(tmp_path, over_dtls.UE, "-cipher", suites, version=version)
    async with serving as (run, port), bench(timers=over_dtls.SLOW) as gateway, over_dtls.core() as far:
        _, core_side = await over_dtls.reserve(gateway, far, peer=("127.0.0.1", port), signals=over_dtls.CLIENT)
        far.send(b"from the core\n", core_side.address)
        assert (await gateway.until("tls-failed")).facts["cause"] == "NO_COMMON_PARAMETERS"
        assert "tls-established" not in gateway.kinds()
        assert b"from the core" not in run.printed
