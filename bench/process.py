"""Processes that a measurement starts, pins, looks at and ends – by process id – and what /proc says of them (proc(5))."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
OPEN_FILES = 65_536
LOOK = 0.02


class Failure(Exception):
    """A measurement that could not be made, and why."""


def cpu_ticks(stat: str) -> int:
    """utime + stime of a line of /proc/PID/stat. The command's name, which may hold anything, stands in brackets."""
    fields = stat[stat.rindex(")") + 2:].split()
    return int(fields[11]) + int(fields[12])


def pss_kib(rollup: str) -> int:
    """Proportional set size in KiB, of the text of /proc/PID/smaps_rollup."""
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def cpu_seconds(*pids: int) -> float:
    """CPU that these processes have spent, user and system together, in steps of one tick (10 ms)."""
    return sum(cpu_ticks(Path(f"/proc/{pid}/stat").read_text()) for pid in pids) / TICKS_PER_SECOND


def pss_mib(pid: int) -> float:
    return pss_kib(Path(f"/proc/{pid}/smaps_rollup").read_text()) / 1024


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`, whichever of its threads started them."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return sorted(int(word) for task in tasks for word in task.read_text().split())


def family(pid: int) -> list[int]:
    """`pid` and its descendants."""
    return [pid, *(each for child in children(pid) for each in family(child))]


def pin(pid: int, cpu: int) -> None:
    """Bind every thread of a process to one CPU; threads and children that come later inherit it."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {cpu})


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    """A loopback port that nobody uses now, below those that gateways and the kernel give out; each one once in a run."""
    for port in _PORTS:
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Failure("no free port on 127.0.0.1")


_PORTS = iter(random.sample(range(6_000, 11_900), 5_900))   # at random: two benches at the same time seldom choose the same


class Process:
    """A program pinned to one CPU. `stop` ends it and whatever it started, each by its id."""

    def __init__(
        self, command: Sequence[str | Path], *, cpu: int, log: Path, environment: Mapping[str, str] | None = None,
        folder: Path | None = None, stdout: int | None = None,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        with log.open("ab") as errors, on_cpu(cpu):
            self._popen = subprocess.Popen(
                [*map(str, command)], stdin=subprocess.DEVNULL, stdout=errors if stdout is None else stdout, stderr=errors,
                env={**os.environ, **(environment or {})}, cwd=folder, start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def status(self) -> int | None:
        return self._popen.poll()

    def first_line(self) -> bytes:
        if self._popen.stdout is None:
            raise Failure(f"the output of {self.name} goes to {self.log}")
        return self._popen.stdout.readline()

    def wait(self, seconds: float) -> int | None:
        """Exit status, None when it still runs after `seconds`."""
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def told(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-1500:]

    def stop(self, patience: float = 8.0) -> None:
        if self.status is not None:
            return
        everybody = family(self.pid)
        self._popen.terminate()
        if self.wait(patience) is None:
            for pid in everybody:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._popen.wait()
        if self._popen.stdout is not None:
            self._popen.stdout.close()


@contextlib.contextmanager
def on_cpu(cpu: int) -> Iterator[None]:
    """This thread, and what it starts, on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def allow_open_files() -> None:
    """As many open files as this user may have, for this process and what it starts."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait for the callable `condition`; raises Failure when it stays false."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failure(f"waited {seconds:g} s in vain for {what}")
        time.sleep(LOOK)
