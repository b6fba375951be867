"""The driver between a net that only writes down and a router that does what the test says."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest

from pcscf.errors import MalformedMessage, NextHopTimeout
from pcscf.procedures.ports import Exchange
from pcscf.procedures.router import Router
from pcscf.runtime.driver import LARGEST_DATAGRAM, Driver, Waits
from pcscf.runtime.net import Net, Socket
from pcscf.runtime.resolve import Resolver
from pcscf.runtime.wheel import Wheel
from pcscf.sip.flow import Destination, Flow, Hop
from pcscf.sip.layer import TransactionLayer
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.parse import parse_datagram_untrusted
from pcscf.sip.transaction import ServerTransaction, Timers
from tests.support.virtual import run_virtually
from tests.unit.procedures.desk import request

UE = Flow("udp", "gm-udp", ("203.0.113.1", 5060), ("192.0.2.10", 40001), 0)
CORE = Flow("udp", "mw-udp", ("198.51.100.1", 5070), ("198.51.100.2", 5080), 0)
HOP = Hop("", "core", "198.51.100.2", 5080)
BOTH = ("udp", "tcp")


class Wire:
    """Stands for `Net`: sockets of the core realm over some transports, and a list of what was sent."""

    def __init__(self, transports: Sequence[str], host: str) -> None:
        self.sent: list[tuple[Request | Response, Destination]] = []
        self.sockets = {each: Socket(f"mw-{each}", "core", each, host, 5070, host) for each in transports}

    def send(self, data: bytes, destination: Destination) -> None:
        self.sent.append((parse_datagram_untrusted(data), destination))

    def socket_for(self, destination: Destination) -> Socket:
        return self.sockets[destination.transport]

    def is_alive(self, _flow: Flow) -> bool:
        return True


class Desk:
    """Stands for `Router`; `serve` is the procedure of every request."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.acks: list[Request] = []
        self.cancelled_by: list[Request] = []
        self.serve: Callable[[ServerTransaction], Awaitable[None]] = self.accept

    async def accept(self, server: ServerTransaction) -> None:
        self.driver.respond(server, response_to(server.request, 200, to_tag="us"))

    async def request(self, server: ServerTransaction, _flow: Flow) -> None:
        await self.serve(server)

    async def ack(self, message: Request, _flow: Flow) -> None:
        self.acks.append(message)

    def cancelled(self, _server: ServerTransaction, message: Request) -> None:
        self.cancelled_by.append(message)


class Stand:
    def __init__(self, transports: Sequence[str] = BOTH, host: str = "198.51.100.1", waits: Waits | None = None) -> None:
        self.wire = Wire(transports, host)
        self.wheel = Wheel()
        self.wheel.start()
        layer = TransactionLayer(lambda _destination: Timers())
        self.driver = Driver(cast(Net, self.wire), layer, Resolver(), self.wheel.later, waits or Waits())
        self.desk = Desk(self.driver)
        self.driver.router = cast(Router, self.desk)

    def statuses(self) -> list[int]:
        return [each.status for each, _ in self.wire.sent if isinstance(each, Response)]

    def methods(self) -> list[str]:
        return [each.method for each, _ in self.wire.sent if isinstance(each, Request)]

    def ask(self, method: str = "MESSAGE", **how: Any) -> Exchange:
        message = request(method=method, **how)
        message.remove("Via")
        return self.driver.request(message, HOP, f"z9hG4bK{method}")

    def answer(self, status: int, more: str = "") -> None:
        """What the core says to the last request."""
        asked = next(each for each, _ in reversed(self.wire.sent) if isinstance(each, Request))
        self.driver.receive(response_to(asked, status, to_tag="far" + more), CORE)


def story(tale: Callable[[Stand], Awaitable[None]], **how: Any) -> None:
    async def run() -> None:
        stand = Stand(**how)
        await tale(stand)
        await stand.driver.stop()
        stand.wheel.stop()

    run_virtually(run)


async def all_of(exchange: Exchange) -> list[tuple[int, bool]]:
    """Every response with whether it was made here."""
    return [(response.status, exchange.is_local(response)) async for response in exchange]


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(("method", "seconds"), [("MESSAGE", 32), ("INVITE", 32), ("REGISTER", 32)])
def test_a_far_end_that_says_nothing_is_a_local_408(method: str, seconds: float) -> None:
    async def tale(stand: Stand) -> None:
        assert await all_of(stand.ask(method)) == [(408, True)]
        assert seconds <= now() <= seconds + 2
        assert stand.methods().count(method) > 1

    story(tale)


