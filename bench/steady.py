"""A load that lasts until everything that a call leaves behind has run out as often as it is made: timers, tombstones, memory."""

from __future__ import annotations

import time

from bench.load import Bed
from bench.process import cpu_seconds, pss_mib
from bench.report import Cell, Table
from bench.run import Run
from bench.sip_load import pcscf_bed

WINDOW = 30.0   # seconds
WINDOWS = 6     # longer than 64 × T1 of the access side, 128 s


def steady(run: Run) -> list[Table]:
    """Cost per call and memory over time, at the second lowest rate."""
    window, windows = (5.0, 4) if run.is_quick else (WINDOW, WINDOWS)
    rate = sorted(run.rates)[:2][-1]
    with pcscf_bed(run) as bed:
        bed.run("call", 50, 100)
        calling = bed.begin("call", rate, int(rate * window * windows), 0)
        started = time.monotonic()
        try:
            rows = [_window(bed, rate, started, number, window) for number in range(1, windows + 1)]
            outcome = calling.finish(started, time.monotonic)
        finally:
            calling.process.stop(1.0)
    return [Table(
        f"Steady load, {rate} calls/s", ("after s", "µs per call", "PSS MiB", "gateway PSS MiB"), rows, [
            f"One load, looked at every {window:g} s. Transactions of the access side last 64 × T1 = 128 s, tombstones of "
            "sessions 32 s.",
            *([f"**not clean**: {outcome.fault}"] if outcome.fault else [])])]


def _window(bed: Bed, rate: int, started: float, number: int, length: float) -> tuple[Cell, ...]:
    pid, gateway = (processes[0] for processes in bed.subject.parts.values())
    before, begun = cpu_seconds(pid), time.monotonic()
    time.sleep(max(0.0, started + number * length - begun))
    spent, passed = cpu_seconds(pid) - before, time.monotonic() - begun
    return (int(number * length), spent * 1e6 / (rate * passed), pss_mib(pid), pss_mib(gateway))
