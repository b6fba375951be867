"""The two ends of Iq over connections, bare: what each of them was told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from pcscf.h248.peer import ConnectionPeer, Peer
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


async def is_broken_and_made_again(there: End, here: End) -> None:
    """Each side ends the connection once: the other learns it, and the next message makes another."""
    peer = here.transport.peer(*there.transport.address)
    here.transport.send(pending(1), peer)
    _, first = await there.message()
    there.transport.disconnect(first)
    assert "the other end closed" in await here.why_lost()
    assert there.lost.empty(), "who ends it knows"
    there.transport.send(pending(9), first)
    here.transport.send(pending(2), peer)
    message, second = await there.message()
    assert (message, second != first) == (pending(2), True)
    here.transport.disconnect(peer)
    assert "the other end closed" in await there.why_lost()
    assert here.lost.empty()


async def carries_messages_both_ways(there: End, here: End, kind: type[ConnectionPeer]) -> Peer:
    """Three messages one way, one the other; the peer by which the gateway is known."""
    peer = here.transport.peer(*there.transport.address)
    for number in range(3):
        here.transport.send(pending(number), peer)
    came = [await there.message() for _ in range(3)]
    assert [message for message, _ in came] == [pending(number) for number in range(3)]
    [back] = {peer for _, peer in came}
    assert back == kind(*here.transport.address)
    there.transport.send(b"!/2 [127.0.0.1]:2944\nPN=7{}", back)
    assert await here.message() == (b"!/2 [127.0.0.1]:2944\nPN=7{}", peer)
    return back