@pytest.mark.parametrize(("method", "seconds"), [("MESSAGE", 7), ("REGISTER", 3)])
def test_the_configured_wait_may_be_shorter(method: str, seconds: float) -> None:
    async def tale(stand: Stand) -> None:
        assert await all_of(stand.ask(method)) == [(408, True)]
        assert seconds <= now() <= seconds + 1.01

    story(tale, waits=Waits(register=3, request=7))


def test_an_answer_that_comes_after_the_wait_is_nobodys() -> None:
    async def tale(stand: Stand) -> None:
        exchange = stand.ask()
        await asyncio.sleep(10)
        stand.answer(200)
        assert await all_of(exchange) == [(408, True)]

    story(tale, waits=Waits(request=7))


@pytest.mark.parametrize("method", ["MESSAGE", "INVITE"])
def test_an_exchange_that_is_over_needs_no_collector(method: str) -> None:
    """While there is work the collector does not look at what has survived: whatever forms a ring would stay."""

    async def tale(stand: Stand) -> None:
        exchange = stand.ask(method)
        stand.answer(486)
        assert await all_of(exchange) == [(486, False)]
        await asyncio.sleep(60)
        left = weakref.ref(exchange)
        gc.disable()
        try:
            del exchange
            assert left() is None
        finally:
            gc.enable()

    story(tale)


def test_a_transport_that_fails_is_a_local_503() -> None:
    async def tale(stand: Stand) -> None:
        exchange = stand.ask()
        stand.driver.gone(stand.wire.sent[0][1])
        assert await all_of(exchange) == [(503, True)]

    story(tale)


def test_a_transport_that_fails_after_the_answer_changes_nothing() -> None:
    async def tale(stand: Stand) -> None:
        exchange = stand.ask()
        stand.answer(200)
        stand.driver.gone(stand.wire.sent[0][1])
        assert await all_of(exchange) == [(200, False)]

    story(tale)


def test_responses_come_in_order_without_the_100() -> None:
    async def tale(stand: Stand) -> None:
        exchange = stand.ask("INVITE")
        for status in (100, 180, 183, 486):
            stand.answer(status)
        assert await all_of(exchange) == [(180, False), (183, False), (486, False)]
        assert stand.methods() == ["INVITE", "ACK"]

    story(tale)


def test_every_200_of_an_invite_comes() -> None:
    async def tale(stand: Stand) -> None:
        exchange = stand.ask("INVITE")
        for tag in ("1", "1", "2"):
            stand.answer(200, tag)
        assert await all_of(exchange) == [(200, False)] * 3
        assert now() >= 32

    story(tale)


def test_a_response_that_cannot_be_used_is_dropped() -> None:
    async def tale(stand: Stand) -> None:
        exchange = stand.ask()
        broken = response_to(cast(Request, stand.wire.sent[0][0]), 200)
        broken.remove("To")
        stand.driver.receive(broken, CORE)
        stand.answer(202)
        assert await all_of(exchange) == [(202, False)]

    story(tale)


def test_a_cancel_goes_out_once_something_came_back() -> None:
    async def tale(stand: Stand) -> None:
        exchange = stand.ask("INVITE")
        exchange.cancel("SIP;cause=200")
        assert stand.methods() == ["INVITE"]
        stand.answer(180)
        cancel = stand.wire.sent[-1][0]
        assert isinstance(cancel, Request)
        assert (cancel.method, cancel.get("Reason")) == ("CANCEL", "SIP;cause=200")

    story(tale)


def test_there_is_nothing_to_cancel_after_the_answer() -> None:
    async def tale(stand: Stand) -> None:
        exchange = stand.ask("INVITE")
        stand.answer(200)
        exchange.cancel()
        assert stand.methods() == ["INVITE"]

    story(tale)


def test_a_request_is_served() -> None:
    async def tale(stand: Stand) -> None:
        stand.driver.receive(request(), UE)
        await asyncio.sleep(0)
        assert stand.statuses() == [200]
        stand.driver.receive(request(), UE)
        assert stand.statuses() == [200, 200]

    story(tale)


def test_what_nobody_foresaw_is_answered_500() -> None:
    async def tale(stand: Stand) -> None:
        async def fail(_server: ServerTransaction) -> None:
            raise ZeroDivisionError

        stand.desk.serve = fail
        stand.driver.receive(request(method="INVITE"), UE)
        await asyncio.sleep(0.01)
        assert stand.statuses()[0] == 500

    story(tale)


def test_what_nobody_foresaw_after_the_answer_changes_nothing() -> None:
    async def tale(stand: Stand) -> None:
        async def answer_and_fail(server: ServerTransaction) -> None:
            await stand.desk.accept(server)
            raise ZeroDivisionError

        stand.desk.serve = answer_and_fail
        stand.driver.receive(request(), UE)
        await asyncio.sleep(0.01)
        assert stand.statuses() == [200]

    story(tale)


