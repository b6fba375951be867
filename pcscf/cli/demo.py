"""`pcscf demo`: the main job on one machine, and the proof that it was done.

Three flows, every element a process of its own: a registration with media-security agreement, a protected MSRP session
with a message each way, and a UE whose certificate is not the one that its SDP names.
"""

from __future__ import annotations

import json
import shutil
import socket
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

from pcscf.cli.children import Child, Event
from pcscf.cli.proof import Check, Evidence, prove
from pcscf.cli.service import serve
from pcscf.config.load import POLICIES
from pcscf.errors import PcscfError
from pcscf.observe.ladder import Ladder, ladders, render
from pcscf.observe.trace import merge_traces

DOMAIN = "ims.example"
ALICE_SAYS = "Hello Bob, nobody on the way can read this."
EVE_SAYS = "Bob must never see this."
BOB_REPLIES = "Got it: {text}"

START_PATIENCE = 20.0   # seconds
FLOW_PATIENCE = 15.0
MIN_WIDTH = 120

TITLES = (
    "1  Registration over TLS, with media security agreed",
    "2  A protected session: TLS as far as the gateway, plain MSRP behind it",
    "3  A UE whose certificate is not the one in its SDP",
)
COLOURS = {"SIP": "", "Iq": "yellow", "TLS": "green", "TCP": "dim", "MSRP": "cyan"}


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
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep traces and logs there.")] = None,
) -> None:
    """Show the main job on this machine: a registration, a protected session, a refused certificate."""
    outcomes: list[Outcome] = []

    async def run() -> None:
        folder = keep or Path(tempfile.mkdtemp(prefix="pcscf-demo-"))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            outcomes.append(await _play(folder))
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


async def _play(folder: Path) -> Outcome:
    began = time.monotonic()
    stage = _Stage(folder)
    failure = ""
    try:
        await stage.play()
    except (PcscfError, OSError) as error:
        failure = str(error)
    finally:
        await stage.close()
    return _outcome(stage, time.monotonic() - began, failure)


def _outcome(stage: _Stage, seconds: float, failure: str) -> Outcome:
    events = merge_traces(stage.traces)
    evidence = Evidence(events, stage.alice, stage.eve, stage.bob, ALICE_SAYS, BOB_REPLIES.replace("{text}", ALICE_SAYS))
    found = ladders(events)
    wanted = (evidence.registration, evidence.session, evidence.refused)
    flows = [
        (title, ladder) for title, key in zip(TITLES, wanted, strict=True)
        if (ladder := next((each for each in found if key in each.keys), None)) is not None
    ]
    return Outcome(flows, prove(evidence), seconds, failure)


class _Stage:
    """The processes of a run. alice, eve, bob: what they told."""

    def __init__(self, folder: Path) -> None:
        self.alice: list[Event] = []
        self.eve: list[Event] = []
        self.bob: list[Event] = []
        self._folder = folder
        self._traces: list[Path] = []
        self._children = AsyncExitStack()

    async def play(self) -> None:
        """Raises ChildFailedError where a process does not do its part, OSError where it cannot start."""
        party = await self._lab("party", "--port", "0", "--reply", BOB_REPLIES)
        self.bob = party.events
        bob = (await party.expect("ready", START_PATIENCE))["address"]
        core = await self._lab(
            "core", "--port", "0", "--user", "alice:secret", "--user", "eve:secret", "--party", f"bob=sip:bob@{bob}",
        )
        pcscf = await self._pcscf((await core.expect("ready", START_PATIENCE))["address"])
        gm = (await pcscf.expect("ready", START_PATIENCE))["listeners"]["gm-tls"].partition(":")[2]
        alice = await self._ue("alice", gm, "--say", ALICE_SAYS, "--replies", "1")
        self.alice = alice.events
        await alice.finish(FLOW_PATIENCE)
        eve = await self._ue("eve", gm, "--say", EVE_SAYS, "--wrong-certificate")
        self.eve = eve.events
        await eve.finish(FLOW_PATIENCE)
        if (answered := eve.told("answered")) is not None:
            await party.expect("ended", FLOW_PATIENCE, call_id=answered["call_id"])

    @property
    def traces(self) -> list[Path]:
        return [path for path in self._traces if path.exists()]

    async def close(self) -> None:
        await self._children.aclose()

    async def _pcscf(self, core: str) -> Child:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            iq = probe.getsockname()[1]
        ports = [f"listeners.{name}.port=0" for name in ("gm-udp", "gm-tcp", "gm-tls", "mw-udp", "mw-tcp")]
        settings = [*ports, f"gateways.iq.port={iq}", f"realms.core.next_hop=sip:{core}", "timers.shutdown=1"]
        return await self._start("pcscf", [
            "pcscf", "run", str(POLICIES / "lab.yaml"), *(word for value in settings for word in ("--set", value)),
        ])

    async def _ue(self, name: str, proxy: str, *arguments: str) -> Child:
        return await self._lab(
            "ue", "--user", name, "--proxy", f"sip:{proxy};transport=tls", "--call", f"sip:bob@{DOMAIN}",
            "--no-deregister", *arguments, name=name,
        )

    async def _lab(self, kind: str, *arguments: str, name: str = "") -> Child:
        return await self._start(name or kind, ["pcscf", "lab", kind, *arguments])

    async def _start(self, name: str, command: list[str]) -> Child:
        trace = self._folder / f"{name}.jsonl"
        log = self._folder / f"{name}.log"
        for left in (trace, log):
            left.unlink(missing_ok=True)   # of an earlier run: flows would mix
        self._traces.append(trace)
        child = await Child.start(name, [*command, "--trace", str(trace)], log)
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
        table.add_row(Text("yes", "green") if check.ok else Text("NO", "bold red"), check.what, check.seen)
    console.print()
    console.print(table)
    console.print()
    if outcome.failure:
        console.print(Text(f"The demo did not come to its end: {outcome.failure}", "bold red"))
    wrong = sum(not check.ok for check in outcome.checks)
    where = f"; traces and logs are in {keep}" if keep is not None else "" if outcome.ok else "; --keep DIR keeps traces and logs"
    verdict = "Everything held" if outcome.ok else f"{wrong} of {len(outcome.checks)} did not hold"
    console.print(f"{verdict}, in {outcome.seconds:.1f} s{where}.")


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
