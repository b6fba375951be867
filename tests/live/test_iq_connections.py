"""Our controller and our gateway over TCP, TLS and SCTP: one association, whatever becomes of its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pcscf.errors import ConfigError, GatewayUnavailable
from pcscf.gateway.config import GatewayConfig, Realm
from pcscf.gateway.server import Gateway
from pcscf.h248.codec import decode_untrusted
from pcscf.h248.message import CommandName, Services, TransactionReply, TransactionRequest
from pcscf.h248.peer import AssociationPeer, ConnectionPeer, Peer
from pcscf.h248.tpkt import PacketReader, packet
from pcscf.h248.transaction import H248Timers
from pcscf.iq.association import Heartbeat
from pcscf.runtime.iq import Gateways, IqConfig
from pcscf.transport.certificates import client_context
from pcscf.transport.model import Kind, TlsFiles
from tests.support.gatewaybed import FAST, add, on_both_loops
from tests.support.iqcertificates import Authority, fingerprint
from tests.unit.iq.plans import answered_by_core, from_ue

HERE = "127.0.0.1"
MID = "[127.0.0.1]:2945"
PATIENCE = 5.0
TIMERS = H248Timers(t_max=2.0)
SCTP = pytest.param("sctp", marks=pytest.mark.sctp)
over_connections = pytest.mark.parametrize("kind", ["tcp", SCTP])


@dataclass
class Site:
    """A controller that is not started yet, and what it heard, with the services of each ServiceChange."""

    gateways: Gateways
    lost: list[str] = field(default_factory=list)
    heard: list[tuple[bytes, Peer]] = field(default_factory=list)

    def methods(self) -> list[str]:
        """How the gateway registered, one after the other."""
        found = []
        for message, _ in self.heard:
            for transaction in decode_untrusted(message).transactions:
                if isinstance(transaction, TransactionRequest):
                    for command in transaction.actions[0].commands:
                        found += [each.method for each in command.descriptors if isinstance(each, Services)]
        return found

    def peers(self) -> list[Peer]:
        """Where it was heard from."""
        return list(dict.fromkeys(peer for _, peer in self.heard))


@asynccontextmanager
async def controller(kinds: tuple[Kind, ...], tls: TlsFiles | None = None, *, port: int = 0) -> AsyncIterator[Site]:
    lost: list[str] = []
    heard: list[tuple[bytes, Peer]] = []
    gateways = Gateways(
        IqConfig((HERE, port), lambda mid, _: mid == MID, kinds=kinds, tls=tls, heartbeat=Heartbeat(0.3, 3), timers=TIMERS),
        random=Random(7),
        clock=asyncio.get_running_loop().time,
        on_bearer_released=lambda *_: None,
        on_contexts_lost=lambda mid, _contexts, _why: lost.append(mid),
        tap=lambda direction, wire, peer: heard.append((wire, peer)) if direction == "in" else None,
    )
    await gateways.start()
    try:
        yield Site(gateways, lost, heard)
    finally:
        await gateways.stop()


@asynccontextmanager
async def gateway(kind: Kind, address: tuple[str, int], tls: TlsFiles | None = None) -> AsyncIterator[Gateway]:
    realms = (Realm("access", (HERE,), ((42000, 46999),)), Realm("core", (HERE,), ((42000, 46999),)))
    made = Gateway(GatewayConfig(MID, (address,), realms, transport=kind, tls=tls, timers=FAST, h248=TIMERS))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
        await asyncio.sleep(0.01)


def peer_of(kind: Kind, host: str, port: int) -> ConnectionPeer:
    return AssociationPeer(host, port) if kind == "sctp" else ConnectionPeer(host, port)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["udp", "tcp", "tls", SCTP])
@on_both_loops
async def test_a_session(kind: Kind, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.issue(HERE) if kind == "tls" else None
    async with controller((kind,), tls) as site, gateway(kind, site.gateways.address, tls and authority.issue(HERE)) as agw:
        await site.gateways.wait_registered(PATIENCE)
        plan = from_ue()
        media = await site.gateways.reserve(plan)
        assert media.gateway == MID
        media = await site.gateways.configure(media, answered_by_core(plan))
        assert await site.gateways.audit() == [(MID, media.context)]
        await site.gateways.release(media)
        assert agw.table.contexts == {}
        assert isinstance(site.peers()[0], ConnectionPeer) is (kind != "udp")
        assert len(site.peers()) == 1
    assert site.methods() == ["Restart", "Forced"]


@over_connections
@on_both_loops
async def test_gateways_of_both_kinds_at_one_controller(kind: Kind) -> None:
    async with controller(("udp", kind)) as site, gateway(kind, site.gateways.address):
        await site.gateways.wait_registered(PATIENCE)
        media = await site.gateways.reserve(from_ue())
        await site.gateways.release(media)


@over_connections
@on_both_loops
async def test_a_broken_connection_is_made_again_and_the_session_stays(kind: Kind) -> None:
    async with controller((kind,)) as site, gateway(kind, site.gateways.address) as agw:
        await site.gateways.wait_registered(PATIENCE)
        plan = from_ue()
        media = await site.gateways.reserve(plan)
        assert site.gateways._transport is not None
        site.gateways._transport.disconnect(site.peers()[0])
        settling = asyncio.ensure_future(site.gateways.configure(media, answered_by_core(plan)))
        await until(lambda: len(site.peers()) == 2)
        media = await asyncio.wait_for(settling, PATIENCE)
        assert site.methods() == ["Restart", "Disconnected"]
        assert site.lost == []
        assert list(agw.table.contexts) == [media.context]
        await site.gateways.release(media)


@over_connections
@on_both_loops
async def test_a_controller_that_comes_back_is_found_again(kind: Kind) -> None:
    async with controller((kind,)) as site, gateway(kind, site.gateways.address) as agw:
        await site.gateways.wait_registered(PATIENCE)
        port = site.gateways.address[1]
        await site.gateways.stop()
        await until(lambda: not agw.registered.is_set())
        await asyncio.sleep(0.3)
        async with controller((kind,), port=port) as again:
            await again.gateways.wait_registered(PATIENCE)
            media = await again.gateways.reserve(from_ue())
            await again.gateways.release(media)
        assert set(again.methods()) <= {"Disconnected", "Failover", "Restart", "Forced"}


@over_connections
@on_both_loops
async def test_handed_over_a_gateway_ends_the_connection_that_it_left(kind: Kind) -> None:
    async with controller((kind,)) as one, controller((kind,)) as two, gateway(kind, one.gateways.address) as agw:
        await one.gateways.wait_registered(PATIENCE)
        host, port = two.gateways.address
        await one.gateways.hand_off(MID, f"[{host}]:{port}")
        await two.gateways.wait_registered(PATIENCE)
        await until(lambda: agw.controller == peer_of(kind, host, port))
        assert two.methods() == ["HandOff"]
        assert one.gateways._transport is not None
        await until(lambda: one.gateways._transport._connections == {})  # type: ignore[union-attr]
        media = await two.gateways.reserve(from_ue())
        await two.gateways.release(media)


@on_both_loops
async def test_a_gateway_without_the_right_certificate_serves_nobody(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with controller(("tls",), authority.issue(HERE)) as site:
        async with gateway("tls", site.gateways.address, authority.issue("192.0.2.1")) as agw:
            with pytest.raises(TimeoutError):
                await site.gateways.wait_registered(0.5)
            with pytest.raises(GatewayUnavailable):
                await site.gateways.reserve(from_ue())
            assert agw.controller is None
        assert site.heard == []


async def shown_to(files: TlsFiles, address: tuple[str, int]) -> bytes:
    """The certificate that the controller shows to whoever has these files. Raises OSError if it turns them away."""
    reader, writer = await asyncio.open_connection(*address, ssl=client_context(files))
    try:
        with suppress(TimeoutError):
            assert await asyncio.wait_for(reader.read(1), 0.2) == b"", "TLS 1.3 tells only now that it wants no such certificate"
            raise ConnectionAbortedError
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return shown
    finally:
        writer.close()


def held_by(files: TlsFiles) -> bytes:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes()).public_bytes(Encoding.DER)


@on_both_loops
async def test_the_files_of_a_controller_are_read_again(tmp_path: Path) -> None:
    """The association goes on; who connects from then on meets what the files hold now, the authorities included."""
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    own, first, second = old.issue(HERE), old.issue(HERE), new.issue(HERE)
    vouching = tmp_path / "vouching.pem"
    vouching.write_bytes(old.file.read_bytes())
    async with (
        controller(("tls",), replace(own, ca=vouching)) as site,
        gateway("tls", site.gateways.address, old.issue(HERE)),
    ):
        address = site.gateways.address
        await site.gateways.wait_registered(PATIENCE)
        before = held_by(own)
        assert await shown_to(first, address) == before

        whole = own.certificate.read_bytes()
        own.certificate.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ConfigError) as caught:
            await site.gateways.renew_certificates()
        assert caught.value.file == str(own.certificate)
        assert await shown_to(first, address) == before

        own.certificate.write_bytes(second.certificate.read_bytes())
        vouching.write_bytes(new.file.read_bytes())
        await site.gateways.renew_certificates()
        assert await shown_to(second, address) == held_by(second) != before
        with pytest.raises(OSError):   # reset, or an alert: whichever comes first
            await shown_to(replace(first, ca=new.file), address)
        await site.gateways.release(await site.gateways.reserve(from_ue()))
        assert len(site.peers()) == 1, "the connection that stood before"


@on_both_loops
async def test_the_files_of_a_gateway_are_read_again(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, wanted = authority.issue(HERE), authority.issue(HERE)
    async with (
        controller(("tls",), replace(authority.issue(HERE), pins={MID: fingerprint(wanted)})) as site,
        gateway("tls", site.gateways.address, own) as agw,
    ):
        with pytest.raises(TimeoutError):
            await site.gateways.wait_registered(0.5)
        own.certificate.write_bytes(b"no certificate")
        with pytest.raises(ConfigError):
            await agw.renew_certificates()
        own.certificate.write_bytes(wanted.certificate.read_bytes())
        await agw.renew_certificates()
        await site.gateways.wait_registered(PATIENCE)


class ScriptedController:
    """Takes one connection and answers the registration together with whatever is to stand right behind the answer."""

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self.replies: asyncio.Queue[TransactionReply] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets = PacketReader()
        while data := await reader.read(65536):
            for message in packets.feed_untrusted(data):
                for transaction in decode_untrusted(message).transactions:
                    if isinstance(transaction, TransactionReply):
                        self.replies.put_nowait(transaction)
                    elif isinstance(transaction, TransactionRequest):
                        self._answer(writer, transaction)
        writer.close()

    def _answer(self, writer: asyncio.StreamWriter, request: TransactionRequest) -> None:
        command = request.actions[0].commands[0]
        registers = any(isinstance(each, Services) and each.method == "Restart" for each in command.descriptors)
        settled = "{Services{Version=2}}" if command.name is CommandName.SERVICE_CHANGE else ""
        reply = f"!/1 [127.0.0.1]:2944\nP={request.id}{{C=-{{{command.name.value}={command.termination}{settled}}}}}"
        writer.write(packet(reply.encode()) + (packet(self._behind.encode()) if registers else b""))


@on_both_loops
async def test_a_request_right_behind_the_reply_to_the_registration_is_served() -> None:
    script = ScriptedController(f"!/2 [127.0.0.1]:2944\nT=1{{C=${{{add('access', ours='passive')}}}}}")
    server = await asyncio.start_server(script.serve, HERE, 0)
    async with gateway("tcp", server.sockets[0].getsockname()[:2]):
        async with asyncio.timeout(PATIENCE):
            reply = await script.replies.get()
        assert (reply.error, reply.actions[0].commands[0].error) == (None, None)
    server.close()
    await asyncio.sleep(0.01)
