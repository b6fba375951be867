"""A running gateway driven over Iq, with plain TCP and TLS peers on the loopback: what passes, what waits, what is reported."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

import pytest
from OpenSSL import SSL

from pcscf.gateway.cause import Cause
from pcscf.gateway.certificate import Fingerprint, Identity
from pcscf.gateway.config import GatewayLimits
from pcscf.gateway.connection import READ_SIZE
from pcscf.gateway.endpoint import Endpoint, PeerClosed, PlainEndpoint, TlsContext, TlsEndpoint, TlsRole
from tests.support.gatewaybed import (
    FAST,
    Bench,
    Local,
    add,
    bench,
    modify,
    new_identity,
    on_both_loops,
    sdp,
)

UE = new_identity("ue")
STRANGER = new_identity("stranger")
UE_PRINT = str(UE.fingerprint("sha-256"))
CORE_WORDS = b"MSRP from the core"
UE_WORDS = b"MSRP from the ue"


class Peer:
    """A far end over streams: plain, or TLS with an identity of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, endpoint: Endpoint) -> None:
        self.reader, self.writer, self.endpoint = reader, writer, endpoint
        self.got = b""

    def flush(self) -> None:
        data = self.endpoint.take_network()
        if data:
            self.writer.write(data)

    async def pump(self) -> bool:
        """One read from the network; False at its end."""
        self.flush()
        data = await self.reader.read(65536)
        if not data:
            return False
        self.endpoint.receive_data(data)
        self.flush()
        self.got += self.endpoint.take_plain()
        return True

    async def handshake(self) -> None:
        async with asyncio.timeout(5):
            while not self.endpoint.established and await self.pump():
                pass
        assert self.endpoint.established, self.endpoint.events

    def send(self, data: bytes) -> None:
        self.endpoint.send(data)
        self.flush()

    async def read(self, size: int, *, within: float = 10) -> bytes:
        async with asyncio.timeout(within):
            while len(self.got) < size and await self.pump():
                pass
        taken, self.got = self.got[:size], self.got[size:]
        return taken

    async def read_to_end(self) -> bytes:
        """All until the FIN, with or without a close_notify before it."""
        async with asyncio.timeout(10):
            while await self.pump():
                pass
        return self.got

    def half_close(self) -> None:
        self.endpoint.close()
        self.flush()
        self.writer.write_eof()

    def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def dial(address: tuple[str, int], endpoint: Endpoint | None = None) -> Peer:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(*address)
    return Peer(reader, writer, endpoint or PlainEndpoint())


def tls(role: TlsRole, local: Local, identity: Identity = UE) -> TlsEndpoint:
    name, value = local.fingerprint.split()
    return TlsEndpoint(TlsContext(identity), role, (Fingerprint(name, value),))


class Listener:
    """Takes one connection after the other."""

    def __init__(self, server: asyncio.Server, arrived: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        self.address: tuple[str, int] = server.sockets[0].getsockname()[:2]
        self.arrived = arrived

    async def accept(self, endpoint: Endpoint | None = None) -> Peer:
        async with asyncio.timeout(5):
            reader, writer = await self.arrived.get()
        return Peer(reader, writer, endpoint or PlainEndpoint())


@contextlib.asynccontextmanager
async def listening(host: str = "127.0.0.1") -> AsyncIterator[Listener]:
    arrived: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_server(lambda reader, writer: arrived.put_nowait((reader, writer)), host, 0)
    try:
        yield Listener(server, arrived)
    finally:
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def protected_call(gateway: Bench, host: str = "127.0.0.1") -> AsyncIterator[tuple[Peer, Peer, Local, Local]]:
    """UE (TLS, active) – gateway – core (plain, passive), up and verified."""
    async with listening(host) as core:
        access_side, core_side = await gateway.open(
            add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True, host=host),
            add("core", ours="active", theirs="passive", peer=core.address, host=host),
        )
        ue = await dial(access_side.address, tls(TlsRole.CLIENT, access_side))
        await ue.handshake()
        far = await core.accept()
        try:
            yield ue, far, access_side, core_side
        finally:
            await ue.close()
            await far.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@on_both_loops
