"""The transaction layer, told from outside: messages and time go in, messages and events come out."""

from __future__ import annotations

from typing import TypeVar

import pytest

from pcscf.sip.events import (
    Ack,
    Cancelled,
    Event,
    NewRequest,
    ResponseReceived,
    ResponseUndeliverable,
    Terminated,
    TimedOut,
    TransportFailed,
    Unacknowledged,
)
from pcscf.sip.flow import Destination, Flow, Hop
from pcscf.sip.layer import TransactionLayer
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.parse import parse_datagram_untrusted
from pcscf.sip.transaction import ClientTransaction, ServerTransaction, State, Timers

UDP = Flow("udp", "gm", ("192.0.2.9", 5060), ("192.0.2.1", 5060), 0)
TCP = Flow("tcp", "gm", ("192.0.2.9", 5060), ("192.0.2.1", 1024), 7)
CORE = Hop("udp", "core", "scscf.example", 5060)
CORE_TCP = Hop("tcp", "core", "scscf.example", 5060)
TIMERS = Timers(t1=0.5, t2=4.0, t4=5.0, c=190.0)

T = TypeVar("T")


class Bench:
    """A layer with a clock; `sent` and `events` are what the last step gave."""

    def __init__(self, timers: Timers = TIMERS) -> None:
        self.asked: list[Destination] = []
        self.layer = TransactionLayer(lambda destination: (self.asked.append(destination), timers)[1])
        self.now = 100.0

    def receive(self, message: Request | Response, source: Flow = UDP) -> None:
        self.layer.receive(message, source, self.now)

    def accept(self, request: Request, source: Flow = UDP) -> ServerTransaction:
        self.receive(request, source)
        return self.only(NewRequest).server

    def send(self, request: Request, destination: Destination = CORE) -> ClientTransaction:
        return self.layer.request(request, destination, self.now)

    def respond(self, server: ServerTransaction, status: int, tag: str = "us") -> None:
        self.layer.respond(server, response_to(server.request, status, to_tag=tag), self.now)

    def events(self) -> list[Event]:
        return self.layer.take_events()

    def only(self, kind: type[T]) -> T:
        events = self.events()
        assert [type(event) for event in events] == [kind]
        assert isinstance(events[0], kind)
        return events[0]

    def sent(self) -> list[Request | Response]:
        return [parse_datagram_untrusted(data) for data, _ in self.layer.take_output()]

    def sent_statuses(self) -> list[int]:
        return [message.status for message in self.sent() if isinstance(message, Response)]

    def sent_methods(self) -> list[str]:
        return [message.method for message in self.sent() if isinstance(message, Request)]

    def sends_until(self, end: float) -> list[float]:
        """Runs every timer up to `end` (seconds from now); when, from now, something was sent."""
        start, times = self.now, []
        while (due := self.layer.next_timer()) is not None and due <= start + end:
            assert due >= self.now
            self.now = due
            self.layer.handle_timer(due)
            times += [round(due - start, 6)] * len(self.layer.take_output())
        self.now = start + end
        return times


def request(method: str = "INVITE", *, branch: str = "z9hG4bKa", host: str = "192.0.2.1", **more: str) -> Request:
    fields = {
        "Via": f"SIP/2.0/UDP {host};branch={branch}" if branch else f"SIP/2.0/UDP {host}",
        "From": "<sip:a@a.example>;tag=A",
        "To": "<sip:b@b.example>",
        "Call-ID": "c1",
        "CSeq": f"3 {method}",
    } | {name.replace("_", "-"): value for name, value in more.items()}
    return Request(method, "sip:b@b.example", fields.items())


def response(sent: Request, status: int, tag: str = "B") -> Response:
    return response_to(sent, status, to_tag=tag)


