from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import resource
from pcscf.cli.process import keep_memory, raise_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (100, {hard}))
print(raise_open_files({contexts}), resource.getrlimit(resource.RLIMIT_NOFILE), keep_memory())
"""


def run(hard: int, contexts: int) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(hard=hard, contexts=contexts)], capture_output=True, text=True, check=True)
    return done.stdout, done.stdout + done.stderr


def test_open_files_go_up_to_the_hard_limit() -> None:
    result, told = run(500, 10)
    assert result.startswith("500 (500, 500) ")
    assert "too few open files" not in told


def test_a_limit_that_is_too_low_for_the_contexts_is_told() -> None:
    _, told = run(500, 10_000)
    assert "too few open files for limits.contexts" in told
    assert "LimitNOFILE" in told
