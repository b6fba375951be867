"""A controller for tests of a running gateway: sends Iq text over UDP and reads what comes back."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest
import uvloop

from pcscf.gateway.certificate import Identity, self_signed, self_signed_rsa
from pcscf.gateway.config import GatewayConfig, GatewayLimits, GatewayTimers, Realm
from pcscf.gateway.server import Gateway
from pcscf.gateway.trace import GatewayTraceEvent
from pcscf.h248.codec import decode_untrusted, encode_compact
from pcscf.h248.message import (
    Action,
    Command,
    CommandName,
    Media,
    Message,
    ObservedEvents,
    Services,
    TransactionReply,
    TransactionRequest,
)

FAST = GatewayTimers(
    tcp_connect=0.5, tls_handshake=0.5, linger=0.3, registration_wait=0.0, registration_retry=0.05,
    registration_retry_max=0.2, adoption_grace=0.3, parent_watch=0.02, graceful_stop=0.5,
)  # fmt: skip


class Controller(asyncio.DatagramProtocol):
    """Answers every request of the gateway and keeps it; `ask` sends one and returns the reply."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[tuple[TransactionRequest, int]] = asyncio.Queue()
        self.answers_requests = True
        self.answer: Callable[[TransactionRequest], str] | None = None
        self.gateway: tuple[str, int] = ("127.0.0.1", 0)
        self._replies: dict[int, asyncio.Future[TransactionReply]] = {}
        self._next = 1
        self._transport: asyncio.DatagramTransport | None = None

    @property
    def address(self) -> tuple[str, int]:
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        return host, port

    @property
    def mid(self) -> str:
        host, port = self.address
        return f"[{host}]:{port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        message = decode_untrusted(data)
        for transaction in message.transactions:
            if isinstance(transaction, TransactionReply):
                waiting = self._replies.pop(transaction.id, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(transaction)
            elif isinstance(transaction, TransactionRequest) and self.answers_requests:
                self.gateway = (addr[0], addr[1])
                self.requests.put_nowait((transaction, message.version))
                if self.answer is not None:
                    text = self.answer(transaction)
                    self._transport.sendto(f"MEGACO/{message.version} {self.mid}\n{text}".encode(), addr)
                    continue
                actions = tuple(
                    Action(action.context, tuple(
                        Command(one.name, one.terminations,
                                (Services(version=2),) if one.name is CommandName.SERVICE_CHANGE else ())
                        for one in action.commands
                    ))
                    for action in transaction.actions
                )  # fmt: skip
                reply = Message(self.mid, (TransactionReply(transaction.id, actions),), version=message.version)
                self._transport.sendto(encode_compact(reply), addr)

    async def ask(self, body: str, *, to: tuple[str, int] | None = None) -> TransactionReply:
        assert self._transport is not None
        number, self._next = self._next, self._next + 1
        waiting: asyncio.Future[TransactionReply] = asyncio.get_running_loop().create_future()
        self._replies[number] = waiting
        request = f"MEGACO/2 {self.mid}\nTransaction={number}{{{body}}}".encode()
        async with asyncio.timeout(5):
            while True:
                self._transport.sendto(request, to or self.gateway)
                await asyncio.wait([waiting], timeout=1)   # a burst of notifications can push a datagram out
                if waiting.done():
                    return waiting.result()

    async def request(self) -> tuple[TransactionRequest, int]:
        """The next request of the gateway, and the version in its header."""
        async with asyncio.timeout(5):
            return await self.requests.get()

    async def notified(self) -> dict[str, dict[str, str]]:
        """The observed events of the next Notify: parameters by event name."""
        while True:
            request, _ = await self.request()
            for action in request.actions:
                for command in action.commands:
                    if command.name is CommandName.NOTIFY:
                        [observed] = [one for one in command.descriptors if isinstance(one, ObservedEvents)]
                        return {
                            event.name: {one.name: one.value.text for one in event.parameters} for event in observed.events
                        } | {"": {"termination": command.termination, "request": str(observed.request_id)}}

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def controller(host: str = "127.0.0.1") -> Controller:
    loop = asyncio.get_running_loop()
    _, made = await loop.create_datagram_endpoint(Controller, local_addr=(host, 0))
    return made


class Bench:
    """A gateway in this process with its controller, and what it traced."""

    def __init__(self, gateway: Gateway, iq: Controller, traced: list[GatewayTraceEvent]) -> None:
        self.gateway = gateway
        self.iq = iq
        self.traced = traced

    async def ask(self, body: str) -> TransactionReply:
        return await self.iq.ask(body, to=self.gateway.address)

    def kinds(self) -> list[str]:
        return [one.kind for one in self.traced]

    async def until(self, kind: str) -> GatewayTraceEvent:
        """Waits for a trace event."""
        async with asyncio.timeout(5):
            while True:
                for one in self.traced:
                    if one.kind == kind:
                        return one
                await asyncio.sleep(0.005)

    async def open(self, *adds: str) -> list[Local]:
        """One context with these Adds; what the gateway chose for each."""
        reply = await self.ask(f"Context=${{{','.join(adds)}}}")
        assert reply.error is None, reply.error
        [action] = reply.actions
        return [local_of(action.context, command) for command in action.commands]


class Local:
    """What a reply says of one termination."""

    def __init__(self, context: int, termination: str, sdp: str) -> None:
        self.context = context
        self.termination = termination
        self.sdp = sdp
        self.port = int(sdp[sdp.index("m=") :].split()[1])
        self.host = sdp[sdp.index("c=") :].split()[2]
        self.address = (self.host, self.port)
        self.fingerprint = sdp.partition("a=fingerprint:")[2].partition("\n")[0].strip()


def local_of(context: int, command: Command) -> Local:
    assert command.error is None, command.error
    [media] = [one for one in command.descriptors if isinstance(one, Media)]
    return Local(context, command.termination, media.streams[0].local or "")


@asynccontextmanager
async def bench(
    *, timers: GatewayTimers = FAST, limits: GatewayLimits | None = None, host: str = "127.0.0.1",
    ports: tuple[int, int] = (42000, 46999), realms: tuple[Realm, ...] = (), **settings: Any,
) -> AsyncIterator[Bench]:  # fmt: skip
    """A registered gateway whose two realms are the loopback address, unless `realms` says otherwise; settings: of its config."""
    iq = await controller(host="127.0.0.1")
    traced: list[GatewayTraceEvent] = []
    config = GatewayConfig(
        mid="[127.0.0.1]:1", controllers=(iq.address,), timers=timers, limits=limits or GatewayLimits(),
        realms=realms or (Realm("access", (host,), (ports,)), Realm("core", (host,), (ports,))), **settings,
    )  # fmt: skip
    gateway = Gateway(config, trace=traced.append)
    await gateway.start()
    async with asyncio.timeout(5):
        await gateway.registered.wait()
    try:
        yield Bench(gateway, iq, traced)
    finally:
        await gateway.stop()
        iq.close()
        await asyncio.sleep(0)


EVENTS = "g/cause,tcpbcc/BNCChange{Type=Rel},tlsbsc/BNCChange{Type=Rel}"


def sdp(
    *, setup: str, secure: bool = False, address: tuple[str, int] | None = None, fingerprints: Sequence[str] = (),
    host: str = "127.0.0.1",
) -> str:  # fmt: skip
    family = "IP6" if ":" in host else "IP4"
    where, port = (address[0], str(address[1])) if address is not None else ("$", "$")
    lines = ["v=0", f"c=IN {family} {where}", f"m=message {port} {'TCP/TLS' if secure else 'TCP'} -", f"a=setup:{setup}"]
    return "\n" + "\n".join([*lines, *(f"a=fingerprint:{one}" for one in fingerprints)]) + "\n"


def add(
    realm: str, *, ours: str, theirs: str | None = None, peer: tuple[str, int] | None = None, fingerprints: Sequence[str] = (),
    secure: bool = False, mode: str = "SendReceive", signals: str = "", control: str = "", host: str = "127.0.0.1",
    events: str = EVENTS,
) -> str:  # fmt: skip
    """An Add: `ours` and `theirs` are the setup values of Local and Remote; without `theirs` there is no Remote."""
    local = sdp(setup=ours, secure=secure, fingerprints=("sha-256 $",) if secure else (), host=host)
    remote = ""
    if theirs is not None:
        remote = f",Remote{{{sdp(setup=theirs, secure=secure, address=peer or (host, 9), fingerprints=fingerprints, host=host)}}}"
    more = f",Signals{{{signals}}}" if signals else ""
    media = f'LocalControl{{Mode={mode},ipdc/realm="{realm}"{control}}},Local{{{local}}}{remote}'
    return f"Add=ip/1/$/${{Media{{Stream=1{{{media}}}}},Events=7{{{events}}}{more}}}"


DATAGRAM_EVENTS = "g/cause,dtlsbsc/BNCChange{Type=Rel}"


def add_datagrams(
    realm: str, *, peer: tuple[str, int] | None = None, fingerprints: Sequence[str] = (), secure: bool = False,
    mode: str = "SendReceive", signals: str = "", control: str = "", host: str = "127.0.0.1", transport: str = "",
    local: Sequence[str] = (), remote: Sequence[str] = (),
) -> str:  # fmt: skip
    """An Add over UDP; without `peer` there is no Remote. local, remote: further lines of either description."""
    family, proto = "IP6" if ":" in host else "IP4", transport or ("UDP/DTLS" if secure else "UDP")
    asked = ["a=fingerprint:sha-256 $"] if secure else []
    ours = "\n".join(["", "v=0", f"c=IN {family} $", f"m=image $ {proto} -", *asked, *local, ""])
    media = f'LocalControl{{Mode={mode},ipdc/realm="{realm}"{control}}},Local{{{ours}}}'
    if peer is not None:
        where = ["", "v=0", f"c=IN {family} {peer[0]}", f"m=image {peer[1]} {proto} -"]
        media += f",Remote{{{chr(10).join([*where, *(f'a=fingerprint:{one}' for one in fingerprints), *remote, ''])}}}"
    more = f",Signals{{{signals}}}" if signals else ""
    return f"Add=ip/1/$/${{Media{{Stream=1{{{media}}}}},Events=7{{{DATAGRAM_EVENTS}}}{more}}}"


def modify(termination: str, *, remote: str | None = None, mode: str | None = None, signals: str = "") -> str:
    parts = [f"LocalControl{{Mode={mode}}}"] if mode else []
    parts += [f"Remote{{{remote}}}"] if remote is not None else []
    media = [f"Media{{Stream=1{{{','.join(parts)}}}}}"] if parts else []
    return f"Modify={termination}{{{','.join([*media, *([f'Signals{{{signals}}}'] if signals else [])])}}}"


def new_identity(name: str, *, rsa: bool = False) -> Identity:
    return (self_signed_rsa if rsa else self_signed)(datetime.now(UTC), name)


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs an async test once on asyncio's loop and once on uvloop: they differ in how transports pause, end and abort."""

    @functools.wraps(test)
    def run(loop: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(test(**arguments))

    known = inspect.signature(test)
    added = inspect.Parameter("loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = known.replace(parameters=[added, *known.parameters.values()])  # type: ignore[attr-defined]
    loops = [pytest.param(asyncio.new_event_loop, id="asyncio"), pytest.param(uvloop.new_event_loop, id="uvloop")]
    return pytest.mark.parametrize("loop", loops)(run)