class TestInviteClient:
    def test_retransmits_with_doubled_gaps_until_it_times_out(self) -> None:
        bench = Bench()
        client = bench.send(request())
        assert bench.sent_methods() == ["INVITE"]
        assert bench.sends_until(40) == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
        assert bench.events() == [TimedOut(client), Terminated(client)]
        assert len(bench.layer) == 0
        assert bench.layer.next_timer() is None

    def test_a_stream_does_not_retransmit(self) -> None:
        bench = Bench()
        client = bench.send(request(), CORE_TCP)
        bench.sent()
        assert bench.sends_until(40) == []
        assert bench.events() == [TimedOut(client), Terminated(client)]

    def test_a_provisional_response_stops_retransmission(self) -> None:
        bench = Bench()
        client = bench.send(request())
        bench.sent()
        bench.receive(response(client.request, 180))
        assert bench.only(ResponseReceived).response.status == 180
        assert bench.sends_until(100) == []
        assert client.state is State.PROCEEDING

    def test_a_failure_is_acknowledged_and_passed_up_once(self) -> None:
        bench = Bench()
        invite = request(Route="<sip:one;lr>, <sip:two;lr>")
        client = bench.send(invite)
        bench.sent()
        failure = response(invite, 486)
        bench.receive(failure)
        assert bench.only(ResponseReceived).response is failure
        (ack,) = bench.sent()
        assert isinstance(ack, Request)
        assert (ack.method, ack.uri, ack.cseq) == ("ACK", invite.uri, (3, "ACK"))
        assert ack.get_all("Via") == [invite.get("Via")]
        assert ack.values("Route") == ["<sip:one;lr>", "<sip:two;lr>"]
        assert (ack.to_tag, ack.from_tag, ack.call_id) == ("B", "A", "c1")
        assert bench.sends_until(31) == []
        bench.receive(response(invite, 486))
        assert bench.sent_methods() == ["ACK"]
        assert bench.events() == []
        bench.sends_until(1)
        assert bench.events() == [Terminated(client)]
        bench.receive(response(invite, 486))
        assert (bench.sent(), bench.events()) == ([], [])

    def test_on_a_stream_it_ends_with_the_ack(self) -> None:
        bench = Bench()
        client = bench.send(request(), CORE_TCP)
        bench.sent()
        failure = response(client.request, 404)
        bench.receive(failure)
        assert bench.events() == [ResponseReceived(client, failure), Terminated(client)]
        assert bench.sent_methods() == ["ACK"]

    def test_every_2xx_is_passed_up_and_none_acknowledged(self) -> None:
        bench = Bench()
        client = bench.send(request())
        bench.sent()
        for tag in ("B", "B", "fork"):
            bench.receive(response(client.request, 200, tag))
            assert bench.only(ResponseReceived).response.to_tag == tag
            assert bench.sends_until(10) == []
        bench.receive(response(client.request, 486))
        bench.receive(response(client.request, 180))
        assert (bench.sent(), bench.events()) == ([], [])
        bench.sends_until(2.1)
        assert bench.events() == [Terminated(client)]

    def test_a_2xx_without_transaction_is_dropped(self) -> None:
        bench = Bench()
        bench.receive(response(request(), 200))
        assert (bench.sent(), bench.events()) == ([], [])

    def test_timer_c_cancels_a_call_that_rings_too_long(self) -> None:
        bench = Bench()
        client = bench.send(request())
        bench.receive(response(client.request, 100))
        bench.sends_until(100)
        bench.receive(response(client.request, 180))
        bench.receive(response(client.request, 100))
        bench.layer.take_output()
        assert bench.sends_until(189.9) == []
        assert bench.sends_until(0.2) == [0.1]
        assert client.state is State.CANCELLING

    def test_transport_failure(self) -> None:
        bench = Bench()
        client = bench.send(request(), CORE_TCP)
        other = bench.send(request(branch="z9hG4bKother"), CORE)
        bench.layer.transport_failed(CORE_TCP, bench.now)
        assert bench.events() == [TransportFailed(client), Terminated(client)]
        assert other.state is State.CALLING

    def test_only_branch_and_method_tell_whose_response_it_is(self) -> None:
        bench = Bench()
        client = bench.send(request())
        for stranger in (request(branch="z9hG4bKb"), request("OPTIONS")):
            bench.receive(response(stranger, 200))
        assert bench.events() == []
        bench.receive(response(request(Call_ID="rewritten"), 200))
        assert bench.only(ResponseReceived).client is client

    def test_a_branch_is_used_once(self) -> None:
        bench = Bench()
        bench.send(request())
        with pytest.raises(ValueError, match="in use"):
            bench.send(request())

    def test_timers_are_asked_for_by_destination(self) -> None:
        bench = Bench(Timers(t1=2.0, t2=16.0, t4=17.0))
        bench.send(request("OPTIONS"))
        bench.sent()
        assert bench.sends_until(40) == [2, 6, 14, 30]
        assert bench.asked == [CORE]


