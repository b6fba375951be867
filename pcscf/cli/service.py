"""Runs a long-lived coroutine as a process: SIGTERM and SIGINT end it cleanly."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

COLLECTIONS: Final = (100_000, 1_000_000, 1_000_000)
"""Thresholds of the cyclic collector. A call leaves no cycles behind, and what errors leave dies young. What is kept (sessions,
transactions, contexts) is much: looking through it all would stop everything for as long. So what is new is looked through once.
"""


def serve(main: Coroutine[Any, Any, None]) -> None:
    """Runs `main` until it ends or a signal cancels it; it may take its time to finish. A second signal insists."""
    _collect_seldom()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_until_signal(main))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed, the standard library's loop elsewhere (None)."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _collect_seldom() -> None:
    """Leaves the program itself out of every collection from now on, and what lives long out of most."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)


async def _until_signal(main: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    asked = False

    def stop() -> None:
        nonlocal asked
        asked = True
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not asked:
            raise
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
