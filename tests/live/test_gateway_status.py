"""What a gateway tells of itself: over HTTP in its own process, and by `pcscf gateway status`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pcscf.cli.gateway import status_pages
from pcscf.cli.gateway_status import as_text
from pcscf.config.values import Endpoint
from pcscf.gateway.status import exposition, status_of
from pcscf.observe import http
from pcscf.observe.http import HttpServer
from tests.live.test_gateway_datagrams import drops, ends, swap
from tests.live.test_gateway_relay import STRANGER, UE_PRINT, dial, protected_call, tls
from tests.support.gatewaybed import Bench, add, add_datagrams, bench


@asynccontextmanager
async def served(gateway: Bench) -> AsyncIterator[tuple[str, int]]:
    server = HttpServer(status_pages(gateway.gateway))
    await server.start("127.0.0.1", 0)
    try:
        yield server.address
    finally:
        server.close()


async def run(*arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pcscf", "gateway", "status", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


async def some_traffic(gateway: Bench) -> None:
    """A stranger on a TLS leg, and a datagram each way, one of them for nobody."""
    from pcscf.gateway.endpoint import TlsRole

    [side] = await gateway.open(add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True))
    stranger = await dial(side.address, tls(TlsRole.CLIENT, side, STRANGER))
    await stranger.read_to_end()
    await stranger.close()
    await gateway.until("tls-failed")


async def test_what_passed_and_what_failed() -> None:
    async with bench() as gateway, protected_call(gateway) as (ue, core, _, _), ends(1, 1) as (one, other):
        ue.send(b"x" * 300)
        await core.read(300)
        near, far = await gateway.open(
            add_datagrams("access", peer=one.address), add_datagrams("core", peer=other.address, mode="SendReceive"))
        await swap(one, near, other, far)
        await some_traffic(gateway)
        now = status_of(gateway.gateway)
        assert (now.contexts, now.terminations, now.contexts_opened) == (3, 5, 3)
        assert now.streams == {"tcp": 1, "tls": 2, "udp": 2, "dtls": 0}
        assert (now.connected["tls"], now.connected["tcp"], now.connected["udp"]) == (1, 1, 2)
        assert now.handshakes == {"TLSv1.3": 1}
        assert now.failures == {"fingerprint-mismatch": 1}
        assert (now.passed["tls"].received, now.passed["tcp"].sent, now.passed["udp"].datagrams_sent) == (300, 300, 2)
        assert now.ports == {"access": (5, 5000), "core": (5, 5000)}   # one address in both
        assert now.controller == " ".join(map(str, gateway.iq.address))


async def test_the_exposition_is_read_by_prometheus_own_parser() -> None:
    async with bench() as gateway, ends(1, 1) as (one, other), protected_call(gateway):
        near, _ = await gateway.open(
            add_datagrams("access", peer=one.address), add_datagrams("core", peer=other.address, mode="Inactive"))
        one.send(b"for nobody", near)
        await drops(gateway, 1)
        await some_traffic(gateway)
        text = exposition(status_of(gateway.gateway)).decode()
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text) for sample in family.samples}
        assert samples["pcscf_gateway_registered",] == 1
        assert samples["pcscf_gateway_contexts",] == 3
        assert samples["pcscf_gateway_dropped_total", "udp"] == 1
        assert samples["pcscf_gateway_failures_total", "fingerprint-mismatch"] == 1
        assert samples["pcscf_gateway_ports", "access", "taken"] == 5
        assert all(name.startswith("pcscf_gateway_") for name, *_ in samples)
        page = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text()
        assert {name for name, *_ in samples} == set(re.findall(r"^\| `(pcscf_gateway_\w+)`", page, re.MULTILINE))


async def test_the_command_in_its_three_forms(tmp_path: Path) -> None:
    async with bench() as gateway, served(gateway) as (host, port), protected_call(gateway):
        code, text, errors = await run(f"{host}:{port}")
        assert (code, errors) == (0, "")
        assert "contexts      1 of 10000, 1 since the start" in text
        assert re.search(r"^handshakes    1 TLSv1.3$", text, re.MULTILINE)
        _, told, _ = await run("--json", f"{host}:{port}")
        assert json.loads(told)["terminations"] == 2
        file = tmp_path / "gateway.yaml"
        realms = "{access: {addresses: 127.0.0.1, ports: 33000-33099}}"
        file.write_text(f"controllers: [127.0.0.1]\nrealms: {realms}\nhttp: {{port: {port}}}\n")
        _, metrics, _ = await run("--metrics", str(file))
        assert "pcscf_gateway_contexts 1.0" in metrics


@pytest.mark.parametrize(("where", "code", "told"), [
    ("127.0.0.1:9", 1, "no gateway answers at 127.0.0.1 port 9"),
    ("nowhere", 2, "neither a file nor ADDRESS:PORT"),
])
async def test_the_command_where_there_is_no_gateway(where: str, code: int, told: str) -> None:
    found, _, errors = await run(where)
    assert found == code
    assert told in errors
    assert "Traceback" not in errors


async def test_nothing_secret() -> None:
    """Whoever reads the status learns no address of a user, no certificate and no key."""
    async with bench() as gateway, protected_call(gateway) as (ue, core, near, _):
        ue.send(b"the words of the user")
        await core.read(21)
        told = json.dumps(status_of(gateway.gateway).plain()) + exposition(status_of(gateway.gateway)).decode()
        for secret in ("the words", near.fingerprint.split()[1], UE_PRINT.split()[1], str(near.port), near.termination):
            assert secret not in told


async def test_text_for_people_names_what_is_wrong() -> None:
    async with bench() as gateway:
        await some_traffic(gateway)
        gateway.gateway.controller = None
        lines = list(as_text(json.loads(json.dumps(status_of(gateway.gateway).plain()))))
        assert "NOT REGISTERED" in lines[0]
        assert "failed        1 fingerprint-mismatch" in lines


async def asked(address: tuple[str, int], request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    answer = b""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionResetError):   # turned away before it was read
            answer = await reader.read()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


@pytest.mark.parametrize(("request_", "status"), [
    (b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200"),
    (b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200"),
    (b"GET /status?now HTTP/1.0\r\n\r\n", b"HTTP/1.1 200"),
    (b"GET /secret HTTP/1.1\r\n\r\n", b"HTTP/1.1 404"),
    (b"POST /status HTTP/1.1\r\n\r\n", b"HTTP/1.1 405"),
    (b"\xff\xfe\r\n\r\n", b"HTTP/1.1 400"),
    (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n\r\n", b""),
    (b"GET /status", b""),
])
async def test_requests(request_: bytes, status: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PATIENCE", 0.3)
    async with bench() as gateway, served(gateway) as address:
        answer = await asked(address, request_)
        assert answer.startswith(status) if status else not answer
        if request_.startswith(b"HEAD"):
            assert answer.endswith(b"\r\n\r\n")
        assert (await asked(address, b"GET /status HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_clients_that_say_nothing_do_not_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PATIENCE", 0.3)
    async with bench() as gateway, served(gateway) as address:
        silent = [await asyncio.open_connection(*address) for _ in range(http.MAX_CLIENTS)]
        await asyncio.sleep(0.05)
        assert await asked(address, b"GET /status HTTP/1.1\r\n\r\n") == b""
        await asyncio.sleep(0.5)
        assert (await asked(address, b"GET /status HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200")
        for _, writer in silent:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def test_an_ipv6_address_of_the_command() -> None:
    from pcscf.cli.gateway_status import _addresses

    assert _addresses(str(Endpoint("::1", 9294))) == [("::1", 9294)]