class TestCancel:
    def test_waits_for_the_first_provisional_response(self) -> None:
        bench = Bench()
        invite = request(Route="<sip:one;lr>", Max_Forwards="9")
        client = bench.send(invite)
        bench.layer.cancel(client, bench.now, 'SIP;cause=200;text="elsewhere"')
        assert bench.sent_methods() == ["INVITE"]
        assert bench.sends_until(0.6) == [0.5]
        bench.receive(response(invite, 100))
        (cancel,) = bench.sent()
        assert isinstance(cancel, Request)
        assert (cancel.method, cancel.uri, cancel.cseq) == ("CANCEL", invite.uri, (3, "CANCEL"))
        assert cancel.get_all("Via") == [invite.get("Via")]
        assert cancel.get("Reason") == 'SIP;cause=200;text="elsewhere"'
        assert (cancel.values("Route"), cancel.to_tag) == (["<sip:one;lr>"], "")

    def test_is_sent_once_and_ends_in_the_failure(self) -> None:
        bench = Bench()
        client = bench.send(request())
        bench.receive(response(client.request, 180))
        bench.layer.cancel(client, bench.now)
        bench.layer.cancel(client, bench.now, "again")
        bench.receive(response(client.request, 183))
        assert bench.sent_methods() == ["INVITE", "CANCEL"]
        bench.events()
        bench.receive(response(request("CANCEL"), 200))
        assert bench.events() == []
        bench.receive(response(client.request, 487))
        assert bench.only(ResponseReceived).response.status == 487
        assert bench.sent_methods() == ["ACK"]

    def test_gives_up_when_nothing_follows(self) -> None:
        bench = Bench()
        client = bench.send(request())
        bench.receive(response(client.request, 180))
        bench.layer.cancel(client, bench.now)
        bench.events()
        bench.sends_until(31.9)
        assert bench.events() == []
        bench.sends_until(0.2)
        assert bench.events() == [TimedOut(client), Terminated(client)]

    def test_a_2xx_that_crosses_it_is_passed_up(self) -> None:
        bench = Bench()
        client = bench.send(request())
        bench.layer.cancel(client, bench.now)
        bench.receive(response(client.request, 200))
        assert bench.only(ResponseReceived).response.status == 200
        assert bench.sent_methods() == ["INVITE"]

    def test_too_late_or_no_invite(self) -> None:
        bench = Bench()
        client = bench.send(request())
        bench.receive(response(client.request, 200))
        bench.layer.cancel(client, bench.now)
        other = bench.send(request("MESSAGE", branch="z9hG4bKm"))
        bench.receive(response(other.request, 100))
        bench.layer.cancel(other, bench.now)
        assert bench.sent_methods() == ["INVITE", "MESSAGE"]

    def test_its_own_time_out_is_nobodys_business(self) -> None:
        bench = Bench()
        client = bench.send(request())
        bench.receive(response(client.request, 180))
        bench.layer.cancel(client, bench.now)
        bench.receive(response(client.request, 487))
        bench.events()
        bench.sends_until(100)
        assert bench.events() == [Terminated(client)]
        assert len(bench.layer) == 0


class TestClient:
    def test_retransmits_up_to_t2_until_it_times_out(self) -> None:
        bench = Bench()
        client = bench.send(request("MESSAGE"))
        bench.sent()
        assert bench.sends_until(33) == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
        assert bench.events() == [TimedOut(client), Terminated(client)]

    def test_a_provisional_response_slows_it_down(self) -> None:
        bench = Bench()
        client = bench.send(request("MESSAGE"))
        bench.sent()
        bench.sends_until(0.4)
        bench.receive(response(client.request, 100))
        assert bench.only(ResponseReceived).response.status == 100
        assert bench.sends_until(20) == [0.1, 4.1, 8.1, 12.1, 16.1]

    @pytest.mark.parametrize(("destination", "lingers"), [(CORE, 5.0), (CORE_TCP, 0.0)])
    def test_one_final_response(self, destination: Destination, lingers: float) -> None:
        bench = Bench()
        client = bench.send(request("MESSAGE"), destination)
        bench.receive(response(client.request, 200))
        events = bench.events()
        assert isinstance(events[0], ResponseReceived)
        assert (client.state is State.TERMINATED) is (lingers == 0)
        bench.receive(response(client.request, 200))
        assert bench.events() == []
        bench.sends_until(lingers)
        assert client.state is State.TERMINATED
        assert len(bench.layer) == 0


