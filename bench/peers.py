"""What others wrote for a place between two SIP ends: Kamailio as a proxy that keeps dialogs, Sippy as a B2BUA in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.load import Subject
from bench.machine import find
from bench.pcscf import ROOT, Pins
from bench.process import Failure, Process, family, free_port, wait_until

SIPPY = ROOT / ".venv-bench/bin/b2bua_simple"
SHARED_MEMORY = "4096"   # MiB: at 512 ended transactions fill it at some thousand calls/s


class Peer:
    """A program at a UDP port of 127.0.0.1; ready when made."""

    def __init__(
        self, name: str, command: Callable[[int], Sequence[str | Path]], folder: Path, pins: Pins, **environment: str,
    ) -> None:
        self.name = name
        self.port = free_port()
        self._process = Process(
            command(self.port), cpu=pins.subject, log=folder / f"{name}.log", folder=folder, environment=environment)
        try:
            wait_until(self._is_ready, f"{name}, which told {self._process.told()!r}")
        except BaseException:
            self._process.stop()
            raise

    def _is_ready(self) -> bool:
        if self._process.status is not None:
            raise Failure(f"{self.name} ended with status {self._process.status}: {self._process.told()}")
        wanted = f"0100007F:{self.port:04X}"
        return any(line.split()[1] == wanted for line in Path("/proc/net/udp").read_text().splitlines()[1:])

    @property
    def parts(self) -> dict[str, list[int]]:
        return {self.name: family(self._process.pid)}

    def stop(self) -> None:
        self._process.stop()


def kamailio(folder: Path, core: int, pins: Pins) -> Subject:
    """With the allocator that it is fast with; Debian's default, which finds bugs, takes several times the CPU."""
    program = find("kamailio")
    if program is None:
        raise Failure("kamailio is not installed (Debian: kamailio)")
    template = Path(__file__).with_name("kamailio.cfg").read_text()
    configuration = folder / "kamailio.cfg"
    configuration.write_text(template.replace("CORE_PORT", str(core)))
    return Peer("kamailio", lambda port: [
        program, "-f", configuration, "-l", f"udp:127.0.0.1:{port}", "-DD", "-E", "-m", SHARED_MEMORY, "-M", "32",
        "-x", "tlsf", "-X", "tlsf", "-Y", folder,
    ], folder, pins)


def sippy(folder: Path, core: int, pins: Pins) -> Subject:
    """Without its log, which by default goes to standard error."""
    if not SIPPY.exists():
        raise Failure("sippy is not installed (make bench brings it; if it could not, remove .venv-bench and try again)")
    return Peer("sippy", lambda port: [
        SIPPY.with_name("python"), SIPPY, "-f", "-l", "127.0.0.1", "-p", str(port), "-n", f"127.0.0.1:{core}",
    ], folder, pins, SIPLOG_BEND="none")
