"""The gateway's Iq side: one transport, one association with a controller, and the story of its registration.

The transaction machine, the context table and the relay do the work; what is here carries things between them.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import structlog

from pcscf.errors import ConfigError
from pcscf.gateway import notify
from pcscf.gateway.capture import Capture
from pcscf.gateway.cause import Cause
from pcscf.gateway.certificates import Certificates
from pcscf.gateway.config import GatewayConfig
from pcscf.gateway.context import ContextTable, TableSettings
from pcscf.gateway.limits import adopted
from pcscf.gateway.model import ControllerOrder, Layer, LegKey
from pcscf.gateway.relay import Relay
from pcscf.gateway.trace import Trace
from pcscf.h248.message import Action, Command, CommandName, ContextId, ErrorDescriptor, Property, Services
from pcscf.h248.mid import address_of_mid
from pcscf.h248.transaction import (
    MessageError,
    Peer,
    ReplyReceived,
    RequestFailed,
    RequestReceived,
    TransactionMachine,
)
from pcscf.transport.ends import open_gateway
from pcscf.transport.model import Transport, Upward

COLD_BOOT: Final = "901 Cold Boot"
SERVICE_RESTORED: Final = "900 Service Restored"
DIRECTED_CHANGE: Final = "903 MGC Directed Change"
OUT_OF_SERVICE: Final = "905 Termination taken out of service"
CONTROLLER_FAILED: Final = "909 MGC Impending Failure"

VERSION: Final = 2
"""The H.248.1 version that is proposed. The registration goes out as version 1, which everybody can read (RFC 3525 §11.3)."""

TICK: Final = 0.02
"""Seconds that a timer may be late: the thousands of transactions that expire in a second are then a few wakes, not thousands."""

_FIRST_ID_RANGE: Final = 0x7FFFFFFF

log = structlog.get_logger()


class Gateway:
    """One gateway. `start` binds and begins to register; `stop` takes leave; `finished` is set when it has ended by itself.

    controller: the address of the controller that took the registration, None while there is none. started: seconds since
    the epoch.
    """

    def __init__(self, config: GatewayConfig, *, trace: Trace | None = None, capture: Capture | None = None) -> None:
        """Raises ConfigError for a configuration or certificate files that cannot serve."""
        if not config.controllers or not config.realms:
            raise ConfigError("a gateway needs at least one controller and one realm")
        self.config = config
        self.controller: Peer | None = None
        self._previous: Peer | None = None
        self.finished = asyncio.Event()
        self.registered = asyncio.Event()
        self.started = time.time()
        self.process = os.getpid()
        self.certificates = Certificates(config.certificates, lambda: datetime.now(UTC))
        self.relay = Relay(config, report=self._report, established=self._established, trace=trace, capture=capture)
        settings = TableSettings(
            config.realms, self.certificates.for_stream, _random_id(), config.limits.contexts, config.minimum_hash)
        self.table = ContextTable(settings, self.relay.ports, self.relay)
        self.machine = TransactionMachine(
            config.mid, timers=config.h248, version=VERSION, first_id=_random_id(), refuses=self._stranger
        )
        self._loop = asyncio.get_running_loop()
        self._transport: Transport | None = None
        self._controllers: tuple[Peer, ...] = ()
        self._is_leaving = False
        self._adopted: dict[str, Property] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        self._waiting: dict[int, _Waiting] = {}
        self._notified: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._registration: asyncio.Task[None] | None = None
        self._last_heard = self._loop.time()

    @property
    def address(self) -> tuple[str, int]:
        """Where Iq is bound."""
        assert self._transport is not None  # noqa: S101 - only asked of a started gateway
        return self._transport.address

    async def start(self) -> None:
        """Raises OSError when the address of Iq cannot be bound, ConfigError for TLS files that cannot be used."""
        config = self.config
        upward = Upward(self._received, self._connection_lost)
        transport = self._transport = await open_gateway(config.transport, config.bind, upward, config.tls)
        self._controllers = tuple(transport.peer(host, port) for host, port in config.controllers)
        self._register("Restart", COLD_BOOT)
        if self.config.parent:
            self._spawn(self._watch_parent(self.config.parent))
        if self.config.certificates.renew_after:
            self._spawn(self._renew_certificates(self.config.certificates.renew_after))

    async def renew_certificates(self) -> None:
        """New certificates, or those that the files hold now: for streams that become protected, and connections of Iq that are
        made, from now on. Raises ConfigError for files that cannot be used: what they are for stays as it was.
        """
        self.certificates.renew(await asyncio.to_thread(self.certificates.made_anew))
        if self._transport is not None:
            await asyncio.to_thread(self._transport.renew)

    async def stop(self, drain: float = 0.0) -> None:
        """Takes leave of the controller (ServiceChange 905), after at most `drain` seconds in which calls may end (Graceful)."""
        if self.finished.is_set():
            return
        self._cancel_registration()
        if self.controller is not None and self._transport is not None:
            if drain > 0 and self.table.contexts:
                await self._leave(Services("Graceful", OUT_OF_SERVICE, delay=round(drain)))
                deadline = self._loop.time() + drain
                while self.table.contexts and self._loop.time() < deadline:  # noqa: ASYNC110 - once in a process's life
                    await asyncio.sleep(min(0.1, drain))
            self._is_leaving = True
            self._cancel_registration()
            await self._leave(Services("Forced", OUT_OF_SERVICE))
        self.close()

    def close(self) -> None:
        """Ends at once, without a word to the controller."""
        self._cancel_registration()
        for task in list(self._tasks):
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self.relay.apply(self.table.forget_all())
        self.relay.close()
        if self._transport is not None:
            self._transport.close()
        self.finished.set()

    # --- the transport -----------------------------------------------------------------------------------------------

    def _received(self, message: bytes, peer: Peer) -> None:
        now = self._loop.time()
        if peer == self.controller:
            self._last_heard = now
        self.machine.receive(message, peer, now)
        self._work(now)

    def _connection_lost(self, peer: Peer, why: str) -> None:
        """The controller is looked for again, with what it was told still waiting; who was asked in vain is left."""
        log.info("iq connection ended", peer=peer, why=why)
        if peer == self.controller:
            self._lost()
        for waiting in self._waiting.values():
            if waiting.peer == peer and not waiting.answered.done():
                waiting.answered.set_exception(ConnectionError(why))

    # --- the machines ------------------------------------------------------------------------------------------------

    def _work(self, now: float) -> None:
        """After anything that may have moved the machines: their events, what they say, and when they want to be woken."""
        for event in self.machine.take_events():
            match event:
                case RequestReceived():
                    self._execute(event, now)
                case ReplyReceived(tid):
                    self._notified.discard(tid)
                    waiting = self._waiting.pop(tid, None)
                    if waiting is not None and not waiting.answered.done():
                        if waiting.registers and _is_accepted(event):
                            self._associate(waiting.peer, event, now)
                        waiting.answered.set_result(event)
                case RequestFailed(tid, peer):
                    waiting = self._waiting.pop(tid, None)
                    if waiting is not None and not waiting.answered.done():
                        self._disconnect(peer)
                        waiting.answered.set_exception(TimeoutError(f"no answer from {peer}"))
                    elif tid in self._notified:
                        self._lost()
                case MessageError(peer, error) if error.code == 406:
                    # Our registration arrived, its reply did not, and now only the negotiated version will do.
                    self.machine.set_version(peer, VERSION)
                case _:
                    pass
        self._flush()
        self._arm(now)

    def _arm(self, now: float) -> None:
        """Wakes us when something is due. A timer that stands and is earlier stays: it finds nothing, and sets the next one."""
        due = [timer for timer in (self.machine.next_timer(), self.table.watch.next_timer(), self._silence_ends())
               if timer is not None]  # fmt: skip
        if not due:
            return
        when = max(min(due), now + TICK)
        if self._timer is not None:
            if self._wakes_at <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._wake)
        self._wakes_at = when

    def _flush(self) -> None:
        if self._transport is not None:
            for data, peer in self.machine.take_output():
                self._transport.send(data, peer)

    def _disconnect(self, peer: Peer) -> None:
        if self._transport is not None:
            self._transport.disconnect(peer)

    def _wake(self) -> None:
        self._timer = None
        now = self._loop.time()
        self.machine.handle_timer(now)
        for one in self.table.watch.handle_timer(now):
            self._notify(notify.expired(one, timestamp()))
        silence = self._silence_ends()
        if silence is not None and silence <= now:
            self._last_heard = now
            self._notify(notify.inactivity(self.table.root_events, timestamp()))
        self._work(now)

    def _silence_ends(self) -> float | None:
        """When it/ito is due: nothing was heard from the controller for as long as it allowed."""
        period = self.table.inactivity_period if self.controller is not None else None
        return self._last_heard + period if period is not None else None

    def _execute(self, request: RequestReceived, now: float) -> None:
        """Carries a request out; effects first, so that what the reply promises (a listener, say) is there when it arrives."""
        refusal = self._refusal(request)
        if refusal is not None:
            self.machine.reply(request.handle, refusal, now)
            return
        replies, effects = self.table.execute(request.actions, now)
        self.relay.apply(effects)
        self.machine.reply(request.handle, replies, now)
        if self.table.root_properties != self._adopted:
            self._adopted = dict(self.table.root_properties)
            self.machine.set_timers(*adopted(self.config.h248, self._adopted))
        for effect in effects:
            if isinstance(effect, ControllerOrder):
                self._flush()
                self._obey(effect.services, request.peer)

    def _stranger(self, _mid: str, peer: Peer) -> ErrorDescriptor | None:
        """Only controllers we know may speak to us."""
        is_known = peer == self.controller or peer in self._controllers
        return None if is_known else ErrorDescriptor(402, "Unauthorized")

    def _refusal(self, request: RequestReceived) -> ErrorDescriptor | None:
        """Of the controllers we know, only the one we registered with may command; the sessions are its own. Another one that
        starts, or starts anew, is heard while there is none.
        """
        if request.peer == self.controller:
            return None
        if self.controller is not None:
            return ErrorDescriptor(402, "Unauthorized")
        if all(command.name is CommandName.SERVICE_CHANGE for action in request.actions for command in action.commands):
            return None
        return ErrorDescriptor(505, "Command Received before a ServiceChange Reply has been received")

    def _report(self, leg: LegKey, cause: Cause) -> None:
        termination = self.table.termination(leg)
        self._tell(notify.connection_ended(termination, leg, cause, timestamp()) if termination is not None else None)

    def _established(self, leg: LegKey, layer: Layer) -> None:
        termination = self.table.termination(leg)
        self._tell(notify.established(termination, leg, layer, timestamp()) if termination is not None else None)

    def _tell(self, action: Action | None) -> None:
        if action is not None:
            self._notify(action)
            self._work(self._loop.time())

    def _notify(self, action: Action) -> None:
        if self.controller is not None:
            self._notified.add(self.machine.request(self.controller, (action,), self._loop.time()))

    # --- registration ------------------------------------------------------------------------------------------------

    def _obey(self, services: Services, peer: Peer) -> None:
        """ServiceChange on ROOT from a controller: hand-off, out of service, restoration (RFC 3525 §11.5)."""
        match services.method.lower():
            case "handoff":
                successor = self._peer_of(services.mgc_id_to_try)
                if successor is not None:
                    self._register("HandOff", DIRECTED_CHANGE, successor)
            case "forced":
                self.relay.apply(self.table.forget_all())
                self._register("Restart", SERVICE_RESTORED)
            case "restart" | "failover" | "disconnected":
                self._register("Disconnected", SERVICE_RESTORED, peer)
            case _:
                pass

    def _lost(self) -> None:
        """The controller does not answer: it is asked once more, then the others of the list (RFC 3525 §11.5)."""
        if self.controller is not None:
            self._disconnect(self.controller)
        self._register("Disconnected", SERVICE_RESTORED, self.controller)

    def _peer_of(self, mid: str) -> Peer | None:
        """Who is reached at the address that an mId names."""
        address = address_of_mid(mid) if mid else None
        return self._transport.peer(*address) if address is not None and self._transport is not None else None

    def _register(self, method: str, reason: str, first: Peer | None = None) -> None:
        """Starts to look for a controller, from `first` on; sessions stay as they are."""
        if self._is_leaving:
            return
        self._cancel_registration()
        self._previous, self.controller = self.controller or self._previous, None
        self._notified.clear()
        self.registered.clear()
        self._registration = self._spawn(self._find_controller(method, reason, first))

    async def _find_controller(self, method: str, reason: str, first: Peer | None) -> None:
        """Tries one controller after the other, with growing random waits between rounds (RFC 3525 §9.2, §11.2)."""
        timers = self.config.timers
        wait = timers.registration_wait
        if first is None:
            await asyncio.sleep(random.uniform(0, wait))  # noqa: S311 - spreads load, protects nothing
        wait = timers.registration_retry
        while True:
            candidates = list(dict.fromkeys([*([first] if first is not None else []), *self._controllers]))
            for candidate in candidates:
                other = first is not None and candidate != first
                services = Services(
                    "Failover" if other else method, CONTROLLER_FAILED if other else reason,
                    profile=self.config.profile, version=VERSION, timestamp=timestamp(),
                )  # fmt: skip
                await self._offer(candidate, services)
                if self.controller is not None:
                    return
            await asyncio.sleep(random.uniform(wait / 2, wait))  # noqa: S311
            wait = min(2 * wait, timers.registration_retry_max)

    async def _offer(self, candidate: Peer, services: Services, hops: int = 3) -> None:
        """Offers ourselves to one controller, and to those that it names instead. Who took us is the controller then."""
        if services.method != "Disconnected":
            self.machine.set_version(candidate, 1)
        reply = await self._service_change(candidate, services, registers=True)
        if reply is not None and self.controller is None:
            successor = self._peer_of(_services_of(reply).mgc_id_to_try)
            if successor is not None and hops:
                await self._offer(successor, services, hops - 1)

    def _associate(self, controller: Peer, reply: ReplyReceived, now: float) -> None:
        """As soon as the reply is here: what the controller asks next may be right behind it."""
        self.machine.set_version(controller, min(_services_of(reply).version or VERSION, VERSION))
        if self._previous is not None and self._previous != controller:
            self._disconnect(self._previous)  # nothing more is said there
        self._previous, self.controller = None, controller
        self._last_heard = now
        self.registered.set()
        self.machine.resend(controller, now)

    async def _leave(self, services: Services) -> None:
        """Says goodbye, and waits a moment for the answer."""
        if self.controller is not None:
            try:
                async with asyncio.timeout(self.config.timers.graceful_stop):
                    await self._service_change(self.controller, replace(services, timestamp=timestamp()))
            except TimeoutError:
                pass

    async def _service_change(self, peer: Peer, services: Services, *, registers: bool = False) -> ReplyReceived | None:
        """None when the peer does not answer."""
        action = Action(ContextId.NULL, (Command(CommandName.SERVICE_CHANGE, ("ROOT",), (services,)),))
        now = self._loop.time()
        tid = self.machine.request(peer, (action,), now)
        answered: asyncio.Future[ReplyReceived] = self._loop.create_future()
        self._waiting[tid] = _Waiting(peer, answered, registers)
        self._work(now)
        try:
            return await answered
        except OSError:
            return None
        finally:
            if self._waiting.pop(tid, None) is not None:
                self.machine.abandon(tid)

    # --- lifetime ----------------------------------------------------------------------------------------------------

    async def _renew_certificates(self, after: float) -> None:
        while True:
            await asyncio.sleep(after)
            try:
                await self.renew_certificates()
            except ConfigError as error:
                log.warning("certificates not renewed", file=error.file, why=error.what)

    async def _watch_parent(self, parent: int) -> None:
        """An embedded gateway outlives its parent for a while, so that the next one can adopt it together with its calls."""
        timers = self.config.timers
        is_child = os.getppid() == parent
        while os.getppid() == parent if is_child else _exists(parent):  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(timers.parent_watch)
        self._register("Disconnected", SERVICE_RESTORED, self.controller or self._controllers[0])
        deadline = self._loop.time() + timers.adoption_grace
        while self._loop.time() < deadline:
            await asyncio.sleep(min(timers.parent_watch, timers.adoption_grace))
            if self.controller is not None:
                deadline = self._loop.time() + timers.adoption_grace
        self.close()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _cancel_registration(self) -> None:
        if self._registration is not None:
            self._registration.cancel()
            self._registration = None


async def run_gateway(
    config: GatewayConfig, *, trace: Trace | None = None, capture: Capture | None = None,
    beside: Callable[[Gateway], AbstractAsyncContextManager[None]] | None = None,
) -> None:  # fmt: skip
    """Runs a gateway until it is cancelled; an embedded one also ends when its parent has died and nobody adopts it.

    trace: gets every step on the media side. capture: gets what crosses there without TLS. beside: is entered with the
    gateway once Iq is bound, and left before the gateway takes leave.
    Raises OSError when Iq cannot be bound, ConfigError for a useless configuration.
    """
    gateway = Gateway(config, trace=trace, capture=capture)
    await gateway.start()
    try:
        async with beside(gateway) if beside is not None else nullcontext():
            await gateway.finished.wait()
    finally:
        await gateway.stop()


class _Waiting(NamedTuple):
    """A ServiceChange that waits for its reply, which may make the peer our controller where it `registers`."""

    peer: Peer
    answered: asyncio.Future[ReplyReceived]
    registers: bool


def _services_of(reply: ReplyReceived) -> Services:
    """What a reply to ServiceChange says, where it says anything."""
    commands = reply.actions[0].commands if reply.actions else ()
    descriptors = commands[0].descriptors if commands else ()
    return next((each for each in descriptors if isinstance(each, Services)), Services())


def _is_accepted(reply: ReplyReceived) -> bool:
    """Whether the controller took us: no error, and nobody else named."""
    if reply.error is not None or not reply.actions or not reply.actions[0].commands:
        return False
    return reply.actions[0].commands[0].error is None and not _services_of(reply).mgc_id_to_try


def timestamp() -> str:
    """Now as an H.248 TimeStamp: yyyymmddThhmmss and hundredths of a second, UTC."""
    now = time.time()
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(now)) + f"{int(now * 100) % 100:02d}"


def _random_id() -> int:
    return random.randrange(1, _FIRST_ID_RANGE)  # noqa: S311 - keeps ids of two runs apart, protects nothing


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
