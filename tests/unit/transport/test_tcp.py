"""Both ends of Iq over TCP and TLS, with each other and with sockets that say what they should not."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pcscf.errors import ConfigError
from pcscf.h248.peer import ConnectionPeer
from pcscf.h248.tpkt import packet
from pcscf.transport import connections, tcp
from pcscf.transport.certificates import client_context
from pcscf.transport.ends import open_controller, open_gateway
from pcscf.transport.model import Kind, TlsFiles
from tests.support.gatewaybed import on_both_loops
from tests.support.iqcertificates import Authority, fingerprint
from tests.support.iqends import (
    GATEWAY,
    HERE,
    End,
    carries_messages_both_ways,
    is_broken_and_made_again,
    opened,
    pending,
)


def controller(tls: TlsFiles | None = None, *, port: int = 0) -> AbstractAsyncContextManager[End]:
    end = End()
    return opened(end, open_controller(("tls",) if tls else ("tcp",), (HERE, port), end.upward, tls))


def gateway(tls: TlsFiles | None = None) -> AbstractAsyncContextManager[End]:
    end = End()
    return opened(end, open_gateway("tls" if tls else "tcp", (HERE, 0), end.upward, tls))


@on_both_loops
async def test_messages_both_ways_over_one_connection() -> None:
    async with controller() as there, gateway() as here:
        await carries_messages_both_ways(there, here, ConnectionPeer)


@on_both_loops
async def test_a_broken_connection_is_told_and_the_next_message_makes_another() -> None:
    async with controller() as there, gateway() as here:
        await is_broken_and_made_again(there, here)


@on_both_loops
async def test_nobody_listens() -> None:
    async with controller() as there:
        address = there.transport.address
    async with gateway() as here:
        here.transport.send(pending(1), here.transport.peer(*address))
        assert "refused" in (await here.why_lost()).lower()
        async with controller(port=address[1]) as there:
            here.transport.send(pending(2), here.transport.peer(*address))
            assert (await there.message())[0] == pending(2), "what was sent in vain is not sent later"


@on_both_loops
async def test_what_is_no_tpkt_ends_the_connection() -> None:
    async with controller() as there:
        reader, writer = await asyncio.open_connection(*there.transport.address)
        writer.write(packet(pending(1)) + b"!/2 [127.0.0.1]:2945\nPN=2{}")
        assert (await there.message())[0] == pending(1)
        assert await there.why_lost() == "no TPKT: version 33 of TPKT"
        assert await ended(reader)
        writer.close()


@on_both_loops
async def test_a_connection_is_of_one_entity() -> None:
    async with controller() as there:
        reader, writer = await asyncio.open_connection(*there.transport.address)
        for message in (pending(1), b"what is this", pending(2, GATEWAY.lower()), pending(3, "agw/1")):
            writer.write(packet(message))
        assert [(await there.message())[0] for _ in range(3)] == [pending(1), b"what is this", pending(2)]
        assert await there.why_lost() == f"a message of agw/1 on the connection of {GATEWAY}"
        assert await ended(reader)
        writer.close()


@on_both_loops
async def test_silent_ones_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "FIRST_MESSAGE", 0.2)
    async with controller() as there, gateway() as here:
        here.transport.send(pending(1), here.transport.peer(*there.transport.address))
        await there.message()
        reader, writer = await asyncio.open_connection(*there.transport.address)
        assert await there.why_lost() == "nothing was said in 0.2 s"
        assert await ended(reader)
        writer.close()
        here.transport.send(pending(2), here.transport.peer(*there.transport.address))
        assert (await there.message())[0] == pending(2), "who said something stays"


@pytest.mark.parametrize("limit", ["MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_HOST"])
@on_both_loops
async def test_there_are_only_so_many(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, limit, 2)
    async with controller() as there:
        opened = [await asyncio.open_connection(*there.transport.address) for _ in range(3)]
        for _, writer in opened[:2]:
            writer.write(packet(pending(1)))
        assert [(await there.message())[0] for _ in range(2)] == [pending(1)] * 2
        assert await ended(opened[2][0])
        for _, writer in opened:
            writer.close()


@on_both_loops
async def test_handshakes_that_never_end_count_and_end(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(tcp, "HANDSHAKE", 0.5)
    async with controller(authority.issue(HERE)) as there, gateway(authority.issue(HERE)) as here:
        opened = [await asyncio.open_connection(*there.transport.address) for _ in range(3)]
        assert await ended(opened[2][0])
        here.transport.send(pending(1), here.transport.peer(*there.transport.address))
        assert await here.why_lost()
        assert await ended(opened[0][0])
        assert await ended(opened[1][0])
        here.transport.send(pending(2), here.transport.peer(*there.transport.address))
        assert (await there.message())[0] == pending(2)
        for _, writer in opened:
            writer.close()


@on_both_loops
async def test_who_does_not_read_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "WRITE_BUFFER", 65536)
    async with controller() as there:
        slow = socket.create_connection(there.transport.address)
        slow.sendall(packet(pending(1)))
        _, peer = await there.message()
        for _ in range(2000):
            there.transport.send(b"!/2 a PN=1{}".ljust(60_000), peer)
            if not there.lost.empty():
                break
            await asyncio.sleep(0)
        assert "does not read" in await there.why_lost()
        slow.close()


@on_both_loops
async def test_who_is_gone_before_the_connection_stands() -> None:
    async with controller() as there:
        for _ in range(20):
            with socket.create_connection(there.transport.address) as hasty:
                hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))   # closed with RST
        async with gateway() as here:
            here.transport.send(pending(1), here.transport.peer(*there.transport.address))
            assert (await there.message())[0] == pending(1)


@on_both_loops
async def test_both_on_one_port() -> None:
    end = End()
    end.transport = await open_controller(("udp", "tcp"), (HERE, 0), end.upward)
    async with gateway() as here:
        here.transport.send(pending(1), here.transport.peer(*end.transport.address))
        _, connected = await end.message()
        other = End()
        other.transport = await open_gateway("udp", (HERE, 0), other.upward)
        other.transport.send(pending(2), end.transport.address)
        _, datagrams = await end.message()
        assert (isinstance(connected, ConnectionPeer), isinstance(datagrams, ConnectionPeer)) == (True, False)
        for number, peer in enumerate((connected, datagrams)):
            end.transport.send(pending(number, "[127.0.0.1]:2944"), peer)
        assert (await here.message())[0] == pending(0, "[127.0.0.1]:2944")
        assert (await other.message())[0] == pending(1, "[127.0.0.1]:2944")
        other.transport.close()
        end.transport.close()
        await asyncio.sleep(0.02)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@on_both_loops
async def test_tls_with_a_certificate_on_both_ends(authority: Authority) -> None:
    async with controller(authority.issue(HERE)) as there, gateway(authority.issue(HERE)) as here:
        here.transport.send(pending(1), here.transport.peer(*there.transport.address))
        message, peer = await there.message()
        there.transport.send(pending(2, "[127.0.0.1]:2944"), peer)
        assert (message, (await here.message())[0]) == (pending(1), pending(2, "[127.0.0.1]:2944"))


Ends = Callable[[Authority, Authority], tuple[TlsFiles, TlsFiles]]
"""(ours, somebody else's) -> files of the controller and of the gateway."""


def foreign(ours: Authority, other: Authority) -> TlsFiles:
    """Trusts ours, and shows a certificate of the other."""
    return replace(other.issue(HERE), ca=ours.file)


@pytest.mark.parametrize(
    "ends",
    [
        pytest.param(lambda ours, other: (ours.issue(HERE), foreign(ours, other)), id="gateway of another CA"),
        pytest.param(lambda ours, other: (foreign(ours, other), ours.issue(HERE)), id="controller of another CA"),
        pytest.param(lambda ours, _: (ours.issue("192.0.2.1"), ours.issue(HERE)), id="controller of another address"),
        pytest.param(lambda ours, _: (ours.issue(HERE), ours.issue("192.0.2.1")), id="gateway of another mId"),
        pytest.param(lambda ours, _: (ours.issue(HERE), ours.issue()), id="gateway without a name"),
        pytest.param(
            lambda ours, _: (ours.issue(HERE), ours.issue(HERE, valid=timedelta(days=-1))), id="gateway whose time is over"
        ),
        pytest.param(
            lambda ours, _: (ours.issue(HERE, **{GATEWAY: fingerprint(ours.issue(HERE))}), ours.issue(HERE)),
            id="gateway that is pinned to another certificate",
        ),
    ],
)  # fmt: skip
@on_both_loops
async def test_no_message_passes(ends: Ends, authority: Authority, tmp_path: Path) -> None:
    there_files, here_files = ends(authority, Authority(tmp_path, "other"))
    async with controller(there_files) as there, gateway(here_files) as here:
        here.transport.send(pending(1), here.transport.peer(*there.transport.address))
        assert await here.why_lost()
        assert there.messages.empty()


@on_both_loops
async def test_a_pinned_gateway_with_a_device_name(authority: Authority) -> None:
    here_files = authority.issue()
    async with controller(authority.issue(HERE, **{"agw/1": fingerprint(here_files)})) as there, gateway(here_files) as here:
        here.transport.send(pending(1, "AGW/1"), here.transport.peer(*there.transport.address))
        assert (await there.message())[0] == pending(1, "AGW/1")


@on_both_loops
async def test_the_name_of_another_behind_much_white_space(authority: Authority) -> None:
    async with controller(authority.issue(HERE)) as there, gateway(authority.issue(HERE)) as here:
        for hidden in (b" " * 5000, b"; ".ljust(5000, b"x") + b"\n", b"\n" * 300):
            here.transport.send(hidden + pending(1, "[192.0.2.1]:2945"), here.transport.peer(*there.transport.address))
            assert await there.why_lost() == "a message of [192.0.2.1]:2945, for which the certificate does not speak"
            assert await here.why_lost()
        assert there.messages.empty()


@on_both_loops
async def test_beside_tls_datagrams_come_from_one_host_alone(authority: Authority) -> None:
    for only, passes in ((HERE, True), ("127.0.0.2", False)):
        there, other = End(), End()
        kinds: tuple[Kind, ...] = ("udp", "tls")
        there.transport = await open_controller(kinds, (HERE, 0), there.upward, authority.issue(HERE), datagrams_from=only)
        other.transport = await open_gateway("udp", (HERE, 0), other.upward)
        other.transport.send(pending(1), there.transport.address)
        async with gateway(authority.issue(HERE)) as here:
            await asyncio.sleep(0.05)
            here.transport.send(pending(2), here.transport.peer(*there.transport.address))
            assert (await there.message())[0] == pending(1 if passes else 2)
        other.transport.close()
        there.transport.close()
        await asyncio.sleep(0.02)


@on_both_loops
async def test_the_name_of_another_on_a_secured_connection(authority: Authority) -> None:
    async with controller(authority.issue(HERE)) as there, gateway(authority.issue(HERE)) as here:
        peer = here.transport.peer(*there.transport.address)
        here.transport.send(pending(1, "[192.0.2.1]:2945"), peer)
        assert await there.why_lost() == "a message of [192.0.2.1]:2945, for which the certificate does not speak"
        assert await here.why_lost()
        assert there.messages.empty()


def plain(context: ssl.SSLContext) -> None:
    """No client certificate, and none of the server's is looked at."""
    context.verify_mode = ssl.CERT_NONE


def old(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@on_both_loops
async def test_without_a_certificate_with_old_tls_or_without_tls_nothing_passes(authority: Authority) -> None:
    async with controller(authority.issue(HERE)) as there:
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        bare.check_hostname = False
        plain(bare)
        ancient = client_context(authority.issue(HERE))
        old(ancient)
        for context in (bare, ancient, None):
            try:
                reader, writer = await asyncio.open_connection(*there.transport.address, ssl=context)
                writer.write(packet(pending(1)))
                assert await ended(reader)
                writer.close()
            except OSError:
                continue
        assert there.messages.empty()


async def test_tls_is_never_taken_for_tcp(authority: Authority) -> None:
    upward = End().upward
    for opening in (open_controller(("tls",), (HERE, 0), upward), open_gateway("tls", (HERE, 0), upward)):
        with pytest.raises(ConfigError, match="needs certificates"):
            await opening
    with pytest.raises(ConfigError, match="TCP and TLS on one port"):
        await open_controller(("tcp", "tls"), (HERE, 0), upward, authority.issue(HERE))


async def test_a_port_that_is_taken() -> None:
    async with controller() as there:
        for opening in (controller(port=there.transport.address[1]), _both(there.transport.address[1])):
            with pytest.raises(OSError, match="in use"):
                await opening.__aenter__()


@asynccontextmanager
async def _both(port: int) -> AsyncIterator[None]:
    await open_controller(("udp", "tcp"), (HERE, port), End().upward)
    yield


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the other end ends the connection; what it said before is passed over."""
    async with asyncio.timeout(5):
        try:
            await reader.read()
        except ConnectionError:
            return True
    return reader.at_eof()


