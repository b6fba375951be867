"""A P-CSCF between a UE and a core, on virtual time: real procedures, real transactions, real Iq text, no sockets."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from pcscf.config.policy import MediaPolicy
from pcscf.iq.controller import Limits as IqLimits
from pcscf.iq.supervision import Supervision
from pcscf.procedures import watch
from pcscf.procedures.calls import Calls
from pcscf.procedures.ports import Ports
from pcscf.procedures.router import Router
from pcscf.procedures.site import Deadlines, Expiry, Interface, Limits, Reactions, Side, Site
from pcscf.procedures.token import Tokens
from pcscf.runtime.driver import Driver, Waits
from pcscf.runtime.iq import Gateways, IqConfig
from pcscf.runtime.net import Socket
from pcscf.runtime.resolve import Resolver
from pcscf.runtime.store import MemoryStore
from pcscf.runtime.wheel import Wheel
from pcscf.sip.flow import Destination, Flow, Hop
from pcscf.sip.layer import TransactionLayer
from pcscf.sip.message import Request, Response
from pcscf.sip.parse import parse_datagram_untrusted
from pcscf.sip.transaction import Timers
from tests.support.memorygateway import CONTROLLER, MemoryGateway
from tests.support.virtual import LATENCY

ACCESS = ("203.0.113.1", 5061)
ACCESS_UDP = ("203.0.113.1", 5060)
ACCESS_IPV6 = ("2001:db8:7::1", 5061)
CORE = ("198.51.100.1", 5070)
REGISTRAR = ("198.51.100.2", 5080)

SOCKETS = {
    "gm-tls": Socket("gm-tls", "access", "tls", ACCESS[0], ACCESS[1], ACCESS[0]),
    "gm-udp": Socket("gm-udp", "access", "udp", ACCESS_UDP[0], ACCESS_UDP[1], ACCESS_UDP[0]),
    "gm-tls6": Socket("gm-tls6", "access", "tls", ACCESS_IPV6[0], ACCESS_IPV6[1], ACCESS_IPV6[0]),
    "mw-udp": Socket("mw-udp", "core", "udp", CORE[0], CORE[1], CORE[0]),
}
INTERFACES = {
    "gm-tls": Interface("gm-tls", Side.ACCESS, "access", "tls", *ACCESS, ("msrp-tls",)),
    "gm-udp": Interface("gm-udp", Side.ACCESS, "access", "udp", *ACCESS_UDP, ()),
    "gm-tls6": Interface("gm-tls6", Side.ACCESS, "access", "tls", *ACCESS_IPV6, ("msrp-tls",)),
    "mw-udp": Interface("mw-udp", Side.CORE, "core", "udp", *CORE),
}

Message = Request | Response


class Peer:
    """A far end that sends text and looks at what comes."""

    def __init__(self, bed: Bed, name: str, flow: Flow) -> None:
        self.bed = bed
        self.name = name
        self.flow = flow
        self.seen: list[Message] = []
        self.sent: list[bytes] = []
        self._told: set[bytes] = set()
        self._fresh: asyncio.Queue[Message] = asyncio.Queue()

    def send(self, message: Message | str | bytes) -> None:
        data = message if isinstance(message, bytes) else message.encode() if isinstance(message, str) else message.to_bytes()
        self.sent.append(data)
        self.bed.net.carry(self.name, data, lambda: self.bed.net.arrive(data, self.flow))

    def receive(self, data: bytes) -> None:
        message = parse_datagram_untrusted(data)
        self.seen.append(message)
        self._fresh.put_nowait(message)

    async def expect(self, wanted: str | int, within: float = 300.0) -> Any:
        """The next message, skipping 100 and repeats of what was seen; it must be `wanted`: a method or a status."""
        try:
            async with asyncio.timeout(within):
                message = await self._next(wanted)
        except TimeoutError:
            raise AssertionError(f"{self.name} waited for {wanted} in vain\n{self.bed.story()}") from None
        got = message.method if isinstance(message, Request) else message.status
        assert got == wanted, f"{self.name} wanted {wanted} and got:\n{message.to_bytes().decode()}"
        return message

    async def _next(self, wanted: str | int) -> Message:
        while True:
            message = await self._fresh.get()
            if isinstance(message, Response) and message.status == 100 and wanted != 100:
                continue
            if message.to_bytes() not in self._told:
                self._told.add(message.to_bytes())
                return message

    def is_quiet(self) -> bool:
        return self._fresh.empty()

    def count(self, wanted: str | int) -> int:
        return sum((each.method if isinstance(each, Request) else each.status) == wanted for each in self.seen)


class MemoryNet:
    """Sockets without a kernel: the same face that the driver sees, a lossy wire behind it."""

    def __init__(self) -> None:
        self.sockets = dict(SOCKETS)
        self.driver: Driver | None = None
        self.peers: dict[tuple[str, int], Peer] = {}
        self.dead: set[Flow] = set()
        self.has_tcp = False   # a TCP socket towards the core, on which nobody can be reached
        self.refused: list[bytes] = []
        self.lose: Callable[[str, bytes], bool] = lambda _sender, _data: False

    def send(self, data: bytes, destination: Destination) -> None:
        if isinstance(destination, Flow) and destination in self.dead:
            asyncio.get_running_loop().call_soon(self._driver.gone, destination)
            return
        if isinstance(destination, Hop) and destination.transport == "tcp":
            self.refused.append(data)
            asyncio.get_running_loop().call_soon(self._driver.gone, destination)
            return
        address = destination.remote if isinstance(destination, Flow) else (destination.host, destination.port)
        peer = self.peers.get(address)
        if peer is not None:
            self.carry("pcscf", data, lambda: peer.receive(data))

    def carry(self, sender: str, data: bytes, deliver: Callable[[], None]) -> None:
        if not self.lose(sender, data):
            asyncio.get_running_loop().call_later(LATENCY, deliver)

    def arrive(self, data: bytes, flow: Flow) -> None:
        self._driver.receive(parse_datagram_untrusted(data), flow)

    def socket_for(self, destination: Destination) -> Socket:
        if isinstance(destination, Flow):
            return self.sockets[destination.listener]
        if destination.realm != "core" or (destination.transport == "tcp" and not self.has_tcp):
            raise KeyError(destination.transport)
        return self.sockets["mw-udp"]

    def is_alive(self, flow: Flow) -> bool:
        return flow not in self.dead

    @property
    def _driver(self) -> Driver:
        assert self.driver is not None
        return self.driver


@dataclass
class Bed:
    """Build it inside a running loop. `records` is what would be logged."""

    policy: MediaPolicy = field(default_factory=MediaPolicy)
    deadlines: Deadlines = field(default_factory=Deadlines)
    limits: Limits = field(default_factory=Limits)
    mechanisms: tuple[str, ...] = ("msrp-tls",)
    supervision: Supervision = field(default_factory=Supervision)
    peer_class: type[Peer] = Peer
    weakest_hash: str = "sha-256"   # that the gateway takes
    reactions: Reactions = field(default_factory=Reactions)
    records: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        counter = itertools.count(1)
        self.net = MemoryNet()
        self.store = MemoryStore()
        self.gateway = MemoryGateway(weakest_hash=self.weakest_hash)
        self.gateways = Gateways(
            IqConfig(
                bind=CONTROLLER, admits=lambda _mid, _address: True, limits=IqLimits(deadline=4.0), supervision=self.supervision),
            random=Random(1),
            clock=lambda: asyncio.get_running_loop().time(), on_bearer_released=lambda mid, _context, what: (
                watch.bearer_released(self.calls, mid, what)),
            on_media_stopped=lambda mid, what: watch.media_stopped(self.calls, mid, what),
            on_connected=lambda mid, what: watch.connected(self.calls, mid, what),
            on_contexts_lost=lambda *lost: watch.contexts_lost(self.calls, *lost))
        self.wheel = Wheel()
        self.wheel.start()
        layer = self.layer = TransactionLayer(lambda _destination: Timers())
        self.driver = Driver(self.net, layer, Resolver(), self.wheel.later, Waits())  # type: ignore[arg-type]
        self.net.driver = self.driver
        interfaces = INTERFACES | {"gm-tls": Interface("gm-tls", Side.ACCESS, "access", "tls", *ACCESS, self.mechanisms)}
        site = Site(
            name="pcscf.ims.example", network="visited.example", interfaces=interfaces,
            core_realm="core", core_hop=f"sip:{REGISTRAR[0]}:{REGISTRAR[1]}", policy=lambda *_: self.policy,
            deadlines=self.deadlines, expiry=Expiry(least=1.0, grace=1.0), limits=self.limits,
            addresses=frozenset({ACCESS, ACCESS_UDP, ACCESS_IPV6, CORE}), reactions=self.reactions)
        tokens = Tokens(b"secret", lambda size: next(counter).to_bytes(size, "big"))
        self.ports = Ports(
            sip=self.driver, media=self.gateways, store=self.store, site=site, tokens=tokens,
            now=lambda: asyncio.get_running_loop().time(), later=self.wheel.later, record=self._record)
        self.calls = Calls(self.ports, self.driver.start)
        self.driver.router = Router(self.calls)
        self.ue = self.peer("ue", Flow("tls", "gm-tls", ACCESS, ("192.0.2.10", 40001), 1))
        self.core = self.peer("core", Flow("udp", "mw-udp", CORE, REGISTRAR, 0))

    def peer(self, name: str, flow: Flow) -> Peer:
        peer = self.peer_class(self, name, flow)
        self.net.peers[flow.remote] = peer
        return peer

    def _record(self, event: str, **facts: Any) -> None:
        self.records.append((event, facts))

    def recorded(self, event: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.records if name == event]

    def story(self) -> str:
        """What was logged and what each peer saw, for a failing test."""
        seen = [f"{peer.name} saw {each.start_line}" for peer in self.net.peers.values() for each in peer.seen]
        return "\n".join([*(f"{event} {facts}" for event, facts in self.records), *seen])

    async def settle(self, seconds: float = 0.1) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    def watch(self) -> None:
        """What the process does every few seconds."""
        watch.expire(self.calls)
        watch.release_overdue(self.calls)

    async def start(self) -> None:
        """Open Iq and wait for the gateway."""
        await self.gateways.start()
        await self.gateway.start()
        await self.gateways.wait_registered(5)

    async def close(self) -> None:
        await self.driver.stop()
        await self.gateways.stop()
        self.wheel.stop()
