"""The gateway's media sockets: ports from the realms, listeners, connects, and the legs that join two connections.

When is a connection made? A leg waits until the controller has said who the peer is (and, with TLS, what its
certificate must be); until then an early SYN stays in the kernel's backlog, ClientHello and all. Then

- an accepting leg takes exactly one connection; its listener is closed, so that further ones are refused by the kernel;
- a connecting leg dials at once when EstBNC asked for it, or when both legs connect; otherwise (interlinkage, TS 23.334
  §6.2.10.3) when the accepting leg is up and its peer verified: a stranger can never make the gateway dial into the core.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from pcscf.errors import H248Error
from pcscf.gateway.capture import Capture, CapturedEndpoint
from pcscf.gateway.cause import Cause
from pcscf.gateway.certificate import Identity
from pcscf.gateway.config import GatewayConfig, Realm
from pcscf.gateway.connection import READ_SIZE, Connection
from pcscf.gateway.datagram import DatagramLeg, DatagramPorts
from pcscf.gateway.dtls import DtlsContext
from pcscf.gateway.endpoint import Endpoint, Established, PlainEndpoint, TlsContext, TlsEndpoint, TlsRole
from pcscf.gateway.frames import FrameReader, Paths
from pcscf.gateway.model import Address, Close, Configure, Effect, LegKey, LegPlan, TcpRole
from pcscf.gateway.statistics import Statistics
from pcscf.gateway.trace import GatewayTraceEvent, Trace, TraceKind
from pcscf.gateway.yielding import YieldingEndpoint

BACKLOG: Final = 8
"""Connections that may wait unseen in the kernel until the controller has configured the leg."""

Report = Callable[[LegKey, Cause], None]


class Relay:
    """Carries out what the context table planned. `report`: called when a leg's connection failed or ended by itself."""

    def __init__(
        self, config: GatewayConfig, identity: Identity, dtls: Sequence[Identity], *, report: Report, trace: Trace | None,
        capture: Capture | None,
    ) -> None:  # fmt: skip
        self.config = config
        self.report = report
        self.tls = TlsContext(identity)
        self.dtls = DtlsContext(dtls, os.urandom(32))
        self.datagrams = DatagramPorts()
        self.capture = capture
        self.statistics = Statistics()
        self.loop = asyncio.get_running_loop()
        self.buffer = memoryview(bytearray(READ_SIZE))
        self._own = str(identity.fingerprint("sha-256"))
        self._trace = trace
        self._realms = {realm.name.lower(): realm for realm in config.realms}
        self._cursors = {name: realm.ports[0] for name, realm in self._realms.items()}
        self._listeners: dict[Address, socket.socket | None] = {}
        self._contexts: dict[int, dict[LegKey, AnyLeg]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # --- ports (pcscf.gateway.model.Ports) ---------------------------------------------------------------------------

    def reserve(self, realm: str, family: str, port: int | None) -> Address | None:
        """Binds and listens. Ports that this or another program uses are skipped; the search goes on where the last one ended."""
        return self._search(realm, family, port, self.listen)

    def reserve_datagrams(self, realm: str, family: str, port: int | None, *, pair: bool) -> Address | None:
        """Binds one UDP port or, from an even one on, two. No port is used for TCP and UDP at once: its number is its name."""

        def bind(local: Address) -> bool:
            if pair and (local[1] % 2 or self._is_taken((local[0], local[1] + 1))):
                return False
            return self.datagrams.bind(local, pair=pair)

        return self._search(realm, family, port, bind)

    def _search(self, realm: str, family: str, port: int | None, take: Callable[[Address], bool]) -> Address | None:
        place = self._realms[realm.lower()]
        address = _address_of(place, family)
        if address is None:
            return None
        low, high = place.ports
        start = self._cursors[realm.lower()]
        candidates: Iterable[int] = (
            (low + (start - low + step) % (high - low + 1) for step in range(high - low + 1)) if port is None else (port,)
        )
        for candidate in candidates:
            local = (address, candidate)
            if not self._is_taken(local) and take(local):
                self._cursors[realm.lower()] = candidate + 1 if candidate < high else low
                return local
        return None

    def _is_taken(self, local: Address) -> bool:
        return local in self._listeners or self.datagrams.holds(local)

    def release(self, local: Address) -> None:
        self.datagrams.release(local)
        listener = self._listeners.pop(local, None)
        if listener is not None:
            self.loop.remove_reader(listener)
            listener.close()

    def listen(self, local: Address) -> bool:
        """Whether a listener stands on that address now. Raises H248Error 510 when the process can open no more sockets."""
        if self._listeners.get(local) is not None:
            return True
        try:
            listener = _tcp_socket(local)
        except OSError as error:
            raise H248Error(510, f"Insufficient resources: {error.strerror}") from error
        try:
            listener.bind(local)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            return False
        self._listeners[local] = listener
        return True

    def stop_listening(self, local: Address) -> None:
        """Closes the listener and keeps the port: further connections are refused, and nobody else gets it."""
        self.release(local)
        self._listeners[local] = None

    def listener(self, local: Address) -> socket.socket | None:
        return self._listeners.get(local)

    def idle_since(self, leg: LegKey, direction: str) -> float:
        found = self._leg(leg)
        return found.idle_since(direction) if found is not None else self.loop.time()

    # --- effects -----------------------------------------------------------------------------------------------------

    def apply(self, effects: Iterable[Effect]) -> None:
        """All plans are taken over before anything is driven: whether to dial depends on both legs of a context."""
        touched: list[AnyLeg] = []
        for effect in effects:
            if isinstance(effect, Close):
                number = effect.leg.context
                legs = self._contexts.get(number, {})
                leg = legs.pop(effect.leg, None)
                if leg is not None:
                    leg.close()
                self.release(effect.local)
                if not legs:
                    self._contexts.pop(number, None)
                    self.statistics.forget(number)
            elif isinstance(effect, Configure):
                legs = self._contexts.setdefault(effect.leg.context, {})
                leg = legs.get(effect.leg)
                if leg is None:
                    made = DatagramLeg if effect.plan.datagram else Leg
                    leg = legs[effect.leg] = made(self, effect.leg, effect.plan)
                else:
                    leg.replan(effect.plan)
                touched.append(leg)
        for leg in touched:
            leg.drive()
            partner = self.partner_of(leg.plan)
            if leg.plan.aware and partner is not None and partner not in touched:
                partner.drive()   # its frames are mapped to the paths of this leg

    @property
    def legs(self) -> list[AnyLeg]:
        """Those of all contexts."""
        return [leg for legs in self._contexts.values() for leg in legs.values()]

    def partner_of(self, plan: LegPlan) -> Leg | None:
        """The other side of a connection; None where there is none, or one that speaks UDP."""
        found = self._leg(plan.partner) if plan.partner is not None else None
        return found if isinstance(found, Leg) else None

    def datagram_partner_of(self, plan: LegPlan) -> DatagramLeg | None:
        """The same for UDP."""
        found = self._leg(plan.partner) if plan.partner is not None else None
        return found if isinstance(found, DatagramLeg) else None

    def _leg(self, key: LegKey) -> AnyLeg | None:
        legs = self._contexts.get(key.context)
        return legs.get(key) if legs is not None else None

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        """Releases everything, as if every context had been subtracted."""
        for leg in self.legs:
            leg.close()
        self._contexts.clear()
        for local in list(self._listeners):
            self.release(local)
        self.datagrams.close()

    def note(self, kind: TraceKind, leg: AnyLeg, text: str, facts: Mapping[str, str]) -> None:
        if self._trace is not None:
            udp = leg.plan.datagram
            ours = {"local": _spell(leg.plan.local), "own": self._own if leg.plan.secure and not udp else "",
                    "transport": "UDP" if udp else ""}  # fmt: skip
            known = {name: value for name, value in {**ours, **facts}.items() if value}
            self._trace(GatewayTraceEvent(time.time(), kind, leg.key.context, leg.key.termination, text, known))


class Leg:
    """One stream of one termination: at most one connection at a time, made and ended as the plan says."""

    def __init__(self, relay: Relay, key: LegKey, plan: LegPlan) -> None:
        self.key = key
        self.plan = plan
        self._relay = relay
        self._connection: Connection | None = None
        self._frames: FrameReader | None = None
        self._task: asyncio.Task[None] | None = None
        self._watching = False
        self._awaited: asyncio.TimerHandle | None = None
        self._ended = False
        self._remote: Address | None = None
        self._created = relay.loop.time()
        relay.statistics.of(key.context)

    @property
    def established(self) -> bool:
        return self._connection is not None and self._connection.established

    @property
    def connection(self) -> Connection | None:
        return self._connection

    def idle_since(self, direction: str) -> float:
        """When bytes last passed, monotonic seconds; before the first one, when the leg was created."""
        if self._connection is None:
            return self._created
        received, sent = self._connection.last_received, self._connection.last_sent
        return received if direction == "IN" else sent if direction == "OUT" else max(received, sent)

    def replan(self, plan: LegPlan) -> None:
        """Takes over a new plan. A connection that depended on what changed is replaced; a trigger revives an ended leg."""
        old = self.plan
        if old.association != plan.association or (self._ended and plan.triggers > old.triggers):
            self._drop()
            self._ended = False
            if old.local != plan.local:
                self._relay.release(old.local)
            elif plan.remote is None:
                self._relay.listen(plan.local)   # as before the first connection: an early SYN shall find a listener
        self.plan = plan

    def close(self) -> None:
        self._drop()

    def drive(self) -> None:
        """Does whatever the plan allows now; harmless to call again."""
        plan, partner = self.plan, self._relay.partner_of(self.plan)
        if self._connection is not None:
            self._connection.link(
                partner.connection if partner is not None else None,
                receives=plan.receives and self._reads_frames(partner), sends=plan.sends, frames=self._frames,
            )  # fmt: skip
        elif self._task is None and not self._ended and plan.complete:
            if plan.tcp is TcpRole.ACCEPT:
                self._watch()
            elif self._may_dial(partner):
                self._relay.stop_listening(plan.local)
                self._task = self._relay.spawn(self._dial())
        if partner is not None:
            self._limit_wait(partner)
            partner._limit_wait(self)

    def _reads_frames(self, partner: Leg | None) -> bool:
        """Whether frames can be mapped, or need not be: the paths of both legs are known, or neither leg has one."""
        near, far = self.plan, partner.plan if partner is not None else None
        if self._frames is None:
            return far is None or not far.aware
        if far is None or not (near.own_path and near.peer_path and far.own_path and far.peer_path):
            return False
        uris = (near.own_path, near.peer_path, far.own_path, far.peer_path)
        self._frames.paths = Paths(*(path.split()[0].encode() for path in uris))
        return True

    def _bind(self) -> None:
        """Where the gateway opened both connections no end would send first (RFC 4975 §5.4)."""
        plan, partner = self.plan, self._relay.partner_of(self.plan)
        alone = plan.tcp is TcpRole.CONNECT and partner is not None and partner.plan.tcp is TcpRole.CONNECT
        if alone and self._connection is not None and self._frames is not None and plan.own_path and plan.peer_path:
            self._connection.say(self._frames.binding(plan.own_path, plan.peer_path, secrets.token_hex(8)))

    def _may_dial(self, partner: Leg | None) -> bool:
        if self.plan.triggers:
            return True
        return partner is not None and (partner.plan.tcp is TcpRole.CONNECT or partner.established)

    # --- accepting ---------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        if self._watching:
            return
        try:
            listens = self._relay.listen(self.plan.local)
        except H248Error:
            listens = False
        if not listens:
            self._give_up(Cause.NO_RESOURCES)
            return
        listener = self._relay.listener(self.plan.local)
        assert listener is not None  # noqa: S101 - listen() said so
        self._watching = True
        self._relay.loop.add_reader(listener, self._acceptable, listener)

    def _limit_wait(self, partner: Leg) -> None:
        """Once both ends are known, the one that is to connect must do so: nobody waits for ever."""
        if self._watching and self._awaited is None and partner.plan.complete:
            limit = self._relay.config.timers.tcp_accept
            self._awaited = self._relay.loop.call_later(limit, self._nobody_connected)

    def _nobody_connected(self) -> None:
        self._awaited = None
        if not (self.plan.receives or self.plan.sends):
            return
        self._unwatch()
        self._note("tcp-failed", Cause.NOBODY_CONNECTED.text, cause=Cause.NOBODY_CONNECTED.name)
        self._give_up(Cause.NOBODY_CONNECTED)

    def _acceptable(self, listener: socket.socket) -> None:
        try:
            accepted, source = listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return
        except OSError:
            self._unwatch()
            self._give_up(Cause.NO_RESOURCES)
            return
        remote = (str(source[0]), int(source[1]))
        if not self._admits(remote):
            self._relay.note("tcp-refused", self, f"{_spell(remote)} is not an allowed source", {"remote": _spell(remote)})
            _refuse(accepted)
            return
        self._unwatch()
        self._relay.stop_listening(self.plan.local)
        self._remote = remote
        accepted.setblocking(False)
        self._prepare(accepted)
        self._note("tcp-accepted", f"TCP connection from {_spell(remote)} accepted")
        connection = self._new_connection()
        self._task = self._relay.spawn(self._take_over(accepted, connection))

    def _unwatch(self) -> None:
        listener = self._relay.listener(self.plan.local)
        if self._watching and listener is not None:
            self._relay.loop.remove_reader(listener)
        self._watching = False
        if self._awaited is not None:
            self._awaited.cancel()
            self._awaited = None

    def _admits(self, remote: Address) -> bool:
        return self.plan.source is None or self.plan.source.admits(remote)

    async def _take_over(self, accepted: socket.socket, connection: Connection) -> None:
        await self._relay.loop.connect_accepted_socket(lambda: connection, accepted)

    # --- connecting --------------------------------------------------------------------------------------------------

    async def _dial(self) -> None:
        plan, loop = self.plan, self._relay.loop
        assert plan.remote is not None  # noqa: S101 - a complete plan has it
        self._remote = plan.remote
        dialled: socket.socket | None = None
        try:
            dialled = _tcp_socket(plan.local)
            dialled.bind(plan.local)
            self._prepare(dialled)
            async with asyncio.timeout(self._relay.config.timers.tcp_connect):
                await loop.sock_connect(dialled, plan.remote)
        except TimeoutError:
            cause = Cause.CONNECT_TIMEOUT
        except ConnectionRefusedError:
            cause = Cause.CONNECT_REFUSED
        except OSError:
            cause = Cause.CONNECT_FAILED
        except asyncio.CancelledError:
            if dialled is not None:
                dialled.close()
            raise
        else:
            self._note("tcp-connected", f"TCP connection to {_spell(plan.remote)} established")
            connection = self._new_connection()
            await loop.create_connection(lambda: connection, sock=dialled)
            return
        if dialled is not None:
            dialled.close()
        self._task = None
        self._note("tcp-failed", f"{cause.text}: {_spell(plan.remote)}", cause=cause.name)
        self._give_up(cause)

    # --- the connection ----------------------------------------------------------------------------------------------

    def connection_established(self, connection: Connection, event: Established) -> None:
        counters = (self._relay.statistics.of(self.key.context), self._relay.statistics.total)
        for one in counters:
            one.connections += 1
            one.handshakes += self.plan.secure
        if self.plan.secure:
            self._note(
                "tls-established", f"{event.version} with {event.cipher}, the peer's certificate is the promised one",
                version=event.version, cipher=event.cipher, fingerprint=event.peer_fingerprint,
            )  # fmt: skip
        self._bind()
        self.drive()
        partner = self._relay.partner_of(self.plan)
        if partner is not None:
            partner.drive()

    def connection_ended(self, connection: Connection, cause: Cause, alert: str) -> None:
        handshake = self.plan.secure and cause not in (Cause.PEER_CLOSED, Cause.RESET, Cause.BAD_FRAME)
        kind: TraceKind = "tls-failed" if handshake else "closed"
        self._note(kind, f"{cause.text}{f' ({alert})' if alert else ''}", cause=cause.name, alert=alert,
                   expected=", ".join(map(str, self.plan.fingerprints)) if handshake else "",
                   octets=str(connection.octets))  # fmt: skip
        self._forget(connection)
        self._give_up(cause)

    def _new_connection(self) -> Connection:
        relay, plan = self._relay, self.plan
        endpoint: Endpoint
        if plan.secure and plan.tls is TlsRole.CLIENT and plan.tcp is TcpRole.ACCEPT:
            endpoint = YieldingEndpoint(relay.tls, plan.fingerprints, relay.config.timers.tls_yield)
        elif plan.secure:
            endpoint = TlsEndpoint(relay.tls, plan.tls, plan.fingerprints)
        elif relay.capture is not None and self._remote is not None:
            endpoint = CapturedEndpoint(relay.capture, plan.local, self._remote)
        else:
            endpoint = PlainEndpoint()
        self._frames = FrameReader() if plan.aware else None
        timers = relay.config.timers
        self._connection = Connection(
            self, endpoint, relay.buffer, write_buffer=relay.config.limits.write_buffer,
            handshake_timeout=timers.tls_handshake, linger=timers.linger,
        )  # fmt: skip
        return self._connection

    def _give_up(self, cause: Cause) -> None:
        """The leg makes no further connection until the plan changes. A failure takes the other side down with it."""
        self._ended = True
        if cause is not Cause.PEER_CLOSED:
            for counters in (self._relay.statistics.of(self.key.context), self._relay.statistics.total):
                counters.add_failure(cause.name)
            partner = self._relay.partner_of(self.plan)
            if partner is not None:
                partner._lose_partner()
        self._relay.report(self.key, cause)

    def _lose_partner(self) -> None:
        if self._connection is None and self._task is None:
            return
        self._note("closed", Cause.PARTNER_LOST.text, cause=Cause.PARTNER_LOST.name)
        if self._connection is not None:
            connection = self._connection
            self._forget(connection)
            connection.reset()
        self._cancel()
        self._ended = True

    def _drop(self) -> None:
        """Ends whatever stands or is under way, in order, without a report."""
        self._unwatch()
        if self._connection is not None:
            connection = self._connection
            self._note("closed", "released by the controller", octets=str(connection.octets))
            self._forget(connection)
            connection.release()
        self._cancel()

    def _forget(self, connection: Connection) -> None:
        for counters in (self._relay.statistics.of(self.key.context), self._relay.statistics.total):
            counters.octets += connection.octets
        self._connection = None
        self._task = None

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _prepare(self, connected: socket.socket) -> None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        dscp = self.plan.dscp
        if dscp is not None:
            if connected.family == socket.AF_INET6:
                connected.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
            else:
                connected.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)

    def _note(self, kind: TraceKind, text: str, **facts: str) -> None:
        self._relay.note(kind, self, text, {"remote": _spell(self._remote) if self._remote else "", **facts})


AnyLeg: TypeAlias = Leg | DatagramLeg


def _address_of(realm: Realm, family: str) -> str | None:
    return next((one for one in realm.addresses if not family or (":" in one) == (family == "IP6")), None)


def _tcp_socket(local: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return made


def _refuse(accepted: socket.socket) -> None:
    """Closes with a reset, as a port without a listener would."""
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    accepted.close()


def _spell(address: Address) -> str:
    return f"{address[0]} {address[1]}"
