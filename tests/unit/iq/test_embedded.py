"""The embedded gateway as a real child process: started, restarted, taken over, stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pcscf.config.gateway import GatewayFile
from pcscf.config.load import load_config, load_gateway
from pcscf.errors import ConfigError
from pcscf.iq.association import Peer
from pcscf.runtime.embedded import EmbeddedGateway, RestartPolicy, gateway_file
from pcscf.runtime.iq import Gateways, IqConfig
from tests.unit.iq.plans import from_ue

MID = "[127.0.0.1]:2945"
SOON = RestartPolicy(0.05, 0.5)
PATIENCE = 20.0

PARENT = """
import asyncio, json, sys
from pathlib import Path
from pcscf.runtime.embedded import EmbeddedGateway, RestartPolicy

async def main():
    gateway = EmbeddedGateway(json.loads(sys.argv[1]), restart=RestartPolicy(), folder=Path(sys.argv[2]))
    await gateway.start()
    print("gateway", gateway.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


def content(controller: Peer, **more: Any) -> dict[str, Any]:
    return {
        "mid": MID,
        "iq": {"address": "127.0.0.1", "port": 0},
        "controllers": [f"127.0.0.1:{controller[1]}"],
        "realms": {
            "access": {"addresses": ["127.0.0.1"], "ports": "13000-13499"},
            "core": {"addresses": ["127.0.0.1"], "ports": "13500-13999"},
        },
        "registration": {"wait": 0.05, "retry": 0.1, "retry_max": 0.2},
        **more,
    }


class Controller:
    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.iq = Gateways(
            IqConfig(("127.0.0.1", 0), lambda mid, address: (mid, address) == (MID, "127.0.0.1")),
            random=Random(1),
            clock=asyncio.get_running_loop().time,
            on_bearer_released=lambda *_: None,
            on_contexts_lost=lambda *_: self.lost.set(),
        )


@asynccontextmanager
async def controller() -> AsyncIterator[Controller]:
    made = Controller()
    await made.iq.start()
    try:
        yield made
    finally:
        await made.iq.stop()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def gone(pid: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while is_alive(pid):
            await asyncio.sleep(0.02)


async def test_started_used_and_stopped(tmp_path: Path) -> None:
    async with controller() as made:
        gateway = EmbeddedGateway(content(made.iq.address), restart=SOON, folder=tmp_path)
        await gateway.start()
        pid = gateway.pid
        assert pid is not None
        try:
            await made.iq.wait_registered(PATIENCE)
            assert made.iq.registered == (MID,)
            media = await made.iq.reserve(from_ue())
            assert 13000 <= media.access[0].port < 13500 <= media.core[0].port < 14000
            await made.iq.release(media)
        finally:
            await gateway.stop()
        assert not is_alive(pid)
        assert gateway.pid is None
        assert list(tmp_path.iterdir()) == []
        assert not made.iq.registered


async def test_killed_it_is_started_again(tmp_path: Path) -> None:
    async with controller() as made:
        gateway = EmbeddedGateway(content(made.iq.address), restart=SOON, folder=tmp_path)
        await gateway.start()
        try:
            await made.iq.wait_registered(PATIENCE)
            await made.iq.reserve(from_ue())
            first = gateway.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            async with asyncio.timeout(PATIENCE):
                await made.lost.wait()  # its restart tells that the context is gone
            assert gateway.pid != first
            assert await made.iq.audit() == []
            await made.iq.release(await made.iq.reserve(from_ue()))
        finally:
            await gateway.stop()


@asynccontextmanager
async def parent(told: dict[str, Any], folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Another process that embeds the gateway, and the gateway's process id."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, json.dumps(told), str(folder)), stdout=asyncio.subprocess.PIPE
    )
    child = 0
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while not child:
                line = await process.stdout.readline()
                assert line, "the parent ended before it had a gateway"
                if line.startswith(b"gateway "):
                    child = int(line.split()[1])
        yield process, child
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if child and is_alive(child):
            os.kill(child, signal.SIGKILL)
            await gone(child)


async def test_its_parent_killed_the_next_one_takes_it_over_with_its_sessions(tmp_path: Path) -> None:
    async with controller() as made:
        told = content(made.iq.address)
        async with parent(told, tmp_path) as (process, child):
            await made.iq.wait_registered(PATIENCE)
            media = await made.iq.reserve(from_ue())
            process.kill()
            await process.wait()
            assert is_alive(child)
            gateway = EmbeddedGateway(told, restart=SOON, folder=tmp_path)
            await gateway.start()
            try:
                assert gateway.pid == child
                async with asyncio.timeout(PATIENCE):
                    while await contexts(made.iq) != [(MID, media.context)]:
                        await asyncio.sleep(0.05)
                await made.iq.release(media)
            finally:
                await gateway.stop()
            assert not is_alive(child)


async def contexts(iq: Gateways) -> list[tuple[str, int]]:
    return await iq.audit()


async def test_one_with_another_configuration_is_replaced(tmp_path: Path) -> None:
    async with controller() as made, parent(content(made.iq.address), tmp_path) as (process, child):
        await made.iq.wait_registered(PATIENCE)
        process.kill()
        await process.wait()
        gateway = EmbeddedGateway(content(made.iq.address, log_level="warning"), restart=SOON, folder=tmp_path)
        await gateway.start()
        try:
            assert not is_alive(child)
            assert gateway.pid not in (None, child)
        finally:
            await gateway.stop()


async def test_a_stale_record_is_not_believed(tmp_path: Path) -> None:
    async with controller() as made:
        told = content(made.iq.address)
        gateway = EmbeddedGateway(told, restart=SOON, folder=tmp_path)
        await gateway.start()
        (record,) = tmp_path.glob("*.record")
        kept = record.read_text()
        await gateway.stop()
        for text in (kept, json.dumps({**json.loads(kept), "pid": os.getpid()}), "{", "[]", "{}"):
            record.write_text(text)
            await gateway.start()
            assert gateway.pid not in (None, os.getpid(), json.loads(kept)["pid"])
            await gateway.stop()


async def test_a_folder_open_to_others_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    folder = tmp_path / f"pcscf-{os.getuid()}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(ConfigError, match="open to others"):
        await EmbeddedGateway(content(("127.0.0.1", 9)), restart=SOON).start()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="needs a folder"):
        await EmbeddedGateway(content(("127.0.0.1", 9)), restart=SOON).start()


def test_the_pause_doubles_up_to_a_bound() -> None:
    policy = RestartPolicy(0.5, 30.0)
    assert [policy.pause(deaths) for deaths in (1, 2, 3, 7, 100)] == [0.5, 1.0, 2.0, 30.0, 30.0]


CONFIG = """
home_domain: ims.example
listeners:
  gm: {realm: access, transport: udp, address: 127.0.0.1, port: 5060}
  mw: {realm: core, transport: udp, address: 127.0.0.1, port: 5070}
realms:
  access: {side: access}
  core: {side: core, next_hop: "sip:127.0.0.1:5080"}
gateways:
  iq: {address: 127.0.0.1, port: 12944}
  embedded: {mid: "<agw.example>"}
"""


def test_the_file_of_the_configuration_is_one_that_the_gateway_reads(tmp_path: Path) -> None:
    (tmp_path / "pcscf.yaml").write_text(CONFIG)
    told = gateway_file(load_config(tmp_path / "pcscf.yaml"))
    (tmp_path / "gateway.json").write_text(json.dumps(told))
    read: GatewayFile = load_gateway(tmp_path / "gateway.json")
    assert read.own_mid == "<agw.example>"
    assert [str(each) for each in read.controllers] == ["127.0.0.1:12944"]
    assert list(read.realms) == ["access", "core"]
    assert read.registration.wait < 0.1
