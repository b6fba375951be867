"""SIPp: how it is started, and what its statistics say. Debian's build has no TLS, so UEs signal over UDP and TCP."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pcscf.cli.scenario.model import Load
from pcscf.errors import ConfigError

Transport = Literal["udp", "tcp"]

HOST = "127.0.0.1"
SPARE_SOCKETS = 20   # SIPp's default of 50000 is more than most systems let it open
GRACE = 10.0   # seconds for SIPp's own start and end


@dataclass(frozen=True, slots=True)
class Files:
    """What one SIPp leaves behind."""

    messages: Path
    errors: Path
    statistics: Path
    output: Path

    @classmethod
    def of(cls, folder: Path, role: str) -> Files:
        kinds = ("messages.log", "errors.log", "statistics.csv", "output.log")
        return cls(*(folder / f"sipp-{role}-{kind}" for kind in kinds))


@dataclass(frozen=True, slots=True)
class Statistics:
    """The last line of SIPp's statistics. seconds: how long it ran."""

    created: int
    successful: int
    failed: int
    retransmissions: int
    unexpected: int
    seconds: float

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.created / self.seconds if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        counts = {"failed": self.failed, "unexpected messages": self.unexpected, "retransmissions": self.retransmissions}
        faults = [f"{count} {name}" for name, count in counts.items() if count]
        return ", ".join([f"{self.successful} of {self.created} calls", *faults])


def require_sipp() -> str:
    """The path of SIPp. Raises ConfigError where it is not installed."""
    found = shutil.which("sipp")
    if found is None:
        raise ConfigError(
            "SIPp is not installed, and the scenarios need it",
            hint="the package sip-tester brings it on Debian and Ubuntu: sudo apt-get install sip-tester")
    return found


def command(
    program: str, file: Path, files: Files, *, port: int, transport: Transport, load: Load, seconds: float, call_id: str,
    remote: str = "", echo: int = 0,
) -> list[str]:
    """The command line. remote: ADDRESS:PORT that is called, "" for who waits to be called. echo: a port that sends back RTP.

    With many calls every caller has a socket of its own, because a UE is known by its flow. `call_id` is the same for all far
    ends, so that a call of one may reach the scenario of another (Call-ID `x///…`).
    """
    calling = [remote, "-l", str(load.ceiling)] if remote else []
    echoing = ["-rtp_echo", "-mi", HOST, "-mp", str(echo)] if echo else []
    sockets = "n" if remote and load.calls > 1 else "1"
    return [
        program, *calling, *echoing, "-sf", str(file.absolute()), "-i", HOST, "-p", str(port), "-t", f"{transport[0]}{sockets}",
        "-max_socket", str(load.ceiling + SPARE_SOCKETS), "-m", str(load.calls), "-r", str(load.rate), "-cid_str", call_id,
        "-timeout", f"{seconds:.0f}s", "-timeout_error", "-nostdin",
        "-trace_msg", "-message_file", str(files.messages), "-trace_err", "-error_file", str(files.errors),
        "-trace_stat", "-stf", str(files.statistics), "-fd", "1",
    ]


def read_statistics(file: Path) -> Statistics | None:
    """The last complete line of a statistics file, None where there is none. Raises OSError."""
    if not file.exists():
        return None
    rows = list(csv.reader(file.read_text(errors="replace").splitlines(), delimiter=";"))
    if len(rows) < 2 or len(rows[-1]) < len(rows[0]):
        return None
    last = dict(zip(rows[0], rows[-1], strict=False))
    try:
        return Statistics(
            int(last["TotalCallCreated"]), int(last["SuccessfulCall(C)"]), int(last["FailedCall(C)"]),
            int(last["Retransmissions(C)"]), int(last["FailedUnexpectedMessage(C)"]), _elapsed(last),
        )
    except (KeyError, ValueError):
        return None


def _elapsed(row: dict[str, str]) -> float:
    """Both times end in a blank and the seconds since the epoch."""
    start, now = (float(row[name].split()[-1]) for name in ("StartTime", "CurrentTime"))
    return now - start
