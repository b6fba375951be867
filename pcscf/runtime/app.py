"""The P-CSCF as a process: opens the sockets, starts the gateway, joins the parts, and takes them down again."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from random import SystemRandom

import structlog

from pcscf.config.model import Config
from pcscf.errors import ConfigError, SipError, TemporarilyUnavailable
from pcscf.iq.notifications import BearerReleased, Connected, MediaStopped
from pcscf.observe.http import HttpServer
from pcscf.observe.trace import address_text
from pcscf.procedures import watch
from pcscf.procedures.calls import Calls
from pcscf.procedures.ports import Ports
from pcscf.procedures.release import release
from pcscf.procedures.router import Router
from pcscf.procedures.session import State
from pcscf.procedures.token import Tokens
from pcscf.runtime import settings
from pcscf.runtime.control import Control
from pcscf.runtime.driver import Driver, Waits
from pcscf.runtime.embedded import EmbeddedGateway
from pcscf.runtime.iq import Gateways
from pcscf.runtime.net import Message, Net, Socket, Upward
from pcscf.runtime.records import Records
from pcscf.runtime.reload import Policies, Reread, reload_policies, renew_iq, renew_listeners
from pcscf.runtime.resolve import Resolver
from pcscf.runtime.status import Watcher, pages
from pcscf.runtime.store import MemoryStore
from pcscf.runtime.taps import TapFiles, Taps
from pcscf.runtime.wheel import Wheel
from pcscf.sip.flow import Destination, Flow
from pcscf.sip.layer import TransactionLayer

SWEEP = 5.0            # seconds between looks for what has expired
SECRET_OCTETS = 32
GATEWAY_PATIENCE = 15.0   # seconds that the embedded gateway may take to register at start

log = structlog.get_logger()


async def run(config: Config, reread: Reread, files: TapFiles = TapFiles()) -> None:  # noqa: B008 - immutable
    """Run until cancelled; then release what is under way and close. Raises ConfigError for what cannot be opened.

    reread: the configuration again, which SIGHUP asks for.
    """
    loop = asyncio.get_running_loop()
    with Taps(files, "pcscf") as taps:
        pcscf = Pcscf(config, taps)
        loop.add_signal_handler(signal.SIGHUP, pcscf.reload, reread)
        try:
            await pcscf.open()
            await pcscf.serve()
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            await pcscf.close()


class Pcscf:
    """The joined parts. `open` brings them up; `close` takes them down in the opposite order."""

    def __init__(self, config: Config, taps: Taps) -> None:
        self._config = config
        self._records = Records(taps.trace)
        self._policies = Policies(config.policies)
        self._store = MemoryStore()
        self._wheel = Wheel()
        loop = asyncio.get_running_loop()
        self._layer = TransactionLayer(settings.timers_for(config))
        self._net = Net(Upward(self._receive, self._malformed, self._gone), settings.net_limits(config), taps.sip)
        waits = Waits(register=config.timers.register_reply, request=config.timers.request_reply)
        self._driver = Driver(self._net, self._layer, Resolver(), self._wheel.later, waits)
        self._gateways = Gateways(
            settings.iq(config), random=SystemRandom(), clock=loop.time, on_bearer_released=self._bearer_released,
            on_contexts_lost=self._contexts_lost, on_media_stopped=self._media_stopped,
            on_connected=self._connected,
            tap=taps.iq(lambda: self._gateways.address))
        self._embedded: list[EmbeddedGateway] = []
        self._watcher = Watcher(
            config, store=self._store, layer=self._layer, net=self._net, gateways=self._gateways, records=self._records,
            children=self._embedded)
        self._control = Control(self._gateways, self._watcher.look, config)
        self._http = HttpServer(pages(self._watcher.look))
        self._taps = taps
        self._now = loop.time
        self._reloading = asyncio.Lock()
        self._calls: Calls | None = None

    async def open(self) -> None:
        """Everything open and a gateway registered. Raises ConfigError; `close` is due all the same."""
        config = self._config
        self._wheel.start()
        bound = {}
        for socket in settings.sockets(config):
            try:
                bound[socket.name] = await self._net.open(socket)
            except OSError as error:
                raise ConfigError(
                    f"the listener {socket.name} cannot open {socket.transport} {socket.address}:{socket.port}: {_reason(error)}",
                    hint="choose another address or port, or stop what uses it") from error
        site = settings.site(config, bound, self._policies)
        ports = Ports(
            sip=self._driver, media=self._gateways, store=self._store, site=site,
            tokens=Tokens(os.urandom(SECRET_OCTETS), os.urandom), now=self._now, later=self._wheel.later,
            record=self._records.record)
        self._calls = Calls(ports, self._driver.start)
        self._driver.router = Router(self._calls)
        try:
            await self._gateways.start()
        except OSError as error:
            raise ConfigError(
                f"Iq cannot open {config.iq.address}:{config.iq.port}: {_reason(error)}",
                hint="set gateways.iq.address and gateways.iq.port to what is free") from error
        await self._control.start()
        await self._serve_status()
        self._gateways.adopt(each.media for each in self._store.sessions() if each.media is not None)
        if config.gateways.embedded.enabled:
            await self._start_embedded()
        self._announce_ready(bound)

    async def _start_embedded(self) -> None:
        self._embedded += settings.embedded(
            self._config, self._gateways.address, self._taps.files.arguments, on_death=self._gateways.died)
        for each in self._embedded:
            await each.start()
        try:
            await self._gateways.wait_registered(GATEWAY_PATIENCE)
        except TimeoutError:
            raise ConfigError(
                f"the embedded gateway did not register within {GATEWAY_PATIENCE:g} s",
                hint="its own messages above say why; gateways.embedded.media names its addresses and ports") from None

    async def serve(self) -> None:
        """Look now and then for what has expired, for ever."""
        while True:
            await asyncio.sleep(SWEEP)
            if self._calls is not None:
                watch.expire(self._calls)
                watch.release_overdue(self._calls)
                self._net.close_idle(lambda flow: bool(self._store.bindings_on(flow)))
            if not len(self._layer):
                gc.collect()   # whatever errors have left; while there is work it would take too long

    def reload(self, reread: Reread) -> None:
        """The embedded gateways renew their certificates, and we read anew what can change under sessions that run."""
        for each in self._embedded:
            each.renew()
        if self._calls is not None:
            self._driver.start(self._reload(self._calls, reread))

    async def _reload(self, calls: Calls, reread: Reread) -> None:
        async with self._reloading:
            if await reload_policies(self._config, self._policies, reread):
                await watch.renew_policies(calls)
            await renew_listeners(self._config, self._net.sockets.values())
            await renew_iq(self._config, self._gateways)

    async def _serve_status(self) -> None:
        """Calls do not wait for those who watch them: an address that is taken is a warning."""
        http = self._config.http
        if not http.port:
            return
        try:
            await self._http.start(http.address, http.port)
        except OSError as error:
            log.warning("status is not served", address=http.address, port=http.port, why=error.strerror,
                        hint="choose another http.port, or 0 for none")

    async def close(self) -> None:
        self._http.close()
        await self._control.stop()
        successor = self._config.gateways.successor
        successor_mid = f"[{successor.host}]:{successor.port}" if successor is not None else ""
        self._gateways.stand_down(successor_mid)
        if self._calls is not None:
            await self._release_all(self._calls)
        await asyncio.gather(*(each.stop() for each in self._embedded))
        await self._gateways.send_away(successor_mid)
        await self._gateways.stop()
        await self._driver.stop()
        await self._net.close()
        self._wheel.stop()

    async def _release_all(self, calls: Calls) -> None:
        """A clean stop ends its sessions: both parties get BYE, the gateway its contexts back."""
        running = [session.token for session in self._store.sessions() if session.state is not State.ENDED]
        error = TemporarilyUnavailable("the P-CSCF is going out of service")
        try:
            async with asyncio.timeout(self._config.timers.shutdown):
                await asyncio.gather(*(release(calls, token, error) for token in running))
                await self._driver.idle()
        except TimeoutError:
            log.warning("stopped-with-work-left", sessions=len(running))

    def _receive(self, message: Message, flow: Flow) -> None:
        self._driver.receive(message, flow)

    def _malformed(self, error: SipError, flow: Flow) -> None:
        self._driver.malformed(error, flow)

    def _gone(self, destination: Destination) -> None:
        self._driver.gone(destination)

    def _bearer_released(self, gateway: str, _context: int, bearer: BearerReleased) -> None:
        if self._calls is not None:
            watch.bearer_released(self._calls, gateway, bearer)

    def _media_stopped(self, gateway: str, stopped: MediaStopped) -> None:
        if self._calls is not None:
            watch.media_stopped(self._calls, gateway, stopped)

    def _connected(self, gateway: str, what: Connected) -> None:
        if self._calls is not None:
            watch.connected(self._calls, gateway, what)

    def _contexts_lost(self, gateway: str, contexts: tuple[int, ...], why: str) -> None:
        if self._calls is not None:
            watch.contexts_lost(self._calls, gateway, contexts, why)

    @staticmethod
    def _announce_ready(bound: dict[str, Socket]) -> None:
        listeners = {name: f"{each.transport}:{address_text((each.address, each.port))}" for name, each in bound.items()}
        sys.stdout.write(json.dumps({"event": "ready", "listeners": listeners}) + "\n")
        sys.stdout.flush()


def _reason(error: OSError) -> str:
    """What the system said; uvloop puts words of its own around it."""
    cause = error.__cause__
    return error.strerror or (cause.strerror if isinstance(cause, OSError) else None) or str(error)
