"""The gateway's TLS against the openssl program, which nobody here wrote: as its server and as its client."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pcscf.gateway.certificate import Identity
from tests.support.gatewaybed import Bench, Local, add, bench, new_identity

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not installed")

UE = new_identity("ue")
STRANGER = new_identity("stranger")
UE_PRINT = str(UE.fingerprint("sha-256"))


def files(identity: Identity, folder: Path) -> list[str]:
    """Command-line arguments that show this certificate."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(identity.certificate.public_bytes(Encoding.PEM))
    key.write_bytes(identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return ["-cert", str(certificate), "-key", str(key)]


class OpenSsl:
    """One run of the program: what it is told on stdin, and all that it prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.printed = b""

    async def until(self, wanted: bytes) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(10):
            while wanted not in self.printed:
                data = await self.process.stdout.read(65536)
                assert data, self.printed.decode(errors="replace")
                self.printed += data

    def say(self, text: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)

    async def end(self) -> bytes:
        """Everything it printed until it ended."""
        assert self.process.stdout is not None
        async with asyncio.timeout(10):
            self.printed += await self.process.stdout.read()
            await self.process.wait()
        return self.printed


@asynccontextmanager
async def openssl(*arguments: str) -> AsyncIterator[OpenSsl]:
    process = await asyncio.create_subprocess_exec(
        "openssl", *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    run = OpenSsl(process)
    try:
        yield run
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def reserve(gateway: Bench) -> tuple[Local, Local]:
    access_side, core_side = await gateway.open(
        add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True),
        add("core", ours="passive", theirs="active"),
    )
    return access_side, core_side


def client(local: Local, *more: str) -> Sequence[str]:
    return ["s_client", "-connect", f"{local.host}:{local.port}", *more]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_the_right_certificate_passes(version: str, tmp_path: Path) -> None:
    async with bench() as gateway:
        access_side, core_side = await reserve(gateway)
        reader, writer = await asyncio.open_connection(*core_side.address)
        async with openssl(*client(access_side, version, *files(UE, tmp_path))) as run:
            run.say(b"from the ue\n")
            async with asyncio.timeout(5):
                assert await reader.readline() == b"from the ue\n"
            writer.write(b"from the core\n")
            await run.until(b"from the core\n")
        established = await gateway.until("tls-established")
        assert established.facts["version"] == {"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}[version]
        assert b"New, TLSv1" in run.printed
        assert b"Compression: NONE" in run.printed
        writer.close()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_a_wrong_certificate_gets_the_alert_bad_certificate(version: str, tmp_path: Path) -> None:
    async with bench() as gateway:
        access_side, core_side = await reserve(gateway)
        reader, writer = await asyncio.open_connection(*core_side.address)
        writer.write(b"from the core\n")
        async with openssl(*client(access_side, version, *files(STRANGER, tmp_path))) as run:
            run.say(b"from a stranger\n")
            printed = await run.end()
        assert b"alert bad certificate" in printed
        assert b"SSL alert number 42" in printed
        assert b"from the core" not in printed
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        notified = await gateway.iq.notified()
        assert notified["g/cause"]["Failurecause"] == "TLS certificate fingerprint mismatch"
        writer.close()


@pytest.mark.parametrize(
    ("version", "alert"), [("-tls1_2", b"alert handshake failure"), ("-tls1_3", b"alert certificate required")]
)
async def test_no_certificate_is_refused(version: str, alert: bytes) -> None:
    async with bench() as gateway:
        access_side, _ = await reserve(gateway)
        async with openssl(*client(access_side, version)) as run:
            assert alert in await run.end()
        notified = await gateway.iq.notified()
        assert notified["g/cause"]["Failurecause"] == "TLS peer sent no certificate"


@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
async def test_older_versions_are_refused(version: str, tmp_path: Path) -> None:
    async with bench() as gateway:
        access_side, _ = await reserve(gateway)
        async with openssl(*client(access_side, version, "-cipher", "ALL:@SECLEVEL=0", *files(UE, tmp_path))) as run:
            assert b"alert protocol version" in await run.end()
        assert (await gateway.iq.notified())["g/cause"]["Generalcause"] == "IW"


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA", "NULL:@SECLEVEL=0"])
async def test_weak_suites_are_refused(cipher: str, tmp_path: Path) -> None:
    async with bench() as gateway:
        access_side, _ = await reserve(gateway)
        async with openssl(*client(access_side, "-tls1_2", "-cipher", cipher, *files(UE, tmp_path))) as run:
            assert b"alert handshake failure" in await run.end()
        assert (await gateway.until("tls-failed")).facts["cause"] == "NO_COMMON_PARAMETERS"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_a_session_is_not_resumed(version: str, tmp_path: Path) -> None:
    session = tmp_path / "session.pem"
    shown = files(UE, tmp_path)
    async with bench() as gateway:
        for more in (["-sess_out", str(session)], ["-sess_in", str(session)]):
            if more[0] == "-sess_in" and not session.exists():
                break
            access_side, core_side = await reserve(gateway)
            reader, writer = await asyncio.open_connection(*core_side.address)
            async with openssl(*client(access_side, version, *shown, *more)) as run:
                run.say(b"hello\n")
                async with asyncio.timeout(5):
                    assert await reader.readline() == b"hello\n"
                writer.write(b"answer\n")
                await run.until(b"answer\n")
                run.say(b"Q\n")
                await run.end()
            assert b"New, TLSv1" in run.printed
            assert b"Reused" not in run.printed
            writer.close()


@asynccontextmanager
async def s_server(folder: Path, identity: Identity, *more: str) -> AsyncIterator[tuple[OpenSsl, int]]:
    """`openssl s_server` that asks for a certificate and lives as long as its stdin."""
    async with openssl("s_server", "-accept", "127.0.0.1:0", "-Verify", "1", *files(identity, folder), *more) as run:
        await run.until(b"ACCEPT ")
        await run.until(b"\n")
        port = run.printed.partition(b"ACCEPT ")[2].split()[0].rpartition(b":")[2]
        yield run, int(port)


async def as_client(gateway: Bench, port: int) -> Local:
    _, core_side = await gateway.open(
        add("access", ours="active", theirs="passive", peer=("127.0.0.1", port), fingerprints=[UE_PRINT], secure=True,
            signals="tcpbcc/EstBNC,tlsbsc/EstBNC"),
        add("core", ours="passive", theirs="active"),
    )  # fmt: skip
    return core_side


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_the_gateway_as_client(version: str, tmp_path: Path) -> None:
    async with bench() as gateway, s_server(tmp_path, UE, version) as (run, port):
        core_side = await as_client(gateway, port)
        reader, writer = await asyncio.open_connection(*core_side.address)
        writer.write(b"from the core\n")
        await run.until(b"from the core\n")
        run.say(b"from the ue\n")
        async with asyncio.timeout(5):
            assert await reader.readline() == b"from the ue\n"
        assert b"Client certificate" in run.printed
        writer.close()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_the_gateway_as_client_refuses_the_wrong_server(version: str, tmp_path: Path) -> None:
    async with bench() as gateway, s_server(tmp_path, STRANGER, version) as (run, port):
        run.say(b"early words\n")
        core_side = await as_client(gateway, port)
        try:
            reader, writer = await asyncio.open_connection(*core_side.address)
            writer.write(b"from the core\n")
            assert await reader.read() == b""
            writer.close()
        except ConnectionResetError:
            pass
        await run.until(b"alert bad certificate")
        assert b"from the core" not in run.printed
        assert (await gateway.iq.notified())["g/cause"]["Generalcause"] == "FP"
