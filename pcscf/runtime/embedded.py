"""The embedded gateway: `pcscf gateway` as a child process with an mId of its own, driven over Iq like any other.

Killed, it is started again with back-off. Its parent killed, it keeps its sessions for a grace period; the next parent
finds it by the record in the runtime folder and takes it over, when it runs with the configuration that is wanted now.
A clean stop stops both.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import structlog

from pcscf.config.model import Config
from pcscf.config.resolve import weakest_hash
from pcscf.config.values import Endpoint
from pcscf.errors import ConfigError
from pcscf.gateway.config import EMBEDDED_PARENT

LOOK: Final = 0.1
"""Seconds between two looks at a process that is not our child."""
PATIENCE: Final = 3.0
"""Seconds beyond its own time to take leave that a gateway gets before it is killed."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Seconds before a gateway that died is started again: `after`, doubled with every death in a row, at most `at_most`."""

    after: float = 0.5
    at_most: float = 30.0

    def pause(self, deaths: int) -> float:
        """The pause after so many deaths in a row, counted from 1."""
        return min(self.after * 2.0 ** min(deaths - 1, 32), self.at_most)


def gateway_file(config: Config) -> dict[str, Any]:
    """The file of the embedded gateway, as `pcscf gateway` reads it."""
    gateways = config.gateways
    embedded = gateways.embedded
    return {
        "mid": gateways.embedded_mid,
        "iq": {"address": gateways.embedded_address, "port": 0, "transport": gateways.embedded_transport},
        "controllers": [str(Endpoint(reachable(gateways.iq.address), gateways.iq.port))],
        "realms": {
            name: {"addresses": list(media.addresses), "ports": [str(each) for each in media.ports]}
            for name, media in config.embedded_media().items()
        },
        "registration": {"wait": 0.05, "retry": 0.25, "retry_max": 1.0},
        "adoption_grace": embedded.grace,
        "min_hash": weakest_hash(config.policies),
        "timers": embedded.timers.model_dump(mode="json"),
        "limits": embedded.limits.model_dump(mode="json"),
        "certificates": embedded.certificates.model_dump(mode="json"),
        "http": embedded.http.model_dump(mode="json"),
        "workers": embedded.workers,
        "log_level": config.log.level,
    }


class EmbeddedGateway:
    """`content`: the gateway's file. `folder`: where file and record are kept; by default the runtime folder of this user.

    mid, http: its name on Iq, and where it serves its status ("ADDRESS:PORT", "" for nowhere).
    arguments: what else `pcscf gateway` is told when it is started; one that is taken over keeps what it was told.
    on_death: called in the moment in which it is found dead.
    """

    def __init__(
        self,
        content: Mapping[str, Any],
        *,
        restart: RestartPolicy,
        arguments: Sequence[str] = (),
        folder: Path | None = None,
        on_death: Callable[[], None] = lambda: None,
    ) -> None:
        self.mid = str(content["mid"])
        http = content.get("http") or {"port": 0}
        self.http = str(Endpoint(http["address"], http["port"])) if http["port"] else ""
        self._text = json.dumps(content, indent=1)
        self._restart = restart
        self._leave = float(content.get("timers", {}).get("graceful_stop", 1.0)) + PATIENCE
        self._arguments = arguments
        self._folder = folder
        self._on_death = on_death
        name = hashlib.sha256(f"{content['mid']} {content['controllers']}".encode()).hexdigest()[:16]
        self._names = f"gateway-{name}.json", f"gateway-{name}.record"
        self._process: _Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._is_stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return self._process.pid if self._process is not None and self._process.is_alive() else None

    def signal(self, number: signal.Signals) -> None:
        """To the process that runs now, if one does."""
        if self._process is not None:
            self._process.signal(number)

    async def start(self) -> None:
        """Take over the gateway that a parent before us left, or start one. Raises ConfigError when neither is possible."""
        folder = self._folder = self._folder or runtime_folder()
        file, record = (folder / name for name in self._names)
        found = _recorded(record)
        if found is not None:
            process, digest = found
            if digest == self._digest():
                log.info("gateway adopted", pid=process.pid)
                self._process = process
            else:
                log.info("gateway replaced", pid=process.pid)
                await process.end(self._leave)
        if self._process is None:
            try:
                file.touch(mode=0o600)
                file.write_text(self._text)
                self._process = await self._spawn()
            except OSError as error:
                raise ConfigError(f"the embedded gateway cannot be started: {error}") from error
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise(self._process))

    async def stop(self) -> None:
        """End the gateway and forget it."""
        self._is_stopping.set()
        if self._process is not None:
            await self._process.end(self._leave)
        if self._supervisor is not None:
            await self._supervisor
        self._process = self._supervisor = None
        if self._folder is not None:
            for name in self._names:
                (self._folder / name).unlink(missing_ok=True)

    async def _supervise(self, process: _Process) -> None:
        """Start the gateway again whenever it has died, until it is to stop."""
        loop = asyncio.get_running_loop()
        deaths = 0
        while True:
            started = loop.time()
            status = await process.wait()
            if self._is_stopping.is_set():
                return
            self._on_death()
            deaths = deaths + 1 if loop.time() - started < self._restart.at_most else 1
            pause = self._restart.pause(deaths)
            log.warning("gateway died", pid=process.pid, status=status, restart_in=pause)
            try:
                async with asyncio.timeout(pause):
                    await self._is_stopping.wait()
            except TimeoutError:
                pass
            else:
                return
            try:
                self._process = process = await self._spawn()
            except OSError as error:
                log.warning("gateway cannot be started", why=str(error))
            if self._is_stopping.is_set():
                await process.end(self._leave)

    async def _spawn(self) -> _Process:
        folder = self._folder or runtime_folder()
        file, record = (folder / name for name in self._names)
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pcscf", "gateway", str(file), *self._arguments),
            env={**os.environ, EMBEDDED_PARENT: str(os.getpid())},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # a signal of the terminal is for the parent, which ends its sessions first
        )
        born = _born(child.pid)
        if born is not None:
            record.touch(mode=0o600)
            record.write_text(json.dumps({"pid": child.pid, "born": born, "config": self._digest()}))
        log.info("gateway started", pid=child.pid)
        return _Process(child.pid, born, child)

    def _digest(self) -> str:
        return hashlib.sha256(self._text.encode()).hexdigest()