class TestInviteServer:
    def test_a_retransmission_gets_the_last_response(self) -> None:
        bench = Bench()
        server = bench.accept(request())
        bench.receive(request())
        assert (bench.sent(), bench.events()) == ([], [])
        bench.layer.trying(server, bench.now)
        bench.receive(request())
        bench.respond(server, 180)
        bench.layer.trying(server, bench.now)
        bench.receive(request())
        assert bench.sent_statuses() == [100, 100, 180, 180]
        assert bench.events() == []

    def test_a_failure_is_repeated_until_the_ack(self) -> None:
        bench = Bench()
        server = bench.accept(request())
        bench.respond(server, 488)
        assert bench.sent_statuses() == [488]
        assert bench.sends_until(12) == [0.5, 1.5, 3.5, 7.5, 11.5]
        bench.receive(request("ACK"))
        assert bench.events() == []
        assert server.state is State.CONFIRMED
        bench.receive(request("ACK"))
        assert bench.sends_until(4.9) == []
        assert bench.events() == []
        bench.sends_until(0.2)
        assert bench.events() == [Terminated(server)]

    def test_a_failure_that_nobody_acknowledges(self) -> None:
        bench = Bench()
        server = bench.accept(request())
        bench.respond(server, 500)
        bench.sends_until(33)
        assert bench.events() == [Unacknowledged(server), Terminated(server)]

    def test_on_a_stream_a_failure_is_sent_once_and_the_ack_ends_it(self) -> None:
        bench = Bench()
        server = bench.accept(request(), TCP)
        bench.respond(server, 486)
        assert bench.sent_statuses() == [486]
        assert bench.sends_until(10) == []
        bench.receive(request("ACK"), TCP)
        assert bench.events() == [Terminated(server)]

    def test_a_2xx_is_repeated_by_the_transaction_user_only(self) -> None:
        bench = Bench()
        server = bench.accept(request())
        bench.respond(server, 200)
        bench.receive(request())
        assert bench.sent_statuses() == [200]
        assert bench.sends_until(10) == []
        bench.respond(server, 200)
        bench.respond(server, 486)
        bench.respond(server, 180)
        assert bench.sent_statuses() == [200]
        bench.sends_until(22.1)
        assert bench.events() == [Terminated(server)]
        bench.respond(server, 200)
        assert bench.sent() == []

    def test_the_ack_to_a_2xx_goes_to_the_transaction_user(self) -> None:
        bench = Bench()
        server = bench.accept(request())
        bench.respond(server, 200)
        ack = request("ACK", branch="z9hG4bKack")
        bench.receive(ack, TCP)
        assert bench.events() == [Ack(ack, TCP)]
        same_branch = request("ACK")
        bench.receive(same_branch, TCP)
        assert bench.events() == [Ack(same_branch, TCP)]

    def test_responses_go_where_the_via_says(self) -> None:
        bench = Bench()
        nat = UDP._replace(remote=("198.51.100.7", 40000))
        natted = request(branch="z9hG4bKn;rport=40000;received=198.51.100.7")
        server = bench.accept(natted, nat)
        assert (server.flow, server.source) == (nat, nat)
        bench.respond(server, 180)
        assert [to for _, to in bench.layer.take_output()] == [nat]
        plain = bench.accept(request(branch="z9hG4bKp"), nat)
        bench.respond(plain, 180)
        assert [to for _, to in bench.layer.take_output()] == [nat._replace(remote=("198.51.100.7", 5060))]

    def test_the_same_branch_of_another_host_is_another_transaction(self) -> None:
        bench = Bench()
        one, other = bench.accept(request()), bench.accept(request(host="192.0.2.2"))
        assert one is not other

    def test_a_lost_connection_is_told_and_survived(self) -> None:
        bench = Bench()
        server = bench.accept(request(), TCP)
        bench.layer.transport_failed(TCP, bench.now)
        assert bench.events() == [ResponseUndeliverable(server)]
        bench.receive(request(), TCP)
        assert bench.events() == []
        assert list(bench.layer.transactions_on(TCP)) == [server]


