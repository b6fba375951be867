"""Whole registrations and calls through the real procedures, in memory and on virtual time: no kernel, no waiting.

The far ends and the gateway run in the same process; a stopwatch takes their time out of the P-CSCF's share.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog

from bench.messages import ANSWER, IN_DIALOG, INVITE, REGISTER, with_body
from pcscf.sip.flow import Flow
from tests.support.flowbed import Bed
from tests.support.virtual import run_virtually

STORIES = 150
ROUNDS = 5
AFTERMATH = 70.0   # virtual seconds after which every timer of a call has run out
COPIED = (b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:", b"Record-Route:")


class Stopwatch:
    """Adds up what far ends and gateway spend."""

    def __init__(self) -> None:
        self.nanoseconds = 0

    def timed(self, work: Callable[..., None]) -> Callable[..., None]:
        def measured(*arguments: Any) -> None:
            start = time.process_time_ns()
            work(*arguments)
            self.nanoseconds += time.process_time_ns() - start

        return measured


class FarEnd:
    """Lives at one address of the bed; sends octets and looks at no more of what comes than it must."""

    def __init__(self, bed: Bed, flow: Flow, stopwatch: Stopwatch) -> None:
        self._bed = bed
        self._flow = flow
        self.number = 0
        self.done: asyncio.Future[None] | None = None
        self.recording: list[bytes] | None = None
        self.receive = stopwatch.timed(self.take)
        bed.net.peers[flow.remote] = self   # type: ignore[assignment]

    def take(self, data: bytes) -> None:
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        if self.recording is not None:
            self.recording.append(data)
        self._bed.net.carry("peer", data, lambda: self._bed.net.arrive(data, self._flow))

    def finish(self) -> None:
        if self.done is not None and not self.done.done():
            self.done.set_result(None)

    async def next(self, start: Callable[[], None]) -> None:
        """Begin something, and wait until the other end of the story says `finish`."""
        self.number += 1
        self.done = asyncio.get_running_loop().create_future()
        start()
        await self.done


class Caller(FarEnd):
    """The UE: registers, calls, acknowledges, hangs up."""

    _routes = ""

    def call(self) -> None:
        self.send(INVITE.format(number=self.number).encode())

    def register(self) -> None:
        self._register('nonce="", response=""', "")

    def take(self, data: bytes) -> None:
        method = data[data.index(b"CSeq:"):].split(None, 3)[2]
        status = data[8:11]
        if method == b"INVITE" and status == b"200":
            routes = [line[7:] for line in data.split(b"\r\n") if line.startswith(b"Record-")]
            self._routes = "\r\n".join(f"Route:{line.decode()[6:]}" for line in reversed(routes))
            self._in_dialog("ACK", 1)
        elif method == b"REGISTER" and status == b"401":
            self.number += 1
            self._register('nonce="n", response="5d41402abc4b2a76b9719d911017c592"', "\r\nSecurity-Verify: msrp-tls;mediasec")
        elif status == b"200":
            self.finish()
        elif status >= b"300":
            raise RuntimeError(data.decode())

    def hang_up(self) -> None:
        self._in_dialog("BYE", 2)

    def _register(self, credentials: str, verify: str) -> None:
        self.send(REGISTER.format(number=self.number, credentials=credentials, verify=verify).encode())

    def _in_dialog(self, method: str, cseq: int) -> None:
        self.send(IN_DIALOG.format(method=method, number=self.number, cseq=cseq, routes=self._routes).encode())


class Core(FarEnd):
    """The core with the far end behind it: challenges the first REGISTER, rings and answers."""

    caller: Caller

    def take(self, data: bytes) -> None:
        method = data[:data.index(b" ")]
        if method == b"INVITE":
            self.send(_answer(data, "180 Ringing"))
            self.send(_answer(data, "200 OK", "Contact: <sip:bob@198.51.100.2:5080>", ANSWER))
        elif method == b"ACK":
            self.caller.hang_up()
        elif method == b"REGISTER" and b"nonce=\"\"" in data:
            self.send(_answer(data, "401 Unauthorized", 'WWW-Authenticate: Digest realm="ims.example", nonce="n", algorithm=MD5'))
        elif method == b"REGISTER":
            self.send(_answer(data, "200 OK", """Contact: <sip:alice@192.0.2.10:40001;transport=tls>;expires=3600
                Service-Route: <sip:orig@198.51.100.2:5080;lr>
                P-Associated-URI: <sip:alice@ims.example>"""))
        else:
            self.send(_answer(data, "200 OK"))


def _answer(request: bytes, status: str, more: str = "", body: str = "") -> bytes:
    copied = [line for line in request.split(b"\r\n") if line.startswith(COPIED)]
    tagged = [line + b";tag=far" if line.startswith(b"To:") and b"tag=" not in line else line for line in copied]
    head = [f"SIP/2.0 {status}", *(line.decode() for line in tagged)]
    return with_body("\n".join([*head, more] if more else head), body).encode()


@dataclass
class Stage:
    """A running bed whose caller has registered."""

    bed: Bed
    stopwatch: Stopwatch
    caller: Caller
    core: Core


async def set_up() -> Stage:
    bed, stopwatch = Bed(), Stopwatch()
    for part in ("datagram_received", "_serve"):
        setattr(bed.gateway, part, stopwatch.timed(getattr(bed.gateway, part)))
    caller, core = Caller(bed, bed.ue.flow, stopwatch), Core(bed, bed.core.flow, stopwatch)
    core.caller = caller
    await bed.start()
    await caller.next(caller.register)
    return Stage(bed, stopwatch, caller, core)


class Cost(NamedTuple):
    """µs of CPU for one story: of everything in the process, and of the P-CSCF alone."""

    everything: float
    pcscf: float


def cost_of_call() -> Cost:
    """INVITE, 100, 180, 200, ACK, BYE, 200 on both sides, and three transactions on Iq."""
    return min((_cost(lambda caller: caller.call) for _ in range(ROUNDS)), key=lambda cost: cost.pcscf)


def cost_of_registration() -> Cost:
    """REGISTER, 401, REGISTER, 200 on both sides."""
    return min((_cost(lambda caller: caller.register) for _ in range(ROUNDS)), key=lambda cost: cost.pcscf)


def messages_of_call() -> list[bytes]:
    """What a P-CSCF gets during one call."""
    messages: list[bytes] = []

    async def story() -> None:
        stage = await set_up()
        stage.caller.recording = stage.core.recording = messages
        await stage.caller.next(stage.caller.call)
        await stage.bed.close()

    quietly(story)
    return messages


def _cost(begin: Callable[[Caller], Callable[[], None]]) -> Cost:
    spent = [0, 0]

    async def story() -> None:
        stage = await set_up()
        await stage.caller.next(begin(stage.caller))
        await stage.bed.settle(AFTERMATH)
        gc.collect()
        gc.freeze()
        stage.stopwatch.nanoseconds = 0
        start = time.process_time_ns()
        for _ in range(STORIES):
            await stage.caller.next(begin(stage.caller))
        await stage.bed.settle(AFTERMATH)
        spent[:] = time.process_time_ns() - start, stage.stopwatch.nanoseconds
        if stage.bed.gateway.table.contexts or stage.bed.store.sessions():
            raise RuntimeError(stage.bed.story())
        await stage.bed.close()

    quietly(story)
    everything, far_ends = (nanoseconds / STORIES / 1000 for nanoseconds in spent)
    return Cost(everything, everything - far_ends)


def quietly(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `story` on virtual time, without a log."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        run_virtually(story)
    finally:
        structlog.reset_defaults()
