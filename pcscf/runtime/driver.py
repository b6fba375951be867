"""The driver: joins the sockets, the transaction layer and the procedures. It holds one timer for all transactions.

A message comes in from `net`, goes through the layer, and what the layer says is handed to the router; what procedures send goes
back the same way. After every step the layer's output is put on the wire and its next timer is armed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Any

import structlog

from pcscf.errors import NextHopTimeout, SipError
from pcscf.procedures.ports import Exchange
from pcscf.procedures.router import Router
from pcscf.runtime.net import Message, Net
from pcscf.runtime.resolve import Resolver
from pcscf.sip.events import (
    Ack,
    Cancelled,
    NewRequest,
    ResponseReceived,
    Terminated,
    TimedOut,
    TransportFailed,
)
from pcscf.sip.flow import Destination, Flow, Hop
from pcscf.sip.headers import Via, stamp_received
from pcscf.sip.layer import TransactionLayer
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.parse import check_response
from pcscf.sip.transaction import ClientTransaction, ServerTransaction

TRANSPORTS = ("udp", "tcp")   # towards the core
LARGEST_DATAGRAM = 1300   # octets; a larger request goes over TCP where the hop leaves the choice (RFC 3261 §18.1.1)

MAX_WAYS = 1000   # hops of which it is kept by what transports they are reached

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a far end may take for its final response, in seconds. INVITE has Timer C, and 64*T1 once it was cancelled."""

    register: float = 32.0
    request: float = 32.0


