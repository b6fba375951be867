"""The P-CSCF as a real process for live tests, and the far ends around it in the test's own process.

A run has its own runtime folder, so no gateway of another run is ever adopted, and ends only what it started, by process id.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pcscf.config.load import POLICIES
from pcscf.lab import tls
from pcscf.lab.agent import Agent
from pcscf.lab.call import Habits, Manners
from pcscf.lab.core import Core, CoreConfig, party_uri
from pcscf.lab.net import Target, host_port
from pcscf.lab.party import Party
from pcscf.lab.tap import Address, NoTap, Tap
from pcscf.lab.ue import Account, Ue
from pcscf.observe.trace import read_trace
from pcscf.sip.message import Message, Request, Response

PATIENCE = 30.0   # seconds for anything that should take a moment: reached only when it never comes
LOOK = 0.02

DOMAIN = "ims.example"
PASSWORD = "correct-horse-battery"
LISTENERS = ("gm-udp", "gm-tcp", "gm-tls", "mw-udp", "mw-tcp")

# What must never stand in a log: credentials, lines of a session description, frames of MSRP, key material.
SECRET = re.compile(
    r"(?i)authorization[^\n]*digest|\bnonce=|\bresponse=|" + PASSWORD +
    r"|\bv=0(?:\\[rn]|[\r\n])|\bo=\S+ \d+ \d+ IN\b|\bm=message \d|a=(?:path|fingerprint|setup|crypto):"
    r"|MSRP [0-9a-z]{4,} SEND|PRIVATE KEY-----|inline:[a-z0-9+/]"
)


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback address."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def require_ipv6(host: str) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback address")


async def until(condition: Callable[[], bool], what: Callable[[], object] = lambda: "", patience: float = PATIENCE) -> None:
    """Wait for `condition`; `what` tells a failing test what there was instead."""
    try:
        async with asyncio.timeout(patience):
            while not condition():
                await asyncio.sleep(LOOK)
    except TimeoutError:
        raise AssertionError(f"waited {patience:g} s in vain: {what()}") from None


async def within(wanted: Awaitable[Any], what: str) -> Any:
    """What `wanted` gives, at the latest after PATIENCE."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await wanted
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE:g} s in vain for {what}") from None


class Gateway(NamedTuple):
    """A gateway process. `born` tells it from another with the same id."""

    pid: int
    born: str

    def is_alive(self) -> bool:
        return _born(self.pid) == self.born

    def kill(self) -> None:
        if self.is_alive():
            os.kill(self.pid, signal.SIGKILL)

    def media_sockets(self) -> int:
        """TCP sockets that it holds: each is a listener or a connection of a context."""
        tcp = {line.split()[9] for name in ("tcp", "tcp6") for line in _lines(Path("/proc/net", name))[1:]}
        return sum(target.startswith("socket:[") and target[8:-1] in tcp for target in _open_files(self.pid))