async def test_bytes_pass_both_ways(host: str) -> None:
    async with bench(host=host) as gateway, protected_call(gateway, host) as (ue, core, _, core_side):
        assert core.writer.get_extra_info("peername")[:2] == core_side.address
        ue.send(UE_WORDS)
        assert await core.read(len(UE_WORDS)) == UE_WORDS
        core.send(CORE_WORDS)
        assert await ue.read(len(CORE_WORDS)) == CORE_WORDS
        established = await gateway.until("tls-established")
        assert established.facts["version"] == "TLSv1.3"
        assert established.facts["fingerprint"] == UE_PRINT
        assert gateway.kinds() == ["tcp-accepted", "tls-established", "tcp-connected"]
        statistics = gateway.gateway.relay.statistics
        assert statistics.handshakes == {"TLSv1.3": 1}
        assert statistics.connections == {"tls": 1, "tcp": 1}


@on_both_loops
async def test_a_large_transfer_arrives_whole_in_both_directions() -> None:
    up, down = os.urandom(3_000_000), os.urandom(2_000_000)
    async with bench() as gateway, protected_call(gateway) as (ue, core, _, _):
        ue.send(up)
        core.send(down)
        got_up, got_down = await asyncio.gather(core.read(len(up)), ue.read(len(down)))
        assert got_up == up
        assert got_down == down


@pytest.mark.parametrize("tls_client", [True, False])
@pytest.mark.parametrize("gateway_dials", [True, False])
@on_both_loops
async def test_tcp_and_tls_roles_are_independent(gateway_dials: bool, tls_client: bool) -> None:
    """Accept or connect, TLS server or client: all four on the access side, EstBNC on the TLS package choosing the latter."""
    signals = ",".join((["tcpbcc/EstBNC"] if gateway_dials else []) + (["tlsbsc/EstBNC"] if tls_client else []))
    ours, theirs = ("active", "passive") if gateway_dials else ("passive", "active")
    role = TlsRole.SERVER if tls_client else TlsRole.CLIENT
    async with bench() as gateway, listening() as ue_side:
        access_side, core_side = await gateway.open(
            add("access", ours=ours, theirs=theirs, peer=ue_side.address, fingerprints=[UE_PRINT], secure=True, signals=signals),
            add("core", ours="passive", theirs="active"),
        )
        core = await dial(core_side.address)
        endpoint = tls(role, access_side)
        ue = await ue_side.accept(endpoint) if gateway_dials else await dial(access_side.address, endpoint)
        await ue.handshake()
        ue.send(UE_WORDS)
        assert await core.read(len(UE_WORDS)) == UE_WORDS
        core.send(CORE_WORDS)
        assert await ue.read(len(CORE_WORDS)) == CORE_WORDS
        await ue.close()
        await core.close()


@pytest.mark.parametrize("roles", [("passive", "active"), ("active", "passive"), ("active", "active"), ("passive", "passive")])
@on_both_loops
async def test_plain_on_both_sides(roles: tuple[str, str]) -> None:
    """The transparent case, and with two passive sides the merge of two incoming connections."""
    opposite = {"active": "passive", "passive": "active"}
    async with bench() as gateway, listening() as left, listening() as right:
        one, two = await gateway.open(
            add("access", ours=roles[0], theirs=opposite[roles[0]], peer=left.address),
            add("core", ours=roles[1], theirs=opposite[roles[1]], peer=right.address),
        )
        near_task = asyncio.ensure_future(left.accept() if roles[0] == "active" else dial(one.address))
        far_task = asyncio.ensure_future(right.accept() if roles[1] == "active" else dial(two.address))
        near, far = await asyncio.gather(near_task, far_task)
        near.send(b"ping")
        assert await far.read(4) == b"ping"
        far.send(b"pong")
        assert await near.read(4) == b"pong"
        await near.close()
        await far.close()


@on_both_loops
async def test_the_core_is_dialled_only_after_the_ue_is_verified() -> None:
    async with bench() as gateway, listening() as core:
        access_side, _ = await gateway.open(
            add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True),
            add("core", ours="active", theirs="passive", peer=core.address),
        )
        silent = await dial(access_side.address)
        await gateway.until("tcp-accepted")
        failed = await gateway.until("tls-failed")
        assert failed.facts["cause"] == "HANDSHAKE_TIMEOUT"
        assert core.arrived.empty()
        await silent.close()


