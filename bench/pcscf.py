"""The P-CSCF under test: `pcscf run policies/lab.yaml` of a checkout, on free ports, its gateway on a CPU of its own choice."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

from bench.process import Failure, Process, children, pin

ROOT = Path(__file__).parents[1]
LISTENERS = ("gm-udp", "gm-tcp", "gm-tls", "mw-udp", "mw-tcp")
SAMPLER = Path(__file__).with_name("sampler.py")


@dataclass(frozen=True, slots=True)
class Pins:
    """CPUs by number: of what is measured, of the load, and of the gateway."""

    subject: int = 0
    load: int = 1
    gateway: int = 1


def interpreter(checkout: Path) -> Path:
    """The Python of a checkout's virtual environment, or the one that runs now."""
    own = checkout / ".venv/bin/python"
    return own if own.exists() else Path(sys.executable)


class Pcscf:
    """Ready when made. settings: `--set` values beside the ports; profile: file for samples of where its time goes."""

    name = "pcscf"

    def __init__(
        self, folder: Path, core: int, pins: Pins, *, checkout: Path = ROOT, settings: Sequence[str] = (),
        profile: Path | None = None,
    ) -> None:
        runtime = folder / "run"
        runtime.mkdir(mode=0o700, exist_ok=True)
        given = [
            *(f"listeners.{name}.port=0" for name in LISTENERS), "gateways.iq.port=0",
            f"realms.core.next_hop=sip:127.0.0.1:{core}", *settings,
        ]
        program = ["-P", str(SAMPLER), str(profile)] if profile is not None else ["-m", "pcscf"]
        self._process = Process(
            [interpreter(checkout), *program, "run", str(checkout / "policies/lab.yaml"),
             *(word for each in given for word in ("--set", each))],
            cpu=pins.subject, log=folder / "pcscf.log", folder=checkout, stdout=PIPE,
            environment={"XDG_RUNTIME_DIR": str(runtime), "RUNTIME_DIRECTORY": "", "PYTHONPATH": str(checkout)},
        )
        try:
            self.port = self._listening()
            [self.gateway] = children(self._process.pid)
            pin(self.gateway, pins.gateway)
        except BaseException:
            self._process.stop()
            raise

    def _listening(self) -> int:
        """Its UDP port for UEs, told when it is ready."""
        line = self._process.first_line()
        if not line:
            raise Failure(f"pcscf did not start: {self._process.told()}")
        return int(json.loads(line)["listeners"]["gm-udp"].rpartition(":")[2])

    @property
    def parts(self) -> dict[str, list[int]]:
        """Processes by the name under which their CPU is shown."""
        return {"pcscf": [self._process.pid], "gateway": [self.gateway]}

    def stop(self) -> None:
        self._process.stop(20.0)
