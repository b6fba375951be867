"""A load of calls or registrations on a program between two SIPps, and what one call costs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.pcscf import Pins
from bench.process import Process, cpu_seconds, free_port
from bench.sipp import Calling, Load, Outcome, answering

VERIFY = "Security-Verify: msrp-tls;mediasec"   # what this P-CSCF tells every UE that asks
SETTLE = 0.5   # seconds after the last call whose CPU still counts: what was queued is done by then


class Subject(Protocol):
    """A program that SIP messages pass through. parts: its processes, by the name under which their CPU is shown."""

    name: str
    port: int

    @property
    def parts(self) -> dict[str, list[int]]: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Cost:
    """micros: µs of CPU per call, by part. busy: share of the run in which that part's CPU worked for it."""

    outcome: Outcome
    micros: dict[str, float]
    busy: dict[str, float]


def cost(outcome: Outcome, spent: dict[str, float]) -> Cost:
    """From seconds of CPU `spent`, by part, to the cost of each call that was created."""
    calls = max(outcome.created, 1)
    return Cost(
        outcome, {part: seconds * 1e6 / calls for part, seconds in spent.items()},
        {part: seconds / outcome.seconds for part, seconds in spent.items()})


class Bed:
    """A subject between a SIPp that answers at `core` and, for each run, one that calls.

    With `answer` “answer” all calls come from the port `caller`; UEs that register bring ports of their own.
    """

    def __init__(
        self, start: Callable[[int], Subject], folder: Path, pins: Pins, *, answer: str = "answer",
        prepare: Callable[[int, int, int], None] | None = None,
    ) -> None:
        """start: makes the subject for a core's port. prepare: with ports of subject, core and caller, before SIPp answers."""
        self._folder, self._pins, self._answer = folder, pins, answer
        self.core = free_port()
        self.caller = free_port() if answer == "answer" else 0
        self.subject = start(self.core)
        self._answering: Process | None = None
        try:
            if prepare is not None:
                prepare(self.subject.port, self.core, self.caller)
            self._resume()
        except BaseException:
            self.close()
            raise

    def meanwhile(self, work: Callable[[int, int], None]) -> dict[str, float]:
        """Do something at the ports of subject and core, where SIPp is silent; the CPU seconds that it took, by part."""
        self._pause()
        before = self._spent()
        work(self.subject.port, self.core)
        after = self._spent()
        self._resume()
        return {part: after[part] - before[part] for part in after}

    def run(self, scenario: str, rate: float, count: int, hold: int = 0) -> Cost:
        before = self._spent()
        started = time.monotonic()
        calling = self.begin(scenario, rate, count, hold)
        try:
            outcome = calling.finish(started, time.monotonic)
        finally:
            calling.process.stop(1.0)
        time.sleep(SETTLE)
        after = self._spent()
        return cost(outcome, {part: after[part] - before[part] for part in after})

    def begin(self, scenario: str, rate: float, count: int, hold: int) -> Calling:
        """Start a load; whoever starts it ends it."""
        load = Load(scenario, rate, count, hold, ("-key", "core", str(self.core), "-key", "verify", VERIFY))
        return Calling(load, self.subject.port, self.caller, self._folder, self._pins.load)

    def _resume(self) -> None:
        self._answering = answering(self._answer, self.core, self._folder, self._pins.load)
        time.sleep(SETTLE)

    def _pause(self) -> None:
        if self._answering is not None:
            self._answering.stop(1.0)
            self._answering = None

    def _spent(self) -> dict[str, float]:
        return {part: cpu_seconds(*pids) for part, pids in self.subject.parts.items()}

    def close(self) -> None:
        self._pause()
        self.subject.stop()

    def __enter__(self) -> Bed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
