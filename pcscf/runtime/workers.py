"""Several gateways of one host under one command: started, started again when they die, and ended together."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pcscf.runtime.embedded import EmbeddedGateway, RestartPolicy


async def run_workers(contents: Sequence[Mapping[str, Any]], arguments: Sequence[str] = (), folder: Path | None = None) -> None:
    """Runs a gateway process for each file in `contents` until it is cancelled; SIGHUP goes on to all of them.

    Killed, it leaves its workers to the next one that is started with the same files. arguments, folder: see `EmbeddedGateway`.
    Raises ConfigError.
    """
    workers = [
        EmbeddedGateway(content, restart=RestartPolicy(), arguments=arguments, folder=folder) for content in contents
    ]

    def renew() -> None:
        for each in workers:
            each.renew()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, renew)
    try:
        for each in workers:
            await each.start()
        await asyncio.Event().wait()
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        await asyncio.gather(*(each.stop() for each in workers))
