"""`pcscf demo`: the main job on one machine, and the proof that it was done.

Every element is a process of its own. The flows stand in `scenes.py`, what they must show in `proof.py`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pcscf.cli.children import Child
from pcscf.cli.lab import LAB_WORD
from pcscf.cli.proof import REPLY, Check, Evidence
from pcscf.cli.scenes import DOMAIN, SCENES, STRICT, USERS, Actor, Scene, prove
from pcscf.cli.service import serve
from pcscf.config.load import POLICIES
from pcscf.errors import PcscfError
from pcscf.observe.ladder import Ladder, ladders, render
from pcscf.observe.trace import merge_traces

START_PATIENCE = 20.0   # seconds
FLOW_PATIENCE = 15.0
MIN_WIDTH = 120

COLOURS = {
    "SIP": "", "Iq": "yellow", "TLS": "green", "DTLS": "green", "TCP": "dim", "UDP": "dim",
    "MSRP": "cyan", "BFCP": "cyan", "T.38": "cyan",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run left behind. `failure`: why it ended early, "" when it did not."""

    flows: list[tuple[str, Ladder]]
    checks: list[Check]
    seconds: float
    failure: str

    @property
    def ok(self) -> bool:
        return not self.failure and all(check.ok for check in self.checks)


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object for machines.")] = False,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep traces, logs and a capture there.")] = None,
) -> None:
    """Show the main job on this machine: protected sessions both ways and from UE to UE, and what is refused."""
    outcomes: list[Outcome] = []

    async def run() -> None:
        folder = keep or Path(tempfile.mkdtemp(prefix="pcscf-demo-"))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            outcomes.append(await _play(folder, folder / "pcscf.pcap" if keep is not None else None))
        finally:
            if keep is None:
                shutil.rmtree(folder, ignore_errors=True)

    serve(run())
    if not outcomes:
        raise typer.Exit(130)   # a signal ended it; the children are gone
    outcome = outcomes[0]
    if as_json:
        sys.stdout.write(json.dumps(_as_object(outcome), ensure_ascii=False) + "\n")
    else:
        _show(outcome, keep)
    raise typer.Exit(0 if outcome.ok else 1)


async def _play(folder: Path, pcap: Path | None) -> Outcome:
    began = time.monotonic()
    stage = _Stage(folder, pcap)
    failure = ""
    try:
        await stage.build()
        for scene in SCENES:
            await stage.play(scene)
    except (PcscfError, OSError) as error:
        failure = str(error)
    finally:
        await stage.close()
    return _outcome(stage.evidence(), time.monotonic() - began, failure)


def _outcome(evidence: Evidence, seconds: float, failure: str) -> Outcome:
    found = ladders(evidence.events)
    flows = [
        (scene.title, ladder) for scene in SCENES
        if (ladder := next((each for each in found if scene.key(evidence) in each.keys), None)) is not None
    ]
    return Outcome(flows, prove(evidence), seconds, failure)


class _Stage:
    """The processes of a run: P-CSCF with gateway, core, and bob, who answers calls all the time."""

    def __init__(self, folder: Path, pcap: Path | None) -> None:
        self._folder = folder
        self._pcap = pcap
        self._traces: list[Path] = []
        self._cast: dict[str, Child] = {}
        self._core = self._gm = ""
        self._children = AsyncExitStack()

    async def build(self) -> None:
        """Raises ChildFailedError where a process does not come up, OSError where it cannot start."""
        bob = await self._lab("bob", "party", "--port", "0", "--reply", REPLY)
        address = (await bob.expect("ready", START_PATIENCE))["address"]
        users = (word for name in USERS for word in ("--user", f"{name}:{LAB_WORD}"))
        core = await self._lab("core", "core", "--port", "0", *users, "--party", f"bob=sip:bob@{address}")
        self._core = (await core.expect("ready", START_PATIENCE))["address"]
        pcscf = await self._pcscf()
        self._gm = (await pcscf.expect("ready", START_PATIENCE))["listeners"]["gm-tls"].partition(":")[2]
        waiting = await asyncio.gather(*(self._enter(actor) for scene in SCENES for actor in scene.cast if actor.waits))
        for child in waiting:
            await child.expect("registered", START_PATIENCE)

    async def play(self, scene: Scene) -> None:
        """All of one flow. Raises as `build`."""
        for actor in scene.cast:
            if not actor.waits:
                await self._enter(actor)
        for actor in scene.cast:
            await self._cast[actor.name].finish(FLOW_PATIENCE)
        bob = self._cast["bob"]
        for answered in [event for event in bob.events if event["event"] == "answered"]:
            await bob.expect("ended", FLOW_PATIENCE, call_id=answered["call_id"])

    def evidence(self) -> Evidence:
        """Raises OSError where a trace cannot be read."""
        traces = [path for path in self._traces if path.exists()]
        return Evidence(merge_traces(traces), {name: child.events for name, child in self._cast.items()})

    async def close(self) -> None:
        await self._children.aclose()

    async def _enter(self, actor: Actor) -> Child:
        place = {
            "party": ["--port", "0", "--uri", f"sip:{actor.name}@{DOMAIN}", "--core", f"sip:{self._core}"],
            "ue": ["--user", actor.name, "--proxy", f"sip:{self._gm};transport=tls", "--no-deregister"],
        }[actor.kind]
        return await self._lab(actor.name, actor.kind, *place, *actor.arguments)

    async def _pcscf(self) -> Child:
        ports = [f"listeners.{name}.port=0" for name in ("gm-udp", "gm-tcp", "gm-tls", "mw-udp", "mw-tcp")]
        policy = [f"policies.0.match.identity=sip:{STRICT}@{DOMAIN}", "policies.0.media.msrp.downgrade=refuse"]
        policy.append("realms.access.mechanisms=[msrp-tls, bfcp-tls, udptl-dtls]")
        settings = [*ports, *policy, "gateways.iq.port=0", f"realms.core.next_hop=sip:{self._core}", "timers.shutdown=1"]
        capture: list[str] = []
        if self._pcap is not None:
            self._pcap.unlink(missing_ok=True)   # of an earlier run
            capture = ["--pcap", str(self._pcap)]
        return await self._start("pcscf", [
            "pcscf", "run", str(POLICIES / "lab.yaml"), *capture, *(word for value in settings for word in ("--set", value)),
        ])

    async def _lab(self, name: str, kind: str, *arguments: str) -> Child:
        return await self._start(name, ["pcscf", "lab", kind, *arguments])

    async def _start(self, name: str, command: list[str]) -> Child:
        trace = self._folder / f"{name}.jsonl"
        log = self._folder / f"{name}.log"
        for left in (trace, log):
            left.unlink(missing_ok=True)   # of an earlier run: flows would mix
        self._traces.append(trace)
        child = self._cast[name] = await Child.start(name, [*command, "--trace", str(trace)], log)
        self._children.push_async_callback(child.stop)
        return child


def _show(outcome: Outcome, keep: Path | None) -> None:
    width = max(Console().width, MIN_WIDTH)
    console = Console(width=width, highlight=False, soft_wrap=True)
    for title, ladder in outcome.flows:
        console.print()
        console.print(Text(title, "bold"))
        for row in render(ladder, width):
            console.print(Text(row.text, COLOURS.get(row.proto, "")))
    table = Table("", "what", "seen", title="What was proven", title_justify="left", show_edge=False)
    for check in outcome.checks:
        table.add_row(Text("yes", "green") if check.ok else Text("NO", "bold red"), check.what, Text(check.seen))
    console.print()
    console.print(table)
    console.print()
    if outcome.failure:
        console.print(Text(f"The demo did not come to its end: {outcome.failure}", "bold red"))
    wrong = sum(not check.ok for check in outcome.checks)
    kept = "" if outcome.ok else "; --keep DIR keeps traces, logs and a capture"
    if keep is not None:
        kept = f"; traces, logs and the capture pcscf.pcap are in {keep}"
    verdict = "Everything held" if outcome.ok else f"{wrong} of {len(outcome.checks)} did not hold"
    console.print(f"{verdict}, in {outcome.seconds:.1f} s{kept}.")


def _as_object(outcome: Outcome) -> dict[str, object]:
    return {
        "ok": outcome.ok,
        "failure": outcome.failure,
        "seconds": round(outcome.seconds, 3),
        "checks": [{"name": check.name, "what": check.what, "ok": check.ok, "seen": check.seen} for check in outcome.checks],
        "flows": [
            {"title": title, "messages": [
                {"t": arrow.t, "from": arrow.source, "to": arrow.target, "proto": arrow.proto, "text": arrow.text}
                for arrow in ladder.arrows
            ]}
            for title, ladder in outcome.flows
        ],
    }
