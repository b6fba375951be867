"""`pcscf h248`: H.248 text laid out for reading, or what is wrong with it and where."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pcscf.errors import H248SyntaxError
from pcscf.h248.codec import MAX_MESSAGE, decode_untrusted, encode_compact, encode_pretty
from pcscf.h248.message import Message

STANDARD_INPUT = "-"


def h248(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Files with one message each, or - for standard input.")],
    compact: Annotated[bool, typer.Option("--compact", help="Short tokens, as on the wire, instead of the long ones.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line and file: file, ok, error.")] = False,
) -> None:
    """Print H.248 messages in one form, or their errors. Exit status: 0 all are good, 1 one is not."""
    good = True
    for file in files:
        message = read(file)
        good &= isinstance(message, Message)
        if as_json:
            error = message if isinstance(message, str) else None
            sys.stdout.write(json.dumps({"file": file, "ok": error is None, "error": error}) + "\n")
        elif isinstance(message, str):
            sys.stderr.write(f"{file}: {message}\n")
        else:
            _print((encode_compact if compact else encode_pretty)(message))
    if not good:
        raise typer.Exit(1)


def read(file: str) -> Message | str:
    """The message in a file, or what is wrong: the H.248 error code, line and column, and what was expected there."""
    try:
        return decode_untrusted(_octets(file))
    except H248SyntaxError as error:
        return f"error {error.code}: {error.what}"
    except OSError as error:
        return f"cannot be read: {(error.strerror or str(error)).lower()}"


def _octets(file: str) -> bytes:
    """Not more than what is already too much for a message. Raises OSError."""
    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read(MAX_MESSAGE + 1)
    with Path(file).open("rb") as source:
        return source.read(MAX_MESSAGE + 1)


def _print(text: bytes) -> None:
    sys.stdout.flush()
    if sys.stdout.isatty():
        text = "".join(map(_visible, text.decode(errors="backslashreplace").replace("\r\n", "\n"))).encode()
    sys.stdout.buffer.write(text.rstrip(b"\n") + b"\n")
    sys.stdout.buffer.flush()


def _visible(character: str) -> str:
    """A peer's octets must not steer the terminal."""
    return character if character.isprintable() or character in "\n\t" else character.encode("unicode_escape").decode()
