"""What the command line tells a person about errors: `file:line: what`, and below it what to do."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from pcscf.config.load import ConfigErrors
from pcscf.errors import ConfigError, PcscfError


def show_errors(error: PcscfError) -> None:
    """Prints an error, or each of several, to standard error."""
    show(error.errors if isinstance(error, ConfigErrors) else [error], "red")


def show_warnings(warnings: Iterable[ConfigError]) -> None:
    """Prints warnings to standard error."""
    show(warnings, "yellow", "warning: ")


def show(errors: Iterable[PcscfError], colour: str, prefix: str = "") -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for error in errors:
        place = ""
        if isinstance(error, ConfigError):
            place = f"{error.file}:{error.line}: " if error.line else f"{error.file}: " if error.file else ""
        console.print(Text.assemble((place, "bold"), (prefix, colour), (error.what, colour)))
        if error.hint:
            console.print(Text(f"    {error.hint}"))
