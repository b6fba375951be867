"""One run of a scenario: a P-CSCF with its gateway on free ports, SIPp around it, and the evidence that they leave."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from pcscf.cli.children import Child, ChildFailedError, Program
from pcscf.cli.lab import LAB_WORD
from pcscf.cli.proof import Check
from pcscf.cli.scenario import sipp
from pcscf.cli.scenario.judge import End, Evidence, contexts_left, judge
from pcscf.cli.scenario.library import LAB, Entry
from pcscf.cli.scenario.model import Moment, Player, Scenario
from pcscf.cli.scenario.seen import Seen, of_node, read_messages
from pcscf.cli.scenario.sipp import HOST, Files, Transport
from pcscf.errors import PcscfError
from pcscf.observe.trace import TraceEvent, merge_traces
from pcscf.runtime.embedded import running_gateways

START_PATIENCE = 20.0   # seconds
SETTLE = 3.0            # seconds in which the last Subtract must be confirmed
LOOK = 0.05

PCSCF = "pcscf"
PORTS = range(6000, 12_000)   # below those of media, and below those that systems give to whoever asks for any


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run showed. failure: why it ended early, "" when it did not."""

    entry: Entry
    transport: Transport
    checks: list[Check]
    seconds: float
    failure: str

    @property
    def ok(self) -> bool:
        return not self.failure and all(check.ok for check in self.checks)


async def play(entry: Entry, transport: Transport, program: str, folder: Path) -> Outcome:
    """Run a scenario in `folder`, which is made. `program`: the path of SIPp."""
    began = time.monotonic()
    stage = _Stage(entry.scenario, transport, program, folder)
    failure = ""
    try:
        await stage.build()
        await stage.perform()
    except (PcscfError, OSError) as error:
        failure = str(error)
    finally:
        await stage.close()
    return Outcome(entry, transport, judge(entry.scenario, stage.evidence()), time.monotonic() - began, failure)


