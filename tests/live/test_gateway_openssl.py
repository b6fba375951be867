"""TLS against the openssl program, which nobody here wrote: the gateway as server and as client, the P-CSCF as server."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pcscf.gateway.certificate import Identity
from pcscf.lab.tap import Address
from tests.support.gatewaybed import Bench, Local, add, bench, new_identity
from tests.support.kamailio import free_port
from tests.support.peers import require_peer
from tests.support.processes import pcscf

UE = new_identity("ue")
STRANGER = new_identity("stranger")
UE_PRINT = str(UE.fingerprint("sha-256"))

# Kinds of TLS 1.2 suites that nobody may use here (TS 33.210 §6.2.3), as OpenSSL names them.
KINDS = ("NULL", "aNULL", "SHA1", "CBC", "kRSA", "CAMELLIA", "AESCCM")
WEAK = pytest.mark.parametrize("weak", KINDS)
ONLY_WEAK = "only NULL, anonymous, SHA-1, CBC, RSA key transport, Camellia or CCM suites"


@pytest.fixture(autouse=True)
def present() -> None:
    require_peer("openssl")


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
async def openssl(*arguments: str, program: str = "openssl") -> AsyncIterator[OpenSsl]:
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
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


@pytest.mark.interop("openssl", "gateway as TLS server: right certificate, data both ways; {version}")
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


@pytest.mark.interop("openssl", "gateway as TLS server: wrong certificate, alert bad_certificate, no octet passes; {version}")
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
    ("stated", "passes"),
    [
        ([(STRANGER, "sha-256"), (UE, "sha-256")], True),     # one line for each of its certificates: any may be the one
        ([(UE, "sha-256"), (UE, "sha-512")], True),
        ([(STRANGER, "sha-256"), (UE, "sha-512")], True),     # the strongest hash decides, and it alone
        ([(UE, "sha-256"), (STRANGER, "sha-512")], False),
        ([(UE, "sha-1"), (STRANGER, "sha-256")], False),
    ],
)
async def test_several_fingerprints(stated: list[tuple[Identity, str]], passes: bool, tmp_path: Path) -> None:
    """RFC 8122 §5: several certificates, several hashes."""
    prints = [str(identity.fingerprint(name)) for identity, name in stated]
    async with bench() as gateway:
        access_side, core_side = await gateway.open(
            add("access", ours="passive", theirs="active", fingerprints=prints, secure=True),
            add("core", ours="passive", theirs="active"),
        )
        reader, writer = await asyncio.open_connection(*core_side.address)
        async with openssl(*client(access_side, "-tls1_2", *files(UE, tmp_path))) as run:
            run.say(b"from the ue\n")
            if passes:
                async with asyncio.timeout(5):
                    assert await reader.readline() == b"from the ue\n"
            else:
                assert b"alert bad certificate" in await run.end()
        writer.close()


@pytest.mark.interop("openssl", "gateway with TLS on both sides, as server and as client: data both ways, each peer compared")
@pytest.mark.parametrize("stranger", ["", "access", "core"])
async def test_tls_on_both_sides(stranger: str, tmp_path: Path) -> None:
    port = free_port()
    core = new_identity("core")
    for name in ("ue", "core"):
        (tmp_path / name).mkdir()
    serving = files(STRANGER if stranger == "core" else core, tmp_path / "core")
    calling = files(STRANGER if stranger == "access" else UE, tmp_path / "ue")
    serve = ("s_server", "-accept", f"127.0.0.1:{port}", "-Verify", "1", *serving)
    async with bench() as gateway, openssl(*serve) as behind:
        await behind.until(b"ACCEPT")
        access_side, _ = await gateway.open(
            add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True),
            add("core", ours="active", theirs="passive", fingerprints=[str(core.fingerprint("sha-256"))], secure=True,
                peer=("127.0.0.1", port), signals="tlsbsc/EstBNC"),
        )
        async with openssl(*client(access_side, *calling)) as run:
            if stranger:
                failed = await gateway.until("tls-failed")
                run.say(b"from the ue\n")
                assert failed.facts["cause"]
                await run.end()
                assert b"from the ue" not in behind.printed
                return
            run.say(b"from the ue\n")
            await behind.until(b"from the ue")
            behind.say(b"from the core\n")
            await run.until(b"from the core")
        assert gateway.kinds().count("tls-established") == 2


@pytest.mark.interop("openssl", "gateway as TLS server: no certificate, refused; {version}")
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


@pytest.mark.interop("openssl", "gateway as TLS server: {version} refused")
@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
async def test_older_versions_are_refused(version: str, tmp_path: Path) -> None:
    async with bench() as gateway:
        access_side, _ = await reserve(gateway)
        async with openssl(*client(access_side, version, "-cipher", "ALL:@SECLEVEL=0", *files(UE, tmp_path))) as run:
            assert b"alert protocol version" in await run.end()
        assert (await gateway.iq.notified())["g/cause"]["Generalcause"] == "IW"


@pytest.mark.interop("openssl", f"gateway as TLS server: {ONLY_WEAK}, refused")
@WEAK
async def test_weak_suites_are_refused(weak: str, tmp_path: Path) -> None:
    async with bench() as gateway:
        access_side, _ = await reserve(gateway)
        async with openssl(*client(access_side, "-tls1_2", "-cipher", f"{weak}:@SECLEVEL=0", *files(UE, tmp_path))) as run:
            assert b"alert handshake failure" in await run.end()
        assert (await gateway.until("tls-failed")).facts["cause"] == "NO_COMMON_PARAMETERS"


@pytest.mark.interop("openssl", "gateway as TLS server: no session is resumed; {version}")
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
async def s_server(folder: Path, identity: Identity | None, *more: str) -> AsyncIterator[tuple[OpenSsl, int]]:
    """`openssl s_server` that asks for a certificate and lives as long as its stdin."""
    shown = files(identity, folder) if identity is not None else ["-nocert"]
    async with openssl("s_server", "-accept", "127.0.0.1:0", "-Verify", "1", *shown, *more) as run:
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


@pytest.mark.interop("openssl", "gateway as TLS client: right certificate, its own shown, data both ways; {version}")
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


@pytest.mark.interop("openssl", "gateway as TLS client: wrong certificate, alert bad_certificate, no octet passes; {version}")
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


async def refused_as_client(gateway: Bench, run: OpenSsl, port: int, told: bytes) -> None:
    """No connection comes about, whatever waits on the core side."""
    run.say(b"early words\n")
    core_side = await as_client(gateway, port)
    try:
        reader, writer = await asyncio.open_connection(*core_side.address)
        writer.write(b"from the core\n")
        assert await reader.read() == b""
        writer.close()
    except ConnectionResetError:
        pass
    await run.until(told)
    assert b"from the core" not in run.printed
    assert (await gateway.until("tls-failed")).facts["cause"] == "NO_COMMON_PARAMETERS"


@pytest.mark.interop("openssl", "gateway as TLS client: server without certificate, refused")
async def test_the_gateway_as_client_refuses_a_server_without_certificate(tmp_path: Path) -> None:
    more = ("-tls1_2", "-cipher", "ALL:aNULL:@SECLEVEL=0")
    async with bench() as gateway, s_server(tmp_path, None, *more) as (run, port):
        await refused_as_client(gateway, run, port, b"no shared cipher")


@pytest.mark.interop("openssl", "gateway as TLS client: {version} refused")
@pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
async def test_the_gateway_as_client_refuses_older_versions(version: str, tmp_path: Path) -> None:
    more = (version, "-cipher", "ALL:@SECLEVEL=0")
    async with bench() as gateway, s_server(tmp_path, UE, *more) as (run, port):
        await refused_as_client(gateway, run, port, b"unsupported protocol")


@pytest.mark.interop("openssl", f"gateway as TLS client: {ONLY_WEAK}, refused")
@WEAK
async def test_the_gateway_as_client_refuses_weak_suites(weak: str, tmp_path: Path) -> None:
    more = ("-tls1_2", "-cipher", f"{weak}:@SECLEVEL=0")
    async with bench() as gateway, s_server(tmp_path, UE, *more) as (run, port):
        await refused_as_client(gateway, run, port, b"no shared cipher")


# RSA_EXPORT_WITH_RC4_40_MD5, RSA_WITH_RC4_128_MD5, RSA_WITH_RC4_128_SHA, RSA_EXPORT_WITH_DES40_CBC_SHA, RSA_WITH_DES_CBC_SHA,
# RSA_WITH_3DES_EDE_CBC_SHA, DHE_RSA_WITH_3DES_EDE_CBC_SHA, ECDHE_ECDSA_WITH_RC4_128_SHA, ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA
BURIED = (0x0003, 0x0004, 0x0005, 0x0008, 0x0009, 0x000A, 0x0016, 0xC007, 0xC008)


async def test_suites_that_openssl_has_buried_are_refused() -> None:
    """Nobody offers RC4, DES, 3DES or export suites any more, so the ClientHello (RFC 5246 §7.4.1.2) is written here."""
    suites = b"".join(suite.to_bytes(2) for suite in BURIED)
    curves = bytes.fromhex("000a000400020017" "000b00020100")   # secp256r1, uncompressed
    hello = b"\x03\x03" + bytes(32) + b"\x00" + len(suites).to_bytes(2) + suites + b"\x01\x00" + len(curves).to_bytes(2) + curves
    handshake = b"\x01" + len(hello).to_bytes(3) + hello
    async with bench() as gateway:
        access_side, _ = await reserve(gateway)
        reader, writer = await asyncio.open_connection(*access_side.address)
        writer.write(b"\x16\x03\x01" + len(handshake).to_bytes(2) + handshake)
        async with asyncio.timeout(5):
            assert await reader.readexactly(7) == bytes.fromhex("15030300020228"), "fatal handshake_failure"
        assert (await gateway.until("tls-failed")).facts["cause"] == "NO_COMMON_PARAMETERS"
        writer.close()


def made_by_openssl(folder: Path) -> tuple[list[str], str]:
    """An RSA certificate that openssl made: arguments that show it, and its fingerprint as openssl tells it."""
    certificate, key = folder / "rsa.pem", folder / "rsa.key"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=ue", "-days", "2", "-keyout", key, "-out",
            certificate]
    subprocess.run(made, check=True, capture_output=True)
    asked = ["openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha256"]
    told = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    return ["-cert", str(certificate), "-key", str(key)], "sha-256 " + told.strip().partition("=")[2]


@pytest.mark.interop("openssl", "gateway as TLS server: RSA certificate that it made, fingerprint as it tells it; {version}")
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_its_own_certificate_and_fingerprint(version: str, tmp_path: Path) -> None:
    shown, fingerprint = made_by_openssl(tmp_path)
    async with bench() as gateway:
        access_side, core_side = await gateway.open(
            add("access", ours="passive", theirs="active", fingerprints=[fingerprint], secure=True),
            add("core", ours="passive", theirs="active"),
        )
        reader, writer = await asyncio.open_connection(*core_side.address)
        async with openssl(*client(access_side, version, *shown)) as run:
            run.say(b"from the ue\n")
            async with asyncio.timeout(5):
                assert await reader.readline() == b"from the ue\n"
        assert (await gateway.until("tls-established")).facts["fingerprint"] == fingerprint
        writer.close()


OPTIONS = (
    b"OPTIONS sip:pcscf.ims.example SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bK1;rport\r\nMax-Forwards: 0\r\n"
    b"From: <sip:a@ims.example>;tag=1\r\nTo: <sip:pcscf.ims.example>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n"
    b"Content-Length: 0\r\n\r\n"
)


@pytest.mark.interop("openssl", "P-CSCF as TLS server on Gm: SIP over TLS 1.2 and 1.3; 1.0, 1.1 and weak suites refused")
async def test_signalling(tmp_path: Path) -> None:
    nobody: Address = ("127.0.0.1", 9)
    async with pcscf(tmp_path / "pcscf", nobody) as running:
        where = ["s_client", "-connect", f"127.0.0.1:{running.listeners['gm-tls'].port}"]
        for version in ("-tls1_2", "-tls1_3"):
            async with openssl(*where, version) as run:
                run.say(OPTIONS)
                await run.until(b"SIP/2.0 ")
        refused = [(version, "ALL") for version in ("-tls1", "-tls1_1")] + [("-tls1_2", kind) for kind in KINDS]
        for version, suites in refused:
            async with openssl(*where, version, "-cipher", f"{suites}:@SECLEVEL=0") as run:
                # asyncio closes the connection before the alert has gone out.
                assert b"Cipher is (NONE)" in await run.end(), (version, suites)
