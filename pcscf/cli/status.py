"""`pcscf status`: how a running P-CSCF is."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pcscf.cli.asking import ask
from pcscf.cli.options import ConfigFile, Overrides
from pcscf.observe.status import as_text


def status(
    file: ConfigFile,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    metrics: Annotated[bool, typer.Option("--metrics", help="As Prometheus reads it.")] = False,
    overrides: Overrides = None,
) -> None:
    """Tell how a running P-CSCF is: registrations, sessions, media, gateways, failures. No identities."""
    if metrics:
        typer.echo(ask(file, overrides, {"do": "pcscf-metrics"})["metrics"], nl=False)
        return
    told = ask(file, overrides, {"do": "pcscf"})["pcscf"]
    typer.echo(json.dumps(told) if as_json else "\n".join(as_text(told)))
