"""The two ends of Iq over connections, bare: what each of them was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from pcscf.h248.peer import Peer
from pcscf.transport.model import Transport, Upward

HERE = "127.0.0.1"
GATEWAY = "[127.0.0.1]:2945"


def pending(number: int, mid: str = GATEWAY) -> bytes:
    return f"!/2 {mid}\nPN={number}{{}}".encode()


class End:
    """One end, with what it was told: messages with their peers, and connections that ended, with the reason."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[tuple[bytes, Peer]] = asyncio.Queue()
        self.lost: asyncio.Queue[tuple[Peer, str]] = asyncio.Queue()
        self.upward = Upward(
            lambda message, peer: self.messages.put_nowait((message, peer)), lambda peer, why: self.lost.put_nowait((peer, why))
        )
        self.transport: Transport

    async def message(self) -> tuple[bytes, Peer]:
        async with asyncio.timeout(10):
            return await self.messages.get()

    async def why_lost(self) -> str:
        async with asyncio.timeout(10):
            return (await self.lost.get())[1]


@asynccontextmanager
async def opened(end: End, transport: Awaitable[Transport]) -> AsyncIterator[End]:
    """`end` with its transport, until it is left."""
    end.transport = await transport
    try:
        yield end
    finally:
        end.transport.close()
        await asyncio.sleep(0.02)
