"""What a P-CSCF tells of itself: over HTTP, and by `pcscf status`."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pcscf.config.load import POLICIES
from pcscf.lab.call import Manners
from pcscf.lab.net import Target
from pcscf.lab.useragent import CallRefusedError
from tests.support.fleet import HERE, free_port, states
from tests.support.processes import DOMAIN, LISTENERS, LOOK, Stage, converse, pcscf, stage, until, within

REPLY = "Got it: {text}"
WORKERS = 2
REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text()


@pytest.fixture
async def around() -> AsyncIterator[Stage]:
    async with stage() as made:
        yield made


async def page(port: int, path: str) -> str:
    def fetch() -> str:
        with urllib.request.urlopen(f"http://{HERE}:{port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(fetch)


async def status(folder: Path, settings: tuple[str, ...], *arguments: str) -> tuple[int | None, str]:
    """`pcscf status` as a person types it; its exit status, and what it says."""
    overrides = [word for each in settings for word in ("--set", each)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pcscf", "status", str(POLICIES / "lab.yaml"), *arguments, *overrides),
        env={"XDG_RUNTIME_DIR": str(folder / "run"), "PATH": ""}, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT)
    out, _ = await within(process.communicate(), "the end of `pcscf status`")
    return process.returncode, out.decode()


def samples(text: str) -> Mapping[tuple[str, ...], float]:
    """By name and the values of labels, sorted."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text) for sample in family.samples}


