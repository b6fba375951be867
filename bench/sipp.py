"""SIPp, the load on both sides: what it is told, and what its statistics say."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.process import Failure, Process, free_port

SCENARIOS = Path(__file__).parent / "sipp"
HOST = "127.0.0.1"
BUFFER = 4_000_000
ALLOWED_FAILURES = 0.001   # of all calls
LATE = 1.15                # a run that takes longer than this times its planned length was not on time
SLACK = 1.5                # seconds that a run may always take longer: start, last answers, last look


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the calls of one run. seconds: from start to end, planned: what it should have taken."""

    wanted: int
    created: int
    successful: int
    failed: int
    retransmissions: int
    seconds: float
    planned: float

    @property
    def is_clean(self) -> bool:
        return not self.fault

    @property
    def fault(self) -> str:
        """Why the run does not count as clean; "" for one that does."""
        if self.created < self.wanted:
            return f"{self.created} of {self.wanted} calls were created"
        if self.failed > self.wanted * ALLOWED_FAILURES:
            return f"{self.failed} of {self.wanted} calls failed"
        if self.successful + self.failed < self.wanted:
            return f"{self.wanted - self.successful - self.failed} of {self.wanted} calls were not finished"
        if self.seconds > self.planned * LATE + SLACK:
            return f"it took {self.seconds:.1f} s instead of {self.planned:.1f} s"
        return ""


def read_statistics(text: str) -> dict[str, str]:
    """The last line of SIPp's statistics file (-trace_stat), by column."""
    rows = list(csv.DictReader(text.splitlines(), delimiter=";"))
    if not rows:
        raise Failure("SIPp wrote no statistics")
    return {name: value for name, value in rows[-1].items() if name}


def outcome(statistics: dict[str, str], wanted: int, planned: float, seconds: float) -> Outcome:
    """What the last line of the statistics says of a run of `wanted` calls."""
    return Outcome(
        wanted=wanted, created=int(statistics["TotalCallCreated"]), successful=int(statistics["SuccessfulCall(C)"]),
        failed=int(statistics["FailedCall(C)"]), retransmissions=int(statistics["Retransmissions(C)"]),
        seconds=seconds, planned=planned,
    )


def answering(scenario: str, port: int, folder: Path, cpu: int) -> Process:
    """A SIPp that waits at `port` and answers until it is stopped."""
    return Process(
        [*_command(scenario), "-p", str(port), HOST], cpu=cpu, log=folder / f"{scenario}.log", folder=folder)


@dataclass(frozen=True, slots=True)
class Load:
    """`count` calls at `rate` per second, each held for `hold` ms between ACK and BYE."""

    scenario: str
    rate: float
    count: int
    hold: int = 0
    keys: tuple[str, ...] = ()

    @property
    def planned(self) -> float:
        """Seconds."""
        return self.count / self.rate + self.hold / 1000


class Calling:
    """A SIPp that calls: from `port` towards `proxy`, or from a port of its own for every call (port 0)."""

    def __init__(self, load: Load, proxy: int, port: int, folder: Path, cpu: int) -> None:
        self.load = load
        self._statistics = folder / f"{load.scenario}.csv"
        self._statistics.unlink(missing_ok=True)
        self._patience = load.planned * LATE + SLACK + 1.0   # what is not over then is late
        sockets = ["-t", "u1", "-p", str(port)] if port else ["-t", "un", "-max_socket", "10000", "-p", str(free_port())]
        self.process = Process(
            [*_command(load.scenario), f"{HOST}:{proxy}", *sockets, "-r", f"{load.rate:g}", "-m", str(load.count),
             "-l", str(max(2 * load.count, 1000)), "-d", str(load.hold), "-timeout", str(math.ceil(self._patience)),
             "-timeout_error", "-trace_stat", "-stf", self._statistics, "-fd", "1", *load.keys],
            cpu=cpu, log=folder / f"{load.scenario}.log", folder=folder)

    def finish(self, started: float, clock: Callable[[], float]) -> Outcome:
        """Wait for its end. `clock` tells the time of which `started` is one."""
        if self.process.wait(self._patience + 10) is None:
            self.process.stop(0)
        seconds = clock() - started
        if not self._statistics.exists():
            raise Failure(f"SIPp ended with {self.process.status} and no statistics: {self.process.told()}")
        return outcome(read_statistics(self._statistics.read_text()), self.load.count, self.load.planned, seconds)


def _command(scenario: str) -> Sequence[str]:
    return [
        "sipp", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", HOST, "-mi", HOST, "-buff_size", str(BUFFER), "-nostdin",
        "-cp", str(free_port()),
    ]
