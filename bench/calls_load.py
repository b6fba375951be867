"""Calls through real processes: what one costs the P-CSCF and its gateway, beside Kamailio and Sippy under the same load."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

from bench import phones
from bench.load import Bed, Cost, Subject
from bench.pcscf import Pcscf
from bench.report import Table
from bench.run import Run


def register_caller(proxy: int, core: int, caller: int) -> None:
    """Register the UE that calls, from the port from which it calls."""
    phones.register(proxy, core, iter([("alice", ("127.0.0.1", caller))]))


def call_bed(run: Run, start: Callable[[int], Subject]) -> Bed:
    return Bed(start, run.room("calls"), run.pins, prepare=register_caller)


def calls(run: Run) -> list[Table]:
    with ExitStack() as stack:
        folder = run.room("pcscf")
        bed = stack.enter_context(call_bed(run, lambda core: Pcscf(
            folder, core, run.pins, checkout=run.checkout, settings=run.settings)))
        bed.run("call", 50, 100)
        rows = []
        for rate in run.rates:
            costs = [bed.run("call", rate, int(rate * run.seconds)) for _ in range(run.repeats)]
            rows.append(_row(rate, 0, "pcscf", costs))
            if all(cost.outcome.fault for cost in costs):
                break
    return [Table("Calls", ("calls/s", "hold ms", "program", "µs", "least", "most", "gateway µs", "busy", "gateway busy", "clean"), rows)]


def _row(rate: int, hold: int, name: str, costs: list[Cost]) -> tuple[str | float | int | None, ...]:
    def middle(values: list[float]) -> float | None:
        return median(values) if values else None
    main = [cost.micros[name] for cost in costs]
    gateway = [cost.micros["gateway"] for cost in costs if "gateway" in cost.micros]
    faults = sorted({cost.outcome.fault for cost in costs if cost.outcome.fault})
    return (rate, hold, name, median(main), min(main), max(main), middle(gateway), median(cost.busy[name] for cost in costs),
            middle([cost.busy["gateway"] for cost in costs if "gateway" in cost.busy]), "; ".join(faults) or "yes")
