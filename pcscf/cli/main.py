"""The command `pcscf`. Only the command that is asked for is imported, so that `pcscf --help` is quick."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import typer

from pcscf.errors import ConfigError, PcscfError

EXIT_FAILURE = 1
EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130

# What a person's configuration or permissions cause; every other OSError is ours and keeps its traceback.
_MISTAKES = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EISDIR})


class Command(NamedTuple):
    """Where a command's function (or group of commands) stands, and what it does in one line."""

    module: str
    name: str
    summary: str


COMMANDS = {
    "run": Command("pcscf.cli.run", "run", "Run the P-CSCF."),
    "check": Command("pcscf.cli.check", "check", "Check a configuration without running it."),
    "explain": Command("pcscf.cli.explain", "explain", "Explain what is decided about one offer or answer, and why."),
    "policy": Command("pcscf.cli.policy", "app", "Test policies: *.test.yaml files against a configuration."),
    "schema": Command("pcscf.cli.schema", "schema", "Print the JSON Schema of the configuration, for editors."),
    "h248": Command("pcscf.cli.h248", "h248", "Read H.248 messages: lay them out, or tell what is wrong with them."),
    "gateway": Command("pcscf.cli.gateway", "app", "Run a media gateway (IMS-AGW) on its own, or tell how one is."),
    "gateways": Command("pcscf.cli.gateways", "app", "See and steer the gateways of a running P-CSCF."),
    "status": Command("pcscf.cli.status", "status", "Tell how a running P-CSCF is."),
    "scenario": Command("pcscf.cli.scenario.command", "app", "Run SIPp scenarios against a P-CSCF of their own."),
    "demo": Command("pcscf.cli.demo", "demo", "Show the main job on this machine; nothing else is needed."),
    "lab": Command("pcscf.cli.lab", "app", "Far ends to try a P-CSCF with: a SIP core, a party behind it, a UE."),
    "version": Command("pcscf.cli.version", "version", "Tell the versions of pcscf and of what it stands on."),
}


def application(wanted: str | None) -> typer.Typer:
    """The command line with the command `wanted` in it; the others are there by name and summary."""
    app = typer.Typer(
        name="pcscf",
        help="An IMS P-CSCF (IMS-ALG) that protects MSRP, BFCP and T.38 between phone and access edge.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name, command in COMMANDS.items():
        body = getattr(import_module(command.module), command.name) if name == wanted else _unwanted
        if isinstance(body, typer.Typer):
            app.add_typer(body, name=name, help=command.summary)
        else:
            app.command(name, help=command.summary)(body)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exit status: 0 done, 1 failed, 2 a person's mistake (told with file and line), 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    wanted = next((each for each in given if not each.startswith("-")), None)
    try:
        application(wanted)(args=given, prog_name="pcscf")
    except PcscfError as error:
        sys.exit(_told(error))
    except OSError as error:
        if error.errno not in _MISTAKES:
            raise
        sys.exit(_told(ConfigError(_sentence(error), hint="change the configuration, or stop what is in the way")))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _told(error: PcscfError) -> int:
    from pcscf.cli.report import show_errors

    show_errors(error)
    return EXIT_MISTAKE if isinstance(error, ConfigError) else EXIT_FAILURE


def _unwanted() -> None:
    """Stands for a command that was not asked for."""


def _sentence(error: OSError) -> str:
    what = (error.strerror or str(error)).lower()
    return f"{error.filename}: {what}" if error.filename else what
