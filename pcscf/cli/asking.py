"""Asks a running P-CSCF over its operator's socket."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any, Final

from pcscf.config.load import load_config
from pcscf.errors import PcscfError

PATIENCE: Final = 30.0


def ask(file: Path, overrides: list[str] | None, question: dict[str, Any], wait: float = 0.0) -> dict[str, Any]:
    """The answer of the P-CSCF that runs with this configuration. `wait`: seconds that it may take beyond the usual.

    Raises PcscfError: nobody answers, or it cannot be done.
    """
    from pcscf.runtime.control import socket_of

    path = socket_of(load_config(file, overrides or []))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE + wait)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps(question).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
            answer: dict[str, Any] = json.loads(line)
        except (OSError, ValueError) as error:
            raise PcscfError(
                f"no P-CSCF with this configuration answers: {error}", hint="is it running, as the same user?") from error
    if "error" in answer:
        raise PcscfError(answer["error"], hint="`pcscf gateways status` tells which gateways there are")
    return answer