async def say_twice(to: Target, garbage: bytes, request: bytes) -> None:
    """From one UDP port: what nobody answers, then a request, and the same again once it was answered."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setblocking(False)
        own.bind((HERE, 0))
        await loop.sock_connect(own, (to.host, to.port))
        await loop.sock_sendall(own, garbage)
        request = request.replace(b"OWN", f"{HERE}:{own.getsockname()[1]}".encode())
        for _ in range(2):
            await loop.sock_sendall(own, request)
            assert (await within(loop.sock_recv(own, 4096), "an answer")).startswith(b"SIP/2.0 200")


def options(to: Target) -> bytes:
    return (
        f"OPTIONS sip:{to.host}:{to.port} SIP/2.0\r\nVia: SIP/2.0/UDP OWN;branch=z9hG4bKtwice\r\nMax-Forwards: 70\r\n"
        f"From: <sip:dora@{DOMAIN}>;tag=1\r\nTo: <sip:{to.host}>\r\nCall-ID: twice\r\nCSeq: 1 OPTIONS\r\n"
        "Content-Length: 0\r\n\r\n").encode()


async def test_what_an_operator_sees_of_a_protected_call_and_of_what_fails(tmp_path: Path, around: Stage) -> None:
    iq, http, media_http = free_port(), free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM)
    settings = (
        f"gateways.iq.port={iq}", f"http.port={http}", f"gateways.embedded.http.port={media_http}",
        f"gateways.embedded.workers={WORKERS}")
    async with pcscf(tmp_path, around.core.address, *settings) as running:
        while len([each for each in (await states(running)).values() if each["packages"]]) < WORKERS:
            await asyncio.sleep(LOOK)
        party = await around.new_party(Manners(reply=REPLY))
        ue = await around.new_ue(running.listeners["gm-tls"])
        eve = await around.new_ue(running.listeners["gm-tls"], name="eve")
        call = await converse(ue, party, "words of the user")
        await within(eve.deregister(), "the end of a registration")
        with pytest.raises(CallRefusedError, match="403"):
            await within(eve.call(party.uri, eve.proxy_uri), "the refusal")
        await say_twice(running.listeners["gm-udp"], b"nothing that SIP knows\r\n\r\n", options(running.listeners["gm-udp"]))

        now = json.loads(await page(http, "/status"))
        assert now["process"] == running.pid
        assert now["registrations"] == {"registered": 1, "protected": 1, "pending": 0}
        assert now["sessions"] == {"early": 0, "confirmed": 1, "ended": 0}
        assert now["dialogs"] == {"sessions": 1, "subscriptions": 0}
        assert now["media"] == [{"medium": "msrp", "protection": "tls", "number": 1}]
        assert now["connections"]["gm-tls"] == 2
        assert now["requests"]["received"] == dict.fromkeys(now["requests"]["received"], 0) | {
            "REGISTER": 5, "INVITE": 2, "ACK": 2, "OPTIONS": 1}
        assert now["requests"]["sent"] == dict.fromkeys(now["requests"]["sent"], 0) | {"REGISTER": 5, "INVITE": 1, "ACK": 1}
        assert now["responses"]["received"]["2xx"] == 4   # three registrations and the call
        assert now["responses"]["sent"]["2xx"] == 5       # these, and OPTIONS
        assert now["responses"]["sent"]["4xx"] == 3       # two challenges and the refusal
        assert now["repeats"] == {"received": 1, "sent": 1}
        assert now["sip_failures"]["malformed"] == 1
        assert now["refused"] == {"403": 1}
        assert now["decided"] == {"terminate": 2}         # the offer and its answer
        assert now["events"]["deregistered"] == 1
        assert sum(each["sessions"] for each in now["gateways"]) == 1
        assert {each["state"] for each in now["gateways"]} == {"registered"}
        assert now["iq"]["asked"] == 2 + 2 * WORKERS   # the call; what each can do, and what it shall watch
        assert [each["http"] for each in now["children"]] == [f"{HERE}:{media_http + number}" for number in range(WORKERS)]
        for number, child in enumerate(now["children"]):   # each process tells of itself
            assert json.loads(await page(media_http + number, "/status"))["process"] == child["process"]

        told = samples(await page(http, "/metrics"))
        assert told["pcscf_sessions", "confirmed"] == 1
        assert told["pcscf_media_lines", "msrp", "tls"] == 1
        assert told["pcscf_sip_requests_total", "INVITE", "received"] == 2
        assert told["pcscf_sip_responses_total", "4xx", "sent"] == 3
        assert told["pcscf_refused_total", "403"] == 1
        assert told["pcscf_embedded_gateway_running", now["children"][0]["mid"]] == 1
        assert sum(value for (name, *_), value in told.items() if name == "pcscf_iq_gateway_sessions") == 1
        assert told["process_open_fds",] > 5
        assert told["process_resident_memory_bytes",] == pytest.approx(now["resources"]["memory"], rel=0.5)
        for name in {first for first, *_ in told if first.startswith("pcscf_")}:   # the reference names them all
            assert f"`{name}`" in REFERENCE or f"`{name.removeprefix('pcscf_iq_gateway')}`" in REFERENCE, name
        text = await page(http, "/")
        assert "media          msrp tls: 1\n" in text
        assert "refused        403: 1\n" in text

        code, by_person = await status(tmp_path, settings)
        assert code == 0, by_person
        assert by_person.splitlines()[:5] == text.splitlines()[:5]
        code, as_json = await status(tmp_path, settings, "--json")
        assert json.loads(as_json)["registrations"] == now["registrations"]
        code, metrics = await status(tmp_path, settings, "--metrics")
        assert samples(metrics).keys() == told.keys()
        for secret in ("alice", "bob", "sip:", "words of the user"):   # nobody's identity, nothing of what is said
            assert secret not in text + as_json + metrics

        await within(call.hang_up(), "the answer to BYE")
        await until(lambda: not running.contexts(), running.contexts)
        now = json.loads(await page(http, "/status"))
        assert now["sessions"] == {"early": 0, "confirmed": 0, "ended": 1}
        assert now["media"] == []
        assert now["released"] == {}   # the ends did
    code, told_nobody = await status(tmp_path, settings)
    assert code == 1
    assert "no P-CSCF with this configuration answers" in told_nobody


async def test_calls_do_not_wait_for_who_watches(tmp_path: Path, around: Stage) -> None:
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        taken.listen()
        async with pcscf(tmp_path, around.core.address, f"http.port={taken.getsockname()[1]}") as running:
            assert "status is not served" in running.log
            party = await around.new_party(Manners(reply=REPLY))
            ue = await around.new_ue(running.listeners["gm-udp"])
            call = await converse(ue, party, "all the same")
            await within(call.hang_up(), "the answer to BYE")


async def test_without_a_port_nobody_listens(tmp_path: Path, around: Stage) -> None:
    async with pcscf(tmp_path, around.core.address) as running:
        sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        own = inodes(running.pid)
        listening = {str(int(each[1].rpartition(":")[2], 16)) for each in sockets if each[3] == "0A" and each[9] in own}
        assert listening == {str(each.port) for name, each in running.listeners.items() if each.transport != "udp"}
        assert set(running.listeners) == set(LISTENERS)


def inodes(pid: int) -> set[str]:
    links = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
    return {each[8:-1] for each in links if each.startswith("socket:[")}


async def test_a_page_that_is_not_there(tmp_path: Path, around: Stage) -> None:
    http = free_port(socket.SOCK_STREAM)
    async with pcscf(tmp_path, around.core.address, f"http.port={http}"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            await page(http, "/registrations")

