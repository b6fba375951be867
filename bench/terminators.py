"""Two programs that end TLS and pass plain TCP on to a sink: the gateway, driven over Iq as a P-CSCF would, and haproxy."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.machine import find
from bench.pcscf import ROOT, Pins, interpreter
from bench.process import Failure, Process, family, free_port, wait_until
from pcscf.gateway.certificate import Identity, self_signed
from tests.support.gatewaybed import Controller, Local, add, controller, local_of

T = TypeVar("T")
PATIENCE = 20.0


class Terminator(Protocol):
    """`open` gives an address for each of so many connections; `close` forgets them."""

    name: str

    @property
    def pids(self) -> Sequence[int]: ...

    def open(self, count: int) -> list[tuple[str, int]]: ...

    def close(self) -> None: ...

    def stop(self) -> None: ...


def identity(name: str, folder: Path) -> tuple[Identity, Path]:
    """A new certificate, and the file with it and its key."""
    made = self_signed(datetime.now(UTC), name)
    file = folder / f"{name}.pem"
    file.touch(mode=0o600)
    file.write_bytes(
        made.certificate.public_bytes(Encoding.PEM)
        + made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made, file


class Gateway:
    """`pcscf gateway` as a process of its own; its controller runs in a thread here and answers whatever it asks."""

    name = "gateway"

    def __init__(self, folder: Path, pins: Pins, checkout: Path, client: Identity, sink: int) -> None:
        self._fingerprint = str(client.fingerprint("sha-256"))
        self._sink = ("127.0.0.1", sink)
        self._contexts: list[int] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._iq: Controller = self._do(controller())
        host, port = self._iq.address
        file = folder / "gateway.json"
        file.write_text(json.dumps({
            "mid": "[127.0.0.1]:2945", "iq": {"address": "127.0.0.1", "port": 0}, "controllers": [f"{host}:{port}"],
            "realms": {"access": {"addresses": ["127.0.0.1"], "ports": "12000-21999"},
                       "core": {"addresses": ["127.0.0.1"], "ports": "22000-31999"}},
            "registration": {"wait": 0.05},
        }))
        self._process = Process(
            [interpreter(checkout), "-m", "pcscf", "gateway", file], cpu=pins.subject, log=folder / "gateway.log",
            folder=checkout, environment={"PYTHONPATH": str(checkout)})
        try:
            wait_until(lambda: self._iq.gateway[1] != 0, f"the gateway, which told {self._process.told()!r}")
        except BaseException:
            self.stop()
            raise

    @property
    def pids(self) -> Sequence[int]:
        return [self._process.pid]

    def open(self, count: int) -> list[tuple[str, int]]:
        made = [self._do(self._reserve()) for _ in range(count)]
        self._contexts += [each.context for each in made]
        return [each.address for each in made]

    async def _reserve(self) -> Local:
        adds = (
            add("access", ours="passive", theirs="active", fingerprints=[self._fingerprint], secure=True),
            add("core", ours="active", theirs="passive", peer=self._sink),
        )
        reply = await self._iq.ask(f"Context=${{{','.join(adds)}}}")
        if reply.error is not None:
            raise Failure(f"the gateway refused a context: {reply.error}")
        [action] = reply.actions
        return local_of(action.context, action.commands[0])

    def close(self) -> None:
        for context in self._contexts:
            self._do(self._iq.ask(f"Context={context}{{W-Subtract=*}}"))
        self._contexts.clear()

    def stop(self) -> None:
        self._process.stop()
        self._loop.call_soon_threadsafe(self._iq.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)


class Haproxy:
    """One thread, TLS with a client certificate on one side, TCP on the other."""

    name = "haproxy"

    def __init__(self, folder: Path, pins: Pins, client: Path, sink: int) -> None:
        program = find("haproxy")
        if program is None:
            raise Failure("haproxy is not installed (Debian: haproxy)")
        _, server = identity("haproxy", folder)
        self._port = free_port()
        file = folder / "haproxy.cfg"
        file.write_text(f"""
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend access
    bind 127.0.0.1:{self._port} ssl crt {server} ca-file {client} verify required no-tls-tickets
    default_backend core
backend core
    server sink 127.0.0.1:{sink}
""")
        self._process = Process([program, "-db", "-f", file], cpu=pins.subject, log=folder / "haproxy.log", folder=ROOT)
        try:
            wanted = f"0100007F:{self._port:04X}"
            wait_until(lambda: wanted in Path("/proc/net/tcp").read_text(), f"haproxy, which told {self._process.told()!r}")
        except BaseException:
            self.stop()
            raise

    @property
    def pids(self) -> Sequence[int]:
        return family(self._process.pid)

    def open(self, count: int) -> list[tuple[str, int]]:
        return [("127.0.0.1", self._port)] * count

    def close(self) -> None:
        """It remembers nothing."""

    def stop(self) -> None:
        self._process.stop(1.0)   # asked politely, it waits for every connection to end