class TestServer:
    def test_final_response_is_kept_for_retransmissions(self) -> None:
        bench = Bench()
        server = bench.accept(request("MESSAGE"))
        bench.receive(request("MESSAGE"))
        assert bench.sent() == []
        bench.respond(server, 200)
        bench.respond(server, 500)
        bench.receive(request("MESSAGE"))
        assert bench.sent_statuses() == [200, 200]
        assert bench.sends_until(31.9) == []
        assert bench.events() == []
        bench.sends_until(0.2)
        assert bench.events() == [Terminated(server)]

    def test_on_a_stream_it_ends_at_once(self) -> None:
        bench = Bench()
        server = bench.accept(request("MESSAGE"), TCP)
        bench.respond(server, 200)
        assert bench.events() == [Terminated(server)]
        assert bench.sent_statuses() == [200]

    def test_no_provisional_response_but_a_late_100(self) -> None:
        bench = Bench()
        server = bench.accept(request("MESSAGE"))
        bench.respond(server, 183)
        bench.layer.trying(server, bench.now)
        assert bench.sent() == []
        assert bench.sends_until(10) == [3.5]
        bench.receive(request("MESSAGE"))
        assert bench.sent_statuses() == [100]

    def test_100_may_come_early_on_a_stream(self) -> None:
        bench = Bench()
        server = bench.accept(request("MESSAGE"), TCP)
        bench.layer.trying(server, bench.now)
        assert bench.sent_statuses() == [100]
        assert bench.sends_until(10) == []

    def test_never_408(self) -> None:
        bench = Bench()
        server = bench.accept(request("MESSAGE"))
        bench.respond(server, 408)
        bench.respond(server, 200)
        bench.receive(request("MESSAGE"))
        assert (bench.sent(), bench.events()) == ([], [])
        bench.sends_until(33)
        assert bench.events() == [Terminated(server)]

    def test_408_is_allowed_for_an_invite(self) -> None:
        bench = Bench()
        bench.respond(bench.accept(request()), 408)
        assert bench.sent_statuses() == [408]

    def test_transport_failure_after_the_answer(self) -> None:
        bench = Bench()
        server = bench.accept(request("MESSAGE"))
        bench.respond(server, 200)
        bench.layer.transport_failed(UDP, bench.now)
        assert bench.events() == [ResponseUndeliverable(server), Terminated(server)]


class TestCancelReceived:
    def test_is_answered_here_and_told(self) -> None:
        bench = Bench()
        server = bench.accept(request())
        bench.respond(server, 180, tag="ours")
        bench.sent()
        cancel = request("CANCEL", Reason="SIP;cause=200")
        bench.receive(cancel)
        assert bench.events() == [Cancelled(server, cancel)]
        (answer,) = bench.sent()
        assert isinstance(answer, Response)
        assert (answer.status, answer.cseq, answer.to_tag) == (200, (3, "CANCEL"), "ours")
        bench.receive(request("CANCEL"))
        assert bench.sent_statuses() == [200]
        assert bench.events() == []
        bench.respond(server, 487)
        assert bench.sent_statuses() == [487]

    def test_after_the_final_response_it_changes_nothing(self) -> None:
        bench = Bench()
        server = bench.accept(request())
        bench.respond(server, 200)
        bench.receive(request("CANCEL"))
        assert bench.sent_statuses() == [200, 200]
        assert bench.events() == []

    def test_without_invite_481(self) -> None:
        bench = Bench()
        bench.receive(request("CANCEL"))
        bench.receive(request("CANCEL"))
        first, second = bench.sent()
        assert isinstance(first, Response)
        assert first.status == 481
        assert first.to_tag
        assert first.to_bytes() == second.to_bytes()
        assert bench.events() == []
        bench.sends_until(40)
        assert (bench.events(), len(bench.layer)) == ([], 0)