class _Stage:
    """The processes of a run. Whatever happens, `close` ends them, each by its own id."""

    def __init__(self, scenario: Scenario, transport: Transport, program: str, folder: Path) -> None:
        self._scenario = scenario
        self._transport: Transport = transport
        self._program = program
        self._folder = folder.resolve()
        self._call_id = f"%u-{os.getpid()}-{time.time_ns() // 1_000_000}"
        self._players: dict[str, Program] = {}
        self._ended: dict[str, int | None] = {}
        self._pcscf: Child | None = None
        self._gm = ""
        self._events: list[TraceEvent] = []
        self._children = AsyncExitStack()
        folder.mkdir(parents=True, exist_ok=True)
        for left in _leavings(folder):
            left.unlink()   # of an earlier run: it would be taken for this one

    async def build(self) -> None:
        """The core, then the P-CSCF. Raises ChildFailedError where one does not come up, OSError where it cannot start."""
        core = next(player for player in self._scenario.start if player.role == "core")
        port = _free_port()
        if core.sipp is None:
            port = await self._lab_core(core)
        else:
            await self._sipp(core, core.sipp, port)
            await self._until(lambda: _is_open(self._transport, port), "SIPp as core to listen")
        await self._start_pcscf(port)

    async def perform(self) -> None:
        """The UEs, the fault where there is one, and the end of all calls. Raises as `build`."""
        for player in self._scenario.start:
            if player.role != "core" and player.sipp is not None:
                if player.after is not None:
                    await self._await_moment(player.after)
                await self._sipp(player, player.sipp, _free_port())
        if self._scenario.fault is not None:
            await self._await_moment(self._scenario.fault.after)
            self._kill_gateway()
        for player in self._scenario.start:
            if player.sipp is not None and not player.idle:
                await self._finish(self._players[player.role])

    async def close(self) -> None:
        """Take the evidence that a clean stop would tidy up, then end everything."""
        try:
            if self._pcscf is not None:
                await self._settle()
            self._events = self._trace()
        finally:
            self._ended = {role: program.status for role, program in self._players.items()}
            await self._children.aclose()
            self._kill_gateway()   # which the P-CSCF could not end where it had to be killed itself

    def evidence(self) -> Evidence:
        """Raises OSError where a log cannot be read."""
        ends: dict[str, End] = {
            player.role: End(self._ended.get(player.role), sipp.read_statistics(self._files(player.role).statistics))
            for player in self._scenario.start if player.sipp is not None and player.role in self._ended
        }
        log = self._folder / f"{PCSCF}.log"
        return Evidence(
            {player.role: self._seen_by(player) for player in self._scenario.start}, ends, self._events,
            self._pcscf.status if self._pcscf is not None else None, log.read_text(errors="replace") if log.exists() else "",
        )

    async def _lab_core(self, player: Player) -> int:
        users = (word for name in player.users for word in ("--user", f"{name}:{LAB_WORD}"))
        trace = ("--trace", str(self._folder / "core.jsonl"))
        core = await Child.start("core", ["pcscf", "lab", "core", "--port", "0", *users, *trace], self._folder / "core.log")
        self._children.push_async_callback(core.stop)
        return int((await core.expect("ready", START_PATIENCE))["address"].rpartition(":")[2])

    async def _start_pcscf(self, core: int) -> None:
        self._runtime.mkdir(exist_ok=True)
        settings = [
            *(f"listeners.{name}.port=0" for name in ("gm-udp", "gm-tcp", "gm-tls")),
            *(f"listeners.{name}.port={port}" for port in [_free_port()] for name in ("mw-udp", "mw-tcp")),
            "gateways.iq.port=0", f"realms.core.next_hop=sip:{HOST}:{core};transport={self._transport}",
            "timers.shutdown=2", "gateways.embedded.restart_after=0.1", *self._scenario.settings,
        ]
        self._pcscf = await Child.start(
            "the P-CSCF",
            [PCSCF, "run", str(LAB), *(word for each in settings for word in ("--set", each)), "--trace", str(self._trace_file)],
            self._folder / f"{PCSCF}.log", {"XDG_RUNTIME_DIR": str(self._runtime), "RUNTIME_DIRECTORY": ""})
        self._children.push_async_callback(self._pcscf.stop)
        ready = await self._pcscf.expect("ready", START_PATIENCE)
        self._gm = ready["listeners"][f"gm-{self._transport}"].partition(":")[2]

    async def _sipp(self, player: Player, file: Path, port: int) -> None:
        role = player.role
        files, echo = self._files(role), _free_port() if player.rtp_echo else 0
        shutil.copy(file, self._folder)   # where SIPp looks for what it shall play: itself, in want of sound
        command = sipp.command(
            self._program, file, files, port=port, transport=self._transport, load=self._scenario.amount,
            seconds=self._seconds, call_id=self._call_id, remote="" if role == "core" else self._gm, echo=echo)
        program = self._players[role] = await Program.run(f"SIPp as {role}", command, files.output)
        self._children.push_async_callback(program.stop)

    def _kill_gateway(self) -> None:
        for gateway in running_gateways(self._runtime):
            with suppress(ProcessLookupError):
                os.kill(gateway, signal.SIGKILL)

    async def _finish(self, program: Program) -> None:
        """Wait for its end. Once one SIPp has failed, the others, who wait for it, get a moment more. Raises as `build`."""
        deadline = time.monotonic() + self._seconds + sipp.GRACE
        while program.status is None:
            if any(each.status for each in self._players.values()):
                deadline = min(deadline, time.monotonic() + SETTLE)
            if time.monotonic() > deadline:
                raise ChildFailedError(f"{program.name} did not come to its end")
            await asyncio.sleep(LOOK)

    async def _await_moment(self, moment: Moment) -> None:
        player = next(player for player in self._scenario.start if player.role == moment.at)

        def seen() -> bool:
            return any(each.is_meant_by(moment) for each in self._seen_by(player))

        await self._until(seen, f"{moment.at} to see {moment.selector}")

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        """Look until it is so. Raises ChildFailedError after START_PATIENCE, or when a SIPp ends without success meanwhile."""
        deadline = time.monotonic() + START_PATIENCE
        while not condition():
            failed = [program.name for program in self._players.values() if program.status]
            if failed or time.monotonic() > deadline:
                why = f"; {failed[0]} ended before" if failed else ""
                raise ChildFailedError(f"waited in vain for {what}{why}")
            await asyncio.sleep(LOOK)

    async def _settle(self) -> None:
        """Give what follows the last message its time: nothing in the world tells when an idle core has been idle enough."""
        for _ in range(int(SETTLE / LOOK)):
            await asyncio.sleep(LOOK)
            if not contexts_left(self._trace()):
                break
        await asyncio.sleep(LOOK)

    def _seen_by(self, player: Player) -> list[Seen]:
        if player.lab is None:
            return read_messages(self._files(player.role).messages)
        trace = self._folder / "core.jsonl"
        return of_node(merge_traces([trace]), "core") if trace.exists() else []

    def _trace(self) -> list[TraceEvent]:
        return merge_traces([self._trace_file]) if self._trace_file.exists() else []

    @property
    def _trace_file(self) -> Path:
        return self._folder / f"{PCSCF}.jsonl"

    @property
    def _runtime(self) -> Path:
        """The runtime folder: with one of its own, no gateway of another run is ever adopted."""
        return self._folder / "run"

    @property
    def _seconds(self) -> float:
        """How long SIPp may take."""
        amount = self._scenario.amount
        return self._scenario.patience + START_PATIENCE + amount.calls / amount.rate

    def _files(self, role: str) -> Files:
        return Files.of(self._folder, role)


def _leavings(folder: Path) -> Iterator[Path]:
    for pattern in ("*.jsonl", "*.log", "*.csv"):
        yield from folder.glob(pattern)


def _free_port() -> int:
    """A port that is free for UDP and TCP now, and that nobody is given who asks for any before it is used."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind((HOST, port))
                udp.bind((HOST, port))
            except OSError:
                continue
            return port


def _is_open(transport: Transport, port: int) -> bool:
    """Whether somebody has the port."""
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
        return False
