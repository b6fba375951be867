"""TCP media: one stream of one termination, and the connection that it makes when the plan says so.

When is a connection made? A leg waits until the controller has said who the peer is (and, with TLS, what its
certificate must be); until then an early SYN stays in the kernel's backlog, ClientHello and all. Then

- an accepting leg takes exactly one connection; its listener is closed, so that further ones are refused by the kernel;
- a connecting leg dials at once when EstBNC asked for it, or when both legs connect; otherwise (interlinkage, TS 23.334
  §6.2.10.3) when the accepting leg is up and its peer verified: a stranger can never make the gateway dial into the core.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from typing import TYPE_CHECKING

from pcscf.errors import H248Error
from pcscf.gateway.admission import RETRY, Handshake
from pcscf.gateway.capture import CapturedEndpoint
from pcscf.gateway.cause import Cause
from pcscf.gateway.connection import Connection
from pcscf.gateway.endpoint import Endpoint, Established, PlainEndpoint, TlsEndpoint, TlsRole
from pcscf.gateway.frames import FrameReader, Paths
from pcscf.gateway.model import Address, Layer, LegKey, LegPlan, TcpRole
from pcscf.gateway.policing import Policer
from pcscf.gateway.ports import mark, tcp_socket
from pcscf.gateway.statistics import Count
from pcscf.gateway.trace import TraceKind, spell
from pcscf.gateway.yielding import YieldingEndpoint
from pcscf.transport.dialling import connect

if TYPE_CHECKING:
    from pcscf.gateway.relay import Relay


class _LeadsBackError(Exception):
    """A connection that is not made."""


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
        self._handshake = Handshake(relay.admission)
        self._remote: Address | None = None
        self._created = relay.loop.time()
        self.count = Count()
        self._policer: Policer | None = None
        self._police()

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
        replaced = plan.replaces(old) or (self._ended and plan.triggers > old.triggers)
        if not replaced and plan.tls is not old.tls and self._connection is not None:
            replaced = not self._connection.begin_tls()
        if replaced:
            self._drop()
            self._ended = False
            if old.local != plan.local:
                self._relay.ports.release(old.local)
            elif plan.remote is None:
                self._listen()   # as before the first connection: an early SYN shall find a listener
        self.plan = plan
        if plan.contract != old.contract:
            self._police()
        if plan.dscp != old.dscp and self._connection is not None:
            self._connection.mark(plan.dscp or 0)

    def _police(self) -> None:
        contract = self.plan.contract
        self._policer = Policer(contract, self._relay.loop.time()) if contract is not None else None
        if self._connection is not None:
            self._connection.policer = self._policer

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
                self._relay.ports.stop_listening(plan.local)
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
        if not self._listen():
            self._give_up(Cause.NO_RESOURCES)
            return
        listener = self._relay.ports.listener(self.plan.local)
        assert listener is not None  # noqa: S101 - listen() said so
        self._watching = True
        self._relay.loop.add_reader(listener, self._acceptable, listener)

    def _listen(self) -> bool:
        try:
            return self._relay.ports.listen(self.plan.local)
        except H248Error:
            return False

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
        if not self._may_shake_hands():
            self._relay.loop.remove_reader(listener)
            self._relay.loop.call_later(RETRY, self._watch_again, listener)
            return
        try:
            accepted, source = listener.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            self._handshake.end()
            return
        except OSError:
            self._handshake.end()
            self._unwatch()
            self._give_up(Cause.NO_RESOURCES)
            return
        remote = (str(source[0]), int(source[1]))
        if not self._admits(remote) or self._leads_back(remote):
            self._relay.note("tcp-refused", self, f"{spell(remote)} is not an allowed source", {"remote": spell(remote)})
            _refuse(accepted)
            self._handshake.end()
            return
        self._unwatch()
        self._relay.ports.stop_listening(self.plan.local)
        self._remote = remote
        accepted.setblocking(False)
        self._prepare(accepted)
        self._note("tcp-accepted", f"TCP connection from {spell(remote)} accepted")
        connection = self._new_connection()
        self._task = self._relay.spawn(self._take_over(accepted, connection))
        self._relay.established(self.key, Layer.TCP)

    def _watch_again(self, listener: socket.socket) -> None:
        if self._watching and self._relay.ports.listener(self.plan.local) is listener:
            self._relay.loop.add_reader(listener, self._acceptable, listener)

    def _may_shake_hands(self) -> bool:
        """Whether a connection may come up now. Without TLS there is nothing to it."""
        return not self.plan.secure or self._handshake.begin(self._relay.loop.time())

    def _unwatch(self) -> None:
        listener = self._relay.ports.listener(self.plan.local)
        if self._watching and listener is not None:
            self._relay.loop.remove_reader(listener)
        self._watching = False
        if self._awaited is not None:
            self._awaited.cancel()
            self._awaited = None

    def _admits(self, remote: Address) -> bool:
        return self.plan.source is None or self.plan.source.admits(remote)

    def _leads_back(self, remote: Address) -> bool:
        """Whether octets from there could come round to here again: ends that name our own ports on both sides of a context.

        A port of ours on one side alone is another context, that of a peer who is behind this gateway too.
        """
        if not self._relay.ports.holds(remote):
            return False
        partner = self._relay.partner_of(self.plan)
        return remote == self.plan.local or (partner is not None and (remote == partner.plan.local or partner.is_inward))

    @property
    def is_inward(self) -> bool:
        """Whether its connection, made or on its way, goes to a port of ours."""
        is_up = self._connection is not None or self._task is not None
        return is_up and self._remote is not None and self._relay.ports.holds(self._remote)

    async def _take_over(self, accepted: socket.socket, connection: Connection) -> None:
        await self._relay.loop.connect_accepted_socket(lambda: connection, accepted)

    # --- connecting --------------------------------------------------------------------------------------------------

    async def _dial(self) -> None:
        plan, loop = self.plan, self._relay.loop
        assert plan.remote is not None  # noqa: S101 - a complete plan has it
        self._remote = plan.remote
        dialled: socket.socket | None = None
        try:
            dialled = tcp_socket(plan.local)
            dialled.bind(plan.local)
            self._prepare(dialled)
            async with asyncio.timeout(self._relay.config.timers.tcp_connect):
                while not self._may_shake_hands():  # noqa: ASYNC110 - room is also made by time alone
                    await asyncio.sleep(RETRY)
                await self._connect(dialled, plan.remote)
        except _LeadsBackError:
            cause = Cause.LEADS_BACK
        except TimeoutError:
            cause = Cause.CONNECT_TIMEOUT
        except ConnectionRefusedError:
            cause = Cause.CONNECT_REFUSED
        except OSError:
            cause = Cause.CONNECT_FAILED
        except asyncio.CancelledError:
            self._handshake.end()
            if dialled is not None:
                dialled.close()
            raise
        else:
            self._note("tcp-connected", f"TCP connection to {spell(plan.remote)} established")
            connection = self._new_connection()
            self._relay.established(self.key, Layer.TCP)
            await loop.create_connection(lambda: connection, sock=dialled)
            return
        self._handshake.end()
        if dialled is not None:
            dialled.close()
        self._task = None
        self._note("tcp-failed", f"{cause.text}: {spell(plan.remote)}", cause=cause.name)
        self._give_up(cause)

    async def _connect(self, dialled: socket.socket, remote: Address) -> None:
        """Raises OSError, and _LeadsBackError where the peer would be the gateway itself."""
        if self._leads_back(remote):
            raise _LeadsBackError
        await connect(dialled, remote)

    # --- the connection ----------------------------------------------------------------------------------------------

    def connection_established(self, connection: Connection, event: Established) -> None:
        self._handshake.end()
        statistics = self._relay.statistics
        statistics.connections[self.plan.kind] += 1
        if self.plan.secure:
            statistics.handshakes[event.version] += 1
            self._note(
                "tls-established", f"{event.version} with {event.cipher}, the peer's certificate is the promised one",
                version=event.version, cipher=event.cipher, fingerprint=event.peer_fingerprint,
            )  # fmt: skip
            self._relay.established(self.key, Layer.TLS)
        self._bind()
        self.drive()
        partner = self._relay.partner_of(self.plan)
        if partner is not None:
            partner.drive()

    def connection_ended(self, connection: Connection, cause: Cause, alert: str) -> None:
        handshake = self.plan.secure and cause not in (Cause.PEER_CLOSED, Cause.RESET, Cause.BAD_FRAME, Cause.SLOW_PEER)
        kind: TraceKind = "tls-failed" if handshake else "closed"
        self._note(kind, f"{cause.text}{f' ({alert})' if alert else ''}", cause=cause.name, alert=alert,
                   expected=", ".join(map(str, self.plan.fingerprints)) if handshake else "",
                   octets=str(self.count.received))  # fmt: skip
        self._forget()
        self._give_up(cause)

    def _new_connection(self) -> Connection:
        relay, plan = self._relay, self.plan
        endpoint: Endpoint
        if not plan.secure:
            endpoint = self._plain()
        elif plan.credentials is None:
            raise RuntimeError("a protected stream that has nothing to show")
        elif plan.holds_tls or (plan.tls is TlsRole.CLIENT and plan.tcp is TcpRole.ACCEPT):
            patience = relay.config.timers.tls_yield if plan.tcp is TcpRole.ACCEPT else 0.0
            endpoint = YieldingEndpoint(plan.credentials.tls, plan.fingerprints, patience, held=plan.holds_tls)
        else:
            endpoint = TlsEndpoint(plan.credentials.tls, plan.tls, plan.fingerprints)
        self._frames = FrameReader() if plan.aware else None
        timers = relay.config.timers
        self._connection = Connection(
            self, endpoint, relay.buffer, self.count, write_buffer=relay.config.limits.write_buffer,
            handshake_timeout=timers.tls_handshake, linger=timers.linger,
        )  # fmt: skip
        self._connection.policer = self._policer
        return self._connection

    def _plain(self) -> Endpoint:
        if self._relay.capture is not None and self._remote is not None:
            return CapturedEndpoint(self._relay.capture, self.plan.local, self._remote)
        return PlainEndpoint()

    def _give_up(self, cause: Cause) -> None:
        """The leg makes no further connection until the plan changes. A failure takes the other side down with it."""
        self._ended = True
        if cause is not Cause.PEER_CLOSED:
            self._relay.statistics.failures[cause] += 1
            partner = self._relay.partner_of(self.plan)
            if partner is not None:
                partner._lose_partner()
        self._relay.report(self.key, cause)

    def _lose_partner(self) -> None:
        if self._connection is None and self._task is None and not self._watching:
            return
        if self._watching:
            self._unwatch()
            self._relay.ports.stop_listening(self.plan.local)
        self._note("closed", Cause.PARTNER_LOST.text, cause=Cause.PARTNER_LOST.name)
        if self._connection is not None:
            connection = self._connection
            self._forget()
            connection.reset()
        self._cancel()
        self._ended = True

    def _drop(self) -> None:
        """Ends whatever stands or is under way, in order, without a report."""
        self._unwatch()
        if self._connection is not None:
            connection = self._connection
            self._note("closed", "released by the controller", octets=str(self.count.received))
            self._forget()
            connection.release()
        self._cancel()
        self._remote = None

    def connection_congested(self, connection: Connection, congested: bool) -> None:
        self._relay.congested(connection, congested)

    def _forget(self) -> None:
        self._handshake.end()
        if self._connection is not None:
            self._relay.congested(self._connection, False)
        self._connection = None
        self._task = None

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def _prepare(self, connected: socket.socket) -> None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self.plan.dscp is not None:
            mark(connected, self.plan.dscp)

    def _note(self, kind: TraceKind, text: str, **facts: str) -> None:
        if self._relay.traces:
            self._relay.note(kind, self, text, {"remote": spell(self._remote), **facts})


def _refuse(accepted: socket.socket) -> None:
    """Closes with a reset, as a port without a listener would."""
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    accepted.close()