@on_both_loops
async def test_est_bnc_dials_at_once() -> None:
    async with bench() as gateway, listening() as core:
        await gateway.open(add("core", ours="active", theirs="passive", peer=core.address, signals="tcpbcc/EstBNC{Stream=1}"))
        far = await core.accept()
        await far.close()


@on_both_loops
async def test_an_early_client_hello_waits_for_the_fingerprint() -> None:
    """The port listens from the reservation on; the handshake begins when Modify says who may come."""
    async with bench() as gateway, listening() as core:
        access_side, _ = await gateway.open(
            add("access", ours="actpass", secure=True, mode="Inactive"),
            add("core", ours="active", theirs="passive", peer=core.address),
        )
        ue = await dial(access_side.address, tls(TlsRole.CLIENT, access_side))
        ue.flush()
        await asyncio.sleep(FAST.tls_handshake * 1.2)
        assert gateway.traced == []
        far = sdp(setup="active", secure=True, address=("127.0.0.1", 9), fingerprints=[UE_PRINT])
        await gateway.ask(f"Context={access_side.context}{{{modify(access_side.termination, remote=far)}}}")
        await ue.handshake()
        peer = await core.accept()
        await ue.close()
        await peer.close()


@on_both_loops
async def test_inactive_holds_application_bytes_and_send_receive_lets_them_go() -> None:
    async with bench() as gateway, protected_call(gateway) as (ue, core, access_side, _):
        await gateway.ask(f"Context={access_side.context}{{{modify(access_side.termination, mode='Inactive')}}}")
        ue.send(UE_WORDS)
        core.send(CORE_WORDS)
        for peer in (ue, core):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    while await peer.pump():
                        assert peer.got == b""
        await gateway.ask(f"Context={access_side.context}{{{modify(access_side.termination, mode='SendReceive')}}}")
        assert await core.read(len(UE_WORDS)) == UE_WORDS
        assert await ue.read(len(CORE_WORDS)) == CORE_WORDS


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@on_both_loops
async def test_no_byte_crosses_before_verification_in_either_direction(version: int) -> None:
    """The core has spoken already and the stranger speaks as early as its TLS lets it: neither gets a byte of the other."""
    async with bench() as gateway:
        access_side, core_side = await gateway.open(
            add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True),
            add("core", ours="passive", theirs="active"),
        )
        core = await dial(core_side.address)
        core.send(CORE_WORDS)
        await gateway.until("tcp-accepted")
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.use_certificate(STRANGER.certificate)
        context.use_privatekey(STRANGER.key)
        stranger = SSL.Connection(context, None)
        stranger.set_connect_state()
        reader, writer = await asyncio.open_connection(*access_side.address)
        received, spoken = b"", False
        async with asyncio.timeout(5):
            while True:
                with contextlib.suppress(SSL.Error):
                    stranger.do_handshake()
                    if not spoken:
                        stranger.send(UE_WORDS)
                        spoken = True
                with contextlib.suppress(SSL.Error):
                    received += stranger.recv(65536)
                with contextlib.suppress(SSL.WantReadError):
                    writer.write(stranger.bio_read(65536))
                data = await reader.read(65536)
                if not data:
                    break
                stranger.bio_write(data)
        with contextlib.suppress(SSL.Error):
            received += stranger.recv(65536)
        assert spoken is (version == SSL.TLS1_3_VERSION)
        assert received == b""
        with contextlib.suppress(ConnectionResetError):
            assert await core.read_to_end() == b""
        notified = await gateway.iq.notified()
        assert notified["tlsbsc/BNCChange"] == {"Stream": "1", "Type": "Rel"}
        assert notified["g/cause"]["Generalcause"] == "FP"
        assert notified["g/cause"]["Failurecause"] == "TLS certificate fingerprint mismatch"
        assert notified[""] == {"termination": access_side.termination, "request": "7"}
        failed = await gateway.until("tls-failed")
        assert failed.facts["alert"] == "sent bad_certificate"
        assert failed.facts["expected"] == UE_PRINT
        writer.close()
        await core.close()


