"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

ConfigFile: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="The configuration (YAML).")]
Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Overrides one value of the file; may be repeated."),
]
TraceFile: TypeAlias = Annotated[
    Path | None, typer.Option("--trace", metavar="FILE", help="Appends a line per message on the wire to this file.")
]
PcapFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--pcap", metavar="FILE", help="Appends what crosses the wire to this capture: whole messages, with bodies."),
]
LogLevel: TypeAlias = Annotated[
    str | None, typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
]