class ResponseStream:
    """The exchange port: the responses of one client transaction, in a queue of its own."""

    def __init__(self, driver: Driver, request: Request) -> None:
        self._driver = driver
        self._request = request
        self._ready: deque[Response] = deque()
        self._local: Response | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._is_final = False
        self.client: ClientTransaction | None = None
        self.fallback: Hop | None = None

    def __aiter__(self) -> ResponseStream:
        return self

    async def __anext__(self) -> Response:
        while not self._ready:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = self._driver.future()
            await self._waiter
        return self._ready.popleft()

    def cancel(self, reason: str = "") -> None:
        if self.client is not None and not self._is_final:
            self._driver.cancel(self, reason)

    def is_local(self, response: Response) -> bool:
        return response is self._local

    def deliver(self, response: Response) -> None:
        self.fallback = None   # somebody is there
        status = response.status
        if status == 100 or self._ended:
            return
        if status >= 200:
            self._is_final = True
            self._ended = status >= 300 or self._request.method != "INVITE"   # nothing follows that a procedure would wait for
        self._ready.append(response)
        if self._waiter is not None:
            self._wake()

    def fail(self, status: int, reason: str) -> None:
        """Nothing came: a response made here ends the wait, unless a final one has passed already."""
        if not self._is_final:
            self._is_final = True
            self._local = response_to(self._request, status, reason)
            self._ready.append(self._local)
        self.end()

    def end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Driver:
    """The SIP port of the procedures, on real sockets."""

    def __init__(self, net: Net, layer: TransactionLayer, resolver: Resolver, later: Callable[[float, Callable[[], None]], None],
                 waits: Waits) -> None:
        self._net = net
        self._layer = layer
        self._resolver = resolver
        self._later = later
        self._waits = waits
        self._serving: set[asyncio.Task[None]] = set()
        self._started: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        self.future = self._loop.create_future
        self._known_ways: dict[tuple[Hop, str], Hop] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._handlers: dict[type, Callable[[Any], None]] = {
            NewRequest: self._new_request, ResponseReceived: self._response, Ack: self._ack, Cancelled: self._cancelled,
            TimedOut: self._timed_out, TransportFailed: self._transport_failed, Terminated: self._terminated,
        }
        self.router: Router | None = None

    # What the network hands up

    def receive(self, message: Message, flow: Flow) -> None:
        if isinstance(message, Request):
            stamp_received(message, flow.remote)
        else:
            try:
                check_response(message)
            except SipError as error:
                self._layer.counts.malformed += 1
                log.info("response-dropped", why=error.what, remote=flow.remote)
                return
        self._layer.receive(message, flow, self._now())
        self._pump()

    def malformed(self, error: SipError, flow: Flow) -> None:
        """What cannot be parsed is answered where its Via can be read, and otherwise dropped."""
        self._layer.counts.malformed += 1
        # Without the octets that it quotes: in a stream out of step they can be of a body, or credentials.
        log.info("malformed", why=error.what.partition(": ")[0], remote=flow.remote)
        request = getattr(error, "request", None)
        if isinstance(request, Request) and request.method != "ACK" and request.get("Via"):
            response = response_to(request, error.status, error.reason, to_tag=_unread_tag(request))
            self._net.send(response.to_bytes(), flow)

    def gone(self, destination: Destination) -> None:
        self._layer.transport_failed(destination, self._now())
        self._pump()

    # What procedures ask for

    def trying(self, server: ServerTransaction) -> None:
        self._layer.trying(server, self._now())
        self._pump()

    def respond(self, server: ServerTransaction, response: Response) -> None:
        self._layer.respond(server, response, self._now())
        self._pump()

    def request(self, request: Request, destination: Destination, branch: str) -> Exchange:
        settled = self._with_via(request, destination, branch)
        stream = ResponseStream(self, request)
        if settled is not destination and settled.transport == "tcp" and isinstance(destination, Hop):
            stream.fallback = self._way(destination, "udp")
        stream.client = self._layer.request(request, settled, self._now())
        stream.client.user = stream
        if request.method != "INVITE":
            wait = self._waits.register if request.method == "REGISTER" else self._waits.request
            self._later(wait, lambda: stream.fail(408, "Request Timeout"))
        self._pump()
        return stream

    def send(self, request: Request, destination: Destination, branch: str) -> None:
        destination = self._with_via(request, destination, branch)
        self._layer.counts.requests_sent["ACK"] += 1
        self._net.send(request.to_bytes(), destination)

    def cancel(self, stream: ResponseStream, reason: str) -> None:
        if stream.client is not None:
            self._layer.cancel(stream.client, self._now(), reason)
            self._pump()

    def is_alive(self, flow: Flow) -> bool:
        return self._net.is_alive(flow)

    async def locate(self, uri: str, realm: str) -> Hop:
        """Raises NextHopTimeout as well where no socket of ours leads there."""
        hop = await self._resolver.locate(uri, realm)
        for transport in TRANSPORTS:
            if self._way(hop, transport) is not None:
                return hop
        raise NextHopTimeout(f"no socket of ours reaches {hop.host} over {hop.transport or 'any transport'}")

    # Tasks

    def start(self, coroutine: Coroutine[object, object, None]) -> None:
        """Run what a procedure began of its own accord: a release, the wait for the answer to a BYE."""
        task = self._loop.create_task(coroutine)
        self._started.add(task)
        task.add_done_callback(self._has_ended)

    async def idle(self) -> None:
        """Wait until nothing that procedures began is under way. Requests that are being served do not count."""
        while self._started:
            await asyncio.wait(self._started)

    async def stop(self) -> None:
        tasks = self._serving | self._started
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()

    def _start_serving(self, coroutine: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._serving.add(task)
        task.add_done_callback(self._was_served)

    def _was_served(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        _log_failure(task)

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        self._started.discard(task)
        _log_failure(task)

    # The step

    def _with_via(self, request: Request, destination: Destination, branch: str) -> Destination:
        """Settle the transport of a hop that left it open, and put our Via on top."""
        if isinstance(destination, Hop) and not destination.transport:
            destination = self._way_for(request, destination)
        socket = self._net.socket_for(destination)
        transport, host, port = destination.transport.upper(), socket.host, socket.port
        via = Via(transport, host, port, (("branch", branch), ("rport", None)))
        request.prepend_via(f"{_sent_by(transport, host, port)};branch={branch};rport", via)
        return destination

    def _way_for(self, request: Request, hop: Hop) -> Hop:
        first, second = TRANSPORTS if request.length <= LARGEST_DATAGRAM else TRANSPORTS[::-1]
        return self._way(hop, first) or self._way(hop, second) or hop._replace(transport=first)

    def _falls_back(self, client: ClientTransaction) -> bool:
        """Send once more as a datagram what went over TCP for its size alone and met nobody there (RFC 3261 §18.1.1)."""
        stream = client.user
        if not isinstance(stream, ResponseStream) or stream.fallback is None:
            return False
        client.user = None
        request, branch = client.request.copy(), client.request.top_via.branch
        request.remove_first_value("Via")
        destination, stream.fallback = stream.fallback, None
        stream.client = self._layer.request(request, self._with_via(request, destination, f"{branch}.udp"), self._now())
        stream.client.user = stream
        return True

    def _way(self, hop: Hop, transport: str) -> Hop | None:
        """`hop` over `transport`, if it allows that and a listener of ours serves it. None goes: what was found stays."""
        way = self._known_ways.get((hop, transport))
        if way is None and hop.transport in ("", transport):
            way = Hop(transport, hop.realm, hop.host, hop.port)
            try:
                self._net.socket_for(way)
            except KeyError:
                return None
            if len(self._known_ways) >= MAX_WAYS:
                self._known_ways.clear()
            self._known_ways[hop, transport] = way
        return way

    def _pump(self) -> None:
        """What the layer says, out to the wire and up to the procedures. Whoever is told may come back here: it goes on then."""
        layer = self._layer
        while layer.output or layer.events:
            if layer.output:
                for data, destination in layer.take_output():
                    self._net.send(data, destination)
            if layer.events:
                for event in layer.take_events():
                    handle = self._handlers.get(type(event))
                    if handle is not None:
                        handle(event)
        if layer.earliest < self._timer_at:
            self._arm(layer.earliest)

    def _new_request(self, event: NewRequest) -> None:
        self._start_serving(self._serve(event.server))

    def _response(self, event: ResponseReceived) -> None:
        stream = event.client.user
        if isinstance(stream, ResponseStream):
            stream.deliver(event.response)

    def _ack(self, event: Ack) -> None:
        if self.router is not None:
            self._start_serving(self.router.ack(event.request, event.source))

    def _cancelled(self, event: Cancelled) -> None:
        if self.router is not None:
            self.router.cancelled(event.server, event.request)

    def _timed_out(self, event: TimedOut) -> None:
        self._fail(event.client, 408, "Request Timeout")

    def _transport_failed(self, event: TransportFailed) -> None:
        if not self._falls_back(event.client):
            self._fail(event.client, 503, "Service Unavailable")

    @staticmethod
    def _terminated(event: Terminated) -> None:
        stream, event.transaction.user = event.transaction.user, None   # each knew the other: nothing else would free them
        if isinstance(stream, ResponseStream):
            stream.end()

    async def _serve(self, server: ServerTransaction) -> None:
        """One request in its procedure. What nobody foresaw is answered 500 and logged: the caller must not hang."""
        if self.router is None:
            return
        try:
            await self.router.request(server, server.flow)
        except Exception:
            log.exception("procedure-failed", method=server.request.method)
            self.respond(server, response_to(server.request, 500, "Server Internal Error"))

    @staticmethod
    def _fail(client: ClientTransaction, status: int, reason: str) -> None:
        if isinstance(client.user, ResponseStream):
            client.user.fail(status, reason)

    def _arm(self, due: float) -> None:
        """One timer for all transactions. It may fire early, when what it was armed for has ended; it is armed anew then."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, inf
        self._layer.handle_timer(self._now())
        self._pump()


@lru_cache
def _sent_by(transport: str, host: str, port: int) -> str:
    """The beginning of our Via on a socket."""
    return f"SIP/2.0/{transport} {f'[{host}]' if ':' in host else host}:{port}"


def _unread_tag(request: Request) -> str:
    """The same To tag for every answer to one request that no transaction saw (RFC 3261 §8.2.7)."""
    material = f"{request.get('Call-ID')} {request.get('Via')}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(material, digest_size=8).hexdigest()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("procedure-failed", exc_info=task.exception())
