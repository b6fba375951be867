"""Independent programs that tests speak with: absent ones skip a test aloud, or fail it where they have to be there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.support.foreign import LIBRE, SCTP, SPANDSP, find_library

_MEGACO = ("megaco-*/ebin/megaco.app", "megaco-*/include/megaco.hrl")   # the second one comes in a package of its own
_LIBRARIES = {"libre": LIBRE, "spandsp": SPANDSP, "libsctp": SCTP}
_ERLANG_LIBRARIES = ("/usr/lib/erlang/lib", "/usr/local/lib/erlang/lib", "/usr/lib64/erlang/lib")


def find_program(program: str) -> str | None:
    """Where a program is; daemons stand in a folder that is not on everybody's search path."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


def _is_present(program: str) -> bool:
    if program == "megaco":
        return all(any(any(Path(library).glob(file)) for library in _ERLANG_LIBRARIES) for file in _MEGACO)
    if program in _LIBRARIES:
        return find_library(_LIBRARIES[program])
    return find_program(program) is not None


def require_peer(*programs: str) -> None:
    """Skip the test unless all `programs` are installed; "megaco" is a library of Erlang, those of _LIBRARIES are shared ones.

    With CI set in the environment a missing peer fails the test. PEERS=skip leaves the peers out, but not there.
    """
    if os.environ.get("PEERS") == "skip" and not os.environ.get("CI"):
        pytest.skip("peers left out: " + ", ".join(programs))
    missing = [program for program in programs if not _is_present(program)]
    if missing:
        told = "peer missing: " + ", ".join(missing)
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
