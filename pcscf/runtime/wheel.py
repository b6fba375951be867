"""Deadlines to the second for what is rarely reached: no timer object per message, one tick per second for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Wheel:
    """Calls back at least `delay` and at most `delay` + 1 seconds later. What is due and no longer matters must see so itself."""

    def __init__(self) -> None:
        self._slots: dict[int, list[Callable[[], None]]] = {}
        self._last = 0
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._last = int(asyncio.get_running_loop().time())
        self._arm()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._slots.clear()

    def later(self, delay: float, call: Callable[[], None]) -> None:
        due = int(asyncio.get_running_loop().time() + delay) + 1
        self._slots.setdefault(due, []).append(call)

    def _arm(self) -> None:
        self._handle = asyncio.get_running_loop().call_at(self._last + 1, self._tick)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = int(loop.time())
        for second in range(self._last + 1, now + 1):
            for call in self._slots.pop(second, ()):
                loop.call_soon(call)   # each on its own: what one of them raises must not stop the wheel
        self._last = max(now, self._last)
        self._arm()
