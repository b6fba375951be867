"""What the layer counts, against what it was seen to do."""

from __future__ import annotations

import pytest

from pcscf.sip.message import response_to
from pcscf.sip.parse import parse_datagram_untrusted
from tests.unit.sip.test_layer import CORE_TCP, TCP, Bench, request


def test_an_invite_that_nobody_answers() -> None:
    bench = Bench()
    bench.send(request("INVITE"))
    bench.layer.take_output()
    sendings = bench.sends_until(40.0)
    counts = bench.layer.counts
    assert counts.requests_sent["INVITE"] == 1
    assert counts.repeats_sent == len(sendings) == 6   # what was sent at once is no repetition
    assert counts.timed_out == 1
    assert counts.failures() == dict.fromkeys(counts.failures(), 0) | {"timed-out": 1}


def test_a_failure_that_nobody_acknowledges() -> None:
    bench = Bench()
    server = bench.accept(request("INVITE"))
    bench.respond(server, 486)
    counts = bench.layer.counts
    assert counts.responses_sent == [0, 0, 0, 0, 1, 0, 0]
    bench.layer.take_output()
    sendings = bench.sends_until(40.0)
    assert counts.repeats_sent == len(sendings)
    assert counts.unacknowledged == 1


@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE", "INVITE"])
def test_requests_that_come_again(method: str) -> None:
    bench = Bench()
    server = bench.accept(request(method))
    for _ in range(2):
        bench.receive(request(method))
    counts = bench.layer.counts
    assert (counts.requests_received[method], counts.repeats_received, counts.repeats_sent) == (1, 2, 0)
    bench.respond(server, 404)
    bench.receive(request(method))
    assert (counts.requests_received[method], counts.repeats_received, counts.repeats_sent) == (1, 3, 1)
    assert counts.responses_sent[4] == 1


def test_a_method_that_nobody_knows_counts_with_the_others() -> None:
    bench = Bench()
    for number in range(3):
        bench.accept(request(f"X{number}", branch=f"z9hG4bK{number}"))
    assert bench.layer.counts.requests_received["other"] == 3
    assert not any(name.startswith("X") for name in bench.layer.counts.requests_received)


def test_responses_by_class_and_those_to_nothing_of_ours() -> None:
    bench = Bench()
    client = bench.send(request("INVITE"))
    for status in (180, 200, 200):
        bench.receive(response_to(client.request, status, to_tag="far"))
    stray = response_to(request("INVITE", branch="z9hG4bKnobody"), 302, to_tag="far")
    bench.receive(parse_datagram_untrusted(stray.to_bytes()))   # type: ignore[arg-type]
    counts = bench.layer.counts
    assert counts.responses_received == [0, 1, 2, 1, 0, 0, 0]
    assert counts.stray == 1


def test_connections_that_break() -> None:
    bench = Bench()
    bench.send(request("REGISTER"), CORE_TCP)
    bench.accept(request("MESSAGE", branch="z9hG4bKother"), TCP)
    bench.layer.transport_failed(CORE_TCP, bench.now)
    bench.layer.transport_failed(TCP, bench.now)
    counts = bench.layer.counts
    assert (counts.unreachable, counts.undeliverable) == (1, 1)
    assert bench.layer.clients == 0
