"""Connects a socket, of TCP or SCTP, to an address in digits.

The event loop could do it. But it would look the address up for TCP alone, and uvloop has a thread do that, also for one that
is no name: that costs a session that begins more than its signatures.
"""

from __future__ import annotations

import asyncio
import os
import socket
from errno import EINPROGRESS


async def connect(dialled: socket.socket, remote: tuple[str, int]) -> None:
    """`dialled`: does not block. How long it may take is the caller's to say. Raises OSError as connect(2) has it."""
    status = dialled.connect_ex(remote)
    if status == EINPROGRESS:
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()
        loop.add_writer(dialled, _settle, answered)
        try:
            await answered
        finally:
            loop.remove_writer(dialled)
        status = dialled.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if status:
        raise OSError(status, os.strerror(status))


def _settle(answered: asyncio.Future[None]) -> None:
    if not answered.done():
        answered.set_result(None)
