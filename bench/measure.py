"""How long something takes: CPU time of this process, the least of several rounds, because noise only ever adds."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import NamedTuple

ROUNDS = 7
ROUND_NANOSECONDS = 25_000_000


class Figure(NamedTuple):
    """µs of CPU for one `what`. budget: what it may cost, in µs (None: no budget)."""

    group: str
    what: str
    micros: float
    budget: float | None = None

    @property
    def is_over(self) -> bool:
        return self.budget is not None and self.micros > self.budget


def micros_of(operation: Callable[[], object], steps: int = 1) -> float:
    """µs of CPU of one `operation`, or of one of the `steps` that it takes."""
    repeats = _repeats_for(operation)
    return min(_nanoseconds(operation, repeats) for _ in range(ROUNDS)) / repeats / steps / 1000


def _repeats_for(operation: Callable[[], object]) -> int:
    repeats = 1
    while (spent := _nanoseconds(operation, repeats)) < ROUND_NANOSECONDS:
        repeats *= 2 if spent < ROUND_NANOSECONDS // 4 else max(2, ROUND_NANOSECONDS // max(spent, 1))
    return repeats


def _nanoseconds(operation: Callable[[], object], repeats: int) -> int:
    gc.collect()
    gc.disable()
    try:
        start = time.process_time_ns()
        for _ in range(repeats):
            operation()
        return time.process_time_ns() - start
    finally:
        gc.enable()
