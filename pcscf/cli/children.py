"""Processes that demo and scenarios start, and end: by their own id, whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pcscf.errors import PcscfError

STOP_PATIENCE = 4.0   # seconds between SIGTERM and SIGKILL
LOG_TAIL = 5          # lines of a child's standard error that are told when it fails

Event = dict[str, Any]


class ChildFailedError(PcscfError):
    """A child ended, or stayed silent, where an event was expected."""


class Program:
    """A process of ours. What it writes goes to `log`, and the end of that into errors."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    @classmethod
    async def run(cls, name: str, command: Sequence[str], log: Path) -> Self:
        """Start `command` in the folder of `log`, where it may leave files. Raises OSError."""
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=log.parent, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        return cls(name, process, log)

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._process.returncode

    async def finish(self, patience: float) -> int:
        """Wait for its end; the exit status. Raises ChildFailedError after `patience` seconds."""
        try:
            async with asyncio.timeout(patience):
                return await self._process.wait()
        except TimeoutError:
            raise ChildFailedError(f"{self.name}: still running after {patience:g} s{self._tail()}") from None

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_PATIENCE):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    def _tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_TAIL:] if self._log.exists() else []
        return "".join(f"\n    {line}" for line in [*self._told(), *lines])

    def _told(self) -> list[str]:
        return []


class Child(Program):
    """A Python module run as a process that tells events as JSON lines on standard output.

    Its standard error goes to `log`. `events` holds all that it told so far.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        super().__init__(name, process, log)
        self.events: list[Event] = []
        self._changed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Child:
        """`python -m` with `arguments`, in our environment with `environment` over it. Raises OSError."""
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=errors, env={**os.environ, **(environment or {})},
                start_new_session=True,   # Ctrl-C is ours: we end the children in order
            )
        return cls(name, process, log)

    async def _read(self) -> None:
        output = self._process.stdout
        while output is not None and (line := await output.readline()):
            try:
                event = json.loads(line)
            except ValueError:
                continue
            async with self._changed:
                self.events.append(event)
                self._changed.notify_all()
        async with self._changed:
            self._changed.notify_all()

    def told(self, event: str, **facts: object) -> Event | None:
        """The first event of that name with these facts."""
        return next((each for each in self.events if _fits(each, event, facts)), None)

    async def expect(self, event: str, patience: float, **facts: object) -> Event:
        """Wait for an event. Raises ChildFailedError when the child ends, or `patience` seconds pass, without it."""
        try:
            async with asyncio.timeout(patience), self._changed:
                while (found := self.told(event, **facts)) is None:
                    if self._reader.done():
                        break
                    await self._changed.wait()
        except TimeoutError:
            raise ChildFailedError(f"{self.name}: no {event!r} within {patience:g} s{self._tail()}") from None
        if found is None:
            raise ChildFailedError(f"{self.name} ended before {event!r}{self._tail()}")
        return found

    async def finish(self, patience: float) -> int:
        """As for every program, and all that it told is there."""
        status = await super().finish(patience)
        await self._reader
        return status

    async def stop(self) -> None:
        await super().stop()
        await self._reader

    def _told(self) -> list[str]:
        return [f"{self.name} told: {self.events[-1]}"] if self.events else []


def _fits(event: Mapping[str, Any], name: str, facts: Mapping[str, object]) -> bool:
    return event.get("event") == name and all(event.get(key) == value for key, value in facts.items())
