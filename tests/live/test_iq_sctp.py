"""Both ends of Iq over SCTP, with each other and with sockets that say what they should not."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import pytest

from pcscf.h248.peer import AssociationPeer, ConnectionPeer
from pcscf.transport import connections, sctp
from pcscf.transport.ends import open_controller, open_gateway
from pcscf.transport.model import Kind
from tests.support.gatewaybed import on_both_loops
from tests.support.iqends import (
    GATEWAY,
    HERE,
    End,
    carries_messages_both_ways,
    is_broken_and_made_again,
    opened,
    pending,
)

pytestmark = pytest.mark.sctp

SCTP_SNDINFO = 2
SCTP_NODELAY, SCTP_MAXSEG, SCTP_PARTIAL_DELIVERY_POINT = 3, 13, 19


def long(number: int, octets: int) -> bytes:
    """The same with white space behind it up to that length, and nothing that repeats at the length of a packet."""
    filler = "".join(f"{count:>7}\n" for count in range(octets // 8 + 1))
    comment = f"\n;{filler[1:]}".replace("\n", "\n;").encode()
    return pending(number) + comment[: octets - len(pending(number)) - 1] + b"\n"


def controller(*kinds: Kind, host: str = HERE, port: int = 0) -> AbstractAsyncContextManager[End]:
    end = End()
    return opened(end, open_controller(kinds or ("sctp",), (host, port), end.upward))


def gateway(kind: Kind = "sctp", host: str = HERE) -> AbstractAsyncContextManager[End]:
    end = End()
    return opened(end, open_gateway(kind, (host, 0), end.upward))


@contextmanager
def stranger(there: End) -> Iterator[socket.socket]:
    """A bare association, connected. What it sends says nothing of its protocol."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, sctp.IPPROTO_SCTP) as bare:
        bare.settimeout(5)
        bare.connect(there.transport.address)
        yield bare


def say(bare: socket.socket, message: bytes, *, protocol: int = 7, stream: int = 0) -> None:
    told = struct.pack("=HH4sIi", stream, 0, protocol.to_bytes(4, "big"), 0, 0)
    bare.sendmsg([message], [(sctp.IPPROTO_SCTP, SCTP_SNDINFO, told)])


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def ended(bare: socket.socket) -> bool:
    """Whether the other end aborts the association."""
    try:
        return await asyncio.to_thread(bare.recv, 65536) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("host", [HERE, "::1"])
@on_both_loops
async def test_messages_both_ways_over_one_association(host: str) -> None:
    async with controller(host=host) as there, gateway(host=host) as here:
        back = await carries_messages_both_ways(there, here, AssociationPeer)
        assert back != ConnectionPeer(*here.transport.address)


@on_both_loops
async def test_long_messages_come_whole_and_in_order_both_ways() -> None:
    async with controller() as there, gateway() as here:
        peer = here.transport.peer(*there.transport.address)
        sizes = (65_531, 40, 40_000, 1_400, 65_531, 65_530, 1_500, 65_531)
        wanted = [long(number, octets) for number, octets in enumerate(sizes)]
        assert tuple(map(len, wanted)) == sizes
        for message in wanted:
            here.transport.send(message, peer)
        assert [(await there.message())[0] for _ in sizes] == wanted
        back = AssociationPeer(*here.transport.address)
        for message in wanted:
            there.transport.send(message, back)
        assert [(await here.message())[0] for _ in sizes] == wanted