class TestRfc2543:
    """Without the magic cookie the fields of the request make the transaction (RFC 3261 §17.2.3)."""

    @pytest.mark.parametrize("branch", ["", "1", "z9hG4bK"])
    def test_retransmission_ack_and_cancel(self, branch: str) -> None:
        bench = Bench()
        server = bench.accept(request(branch=branch))
        bench.receive(request(branch=branch))
        assert bench.events() == []
        bench.receive(request("CANCEL", branch=branch))
        assert bench.only(Cancelled).server is server
        bench.respond(server, 487)
        assert bench.sent_statuses() == [200, 487]
        bench.receive(request("ACK", branch=branch, To="<sip:b@b.example>;tag=us"))
        assert bench.events() == []
        assert server.state is State.CONFIRMED

    def test_the_ack_to_another_response_does_not_match(self) -> None:
        bench = Bench()
        server = bench.accept(request(branch=""))
        bench.respond(server, 486)
        ack = request("ACK", branch="", To="<sip:b@b.example>;tag=other")
        bench.receive(ack)
        assert bench.events() == [Ack(ack, UDP)]
        assert server.state is State.COMPLETED

    def test_the_ack_to_a_2xx_is_passed_up(self) -> None:
        bench = Bench()
        server = bench.accept(request(branch=""))
        bench.respond(server, 200)
        ack = request("ACK", branch="", To="<sip:b@b.example>;tag=us")
        bench.receive(ack)
        assert bench.events() == [Ack(ack, UDP)]

    @pytest.mark.parametrize(
        "change",
        [
            {"Call_ID": "c2"},
            {"CSeq": "4 MESSAGE"},
            {"From": "<sip:a@a.example>;tag=X"},
            {"To": "<sip:b@b.example>;tag=X"},
            {"host": "192.0.2.2"},
        ],
    )
    def test_any_other_field_makes_another_transaction(self, change: dict[str, str]) -> None:
        bench = Bench()
        bench.accept(request("MESSAGE", branch="1"))
        bench.accept(request("MESSAGE", branch="1", **change))
        assert len(bench.layer) == 2


class TestMalformed:
    def test_a_request_without_readable_via_is_answered_at_once(self) -> None:
        bench = Bench()
        bench.receive(request(Via="SIP/2.0/UDP 192.0.2.15;;,;,,"), TCP)
        ((data, to),) = bench.layer.take_output()
        assert data.startswith(b"SIP/2.0 400 ")
        assert to == TCP
        assert (bench.events(), len(bench.layer)) == ([], 0)

    def test_an_ack_or_response_without_readable_via_is_dropped(self) -> None:
        bench = Bench()
        bench.receive(request("ACK", Via="nonsense"))
        bench.receive(response(request(Via="nonsense"), 200))
        assert (bench.sent(), bench.events()) == ([], [])


def test_user_slot_belongs_to_the_transaction_user() -> None:
    bench = Bench()
    server, client = bench.accept(request()), bench.send(request(branch="z9hG4bKc"))
    assert (server.user, client.user) == (None, None)
    server.user = client


def test_stopped_timers_do_not_pile_up() -> None:
    bench = Bench()
    for number in range(2000):
        client = bench.send(request("MESSAGE", branch=f"z9hG4bK{number}"), CORE_TCP)
        bench.receive(response(client.request, 200))
        bench.layer.take_output()
        bench.events()
    assert len(bench.layer) == 0
    assert bench.layer.next_timer() is None
    assert len(bench.layer._heap) < 200


def test_late_response_to_an_ended_transaction_leaves_its_successor_alone() -> None:
    bench = Bench()
    first = bench.accept(request("MESSAGE"), TCP)
    bench.layer.respond(first, response_to(first.request, 200, to_tag="us"), bench.now)
    bench.events()
    second = bench.accept(request("MESSAGE"), TCP)
    assert second is not first
    bench.layer.respond(first, response_to(first.request, 500, to_tag="us"), bench.now)
    assert bench.events() == []
    assert len(bench.layer) == 1
