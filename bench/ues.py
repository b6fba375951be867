"""What the number of registered UEs does to the cost of a call, and what a UE and a session take of memory."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from itertools import islice
from statistics import median

from bench import phones
from bench.process import pss_mib
from bench.report import Cell, Table
from bench.run import Run
from bench.sip_load import pcscf_bed
from bench.sipp import Outcome

COUNTS = (100, 10_000, 50_000)
QUICK_COUNTS = (100, 1_000, 5_000)
RATE = 100
SETTLED = 35.0        # seconds after which nothing of a registration is left but the binding: 64 × T1 of the core side, and some
SESSIONS = 1_000
PATIENT = "gateways.embedded.timers.tcp_accept=600"   # nobody connects to these sessions: they would be released
RAMP = 100            # sessions per second
OLD_AFTER = 140.0     # seconds after which the transactions that set a session up are gone (64 × T1 on the access side, and some)


def ues(run: Run) -> list[Table]:
    """The same load of calls with more and more UEs registered, each at an address and port of its own."""
    rows: list[tuple[Cell, ...]] = []
    with pcscf_bed(run) as bed:
        bed.run("call", 50, 100)
        pid = bed.subject.parts["pcscf"][0]
        empty, registered, everybody = pss_mib(pid), 0, phones.sources(max(COUNTS))
        for count in QUICK_COUNTS if run.is_quick else COUNTS:
            newcomers = list(islice(everybody, count - registered))
            spent = bed.meanwhile(partial(_register, registered, newcomers))
            time.sleep(SETTLED)
            before = pss_mib(pid)
            costs = [bed.run("call", RATE, int(RATE * run.seconds)) for _ in range(run.repeats)]
            micros = [cost.micros["pcscf"] for cost in costs]
            faults = [cost.outcome.fault for cost in costs if cost.outcome.fault]
            rows.append((
                count, median(micros), min(micros), max(micros), spent["pcscf"] * 1e6 / len(newcomers), before,
                (before - empty) * 1024 / count, f"no: {faults[0]}" if faults else "yes"))
            registered = count
    return [Table(
        "Registered UEs", ("UEs", "µs per call", "least", "most", "µs per REGISTER", "PSS MiB", "KiB per UE", "clean"), rows, [
            f"{RATE} calls/s by one of them, {SETTLED:g} s after the last registration. “µs per REGISTER”: CPU of the P-CSCF for "
            "each of the newest, REGISTER and 200.",
            "“KiB per UE”: growth since before the first one, calls' leftovers included; little is said by the small counts.",
        ])]


def _register(first: int, newcomers: list[tuple[str, int]], proxy: int, core: int) -> None:
    phones.register(proxy, core, ((f"ue{first + number}", source) for number, source in enumerate(newcomers)))


def memory(run: Run) -> list[Table]:
    """Growth of both processes by sessions that stand."""
    rows: list[tuple[Cell, ...]] = []
    with pcscf_bed(replace(run, settings=(*run.settings, PATIENT))) as bed:
        bed.run("call", 50, 100)
        pids = {part: processes[0] for part, processes in bed.subject.parts.items()}
        before = {part: pss_mib(pid) for part, pid in pids.items()}
        count = SESSIONS // (4 if run.is_quick else 1)
        looks = [("just set up", count / RAMP + 2.0)]
        if not run.is_quick:
            looks.append((f"{OLD_AFTER:g} s old", OLD_AFTER))
        started = time.monotonic()
        calling = bed.begin("call", RAMP, count, int((looks[-1][1] + 20.0) * 1000))
        try:
            for what, moment in looks:
                time.sleep(max(0.0, started + moment - time.monotonic()))
                now = {part: pss_mib(pid) for part, pid in pids.items()}
                grown = {part: (now[part] - before[part]) * 1024 / count for part in pids}
                rows.append((what, count, now["pcscf"], grown["pcscf"], now["gateway"], grown["gateway"]))
            outcome = calling.finish(started, time.monotonic)
        finally:
            calling.process.stop(1.0)
    return [Table(
        "Memory of sessions", ("sessions", "count", "P-CSCF PSS MiB", "KiB each", "gateway PSS MiB", "KiB each"), rows, [
            "Growth since before the first one. Young sessions still have the transactions that set them up. The gateway listens "
            "for each session; a connection with TLS comes on top.", *_fault(outcome)])]


def _fault(outcome: Outcome) -> list[str]:
    return [f"**not clean**: {outcome.fault}"] if outcome.fault else []
