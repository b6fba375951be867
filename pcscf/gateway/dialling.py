"""Makes a TCP connection to an address in digits.

The event loop could do it. But uvloop has a thread look up every address, also one that is no name, and that costs a session that
begins more than its signatures.
"""

from __future__ import annotations

import asyncio
import os
import socket
from errno import EINPROGRESS

from pcscf.gateway.model import Address


async def connect(loop: asyncio.AbstractEventLoop, dialled: socket.socket, remote: Address, patience: float) -> None:
    """`dialled`: does not block. Raises OSError as connect(2) has it, TimeoutError when nobody answers for `patience` seconds."""
    status = dialled.connect_ex(remote)
    if status == EINPROGRESS:
        answered: asyncio.Future[bool] = loop.create_future()
        loop.add_writer(dialled, _settle, answered, True)
        overdue = loop.call_later(patience, _settle, answered, False)
        try:
            if not await answered:
                raise TimeoutError
        finally:
            overdue.cancel()
            loop.remove_writer(dialled)
        status = dialled.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if status:
        raise OSError(status, os.strerror(status))


def _settle(answered: asyncio.Future[bool], how: bool) -> None:
    if not answered.done():
        answered.set_result(how)
