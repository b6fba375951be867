"""The gateway's own certificates on real sockets, seen by OpenSSL: renewed under running streams, one per stream, from files."""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import ssl
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pcscf.gateway.certificate import Identity
from pcscf.gateway.config import CertificateSettings
from pcscf.gateway.endpoint import TlsRole
from tests.live.test_gateway_openssl import client, files, openssl
from tests.live.test_gateway_relay import UE, UE_PRINT, dial, listening, protected_call, tls
from tests.support.gatewaybed import Bench, Local, add, add_datagrams, bench, controller, local_of, new_identity, on_both_loops
from tests.support.peers import require_peer


def pem(identity: Identity, folder: Path, name: str) -> tuple[Path, Path]:
    shown, key = folder / f"{name}.crt", folder / f"{name}.secret"
    shown.write_bytes(identity.certificate.public_bytes(Encoding.PEM))
    key.touch(mode=0o600)
    key.write_bytes(identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return shown, key


async def reserved(gateway: Bench) -> Local:
    [side] = await gateway.open(add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True))
    return side


async def shown(local: Local, folder: Path, *more: str) -> str:
    """The fingerprint of what the gateway shows, as OpenSSL sees it."""
    async with openssl(*client(local, "-showcerts", *more, *files(UE, folder))) as run:
        await run.until(b"-----END CERTIFICATE-----")
    found = run.printed.decode()
    begin = found.index("-----BEGIN CERTIFICATE-----")
    text = found[begin:found.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")]
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest().upper()
    return "sha-256 " + ":".join(digest[at:at + 2] for at in range(0, len(digest), 2))


@on_both_loops
async def test_a_running_stream_keeps_its_certificate_and_the_next_one_has_another() -> None:
    async with bench() as gateway, protected_call(gateway) as (ue, core, near, _):
        before = await reserved(gateway)
        await gateway.gateway.renew_certificates()
        after = await reserved(gateway)
        assert near.fingerprint == before.fingerprint != after.fingerprint
        ue.send(b"still here")
        assert await core.read(10) == b"still here"
        for side in (before, after):     # reserved before, connected after: what Local said holds
            late = await dial(side.address, tls(TlsRole.CLIENT, side))
            await late.handshake()
            await late.close()
        # A later Modify that echoes the stream's own fingerprint is right, with the new one it is not.
        for print_, code in ((before.fingerprint, None), (after.fingerprint, 473)):
            text = f"\nv=0\nc=IN IP4 {near.host}\nm=message {near.port} TCP/TLS -\na=setup:passive\na=fingerprint:{print_}\n"
            echo = f"Modify={near.termination}{{Media{{Stream=1{{Local{{{text}}}}}}}}}"
            reply = await gateway.ask(f"Context={near.context}{{{echo}}}")
            error = reply.actions[0].commands[0].error
            assert (error.code if error is not None else None) == code
        ue.send(b"and still")
        assert await core.read(9) == b"and still"


@pytest.mark.interop("openssl", "gateway as TLS server: what it shows after a renewal is what it stated")
async def test_openssl_sees_what_was_stated(tmp_path: Path) -> None:
    require_peer("openssl")
    async with bench() as gateway:
        before = await reserved(gateway)
        await gateway.gateway.renew_certificates()
        after = await reserved(gateway)
        assert await shown(before, tmp_path) == before.fingerprint
        assert await shown(after, tmp_path) == after.fingerprint != before.fingerprint


async def test_what_is_not_used_any_more_is_forgotten() -> None:
    import gc
    import weakref

    async with bench() as gateway:
        side = await reserved(gateway)
        old = weakref.ref(gateway.gateway.certificates.current)
        await gateway.gateway.renew_certificates()
        gc.collect()
        assert old() is not None
        await gateway.ask(f"Context={side.context}{{W-Subtract=*{{Audit{{}}}}}}")
        gc.collect()
        assert old() is None


@pytest.mark.interop("openssl", "gateway as TLS and DTLS server: another certificate for every stream")
async def test_a_certificate_per_stream(tmp_path: Path) -> None:
    require_peer("openssl")
    async with bench(certificates=CertificateSettings(per_stream=True)) as gateway:
        sides = [await reserved(gateway) for _ in range(3)]
        assert len({side.fingerprint for side in sides}) == 3
        for side in sides:
            assert await shown(side, tmp_path) == side.fingerprint
        [side] = await gateway.open(add_datagrams("access", peer=("127.0.0.1", 9), secure=True, fingerprints=[UE_PRINT]))
        stated = [line.removeprefix("a=fingerprint:") for line in side.sdp.splitlines() if line.startswith("a=fingerprint:")]
        assert len(stated) == 2
        assert await shown(side, tmp_path, "-dtls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256") == stated[1]


@pytest.mark.interop("openssl", "gateway as TLS server: an operator's certificate, {key}")
@pytest.mark.parametrize("key", ["ECDSA", "RSA"])
async def test_a_certificate_of_the_operators_own(key: str, tmp_path: Path) -> None:
    require_peer("openssl")
    own = new_identity("operator", rsa=key == "RSA")
    async with bench(certificates=CertificateSettings(files=(pem(own, tmp_path, "own"),))) as gateway:
        side = await reserved(gateway)
        assert side.fingerprint == str(own.fingerprint("sha-256"))
        assert await shown(side, tmp_path, "-tls1_2") == side.fingerprint
        assert await shown(await reserved(gateway), tmp_path, "-tls1_3") == side.fingerprint


async def test_sighup_reads_the_files_again(tmp_path: Path) -> None:
    """A real process: a session runs on, the next one shows what the file holds now; a broken file changes nothing."""
    first, second = new_identity("first"), new_identity("second")
    certificate, key = pem(first, tmp_path, "own")
    iq = await controller()
    config = tmp_path / "gateway.json"
    config.write_text(json.dumps({
        "mid": "gw1", "iq": {"port": 0}, "controllers": [f"127.0.0.1:{iq.address[1]}"], "http": {"port": 0},
        "realms": {name: {"addresses": "127.0.0.1", "ports": ports} for name, ports in (("access", "33200-33299"),
                                                                                       ("core", "33300-33399"))},
        "registration": {"wait": 0.01}, "certificates": {"files": [{"certificate": "own.crt", "key": "own.secret"}]},
    }))  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pcscf", "gateway", str(config), stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        await iq.request()

        async def reserve(*adds: str) -> Local:
            reply = await iq.ask(f"Context=${{{','.join(adds)}}}")
            [action] = reply.actions
            return local_of(action.context, action.commands[0])

        async def told(wanted: bytes) -> None:
            assert process.stderr is not None
            async with asyncio.timeout(20):
                while wanted not in await process.stderr.readline():
                    pass

        access = add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True)
        async with listening() as core:
            near = await reserve(access, add("core", ours="active", theirs="passive", peer=core.address))
            assert near.fingerprint == str(first.fingerprint("sha-256"))
            ue = await dial(near.address, tls(TlsRole.CLIENT, near))
            await ue.handshake()
            far = await core.accept()
            for identity, wanted in ((second, b"certificates renewed"), (None, b"certificates not renewed")):
                if identity is not None:
                    pem(identity, tmp_path, "own")
                else:
                    key.write_text("broken")
                process.send_signal(signal.SIGHUP)
                await told(wanted)
                assert (await reserve(access)).fingerprint == str(second.fingerprint("sha-256"))
                ue.send(b"still here")
                assert await far.read(10) == b"still here"
            await ue.close()
            await far.close()
    finally:
        process.terminate()
        await process.communicate()
        iq.close()
    assert process.returncode == 0
    assert certificate.exists()


async def test_files_that_cannot_serve_keep_the_gateway_from_starting(tmp_path: Path) -> None:
    pem(new_identity("one"), tmp_path, "own")
    _, other = pem(new_identity("other"), tmp_path, "other")
    config = tmp_path / "gateway.yaml"
    config.write_text(
        "controllers: [127.0.0.1]\nrealms: {access: {addresses: 127.0.0.1, ports: 33200-33299}}\n"
        "certificates:\n  files:\n    - {certificate: own.crt, key: other.secret}\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pcscf", "gateway", str(config), stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert f"{other}: is not the key of the certificate in" in errors.decode()
    assert "Traceback" not in errors.decode()
    other.unlink()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pcscf", "gateway", str(config), stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert f"{config}:5: certificates.files.0.key: there is no file" in errors.decode()


async def test_own_certificates_are_renewed_in_time() -> None:
    async with bench(certificates=CertificateSettings(renew_after=0.3)) as gateway:
        seen = {(await reserved(gateway)).fingerprint}
        async with asyncio.timeout(20):
            while len(seen) < 3:
                await asyncio.sleep(0.1)
                seen.add((await reserved(gateway)).fingerprint)
    assert datetime.now(UTC) < gateway.gateway.certificates.current.identities[0].certificate.not_valid_after_utc