@dataclass
class Pcscf:
    """A running `pcscf run`. `folder` holds its log, its trace, and its runtime folder.

    leaves_gateway: its gateway is not ended with it, for the next P-CSCF in the same folder.
    """

    process: asyncio.subprocess.Process
    folder: Path
    listeners: Mapping[str, Target] = field(default_factory=dict)
    gateways: list[Gateway] = field(default_factory=list)
    leaves_gateway: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """Standard error so far, that of the gateway included."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def trace(self) -> Path:
        return self.folder / "trace.jsonl"

    @property
    def iq(self) -> Address:
        """Where its end of Iq is."""
        host, _, port = self._gateway_file()["controllers"][0].rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def gateway_iq(self) -> Address:
        """Where the end of the gateway is: the peer of what was sent last."""
        *_, last = (event.peer for event in read_trace(self.trace) if (event.proto, event.dir) == ("Iq", "out"))
        host, _, port = last.rpartition(":")
        return host.strip("[]"), int(port)

    def gateway(self) -> Gateway:
        """The gateway that runs now."""
        record = json.loads(next((self.folder / "run").glob("*/gateway-*.record")).read_text())
        found = Gateway(record["pid"], record["born"])
        if found not in self.gateways:
            self.gateways.append(found)
        return found

    def has_gateway(self) -> bool:
        try:
            return self.gateway().is_alive()
        except (StopIteration, OSError, ValueError):
            return False

    def contexts(self) -> dict[str, set[str]]:
        """Terminations that stand, by context: added by replies on Iq and not subtracted. A new gateway starts with none."""
        standing: dict[str, set[str]] = {}
        for event in read_trace(self.trace):
            if (event.node, event.proto, event.facts.get("kind")) != ("pcscf", "Iq", "reply") or event.facts.get("errors"):
                continue
            commands = event.facts.get("commands")
            for command in map(str, commands if isinstance(commands, list) else []):
                name, _, termination = command.partition(" ")
                if (name, termination, event.dir) == ("ServiceChange", "ROOT", "out"):
                    standing.clear()
                elif (name, event.dir) == ("Add", "in"):
                    standing.setdefault(event.flow, set()).add(termination)
                elif (name, event.dir) == ("Subtract", "in"):
                    left = standing.get(event.flow, set())
                    left.difference_update(left if "*" in termination else {termination})
        return {context: terminations for context, terminations in standing.items() if terminations}

    async def nothing_left(self) -> None:
        """Wait until the gateway has no context and holds no socket of one."""
        await until(lambda: not self.contexts(), self.contexts)
        gateway = self.gateway()
        await until(lambda: gateway.media_sockets() == 0, gateway.media_sockets)

    def descriptors(self) -> int:
        """Files and sockets that the process has open."""
        return len(_open_files(self.pid))

    async def finish(self) -> int:
        """Wait for its end; the exit status."""
        status = await within(self.process.wait(), "the end of the P-CSCF")
        assert isinstance(status, int)
        return status

    async def stop(self) -> int:
        """SIGTERM, as an operator does."""
        self.process.terminate()
        return await self.finish()

    def assert_log_is_clean(self) -> None:
        """No bug was met, and nothing secret was written."""
        text = self.log
        for sign in ("Traceback", "procedure-failed", "never retrieved", "Exception in"):
            assert sign not in text, text[-6000:]
        found = SECRET.search(text)
        assert found is None, f"a secret in the log: {text[max(0, found.start() - 200):found.end() + 100]}"

    async def close(self) -> None:
        """End whatever is left, by its id."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self.has_gateway()
        for gateway in self.gateways if not self.leaves_gateway else ():
            gateway.kill()

    def _gateway_file(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(next((self.folder / "run").glob("*/gateway-*.json")).read_text())
        return content


@asynccontextmanager
async def pcscf(
    folder: Path, core: Address, *settings: str, options: tuple[str, ...] = (), file: Path = POLICIES / "lab.yaml",
) -> AsyncIterator[Pcscf]:
    """Run the lab's policy with `settings` over it, at debug level, towards `core`. It must end well, unless the test ends it.

    options: further ones of `pcscf run`. file: another configuration with the lab's listeners and realms.
    """
    (folder / "run").mkdir(parents=True, exist_ok=True)
    given = [
        *(f"listeners.{name}.port=0" for name in LISTENERS), "gateways.iq.port=0", "gateways.embedded.restart_after=0.1",
        f"realms.core.next_hop=sip:{host_port(core)}", "log.level=debug", "timers.shutdown=5", *settings,
    ]
    with (folder / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pcscf", "run", str(file), "--trace", str(folder / "trace.jsonl")),
            *(word for value in given for word in ("--set", value)), *options,
            env={**os.environ, "XDG_RUNTIME_DIR": str(folder / "run"), "RUNTIME_DIRECTORY": ""},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
        )
    made = Pcscf(process, folder)
    try:
        made.listeners = await _ready(made)
        made.has_gateway()   # from here on it is known, and ended whatever happens
        yield made
        if process.returncode is None:
            assert await made.stop() == 0, made.log[-6000:]
        made.assert_log_is_clean()
    finally:
        await made.close()


async def _ready(made: Pcscf) -> dict[str, Target]:
    assert made.process.stdout is not None
    line = await within(made.process.stdout.readline(), f"`ready`; the log says {made.log[-2000:]}")
    assert line, made.log[-6000:]
    told = json.loads(line)
    assert told["event"] == "ready"
    return dict(_targets(told["listeners"]))


def _targets(listeners: Mapping[str, str]) -> Iterator[tuple[str, Target]]:
    for name, text in listeners.items():
        transport, _, address = text.partition(":")
        host, _, port = address.rpartition(":")
        yield name, Target(transport, host.strip("[]"), int(port))


class Heard:
    """A tap that keeps the SIP messages that came in."""

    def __init__(self) -> None:
        self.messages: list[Request | Response] = []

    def sip(self, direction: str, message: Message, wire: bytes, *, local: Address, peer: Address) -> None:
        del wire, local, peer
        if direction == "in" and isinstance(message, Request | Response):
            self.messages.append(message)

    def event(
        self, proto: str, direction: str, text: str, *, flow: str, local: Address, peer: Address, facts: Mapping[str, object],
    ) -> None:
        """Media is nothing that this tap keeps."""

    def first(self, wanted: str | int) -> Any:
        """The first message of that method or status."""
        return self._all(wanted)[0]

    def count(self, wanted: str | int) -> int:
        return len(self._all(wanted))

    def _all(self, wanted: str | int) -> list[Request | Response]:
        return [each for each in self.messages if wanted == (each.method if isinstance(each, Request) else each.status)]


class Stage:
    """A core with users alice, eve and more, a party `bob` behind it, and the UEs that a test wants."""

    def __init__(self, host: str) -> None:
        users = dict.fromkeys(("alice", "carol", "eve"), PASSWORD)
        self.core = Core(CoreConfig(DOMAIN, users), NoTap(), host=host)
        self.party: Party | None = None
        self._agents: list[Agent] = []

    async def new_party(
        self, manners: Manners | None = None, *, name: str = "bob", kind: type[Party] = Party, tap: Tap | None = None,
    ) -> Party:
        """A party that calls to `name` reach from now on."""
        habits = Habits(choice="passive")
        made = kind(
            f"sip:{name}@{DOMAIN}", Target("udp", *self.core.address), tap or NoTap(), habits=habits,
            manners=manners or Manners(), host=self.core.host,
        )
        self._agents.append(made)
        self.core.config.parties[name] = party_uri(await made.start(), name)
        return made

    async def new_ue(
        self, proxy: Target, *, name: str = "alice", kind: type[Ue] = Ue, announced: tls.Identity | None = None,
        tap: Tap | None = None, secure: bool = True,
    ) -> Ue:
        """A UE that is registered at `proxy`. announced: the certificate that its SDP names, when not its own. secure: it offers
        protected media.
        """
        habits = Habits(
            secure=secure, choice="active", identity=tls.self_signed(name), announced=announced,
            e2ae="requested" if secure else "")
        context = tls.client_context() if proxy.transport == "tls" else None
        made = kind(Account(name, PASSWORD, DOMAIN, proxy), habits, tap or NoTap(), tls=context, host=proxy.host)
        self._agents.append(made)
        await made.start()
        assert (await within(made.register(), "the registration")).active
        return made

    async def leave(self) -> None:
        """End UEs and parties, the last one first; the core stays."""
        while self._agents:
            await self._agents.pop().close()


@asynccontextmanager
async def stage(host: str = "127.0.0.1") -> AsyncIterator[Stage]:
    made = Stage(host)
    await made.core.start()
    try:
        yield made
    finally:
        await made.leave()
        await made.core.close()


async def converse(ue: Ue, party: Party, text: str) -> Any:
    """A protected call of `ue` to `party` with a message each way; the call, still up. The party must reply."""
    call = await within(ue.call(party.uri, ue.proxy_uri), "the answer to the call")
    await within(call.send_text(text), "the response to a message")
    assert party.manners is not None
    assert await within(call.receive_text(), "the reply to a message") == party.manners.reply.replace("{text}", text)
    assert call.tls is not None
    assert call.tls.version in {"TLSv1.2", "TLSv1.3"}
    assert text in party.received
    return call


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return [""]


def _open_files(pid: int) -> list[str]:
    """What the descriptors of a process lead to."""
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except OSError:
            continue   # closed while we looked
    return found


def _born(pid: int) -> str | None:
    """When a living process was started; None where it is gone."""
    fields = (_lines(Path(f"/proc/{pid}/stat")) or [""])[0].rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in {"Z", "X"} else None
