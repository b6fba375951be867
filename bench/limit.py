"""The highest rate of calls at which a program stays clean."""

from __future__ import annotations

from collections.abc import Callable

from bench.load import Cost
from bench.process import Failure
from bench.report import Cell, Table
from bench.run import Run
from bench.sip_load import BEDS

FIRST = {"kamailio": 1000, "sippy": 50, "pcscf": 100}
HOLD = {"sippy": 200}   # ms: with none it has retransmissions at any rate
MOST = 16_000
PRECISION = 0.05
LONGER = 3              # the final run is so many times as long as a probe
COLUMNS = ("program", "calls/s", "µs per call", "of its CPU", "gateway µs", "of its CPU", "first not clean at", "because")


def search(is_clean: Callable[[int], bool], first: int, most: int, precision: float = PRECISION) -> tuple[int, int]:
    """Highest rate found clean (0: none) and lowest found not clean (0: none up to `most`).

    Doubles from `first`, or halves where that is too much, then bisects until both are closer than `precision`.
    """
    low, high, rate = 0, 0, first
    while not high and low < most:
        if is_clean(rate):
            low, rate = rate, min(rate * 2, most)
        else:
            high = rate
    while not low and high > 1:
        rate = high // 2
        low, high = (rate, high) if is_clean(rate) else (0, rate)
    while high and low and high - low > max(1, low * precision):
        rate = (low + high) // 2
        low, high = (rate, high) if is_clean(rate) else (low, rate)
    return low, high


def limit(run: Run) -> list[Table]:
    """Every probe meets a program that was just started: overload leaves a queue behind."""
    rows: list[tuple[Cell, ...]] = []
    missing = []
    for name in BEDS:
        try:
            rows.append(_row(run, name))
        except Failure as failure:
            if name == "pcscf":
                raise
            missing.append(f"**{name} is missing**: {failure}")
    return [Table("Highest clean rate of calls", COLUMNS, rows, [
        "Clean: every call was made, at most 0.1 % failed, and the run ended on time. Hung up at once; Sippy's calls are held "
        f"for {HOLD['sippy']} ms. The last run is {LONGER} times as long as those of the search.",
        "Where a program is not busy, the limit is the other CPU, with both SIPps and the P-CSCF's gateway on it.", *missing])]


def _row(run: Run, name: str) -> tuple[Cell, ...]:
    faults: dict[int, str] = {}

    def probe(rate: int, seconds: float) -> Cost:
        with BEDS[name](run, "answer") as bed:
            bed.run("call", 50, 50)
            cost = bed.run("call", rate, int(rate * seconds), HOLD.get(name, 0))
        if cost.outcome.fault:
            faults[rate] = cost.outcome.fault
        return cost

    rate, _ = search(lambda each: not probe(each, run.seconds).outcome.fault, FIRST[name], MOST)
    while rate:
        cost = probe(rate, run.seconds * LONGER)
        if not cost.outcome.fault:
            break
        rate = int(rate * (1 - PRECISION))
    else:
        return (name, 0, None, None, None, None, min(faults, default=None), faults.get(min(faults, default=0), ""))
    least = min((each for each in faults if each > rate), default=None)
    return (
        name, rate, cost.micros[name], _percent(cost, name), cost.micros.get("gateway"), _percent(cost, "gateway"), least,
        faults.get(least or 0, "" if least else f"no more than {MOST} were tried"))


def _percent(cost: Cost, part: str) -> str | None:
    return f"{100 * cost.busy[part]:.0f} %" if part in cost.busy else None
