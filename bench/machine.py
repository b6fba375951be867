"""Where a bench ran: machine and versions."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.run import Run

PROGRAMS = {"sipp": ["-v"], "kamailio": ["-v"], "haproxy": ["-v"], "openssl": ["version"]}


def describe(run: Run) -> dict[str, str]:
    pins = run.pins
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "revision": _told(["git", "-C", str(run.checkout), "describe", "--always", "--dirty"]),
        "machine": f"{os.cpu_count()} × {_processor()}, Linux {platform.release()}",
        "load of the machine": f"{os.getloadavg()[0]:.1f} at the end of the run",
        "Python": f"{platform.python_implementation()} {platform.python_version()}, {_origin()}, uvloop {_package('uvloop')}, "
                  f"OpenSSL of cryptography {_package('cryptography')}",
        "peers": ", ".join(f"{name} {_version(name)}" for name in PROGRAMS),
        "CPUs": f"programs that are measured on {pins.subject}, SIPp on {pins.load}, the P-CSCF's gateway on {pins.gateway}",
        "configuration": f"policies/lab.yaml, log level info unless set otherwise{''.join(f', {each}' for each in run.settings)}",
        "length": f"{run.repeats} × {run.seconds:g} s per figure{', --quick' if run.is_quick else ''}",
    }


def _origin() -> str:
    """Whose the interpreter is. Distributions optimise theirs with a profile: a fifth to a quarter of all times."""
    return "of the distribution" if sys.base_prefix == "/usr" else "not of the distribution"


def find(program: str) -> str | None:
    """A program on the search path or where Debian keeps daemons."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin")


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _version(program: str) -> str:
    path = find(program)
    found = re.search(r"\d+\.\d+(\.\d+)?", _told([path, *PROGRAMS[program]])) if path else None
    return found[0] if found else "(missing)"


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(missing)"


def _told(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    return (done.stdout or done.stderr).strip()
