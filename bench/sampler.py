"""`python -P sampler.py FILE ARGUMENT…`: `pcscf ARGUMENT…` that samples itself; at its end FILE holds what was seen, as JSON.

From the first SIGUSR2 on a signal notes with every tick of CPU which functions are on the stack (setitimer(2), ITIMER_PROF).
Nothing is traced, so that what is called often is not made to look dear. Time inside C belongs to the Python function that
called it. Runs with nothing but the standard library and the package that it measures.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL = 0.001   # seconds; the kernel rounds up to its own tick


class Samples:
    """own: times that a function was on top of the stack, lines: by its line; all: times that it was anywhere on the stack."""

    def __init__(self) -> None:
        self.total = 0
        self.own: Counter[str] = Counter()
        self.all: Counter[str] = Counter()
        self.lines: Counter[str] = Counter()

    def take(self, _signal: int, frame: FrameType | None) -> None:
        self.total += 1
        seen = set()
        is_top = True
        while frame is not None:
            code = frame.f_code
            name = f"{code.co_filename}:{code.co_qualname}"
            if is_top:
                self.own[name] += 1
                self.lines[f"{code.co_filename}:{frame.f_lineno}"] += 1
                is_top = False
            seen.add(name)
            frame = frame.f_back
        self.all.update(seen)


def main(file: Path, arguments: list[str]) -> None:
    from pcscf.cli.main import main as pcscf

    samples = Samples()
    signal.signal(signal.SIGPROF, samples.take)
    signal.signal(signal.SIGUSR2, lambda *_: signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL))
    try:
        pcscf(arguments)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        file.write_text(json.dumps({
            "total": samples.total, "own": samples.own, "all": samples.all, "lines": samples.lines,
        }))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