@on_both_loops
async def test_a_wrong_server_certificate_lets_nothing_cross_either() -> None:
    """The gateway as TLS client, towards a server that writes in its first flight."""
    async with bench() as gateway, listening() as ue_side:
        _, core_side = await gateway.open(
            add("access", ours="active", theirs="passive", peer=ue_side.address, fingerprints=[UE_PRINT], secure=True,
                signals="tlsbsc/EstBNC,tcpbcc/EstBNC"),
            add("core", ours="passive", theirs="active"),
        )  # fmt: skip
        core = await dial(core_side.address)
        core.send(CORE_WORDS)
        reader, writer = await ue_side.arrived.get()
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate(STRANGER.certificate)
        context.use_privatekey(STRANGER.key)
        server = SSL.Connection(context, None)
        server.set_accept_state()
        seen = b""
        while True:
            data = await reader.read(65536)
            if not data:
                break
            seen += data
            server.bio_write(data)
            with contextlib.suppress(SSL.Error):
                server.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                writer.write(server.bio_read(65536))
        assert CORE_WORDS not in seen
        with contextlib.suppress(ConnectionResetError):
            assert await core.read_to_end() == b""
        assert (await gateway.iq.notified())["g/cause"]["Generalcause"] == "FP"
        writer.close()
        await core.close()


@on_both_loops
async def test_one_connection_per_stream() -> None:
    async with bench() as gateway, protected_call(gateway) as (_, _, access_side, _):
        with pytest.raises(ConnectionRefusedError):
            await dial(access_side.address)


@on_both_loops
async def test_the_source_filter_turns_strangers_away() -> None:
    async with bench() as gateway:
        access_side, _ = await gateway.open(
            add("access", ours="passive", theirs="active", control=',gm/saf=ON,gm/sam="[127.0.0.9]"'),
            add("core", ours="passive", theirs="active"),
        )
        with pytest.raises(ConnectionResetError):
            await (await dial(access_side.address)).reader.read(1)
        reader, writer = await asyncio.open_connection(*access_side.address, local_addr=("127.0.0.9", 0))
        await gateway.until("tcp-accepted")
        assert "tcp-refused" in gateway.kinds()
        assert not reader.at_eof()
        writer.close()


@on_both_loops
async def test_half_close_travels_from_the_ue() -> None:
    async with bench() as gateway, protected_call(gateway) as (ue, core, _, _):
        ue.send(UE_WORDS)
        ue.half_close()
        assert await core.read_to_end() == UE_WORDS
        core.send(CORE_WORDS)
        assert await ue.read(len(CORE_WORDS)) == CORE_WORDS
        core.half_close()
        await ue.read_to_end()
        assert PeerClosed() in ue.endpoint.events
        causes = [(await gateway.iq.notified())["g/cause"]["Generalcause"] for _ in range(2)]
        assert causes == ["NR", "NR"]


@on_both_loops
async def test_half_close_travels_from_the_core() -> None:
    async with bench() as gateway, protected_call(gateway) as (ue, core, _, _):
        core.send(CORE_WORDS)
        core.half_close()
        assert await ue.read_to_end() == CORE_WORDS
        assert PeerClosed() in ue.endpoint.events
        ue.send(UE_WORDS)
        ue.half_close()
        assert await core.read_to_end() == UE_WORDS


@on_both_loops
async def test_a_reset_takes_the_other_side_down() -> None:
    async with bench() as gateway, protected_call(gateway) as (ue, core, _, core_side):
        core.reset()
        with pytest.raises(ConnectionResetError):
            await ue.read_to_end()
        assert PeerClosed() not in ue.endpoint.events
        notified = await gateway.iq.notified()
        assert notified[""]["termination"] == core_side.termination
        assert notified["g/cause"]["Generalcause"] == "FT"


