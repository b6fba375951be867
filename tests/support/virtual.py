"""An event loop on virtual time: nothing waits, the clock jumps to the next timer, and datagrams stay in memory."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

LATENCY = 0.005
Address = tuple[str, int]


class Stuck(AssertionError):
    """Every task waits and no timer is armed: what the test waits for can never come."""


class _Jump(selectors.SelectSelector):
    """A selector without patience: where the loop would sleep, the clock moves on by as much."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Stuck("every task waits and no timer is armed")
            self.clock += max(timeout, 0.0)
        return ready


class MemoryDatagrams(asyncio.DatagramTransport):
    """A datagram socket of a `VirtualLoop`."""

    def __init__(self, loop: VirtualLoop, protocol: asyncio.DatagramProtocol, address: Address) -> None:
        super().__init__({"sockname": address, "socket": _NoSocket()})
        self._loop = loop
        self.protocol = protocol
        self.address = address

    def sendto(self, data: Any, addr: Any = None) -> None:
        for copies in range(self._loop.copies(self.address, addr, bytes(data))):
            self._loop.call_later(LATENCY * (copies + 1), self._arrive, bytes(data), addr)

    def _arrive(self, data: bytes, addr: Address) -> None:
        receiver = self._loop.datagrams.get(addr)
        if receiver is not None:
            receiver.protocol.datagram_received(data, self.address)

    def is_closing(self) -> bool:
        return self._loop.datagrams.get(self.address) is not self

    def close(self) -> None:
        self._loop.datagrams.pop(self.address, None)


class _NoSocket:
    def setsockopt(self, *_: Any) -> None:
        """Memory has no buffers to size."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """`copies` says how often a datagram arrives: 0 loses it, 2 doubles it."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self.datagrams: dict[Address, MemoryDatagrams] = {}
        self.copies: Callable[[Address, Address, bytes], int] = lambda _sender, _receiver, _data: 1

    def time(self) -> float:
        return self._jump.clock

    async def create_datagram_endpoint(self, protocol_factory: Any, local_addr: Any = None, **_: Any) -> Any:
        host, port = local_addr
        while port == 0 or (host, port) in self.datagrams:
            port = 40_000 + len(self.datagrams)
        protocol = protocol_factory()
        transport = self.datagrams[host, port] = MemoryDatagrams(self, protocol, (host, port))
        protocol.connection_made(transport)
        return transport, protocol


def run_virtually(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `story()` to its end on a virtual clock that starts at 0."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(story())


def virtual_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop
