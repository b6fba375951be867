"""User Mode Linux: another kernel as a process, with this machine's files, for what the kernel here does not have.

It runs one command, with the network to itself (loopback alone), and ends. Debian's `user-mode-linux` brings the kernel and its
modules, `kmod` loads them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

KERNEL = "linux.uml"
MODULES = "/usr/lib/uml/modules"
MEMORY = "768M"
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "CI", "PEERS", "PYTHONPATH")

_INIT = """\
#!/bin/sh
{environment}
exec >{folder}/output 2>&1 </dev/null
mount -t proc proc /proc && echo {folder}/modprobe >/proc/sys/kernel/modprobe && mount -t tmpfs tmpfs /run &&
    ip link set lo up && cd {directory} && touch {folder}/started && {{ {command}; echo $? >{folder}/status; }}
echo o >/proc/sysrq-trigger
sleep 60
"""


_MODPROBE = """\
#!/bin/sh
exec modprobe -d {folder}/root "$@"
"""


class Ended(NamedTuple):
    """Exit status of the command, and what it and the way to it printed."""

    status: int
    output: str


class UmlError(Exception):
    """The kernel did not come up, or not to an end; the text has what it said."""


def run(command: Sequence[str], folder: Path, *, directory: Path, patience: float) -> Ended:
    """Run `command` in `directory`, under a kernel of its own that loads the modules it needs. /run is empty there, and writable.

    folder: an absolute path, new, for what the run leaves behind. patience: seconds for all of it. Raises UmlError.
    """
    folder.mkdir(parents=True)
    _link_modules(folder / "root" / "lib" / "modules")
    quoted = shlex.quote(str(folder))
    exported = [f"export {name}={shlex.quote(os.environ[name])}" for name in PASSED_ON if name in os.environ]
    directory_there, command_there = shlex.quote(str(directory)), shlex.join(command)
    _script(folder / "modprobe", _MODPROBE.format(folder=quoted))
    init = _script(folder / "init", _INIT.format(
        environment="\n".join(exported), folder=quoted, directory=directory_there, command=command_there))
    console = _boot(init, folder, patience)
    output = _text(folder / "output")
    if not (folder / "status").exists():
        raise UmlError(f"the command did not {'end' if (folder / 'started').exists() else 'begin'}: {output}\n{console}")
    return Ended(int(_text(folder / "status")), output)


def find_kernel() -> str | None:
    return shutil.which(KERNEL)


def _boot(init: Path, folder: Path, patience: float) -> str:
    """What the kernel says, from its first word to its end."""
    kernel = find_kernel()
    if kernel is None:
        raise UmlError(f"{KERNEL} is not installed")
    process = subprocess.Popen(
        [kernel, f"mem={MEMORY}", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "rw", f"init={init}",
         f"uml_dir={folder}/", "con=null", "con0=null,fd:1", "panic=-1"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True,
    )
    try:
        console, _ = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired as error:
        raise UmlError(f"not at its end after {patience:g} s: {_text(folder / 'output')}") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)   # its own session: the kernel, and a process for each of its own
            process.communicate()
    return console


def _script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def _link_modules(where: Path) -> None:
    """modprobe looks for the folder of the running kernel's version."""
    where.mkdir(parents=True)
    for found in Path(MODULES).glob("*"):
        (where / found.name).symlink_to(found)


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