@on_both_loops
async def test_a_message_in_pieces_is_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel delivers as soon as 2000 octets are there, of messages that come in chunks of 1200 (partial delivery)."""
    pieces = []
    take = sctp.Association._take_untrusted

    def count(self: sctp.Association, piece: bytes, control: list[tuple[int, int, bytes]], *, is_last: bool) -> None:
        pieces.append(len(piece))
        take(self, piece, control, is_last=is_last)

    monkeypatch.setattr(sctp.Association, "_take_untrusted", count)
    async with controller() as there:
        there.transport._socket.setsockopt(  # type: ignore[attr-defined]
            sctp.IPPROTO_SCTP, SCTP_PARTIAL_DELIVERY_POINT, struct.pack("I", 2000))
        with stranger(there) as bare:
            bare.setsockopt(sctp.IPPROTO_SCTP, SCTP_MAXSEG, struct.pack("iI", 0, 1200))
            wanted = [long(number, octets) for number, octets in enumerate((65_531, 100, 30_000, 65_531))]
            for message in wanted:
                await asyncio.to_thread(say, bare, message)
            assert [(await there.message())[0] for _ in wanted] == wanted
            assert len(pieces) > len(wanted)
            assert sum(pieces) == sum(map(len, wanted))
            await asyncio.to_thread(say, bare, long(1, 65_532))
            assert await there.why_lost() == "a message of more than 65531 octets"


@pytest.mark.parametrize("second", [(1, 0), (0, 1)], ids=["of another stream", "of another message"])
async def test_a_piece_of_another_message_ends_the_association(second: tuple[int, int]) -> None:
    """What a sender gives up half way (RFC 3758) is not put together with what comes next."""
    async with controller() as there:
        with stranger(there) as bare:
            say(bare, pending(1))
            await there.message()
            [association] = there.transport._connections.values()  # type: ignore[attr-defined]
            for place in ((0, 0), second):
                told = sctp._SCTP_RCVINFO.pack(*place, 0, (7).to_bytes(4, "big"), 0, 0, 0, 0)
                association._take_untrusted(b"!/2 ", [(sctp.IPPROTO_SCTP, sctp._RCVINFO, told)], is_last=False)
            assert await there.why_lost() == "a message whose end did not come"
            assert await ended(bare)


@on_both_loops
async def test_a_message_that_is_too_long_ends_the_association() -> None:
    async with controller() as there:
        with stranger(there) as bare:
            await asyncio.to_thread(say, bare, long(1, 65_531))
            assert (await there.message())[0] == long(1, 65_531)
            await asyncio.to_thread(say, bare, long(2, 65_532))
            assert await there.why_lost() == "a message of more than 65531 octets"
            assert await ended(bare)
        assert there.messages.empty()


@on_both_loops
async def test_what_is_said_to_be_h248_or_nothing_counts() -> None:
    async with controller() as there:
        with stranger(there) as bare:
            for number, protocol in enumerate((7, 0, 7 << 24)):
                say(bare, pending(number), protocol=protocol, stream=number)   # any stream is listened to
                assert (await there.message())[0] == pending(number)
            say(bare, pending(3), protocol=3)
            assert await there.why_lost() == "a payload of protocol 3, not H.248 (7)"
            assert await ended(bare)
        assert there.messages.empty()


@on_both_loops
async def test_an_association_is_of_one_entity() -> None:
    async with controller() as there:
        with stranger(there) as bare:
            for message in (pending(1), b"what is this", pending(2, GATEWAY.lower()), pending(3, "agw/1")):
                say(bare, message)
            assert [(await there.message())[0] for _ in range(3)] == [pending(1), b"what is this", pending(2)]
            assert await there.why_lost() == f"a message of agw/1 on the connection of {GATEWAY}"
            assert await ended(bare)


@on_both_loops
async def test_a_broken_association_is_told_and_the_next_message_makes_another() -> None:
    async with controller() as there, gateway() as here:
        await is_broken_and_made_again(there, here)


@on_both_loops
async def test_who_is_disconnected_hears_why() -> None:
    async with controller() as there, gateway() as here:
        here.transport.send(pending(1), here.transport.peer(*there.transport.address))
        _, peer = await there.message()
        there.transport.send(b"!/2 [127.0.0.1]:2944\nER=402{}", peer)
        there.transport.disconnect(peer)
        assert (await here.message())[0] == b"!/2 [127.0.0.1]:2944\nER=402{}"
        assert await here.why_lost() == "the other end closed the connection"


@on_both_loops
async def test_whoever_closes_has_said_everything() -> None:
    async with controller() as there, gateway() as here:
        peer = here.transport.peer(*there.transport.address)
        here.transport.send(pending(0), peer)
        await there.message()
        wanted = [long(number, 60_000) for number in range(1, 13)]
        for message in wanted:
            here.transport.send(message, peer)   # more than the kernel takes at once
        here.transport.close()
        here.transport.send(pending(99), peer)
        assert [(await there.message())[0] for _ in wanted] == wanted
        assert await there.why_lost() == "the other end closed the connection"
        assert there.messages.empty()


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
async def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address of the loopback network behind which there is nothing: the kernel sends INIT into the void."""
    monkeypatch.setattr(connections, "CONNECT", 0.3)
    before = open_files()
    async with gateway() as here:
        here.transport.send(pending(1), here.transport.peer("240.0.0.1", 2944))
        assert "no connection" in await here.why_lost()
        assert open_files() == before, "its socket is closed"


