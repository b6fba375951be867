"""`pcscf scenario`: runs SIPp scenarios against a real P-CSCF, and tells what held."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from pcscf.cli.scenario import report
from pcscf.cli.scenario.library import SCENARIOS, Entry, load_scenarios
from pcscf.cli.scenario.model import Load
from pcscf.cli.scenario.sipp import Transport, require_sipp
from pcscf.cli.scenario.stage import Outcome, play
from pcscf.cli.service import serve
from pcscf.errors import ConfigError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


Names = Annotated[list[str] | None, typer.Argument(metavar="NAME…", help="cancel, 07-cancel or 07; all where none is named.")]
Folder = Annotated[Path, typer.Option("--scenarios", metavar="DIR", help="Where they are; those of the package by default.")]
Amount = Annotated[int | None, typer.Option(min=1, help="For load tests: instead of what their file says.")]


@app.callback()
def scenario() -> None:
    """SIPp scenarios against a P-CSCF of their own."""


@app.command("list")
def show(folder: Folder = SCENARIOS) -> None:
    """Tell what scenarios there are."""
    table = Table("scenario", "what it is about", show_edge=False)
    for entry in load_scenarios(folder=folder):
        table.add_row(Text(entry.folder.name, "bold"), entry.scenario.title)
    report.console().print(table)


@app.command()
def run(
    names: Names = None,
    transport: Annotated[Transport, typer.Option(help="How SIPp signals, on both sides.")] = "udp",
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write JUnit XML there.")] = None,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep traces, logs and SIPp's messages there.")] = None,
    calls: Amount = None,
    rate: Amount = None,
    ceiling: Amount = None,
    folder: Folder = SCENARIOS,
) -> None:
    """Run scenarios. Exit status: 0 all held, 1 one did not, 2 a file, a name or the machine is not as it must be."""
    entries = [_with(entry, calls, rate, ceiling) for entry in load_scenarios(names or (), folder)]
    program = require_sipp()
    if junit is not None and not junit.parent.is_dir():
        raise ConfigError(f"there is no folder {junit.parent}", hint="write --junit FILE in a folder that is there")
    where = report.console()
    outcomes: list[Outcome] = []

    async def work() -> None:
        place = keep or Path(tempfile.mkdtemp(prefix="pcscf-scenario-"))
        try:
            for entry in entries:
                outcome = await play(entry, transport, program, place / f"{entry.folder.name}-{transport}")
                outcomes.append(outcome)
                report.show_outcome(outcome, where)
        finally:
            if keep is None:
                shutil.rmtree(place, ignore_errors=True)

    serve(work())
    if len(outcomes) < len(entries):
        raise typer.Exit(130)   # a signal ended it; the children are gone
    report.show_summary(outcomes, keep, where)
    if junit is not None:
        report.write_junit(outcomes, junit)
    raise typer.Exit(0 if all(outcome.ok for outcome in outcomes) else 1)


def _with(entry: Entry, calls: int | None, rate: int | None, ceiling: int | None) -> Entry:
    """A load test with another amount; one call stays one call."""
    load = entry.scenario.load
    if load is None:
        return entry
    amount = Load(calls=calls or load.calls, rate=rate or load.rate, ceiling=ceiling or load.ceiling)
    return Entry(entry.folder, entry.scenario.model_copy(update={"load": amount}))
