"""Our end of Iq: the media port of the procedures, driven by the controller machine. Its transports, one timer, futures.

The trace tap sits at the transports, so what it shows is what was on the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal, TypeAlias

import structlog

from pcscf.errors import GatewayUnavailable, SipError
from pcscf.h248.mid import mid_of_address
from pcscf.h248.transaction import H248Timers, MessageError, StrangerRefused, SyntaxRefused, TransactionCounts
from pcscf.iq.association import Admits, Heartbeat, Peer, Traits
from pcscf.iq.controller import Controller
from pcscf.iq.media import Media
from pcscf.iq.notifications import BearerReleased, Connected, MediaStopped
from pcscf.iq.operations import Done, Established, Failed, Limits, Released, Stopped
from pcscf.iq.overload import Urgency
from pcscf.iq.procedures import Realms
from pcscf.iq.states import AssociationEvent, GatewayState, Lost, Restarted
from pcscf.iq.status import GatewayStatus
from pcscf.iq.supervision import Supervision
from pcscf.mediasec.model import MediaPlan
from pcscf.transport.ends import open_controller
from pcscf.transport.model import Kind, TlsFiles, Transport, Upward

STRANGER_INTERVAL: Final = 1.0
LAST_FIRST_ID: Final = 1 << 28
_NEVER: Final = float("inf")

log = structlog.get_logger()

Tap: TypeAlias = Callable[[Literal["in", "out"], bytes, Peer], None]
"""("in" or "out", octets, the far end)."""


@dataclass(frozen=True, slots=True)
class IqConfig:
    """What our end of Iq needs to know.

    bind     local address and port; port 0 lets the kernel choose
    kinds    the transports that are offered there, with the certificates of TLS
    datagrams_from  the only host whose datagrams count, beside TLS; "" for any
    admits   (mId, address) -> whether that gateway may register
    mid      our mId; "" makes it from the bound address
    restore  gateways at known addresses that are told when we start anew
    traits   what is configured about gateways, by mId in lower case
    """

    bind: Peer
    admits: Admits
    mid: str = ""
    realms: Realms = field(default_factory=Realms)
    timers: H248Timers = field(default_factory=H248Timers)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    limits: Limits = field(default_factory=Limits)
    restore: tuple[Peer, ...] = ()
    traits: Mapping[str, Traits] = field(default_factory=dict)
    supervision: Supervision = field(default_factory=Supervision)
    kinds: tuple[Kind, ...] = ("udp",)
    tls: TlsFiles | None = None
    datagrams_from: str = ""


class Gateways:
    """The gateways behind Iq.

    on_bearer_released(mid, context, what)  a connection of a session broke
    on_media_stopped(mid, what)             no media crosses a termination of a session
    on_connected(mid, what)                 a TCP connection of a session is up, where that was asked for
    on_contexts_lost(mid, contexts, why)    a gateway is gone or came anew, and these contexts with it
    """

    def __init__(
        self,
        config: IqConfig,
        *,
        random: Random,
        clock: Callable[[], float],
        on_bearer_released: Callable[[str, int, BearerReleased], None],
        on_contexts_lost: Callable[[str, tuple[int, ...], str], None],
        on_media_stopped: Callable[[str, MediaStopped], None] = lambda _mid, _what: None,
        on_connected: Callable[[str, Connected], None] = lambda _mid, _what: None,
        tap: Tap | None = None,
    ) -> None:
        self._config = config
        self._random = random
        self._clock = clock
        self._on_bearer_released = on_bearer_released
        self._on_contexts_lost = on_contexts_lost
        self._on_media_stopped = on_media_stopped
        self._on_connected = on_connected
        self._tap = tap
        self._controller: Controller | None = None
        self._transport: Transport | None = None
        self._waiting: dict[int, asyncio.Future[Done]] = {}
        self._is_served = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER  # of a timer that is armed
        self._stranger_told_at = -_NEVER

    @property
    def address(self) -> Peer:
        """The bound address and port. Only between `start` and `stop`."""
        if self._transport is None:
            raise RuntimeError("Iq is not open")
        return self._transport.address

    @property
    def registered(self) -> tuple[str, ...]:
        """The mIds of the gateways that take new sessions."""
        if self._controller is None:
            return ()
        return tuple(each.mid for each in self._controller.association if each.state is GatewayState.REGISTERED)

    async def start(self) -> None:
        """Open the transports. Raises OSError, and ConfigError for TLS files that cannot be used."""
        config = self._config
        upward = Upward(self.receive, self._connection_lost)
        self._transport = await open_controller(
            config.kinds, config.bind, upward, config.tls, datagrams_from=config.datagrams_from
        )
        self._controller = Controller(
            config.mid or mid_of_address(*self.address),
            admits=config.admits,
            realms=config.realms,
            timers=config.timers,
            heartbeat=config.heartbeat,
            limits=config.limits,
            first_id=self._random.randrange(1, LAST_FIRST_ID),
            supervision=config.supervision,
            traits=config.traits,
        )
        for peer in config.restore:
            self._controller.restore(peer, self._clock())
        self._pump()

    async def renew_certificates(self) -> None:
        """What the files of TLS hold now, for connections from now on. Raises ConfigError, and nothing changed."""
        if self._transport is not None:
            await asyncio.to_thread(self._transport.renew)

    async def stop(self) -> None:
        """Close the transports. Whoever waits gets GatewayUnavailable."""
        if self._transport is not None:
            self._transport.close()
        if self._timer is not None:
            self._timer.cancel()
        self._transport = self._controller = self._timer = None
        self._timer_at = _NEVER
        self._is_served.clear()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(_stopped())
        await asyncio.sleep(0)

    async def wait_registered(self, timeout: float) -> None:  # noqa: ASYNC109 - part of the port: a person's patience
        """Wait until a gateway takes sessions. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            await self._is_served.wait()

    async def reserve(
        self, plan: MediaPlan, realms: Realms | None = None, urgency: Urgency = Urgency.NORMAL
    ) -> Media:
        """Both terminations of a new context. Raises GatewayUnavailable or InternalFailure; then nothing stays."""
        controller = self._running()
        operation = controller.reserve(plan, self._clock(), realms, urgency)
        future = self._future(operation)
        try:
            done = await future
        except asyncio.CancelledError:
            self._give_up(operation)
            if future.done() and not future.cancelled() and future.exception() is None:
                self._release_unwaited(_media(future.result()))
            raise
        return _media(done)

    async def configure(self, media: Media, settled: MediaPlan) -> Media:
        """What offer and answer settled. Raises GatewayUnavailable or InternalFailure; the context stays to release."""
        operation = self._running().configure(media, settled, self._clock())
        return _media(await self._end_of(operation))

    async def begin_tcp(self, media: Media, plan: MediaPlan, connected: Connected) -> Media:
        """The connection that waited for this one, if any. Raises as `configure`."""
        return _media(await self._end_of(self._running().begin_tcp(media, plan, connected, self._clock())))

    async def begin_tls(self, gateway: str, connected: Connected) -> None:
        """TLS on a connection that is up, with the gateway as client. Raises GatewayUnavailable or InternalFailure."""
        await self._end_of(self._running().begin_tls(gateway, connected, self._clock()))

    async def release(self, media: Media) -> None:
        """Give the context back. Never raises; returns at the deadline while the release goes on."""
        if self._controller is None:
            return
        try:
            await self._end_of(self._controller.release(media, self._clock()))
        except SipError:
            return

    async def audit(self) -> list[tuple[str, int]]:
        """(mId, ContextID) of every context that a gateway knows. Raises GatewayUnavailable or InternalFailure."""
        found: list[tuple[str, int]] = []
        for mid in [each.mid for each in self._running().association if each.is_associated]:
            done = await self._end_of(self._running().audit(mid, self._clock()))
            found += [(mid, context) for context in done.contexts]
        return found

    def adopt(self, media: Iterable[Media]) -> None:
        """What sessions of before own, so that a gateway that comes back keeps it."""
        for each in media:
            self._running().adopt(each)

    def status(self) -> list[GatewayStatus]:
        """How the gateways are now."""
        return self._controller.status(self._clock()) if self._controller is not None else []

    @property
    def counts(self) -> TransactionCounts:
        """Of all H.248 transactions since the start."""
        return self._controller.counts if self._controller is not None else TransactionCounts(0, 0, 0, 0, 0)

    def died(self, mid: str) -> None:
        """The process of that gateway has ended."""
        if self._controller is not None:
            self._controller.died(mid, self._clock())
            self._pump()

    def drain(self, mid: str, *, drained: bool) -> bool:
        """Give a gateway no new sessions, or give it some again. False: no gateway of that name ever came."""
        return self._running().association.drain(mid, drained=drained) is not None

    async def hand_off(self, mid: str, controller: str) -> None:
        """Send a gateway to the controller of this mId; sessions that it still has are lost. Raises as `configure`."""
        await self._end_of(self._running().hand_off(mid, controller, self._clock()))

    async def order_registration(self, mid: str) -> None:
        """A gateway shall register anew and keeps its sessions. Raises as `configure`."""
        await self._end_of(self._running().order_registration(mid, self._clock()))

    def stand_down(self, successor: str) -> None:
        """From now on gateways that register are sent to the controller of this mId; "": they may stay."""
        if self._controller is not None:
            self._controller.association.successor = successor

    async def send_away(self, successor: str) -> None:
        """We end: every gateway goes to `successor`, or is told that it has no controller any more (""). Never raises."""
        if self._controller is None:
            return
        controller, now = self._controller, self._clock()
        mids = [each.mid for each in controller.association if each.is_associated]
        operations = [
            controller.hand_off(mid, successor, now) if successor else controller.dismiss(mid, now) for mid in mids]
        await asyncio.gather(*(self._end_of(each) for each in operations), return_exceptions=True)

    def receive(self, data: bytes, peer: Peer) -> None:
        """One message."""
        if self._controller is None:
            return
        if self._tap is not None:
            self._tap("in", data, peer)
        self._controller.receive(data, peer, self._clock())
        self._pump()

    def _connection_lost(self, peer: Peer, why: str) -> None:
        """What is under way to the gateway waits for it to come back, until its deadline."""
        log.info("iq connection ended", peer=peer, why=why)

    def _running(self) -> Controller:
        if self._controller is None:
            raise _stopped()
        return self._controller

    def _future(self, operation: int) -> asyncio.Future[Done]:
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting[operation] = future
        self._pump()
        return future

    async def _end_of(self, operation: int) -> Done:
        future = self._future(operation)
        try:
            return await future
        except asyncio.CancelledError:
            self._give_up(operation)
            if future.done() and not future.cancelled():
                future.exception()
            raise

    def _give_up(self, operation: int) -> None:
        self._waiting.pop(operation, None)
        if self._controller is not None:
            self._controller.abandon(operation)

    def _release_unwaited(self, media: Media) -> None:
        if self._controller is not None:
            self._controller.release(media, self._clock())
            self._pump()

    def _pump(self) -> None:
        """Everything that the controller has to say, and its next timer."""
        controller, transport, tap = self._controller, self._transport, self._tap
        if controller is None or transport is None:
            return
        for data, peer in controller.take_output():
            if tap is not None:
                tap("out", data, peer)
            transport.send(data, peer)
        if controller.alarm.at < self._timer_at:
            self._arm(controller.next_timer())
        for event in controller.take_events():
            if isinstance(event, (Done, Failed)):
                self._end(event)
            elif isinstance(event, Released):
                self._on_bearer_released(event.gateway, event.bearer.context, event.bearer)
            elif isinstance(event, Established):
                self._on_connected(event.gateway, event.bearer)
            elif isinstance(event, Stopped):
                self._on_media_stopped(event.gateway, event.media)
            elif isinstance(event, StrangerRefused):
                self._refused(event)
                transport.disconnect(event.peer)
            elif isinstance(event, SyntaxRefused | MessageError):
                log.debug("iq message refused", peer=event.peer, why=str(event.error))
            else:
                self._changed(event)

    def _refused(self, stranger: StrangerRefused) -> None:
        """Told once a second: who is not admitted shall not fill the log either."""
        now = self._clock()
        if now - self._stranger_told_at >= STRANGER_INTERVAL:
            self._stranger_told_at = now
            log.warning("iq stranger refused", peer=stranger.peer, mid=stranger.mid, why=stranger.error.text)

    def _changed(self, event: AssociationEvent) -> None:
        why = event.why if isinstance(event, Lost) else ""
        log.info("gateway " + type(event).__name__.lower(), gateway=event.gateway, **({"why": why} if why else {}))
        if isinstance(event, Lost | Restarted) and event.contexts:
            self._on_contexts_lost(event.gateway, event.contexts, why or "the gateway started anew")
        if self.registered:
            self._is_served.set()
        else:
            self._is_served.clear()

    def _end(self, event: Done | Failed) -> None:
        future = self._waiting.pop(event.operation, None)
        if future is None or future.done():
            return
        if isinstance(event, Done):
            future.set_result(event)
        else:
            future.set_exception(event.error)

    def _arm(self, at: float | None) -> None:
        """One timer. A later need leaves it as it is: it then fires early and is armed again."""
        if at is None or self._timer_at <= at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        delay = max(0.0, at - self._clock())
        self._timer = asyncio.get_running_loop().call_later(delay, self._handle_timer)

    def _handle_timer(self) -> None:
        self._timer = None
        self._timer_at = _NEVER
        if self._controller is not None:
            self._controller.handle_timer(self._clock())
            self._pump()


def _media(done: Done) -> Media:
    if done.media is None:
        raise RuntimeError("an operation for media ended without media")
    return done.media


def _stopped() -> GatewayUnavailable:
    return GatewayUnavailable("Iq is not open")
