"""DTLS against the openssl program, which nobody here wrote: the gateway as server and as client, plain UDP behind it."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pcscf.gateway.certificate import Identity
from pcscf.gateway.config import GatewayLimits, GatewayTimers
from tests.live.test_gateway_openssl import KINDS, ONLY_WEAK, OpenSsl, files, openssl
from tests.support.gatewaybed import FAST, Bench, Local, add_datagrams, bench, modify, new_identity
from tests.support.peers import require_peer

UE = new_identity("ue")
STRANGER = new_identity("stranger")
UE_PRINT = str(UE.fingerprint("sha-256"))
NOWHERE = ("127.0.0.1", 9)
SLOW = GatewayTimers(tls_handshake=5.0, linger=0.3, registration_wait=0.0, registration_retry=0.05, graceful_stop=0.5)

CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", re.DOTALL)
RFC_7345 = ("ECDHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256")


@pytest.fixture(autouse=True)
def present() -> None:
    require_peer("openssl")


class Core:
    """The plain side's far end: one UDP socket."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.setblocking(False)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.socket.getsockname()[:2]
        return host, port

    def send(self, datagram: bytes, to: tuple[str, int]) -> None:
        self.socket.sendto(datagram, to)

    async def receive(self) -> bytes:
        async with asyncio.timeout(5):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65536)

    def has_nothing(self) -> bool:
        try:
            self.socket.recv(65536)
        except BlockingIOError:
            return True
        return False


@asynccontextmanager
async def core(host: str = "127.0.0.1") -> AsyncIterator[Core]:
    made = Core(host)
    try:
        yield made
    finally:
        made.socket.close()


async def reserve(gateway: Bench, far: Core, **how: object) -> tuple[Local, Local]:
    """Access with DTLS, the gateway its server; core plain."""
    arguments = {"peer": NOWHERE, "fingerprints": [UE_PRINT], "secure": True} | how
    access_side, core_side = await gateway.open(
        add_datagrams("access", **arguments),  # type: ignore[arg-type]
        add_datagrams("core", peer=far.address),
    )
    return access_side, core_side


def client(local: Local, *more: str) -> Sequence[str]:
    return ["s_client", "-dtls1_2", "-connect", f"{local.host}:{local.port}", *more]


async def echoed(run: OpenSsl, far: Core, local: Local) -> None:
    """A datagram from openssl to the core, and one back."""
    run.say(b"from the ue\n")
    assert await far.receive() == b"from the ue\n"
    far.send(b"from the core\n", local.address)
    await run.until(b"from the core\n")


@pytest.mark.interop("openssl", "gateway as DTLS server: right certificate, cookie exchange, datagrams both ways")
async def test_the_right_certificate_passes(tmp_path: Path) -> None:
    async with bench(timers=SLOW) as gateway, core() as far:
        access_side, core_side = await reserve(gateway, far)
        assert access_side.sdp.count("a=fingerprint:sha-256 ") == 2
        async with openssl(*client(access_side, "-state", *files(UE, tmp_path))) as run:
            await echoed(run, far, core_side)
        established = await gateway.until("tls-established")
        assert established.facts["version"] == "DTLSv1.2"
        assert b"read hello verify request" in run.printed
        assert b"Compression: NONE" in run.printed


@pytest.mark.interop("openssl", "gateway as DTLS server: suite {suite} of RFC 7345 §4.1, its certificate is one of those stated")
@pytest.mark.parametrize("suite", [*RFC_7345, "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"])
async def test_each_suite(suite: str, tmp_path: Path) -> None:
    async with bench(timers=SLOW) as gateway, core() as far:
        access_side, core_side = await reserve(gateway, far)
        async with openssl(*client(access_side, "-cipher", suite, *files(UE, tmp_path))) as run:
            await echoed(run, far, core_side)
        established = await gateway.until("tls-established")
        assert established.facts["cipher"] == suite
        shown = CERTIFICATE.search(run.printed)
        assert shown is not None
        pem = tmp_path / "shown.pem"
        pem.write_bytes(shown[0])
        async with openssl("x509", "-in", str(pem), "-noout", "-fingerprint", "-sha256") as seen:
            fingerprint = (await seen.end()).decode().strip().partition("=")[2]
        assert f"a=fingerprint:sha-256 {fingerprint}" in access_side.sdp.splitlines()
        assert established.facts["own"] == f"sha-256 {fingerprint}"


