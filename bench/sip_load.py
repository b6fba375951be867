"""Calls and registrations through real processes: what one costs the P-CSCF and its gateway, beside Kamailio and Sippy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from statistics import median

from bench import phones
from bench.load import Bed, Cost
from bench.pcscf import Pcscf
from bench.peers import kamailio, sippy
from bench.process import Failure
from bench.report import Cell, Table
from bench.run import Run

HOLD = 200              # ms between ACK and BYE in the second table
HOLD_RATES = (100, 300)
CALL_COLUMNS = (
    "per second", "program", "µs each", "least", "most", "of its CPU", "gateway µs", "of its CPU", "÷ kamailio", "sent again",
    "clean",
)


def register_caller(proxy: int, core: int, caller: int) -> None:
    """Register the UE that calls, from the port from which it calls."""
    phones.register(proxy, core, iter([("alice", ("127.0.0.1", caller))]))


def pcscf_bed(run: Run, answer: str = "answer") -> Bed:
    """A P-CSCF with its gateway and, where it is to call, one registered UE."""
    folder = run.room("pcscf")
    return Bed(
        lambda core: Pcscf(folder, core, run.pins, checkout=run.checkout, settings=run.settings), folder, run.pins, answer=answer,
        prepare=register_caller if answer == "answer" else None)


def kamailio_bed(run: Run, answer: str = "answer") -> Bed:
    folder = run.room("kamailio")
    return Bed(lambda core: kamailio(folder, core, run.pins), folder, run.pins, answer=answer)


def sippy_bed(run: Run, answer: str = "answer") -> Bed:
    folder = run.room("sippy")
    return Bed(lambda core: sippy(folder, core, run.pins), folder, run.pins, answer=answer)


BEDS: Mapping[str, Callable[[Run, str], Bed]] = {"kamailio": kamailio_bed, "sippy": sippy_bed, "pcscf": pcscf_bed}


def calls(run: Run) -> list[Table]:
    """CPU per call at fixed rates. All programs run at the same time, and have their turns one after the other."""
    rates = tuple(rate for rate in HOLD_RATES if rate <= max(run.rates))
    with ExitStack() as stack:
        beds, missing = _standing(stack, run, ("kamailio", "sippy", "pcscf"), "answer")
        held = Table(f"Calls, held for {HOLD} ms", CALL_COLUMNS, _rows(beds, run, "call", rates, HOLD), missing)
    with ExitStack() as stack:
        beds, missing = _standing(stack, run, ("kamailio", "sippy", "pcscf"), "answer")
        at_once = Table("Calls, hung up at once", CALL_COLUMNS, _rows(beds, run, "call", run.rates), [
            "INVITE, 100, 180, 200, ACK, BYE, 200 over UDP, with an offer of TCP/TLS/MSRP that asks for e2ae.",
            "P-CSCF: three transactions on Iq included, the gateway's own CPU beside it. “of its CPU” is the share of the run in "
            "which the program kept its CPU busy.",
            "Kamailio: a proxy that keeps dialogs and touches no SDP (allocator tlsf). Sippy: a B2BUA in Python. What a call "
            "costs depends on the rate, so ratios hold at the same rate only.", *missing])
    return [at_once, held]


def registers(run: Run) -> list[Table]:
    """CPU per registration at fixed rates."""
    with ExitStack() as stack:
        beds, missing = _standing(stack, run, ("kamailio", "pcscf"), "registrar")
        rows = [row[:6] + row[8:] for row in _rows(beds, run, "register", run.rates)]
        return [Table("Registrations", tuple(CALL_COLUMNS[:6] + CALL_COLUMNS[8:]), rows, [
            "REGISTER, 401, REGISTER, 200 over UDP; every one is a new user at a port of its own, and stays registered. Kamailio "
            "adds a Path and keeps nothing; Sippy has no part in this: it does not forward registrations.", *missing])]


def _standing(stack: ExitStack, run: Run, names: Sequence[str], answer: str) -> tuple[dict[str, Bed], list[str]]:
    """Beds by name, each after a first small load; and what is said of the missing ones."""
    beds, missing = {}, []
    for name in names:
        try:
            beds[name] = stack.enter_context(BEDS[name](run, answer))
        except Failure as failure:
            if name == "pcscf":
                raise
            missing.append(f"**{name} is missing**: {failure}")
    for bed in beds.values():
        bed.run("call" if answer == "answer" else "register", 50, 100)
    return beds, missing


def _rows(beds: Mapping[str, Bed], run: Run, scenario: str, rates: Sequence[int], hold: int = 0) -> list[tuple[Cell, ...]]:
    """Rising rates. Who was not clean at one is not asked for more: overload leaves a queue behind."""
    rows: list[tuple[Cell, ...]] = []
    overloaded: set[str] = set()
    for rate in sorted(rates):
        costs: dict[str, list[Cost]] = {name: [] for name in beds if name not in overloaded}
        for _ in range(run.repeats):
            for name, taken in costs.items():
                if not any(cost.outcome.fault for cost in taken):
                    taken.append(beds[name].run(scenario, rate, int(rate * run.seconds), hold))
        rows += [row(rate, name, taken, costs.get("kamailio")) for name, taken in costs.items()]
        overloaded |= {name for name, taken in costs.items() if taken[-1].outcome.fault}
    return rows


def row(rate: int, name: str, costs: list[Cost], reference: list[Cost] | None) -> tuple[Cell, ...]:
    """The medians of several runs, and what they are of the medians of the `reference`; a ratio only between clean runs."""
    micros = [cost.micros[name] for cost in costs]
    faults = [cost.outcome.fault for cost in costs if cost.outcome.fault]
    gateway = median(cost.micros["gateway"] for cost in costs) if "gateway" in costs[0].micros else None
    gateway_busy = median(cost.busy["gateway"] for cost in costs) if gateway is not None else None
    ratio = None
    if reference and not faults and reference is not costs and not any(cost.outcome.fault for cost in reference):
        ratio = median(micros) / median(cost.micros["kamailio"] for cost in reference)
    return (
        rate, name, median(micros), min(micros), max(micros), _percent(median(cost.busy[name] for cost in costs)), gateway,
        _percent(gateway_busy), ratio, sum(cost.outcome.retransmissions for cost in costs),
        f"no: {faults[0]}" if faults else "yes",
    )


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f} %"
