"""TCP connections to addresses in digits: made, refused, not answered, given up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pcscf.transport.dialling import connect
from tests.support.gatewaybed import on_both_loops


@contextmanager
def dialled(family: int = socket.AF_INET) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_STREAM) as made:
        made.setblocking(False)
        yield made


@contextmanager
def silent() -> Iterator[tuple[str, int]]:
    """An address where no more connections are answered: the listener's backlog is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as waiting:
        for _ in range(4):
            one = waiting.enter_context(dialled())
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()


def is_watched(loop: asyncio.AbstractEventLoop, one: socket.socket) -> bool:
    return loop.remove_writer(one)


@on_both_loops
@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
async def test_a_connection(family: int, address: str) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server((address, 0), family=family) as listener, dialled(family) as one:
        port = listener.getsockname()[1]
        await connect(one, (address, port))
        accepted, source = listener.accept()
        with accepted:
            assert source[:2] == one.getsockname()[:2]
        assert not is_watched(loop, one)


@on_both_loops
async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with dialled() as one, pytest.raises(ConnectionRefusedError):
        await connect(one, address)


@on_both_loops
async def test_nobody_answers() -> None:
    loop = asyncio.get_running_loop()
    with silent() as address, dialled() as one:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await connect(one, address)
        assert not is_watched(loop, one)


@on_both_loops
async def test_it_is_given_up() -> None:
    loop = asyncio.get_running_loop()
    with silent() as address, dialled() as one:
        task = asyncio.ensure_future(connect(one, address))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_watched(loop, one)


async def test_an_address_of_another_family() -> None:
    with dialled() as one, pytest.raises(socket.gaierror):
        await connect(one, ("::1", 9))