@pytest.mark.interop("openssl", "gateway as DTLS server: wrong certificate, alert bad_certificate, no octet passes")
async def test_a_wrong_certificate_gets_the_alert_bad_certificate(tmp_path: Path) -> None:
    async with bench(timers=SLOW) as gateway, core() as far:
        access_side, core_side = await reserve(gateway, far)
        far.send(b"from the core\n", core_side.address)
        async with openssl(*client(access_side, *files(STRANGER, tmp_path))) as run:
            run.say(b"from a stranger\n")
            printed = await run.end()
        assert b"alert bad certificate" in printed
        assert b"SSL alert number 42" in printed
        assert b"from the core" not in printed
        assert far.has_nothing()
        notified = await gateway.iq.notified()
        assert notified["g/cause"]["Failurecause"] == "TLS certificate fingerprint mismatch"
        assert notified["dtlsbsc/BNCChange"]["Type"] == "Rel"


@pytest.mark.interop("openssl", "gateway as DTLS server: no certificate, refused")
async def test_no_certificate_is_refused() -> None:
    async with bench(timers=SLOW) as gateway, core() as far:
        access_side, _ = await reserve(gateway, far)
        async with openssl(*client(access_side)) as run:
            assert b"alert handshake failure" in await run.end()
        assert (await gateway.iq.notified())["g/cause"]["Failurecause"] == "TLS peer sent no certificate"


@pytest.mark.interop("openssl", "gateway as DTLS server: DTLS 1.0 refused")
async def test_dtls_1_0_is_refused(tmp_path: Path) -> None:
    async with bench(timers=SLOW) as gateway, core() as far:
        access_side, _ = await reserve(gateway, far)
        arguments = ["s_client", "-dtls1", "-connect", f"{access_side.host}:{access_side.port}"]
        async with openssl(*arguments, "-cipher", "ALL:@SECLEVEL=0", *files(UE, tmp_path)) as run:
            assert b"alert protocol version" in await run.end()
        assert (await gateway.iq.notified())["g/cause"]["Generalcause"] == "IW"


@pytest.mark.interop("openssl", f"gateway as DTLS server: {ONLY_WEAK}, refused")
@pytest.mark.parametrize("weak", KINDS)
async def test_weak_suites_are_refused(weak: str, tmp_path: Path) -> None:
    async with bench(timers=SLOW) as gateway, core() as far:
        access_side, _ = await reserve(gateway, far)
        async with openssl(*client(access_side, "-cipher", f"{weak}:@SECLEVEL=0", *files(UE, tmp_path))) as run:
            assert b"alert handshake failure" in await run.end()
        assert (await gateway.until("tls-failed")).facts["cause"] == "NO_COMMON_PARAMETERS"


@pytest.mark.interop("openssl", "gateway as DTLS server: renegotiation is refused, datagrams go on")
async def test_no_renegotiation(tmp_path: Path) -> None:
    async with bench(timers=SLOW) as gateway, core() as far:
        access_side, core_side = await reserve(gateway, far)
        async with openssl(*client(access_side, "-state", *files(UE, tmp_path))) as run:
            await echoed(run, far, core_side)
            run.say(b"R\n")
            await run.until(b"no renegotiation")
        assert len([one for one in gateway.traced if one.kind == "tls-established"]) == 1


@pytest.mark.interop("openssl", "gateway as DTLS server: no session is resumed")
async def test_a_session_is_not_resumed(tmp_path: Path) -> None:
    session = tmp_path / "session.pem"
    shown = files(UE, tmp_path)
    async with bench(timers=SLOW) as gateway, core() as far:
        for more in (["-sess_out", str(session)], ["-sess_in", str(session)]):
            if more[0] == "-sess_in" and not session.exists():
                break  # the gateway gave nothing to resume
            access_side, core_side = await reserve(gateway, far)
            async with openssl(*client(access_side, *shown, *more)) as run:
                await echoed(run, far, core_side)
                run.say(b"Q\n")
                await run.end()
            assert b"New, TLSv1.2" in run.printed
            assert b"Reused" not in run.printed


@pytest.mark.interop("openssl", "gateway as DTLS server: the peer's close_notify ends the association and is told as normal")
async def test_the_peer_closes(tmp_path: Path) -> None:
    async with bench(timers=SLOW) as gateway, core() as far:
        access_side, core_side = await reserve(gateway, far)
        async with openssl(*client(access_side, *files(UE, tmp_path))) as run:
            await echoed(run, far, core_side)
            run.say(b"Q\n")
            await run.end()
        notified = await gateway.iq.notified()
        assert notified["g/cause"]["Generalcause"] == "NR"
        assert "dtlsbsc/BNCChange" in notified


@asynccontextmanager
async def s_server(
    folder: Path, identity: Identity | None, *more: str, version: str = "-dtls1_2"
) -> AsyncIterator[tuple[OpenSsl, int]]:
    """`openssl s_server` that asks for a certificate and lives as long as its stdin."""
    shown = files(identity, folder) if identity is not None else ["-nocert"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with openssl("s_server", version, "-listen", "-accept", f"127.0.0.1:{port}", "-Verify", "1", *shown, *more) as run:
        await run.until(b"ACCEPT")
        yield run, port


CLIENT = "dtlsbsc/EstBNC{Stream=1}"


@pytest.mark.interop("openssl", "gateway as DTLS client: right certificate, datagrams both ways; {suite}")
@pytest.mark.parametrize("suite", [*RFC_7345, ""])
async def test_the_gateway_as_client(suite: str, tmp_path: Path) -> None:
    identity = new_identity("ue", rsa=bool(suite))
    more = ["-cipher", suite] if suite else []
    async with s_server(tmp_path, identity, *more) as (run, port), bench(timers=SLOW) as gateway, core() as far:
        _, core_side = await reserve(
            gateway, far, peer=("127.0.0.1", port), fingerprints=[str(identity.fingerprint("sha-256"))], signals=CLIENT)
        established = await gateway.until("tls-established")
        assert established.facts["cipher"] == (suite or "ECDHE-ECDSA-AES128-GCM-SHA256")
        await run.until(b"-----END CERTIFICATE-----\n")
        shown = CERTIFICATE.search(run.printed)
        assert shown is not None
        octets = ssl.PEM_cert_to_DER_cert(shown[0].decode())
        assert established.facts["own"].replace(":", "").lower() == f"sha-256 {hashlib.sha256(octets).hexdigest()}"
        await echoed(run, far, core_side)
        assert b"Client certificate" in run.printed


@pytest.mark.interop("openssl", "gateway as DTLS client: wrong certificate, alert bad_certificate, no octet passes")
async def test_the_server_is_a_stranger(tmp_path: Path) -> None:
    async with s_server(tmp_path, STRANGER) as (run, port), bench(timers=SLOW) as gateway, core() as far:
        _, core_side = await reserve(gateway, far, peer=("127.0.0.1", port), signals=CLIENT)
        far.send(b"from the core\n", core_side.address)
        assert (await gateway.until("tls-failed")).facts["cause"] == "FINGERPRINT_MISMATCH"
        await run.until(b"alert bad certificate")
        assert b"from the core" not in run.printed
        assert (await gateway.iq.notified())["dtlsbsc/BNCChange"]["Type"] == "Rel"


async def test_an_early_client_hello_waits_for_the_fingerprint(tmp_path: Path) -> None:
    """The UE may begin before its answer has arrived (RFC 7345 §4.2)."""
    async with bench(timers=SLOW) as gateway, core() as far:
        [access_side, core_side] = await gateway.open(
            add_datagrams("access", secure=True, mode="Inactive"), add_datagrams("core", peer=far.address))
        async with openssl(*client(access_side, *files(UE, tmp_path))) as run:
            await asyncio.sleep(0.2)
            assert "tls-established" not in gateway.kinds()
            remote = add_datagrams("access", secure=True, peer=NOWHERE, fingerprints=[UE_PRINT]).partition("Remote{")[2]
            body = modify(access_side.termination, remote=remote.partition("}")[0], mode="SendReceive")
            await gateway.ask(f"Context={access_side.context}{{{body}}}")
            await echoed(run, far, core_side)


async def test_a_peer_that_stops_in_the_handshake_is_given_up() -> None:
    async with bench(timers=FAST) as gateway, core() as far, core() as mute:
        await reserve(gateway, far, peer=mute.address, signals=CLIENT)
        assert (await gateway.iq.notified())["g/cause"]["Failurecause"] == "TLS handshake timeout"


async def test_what_does_not_fit_is_dropped(tmp_path: Path) -> None:
    async with bench(timers=SLOW, limits=GatewayLimits(datagram=600)) as gateway, core() as far:
        access_side, core_side = await reserve(gateway, far)
        async with openssl(*client(access_side, *files(UE, tmp_path))) as run:
            await echoed(run, far, core_side)
            far.send(b"x" * 564, core_side.address)
            far.send(b"", core_side.address)
            far.send(b"y" * 563, core_side.address)
            await run.until(b"y" * 563)
            assert b"x" * 10 not in run.printed
            await gateway.ask(f"Context={access_side.context}{{W-Subtract=*{{Audit{{}}}}}}")
            await run.end()
        passed = gateway.gateway.relay.passed()
        assert (passed["dtls"].datagrams_received, passed["udp"].datagrams_received) == (1, 2)
        assert (passed["udp"].dropped, passed["dtls"].dropped) == (2, 0)