class _Process:
    """A gateway process: our child, or one that a parent before us left. `born` tells it from another with the same id."""

    def __init__(self, pid: int, born: str | None, child: asyncio.subprocess.Process | None = None) -> None:
        self.pid = pid
        self._born_at = born
        self._child = child

    async def wait(self) -> int | None:
        """Wait for its end; the exit status where it is known."""
        if self._child is not None:
            return await self._child.wait()
        while self.is_alive():  # noqa: ASYNC110 - a process that is not our child sets no event
            await asyncio.sleep(LOOK)
        return None

    async def end(self, patience: float) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(patience):
                await self.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.wait()

    def is_alive(self) -> bool:
        if self._child is not None:
            return self._child.returncode is None
        return self._born_at is not None and _born(self.pid) == self._born_at

    def signal(self, number: signal.Signals) -> None:
        if self.is_alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass


def running_gateways(base: Path) -> list[int]:
    """Process ids of the embedded gateways that run now, by the records in the runtime folders below `base`."""
    found = (_recorded(record) for record in base.glob("*/gateway-*.record"))
    return [each[0].pid for each in found if each is not None]


def _recorded(record: Path) -> tuple[_Process, str] | None:
    """The living process of a record, and the digest of its configuration."""
    try:
        told = json.loads(record.read_text())
        process, digest = _Process(int(told["pid"]), str(told["born"])), str(told["config"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (process, digest) if process.is_alive() else None


def _born(pid: int) -> str | None:
    """When a living process was started, in ticks since boot; None where it is gone, or /proc cannot tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[19] if len(fields) > 19 and fields[0] not in {"Z", "X"} else None


def runtime_folder() -> Path:
    """A folder that only this user can write. Raises ConfigError."""
    base = os.environ.get("RUNTIME_DIRECTORY") or os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(base.partition(":")[0]) / f"pcscf-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ConfigError(f"the embedded gateway needs a folder: {error}", hint="set XDG_RUNTIME_DIR") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(f"{folder} is open to others", hint=f"chmod 700 {folder}, or set XDG_RUNTIME_DIR")
    return folder


def reachable(address: str) -> str:
    """The address of a listener as a client on the same host reaches it."""
    parsed = ip_address(address)
    if not parsed.is_unspecified:
        return address
    return "::1" if parsed.version == 6 else "127.0.0.1"