def test_a_task_of_its_own_that_fails_harms_nobody() -> None:
    async def tale(stand: Stand) -> None:
        async def fail() -> None:
            raise ZeroDivisionError

        stand.driver.start(fail())
        await stand.driver.idle()
        stand.driver.receive(request(), UE)
        await asyncio.sleep(0)
        assert stand.statuses() == [200]

    story(tale)


def test_trying_is_sent_for_an_invite() -> None:
    async def tale(stand: Stand) -> None:
        async def wait(server: ServerTransaction) -> None:
            stand.driver.trying(server)
            await asyncio.sleep(1000)

        stand.desk.serve = wait
        stand.driver.receive(request(method="INVITE"), UE)
        await asyncio.sleep(0.01)
        assert stand.statuses() == [100]
        cancel = request(method="CANCEL")
        stand.driver.receive(cancel, UE)
        assert stand.statuses() == [100, 200]
        assert stand.desk.cancelled_by == [cancel]

    story(tale)


def test_the_ack_to_a_200_goes_to_the_router() -> None:
    async def tale(stand: Stand) -> None:
        stand.driver.receive(request(method="ACK"), UE)
        await asyncio.sleep(0)
        assert len(stand.desk.acks) == 1

    story(tale)


def test_what_cannot_be_read_is_answered_where_its_via_can() -> None:
    async def tale(stand: Stand) -> None:
        for message, answered in ((request(), 1), (request(method="ACK"), 1), (None, 1)):
            error = MalformedMessage("broken")
            error.request = message
            stand.driver.malformed(error, UE)
            assert len(stand.wire.sent) == answered
        without_via = request()
        without_via.remove("Via")
        error = MalformedMessage("broken")
        error.request = without_via
        stand.driver.malformed(error, UE)
        assert stand.statuses() == [400]

    story(tale)


@pytest.mark.parametrize(("transports", "body", "chosen"), [
    (BOTH, 0, "udp"), (BOTH, LARGEST_DATAGRAM, "tcp"), (("udp",), LARGEST_DATAGRAM, "udp"), (("tcp",), 0, "tcp"),
])
def test_a_hop_that_leaves_the_choice(transports: Sequence[str], body: int, chosen: str) -> None:
    async def tale(stand: Stand) -> None:
        message = request()
        message.remove("Via")
        message.set_body(b"x" * body, "text/plain")
        stand.driver.request(message, HOP, "z9hG4bK1")
        ((sent, destination),) = stand.wire.sent
        assert destination == HOP._replace(transport=chosen)
        assert sent.get_all("Via") == [f"SIP/2.0/{chosen.upper()} 198.51.100.1:5070;branch=z9hG4bK1;rport"]

    story(tale, transports=transports)


def test_an_ipv6_address_stands_in_brackets() -> None:
    async def tale(stand: Stand) -> None:
        ack = request(method="ACK")
        stand.driver.send(ack, HOP, "z9hG4bK1")
        assert stand.wire.sent[0][0].values("Via")[0] == "SIP/2.0/UDP [2001:db8::1]:5070;branch=z9hG4bK1;rport"

    story(tale, host="2001:db8::1")


@pytest.mark.parametrize(("transports", "uri", "reached"), [
    (BOTH, "sip:198.51.100.2", True),
    (BOTH, "sip:198.51.100.2;transport=tcp", True),
    (("udp",), "sip:198.51.100.2;transport=tcp", False),
    (("tcp",), "sip:198.51.100.2;transport=udp", False),
    (("tcp",), "sip:198.51.100.2", True),
    ((), "sip:198.51.100.2", False),
])
def test_a_hop_that_no_socket_of_ours_reaches(transports: Sequence[str], uri: str, reached: bool) -> None:
    async def tale(stand: Stand) -> None:
        if reached:
            assert (await stand.driver.locate(uri, "core")).host == "198.51.100.2"
        else:
            with pytest.raises(NextHopTimeout):
                await stand.driver.locate(uri, "core")

    story(tale, transports=transports)


def test_stopping_ends_every_procedure() -> None:
    async def tale(stand: Stand) -> None:
        ended: list[str] = []

        async def wait(name: str) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                ended.append(name)

        stand.desk.serve = lambda _server: wait("served")
        stand.driver.receive(request(), UE)
        stand.driver.start(wait("started"))
        await asyncio.sleep(0.01)
        await stand.driver.stop()
        assert sorted(ended) == ["served", "started"]
        await stand.driver.idle()

    story(tale)
