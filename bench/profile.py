"""Where the P-CSCF's time goes under a load of calls."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from bench.load import Bed
from bench.pcscf import Pcscf
from bench.report import Table
from bench.run import Run
from bench.sip_load import register_caller

TOP = 40
RATE = 200   # at most: the sampling must not be what fills the CPU


def profile(run: Run) -> list[Table]:
    """Functions by their own time, by line, and by the time spent in them and in what they called."""
    folder = run.room("profile")
    file = folder / "samples.json"
    rate = min(max(run.rates), RATE)
    with Bed(
        lambda core: Pcscf(folder, core, run.pins, checkout=run.checkout, settings=run.settings, profile=file), folder, run.pins,
        prepare=register_caller,
    ) as bed:
        bed.run("call", rate, rate)
        os.kill(bed.subject.parts["pcscf"][0], signal.SIGUSR2)
        cost = bed.run("call", rate, int(rate * run.seconds * max(run.repeats, 2)))
    seen, micros = json.loads(file.read_text()), cost.micros["pcscf"]
    fault = f"; not clean: {cost.outcome.fault}" if cost.outcome.fault else ""
    note = f"{seen['total']} samples at {rate} calls/s; {micros:.0f} µs per call while sampling{fault}"
    return [
        Table(title, ("function", "%", "µs per call"), ranking(seen[key], seen["total"], run.checkout, micros), [note])
        for title, key in (
            ("Profile: own time", "own"), ("Profile: own time by line", "lines"), ("Profile: with what was called", "all"))
    ]


def ranking(
    samples: Mapping[str, int], total: int, checkout: Path, micros: float, top: int = TOP,
) -> list[tuple[str, float, float]]:
    """The `top` names, each with its share in percent and of `micros`. What only holds everything is left out.

    Files are named from the checkout or from the library that they are in.
    """
    telling = {name: count for name, count in samples.items() if count < 0.98 * total}
    ordered = sorted(telling.items(), key=lambda item: (-item[1], item[0]))[:top]
    return [(short(name, checkout), 100.0 * count / total, micros * count / total) for name, count in ordered]


def short(name: str, checkout: Path) -> str:
    for prefix in (f"{checkout}/", "/site-packages/", "/lib/python3"):
        _, found, rest = name.partition(prefix)
        if found:
            name = rest.partition("/")[2] if prefix.endswith("python3") else rest
    return name