@on_both_loops
async def test_silent_ones_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "FIRST_MESSAGE", 0.2)
    async with controller() as there, gateway() as here:
        here.transport.send(pending(1), here.transport.peer(*there.transport.address))
        await there.message()
        with stranger(there) as bare:
            assert await there.why_lost() == "nothing was said in 0.2 s"
            assert await ended(bare)
        here.transport.send(pending(2), here.transport.peer(*there.transport.address))
        assert (await there.message())[0] == pending(2), "who said something stays"


@pytest.mark.parametrize("limit", ["MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_HOST"])
@on_both_loops
async def test_there_are_only_so_many(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, limit, 2)
    async with controller() as there:
        with stranger(there) as one, stranger(there) as two:
            for bare in (one, two):
                say(bare, pending(1))
            assert [(await there.message())[0] for _ in range(2)] == [pending(1)] * 2
            with stranger(there) as three:
                assert await ended(three)


@on_both_loops
async def test_who_does_not_read_is_ended() -> None:
    async with controller() as there:
        with stranger(there) as slow:
            say(slow, pending(1))
            _, peer = await there.message()
            for _ in range(100):
                there.transport.send(b"!/2 a PN=1{}".ljust(60_000), peer)
                if not there.lost.empty():
                    break
                await asyncio.sleep(0)
            assert await there.why_lost() == "the other end does not read"


@on_both_loops
async def test_who_is_gone_before_the_association_stands() -> None:
    async with controller() as there:
        for _ in range(20):
            with stranger(there) as hasty:
                hasty.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))   # ends with ABORT
        async with gateway() as here:
            here.transport.send(pending(1), here.transport.peer(*there.transport.address))
            assert (await there.message())[0] == pending(1)


@on_both_loops
async def test_both_on_one_port() -> None:
    async with controller("udp", "sctp") as there, gateway() as here, gateway("udp") as other:
        here.transport.send(pending(1), here.transport.peer(*there.transport.address))
        _, connected = await there.message()
        other.transport.send(pending(2), there.transport.address)
        _, datagrams = await there.message()
        assert (type(connected), type(datagrams)) == (AssociationPeer, tuple)
        for number, peer in enumerate((connected, datagrams)):
            there.transport.send(pending(number, "[127.0.0.1]:2944"), peer)
        assert (await here.message())[0] == pending(0, "[127.0.0.1]:2944")
        assert (await other.message())[0] == pending(1, "[127.0.0.1]:2944")


@on_both_loops
async def test_a_port_that_is_taken() -> None:
    async with controller() as there:
        with pytest.raises(OSError, match="in use") as caught:
            await open_controller(("sctp",), there.transport.address, End().upward)
        assert caught.value.errno == errno.EADDRINUSE


@on_both_loops
async def test_the_kernel_does_as_it_was_told() -> None:
    """Both ends: without delay, and with the bounds of retransmission."""
    async with controller() as there, gateway() as here:
        here.transport.send(pending(1), here.transport.peer(*there.transport.address))
        await there.message()
        for end in (there, here):
            [association] = end.transport._connections.values()  # type: ignore[attr-defined]
            own = association._socket
            assert struct.unpack("i", own.getsockopt(sctp.IPPROTO_SCTP, SCTP_NODELAY, 4)) == (1,)
            told = sctp._SCTP_ASSOCPARAMS.unpack(own.getsockopt(sctp.IPPROTO_SCTP, sctp._ASSOCINFO, sctp._SCTP_ASSOCPARAMS.size))
            assert told[1] == sctp.MAX_RETRANSMISSIONS
            size = sctp._SCTP_PADDRPARAMS.size
            assert sctp._SCTP_PADDRPARAMS.unpack(own.getsockopt(sctp.IPPROTO_SCTP, sctp._PEER_ADDR_PARAMS, size))[3] == 2