@on_both_loops
async def test_a_slow_reader_is_waited_for_in_bounded_memory() -> None:
    """The sender is stopped by TCP; the gateway holds its write buffer and one read, never the whole transfer."""
    limit = 65_536
    async with bench(limits=GatewayLimits(write_buffer=limit)) as gateway, protected_call(gateway) as (ue, core, _, _):
        raw = core.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        core.writer.transport.pause_reading()
        total = 24_000_000   # more than the kernel's buffers hold
        block = os.urandom(1_000_000)
        for _ in range(total // len(block)):
            ue.send(block)
        legs = gateway.gateway.relay.legs
        held: list[int] = []
        before, quiet = -1, 0
        while quiet < 20:   # until nothing moves any more, however long a busy machine takes
            await asyncio.sleep(0.01)
            passed = gateway.gateway.relay.passed()["tls"].received
            before, quiet = passed, quiet + 1 if passed == before and held and max(held) else 0
            for leg in legs:
                assert leg.connection is not None
                transport = leg.connection._transport
                assert transport is not None
                held.append(transport.get_write_buffer_size() + sum(map(len, leg.connection._endpoint._plain)))
        assert max(held) > 0
        assert max(held) <= limit + 2 * 65_536
        assert ue.writer.transport.get_write_buffer_size() > total // 4
        core.writer.transport.resume_reading()
        assert await core.read(total, within=90) == block * (total // len(block))
        assert gateway.gateway.relay.passed()["tls"].received == total


@on_both_loops
async def test_nothing_is_read_ahead_while_the_other_side_is_not_up() -> None:
    async with bench() as gateway:
        access_side, _ = await gateway.open(
            add("access", ours="passive", theirs="active"), add("core", ours="passive", theirs="active")
        )
        near = await dial(access_side.address)
        near.send(b"x" * 20_000_000)
        await asyncio.sleep(0.3)
        [leg] = [leg for leg in gateway.gateway.relay.legs if leg.connection is not None]
        assert leg.connection is not None
        assert 0 < sum(map(len, leg.connection._endpoint._plain)) <= READ_SIZE
        assert near.writer.transport.get_write_buffer_size() > 5_000_000
        near.writer.transport.abort()


@on_both_loops
async def test_a_refused_connect_is_notified() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()
    async with bench() as gateway:
        [core_side] = await gateway.open(
            add("core", ours="active", theirs="passive", peer=nobody, signals="tcpbcc/EstBNC")
        )
        notified = await gateway.iq.notified()
        assert notified["tcpbcc/BNCChange"] == {"Stream": "1", "Type": "Rel"}
        assert notified["g/cause"]["Generalcause"] == "FT"
        assert notified["g/cause"]["Failurecause"] == "TCP connection refused"
        assert notified[""]["termination"] == core_side.termination
        assert gateway.kinds() == ["tcp-failed"]
        assert gateway.gateway.relay.statistics.failures == {Cause.CONNECT_REFUSED: 1}


@on_both_loops
async def test_a_connect_timeout_is_notified() -> None:
    """A listener whose backlog is full answers no further SYN."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(full.getsockname())
        await asyncio.sleep(0.05)
        async with bench() as gateway:
            await gateway.open(
                add("core", ours="active", theirs="passive", peer=full.getsockname(), signals="tcpbcc/EstBNC")
            )
            notified = await gateway.iq.notified()
            assert notified["g/cause"]["Failurecause"] == "TCP connect timeout"
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("tls_client", [True, False])
@on_both_loops
async def test_a_handshake_that_does_not_end_is_notified(tls_client: bool) -> None:
    async with bench() as gateway, listening() as ue_side:
        await gateway.open(
            add("access", ours="active", theirs="passive", peer=ue_side.address, fingerprints=[UE_PRINT], secure=True,
                signals=f"tcpbcc/EstBNC{',tlsbsc/EstBNC' if tls_client else ''}")
        )  # fmt: skip
        silent = await ue_side.accept()
        notified = await gateway.iq.notified()
        assert notified["g/cause"]["Failurecause"] == "TLS handshake timeout"
        assert "tlsbsc/BNCChange" in notified
        await silent.close()


@on_both_loops
async def test_a_peer_that_hangs_up_during_the_handshake_is_notified() -> None:
    async with bench() as gateway:
        [access_side] = await gateway.open(add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True))
        peer = await dial(access_side.address)
        await gateway.until("tcp-accepted")
        await peer.close()
        notified = await gateway.iq.notified()
        assert notified["g/cause"]["Failurecause"] == "connection closed by the peer during the TLS handshake"


@on_both_loops
async def test_what_is_not_armed_is_not_notified() -> None:
    async with bench() as gateway, listening() as ue_side:
        await gateway.open(
            add("access", ours="active", theirs="passive", peer=ue_side.address, signals="tcpbcc/EstBNC",
                events="hangterm/thb{timerx=600}"),
        )  # fmt: skip
        peer = await ue_side.accept()
        peer.reset()
        await gateway.until("closed")
        await asyncio.sleep(0.05)
        assert [request for request, _ in list(gateway.iq.requests._queue)][1:] == []  # type: ignore[attr-defined]


@on_both_loops
async def test_subtract_ends_both_sides_in_order_and_frees_the_ports() -> None:
    async with bench() as gateway, protected_call(gateway) as (ue, core, access_side, _):
        ue.send(UE_WORDS)
        assert await core.read(len(UE_WORDS)) == UE_WORDS
        reply = await gateway.ask(f"Context={access_side.context}{{W-Subtract=*{{Audit{{}}}}}}")
        assert reply.actions[0].commands[0].error is None
        assert await core.read_to_end() == b""
        await ue.read_to_end()
        assert PeerClosed() in ue.endpoint.events
        assert len(gateway.gateway.relay.ports) == 0
        assert gateway.gateway.relay.legs == []
        passed = gateway.gateway.relay.passed()
        assert (passed["tls"].received, passed["tcp"].sent) == (len(UE_WORDS), len(UE_WORDS))


@on_both_loops
async def test_a_new_fingerprint_replaces_the_connection_and_the_same_keeps_it() -> None:
    async with bench() as gateway, protected_call(gateway) as (ue, core, access_side, _):
        where = ("127.0.0.1", 9)
        same = sdp(setup="active", secure=True, address=where, fingerprints=[UE_PRINT])
        await gateway.ask(f"Context={access_side.context}{{{modify(access_side.termination, remote=same)}}}")
        ue.send(UE_WORDS)
        assert await core.read(len(UE_WORDS)) == UE_WORDS
        other = sdp(setup="active", secure=True, address=where, fingerprints=[str(STRANGER.fingerprint("sha-256"))])
        await gateway.ask(f"Context={access_side.context}{{{modify(access_side.termination, remote=other)}}}")
        await ue.read_to_end()
        second = await dial(access_side.address, tls(TlsRole.CLIENT, access_side, STRANGER))
        await second.handshake()
        second.send(b"again")
        assert await core.read(5) == b"again"
        await second.close()


def free_neighbour() -> socket.socket:
    """A listening socket whose next port is free; below the range from which the kernel gives out ports on its own."""
    for port in range(20_000, 30_000, 2):
        busy = socket.socket()
        try:
            busy.bind(("127.0.0.1", port))
            busy.listen()
            with socket.socket() as neighbour:
                neighbour.bind(("127.0.0.1", port + 1))
        except OSError:
            busy.close()
        else:
            return busy
    raise AssertionError("no two free ports in a row")


@on_both_loops
async def test_busy_ports_are_skipped_and_an_exhausted_realm_says_so() -> None:
    with free_neighbour() as busy:
        port = busy.getsockname()[1]
        async with bench(ports=(port, port + 1)) as gateway:
            [local] = await gateway.open(add("access", ours="passive"))
            assert local.port == port + 1
            reply = await gateway.ask(f"Context=${{{add('core', ours='passive')}}}")
            error = reply.actions[0].commands[0].error
            assert error is not None
            assert error.code == 510


@on_both_loops
async def test_dscp_marks_what_is_sent() -> None:
    async with bench() as gateway, listening() as core:
        await gateway.open(
            add("core", ours="active", theirs="passive", peer=core.address, signals="tcpbcc/EstBNC", control=",ds/dscp=0x2E")
        )
        far = await core.accept()
        [leg] = gateway.gateway.relay.legs
        while leg.connection is None or leg.connection._transport is None:
            await asyncio.sleep(0)
        raw = leg.connection._transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0x2E << 2
        await far.close()
