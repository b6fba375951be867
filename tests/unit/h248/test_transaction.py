from collections.abc import Callable
from dataclasses import replace

import pytest

from pcscf.h248 import asking, serving, transaction
from pcscf.h248.codec import decode_untrusted, encode_compact, encode_pretty, write_reply_actions
from pcscf.h248.message import (
    Action,
    Audit,
    Command,
    CommandName,
    ErrorDescriptor,
    Message,
    Services,
    Transaction,
    TransactionAck,
    TransactionPending,
    TransactionReply,
    TransactionRequest,
)
from pcscf.h248.peer import ConnectionPeer
from pcscf.h248.transaction import (
    Event,
    H248Timers,
    MessageError,
    Peer,
    ReplyReceived,
    RequestFailed,
    RequestReceived,
    StrangerRefused,
    SyntaxRefused,
    TransactionMachine,
)

PEER: Peer = ("192.0.2.2", 2944)
OTHER: Peer = ("192.0.2.3", 2944)
MOVED: Peer = ("192.0.2.2", 40000)
STREAM = ConnectionPeer("192.0.2.2", 2944)
TIMERS = H248Timers(jitter=0)
AUDIT = (Action(0, (Command(CommandName.AUDIT_VALUE, ("ROOT",), (Audit(),)),)),)
DONE = (Action(0, (Command(CommandName.AUDIT_VALUE, ("ROOT",)),)),)


def machine(timers: H248Timers = TIMERS, **options: int) -> TransactionMachine:
    return TransactionMachine("[192.0.2.1]:2944", timers=timers, **{"first_id": 100, **options})


def restart(timestamp: str = "20300102T03040506") -> tuple[Action, ...]:
    services = Services(method="Restart", reason="901 Cold Boot", timestamp=timestamp)
    return (Action(0, (Command(CommandName.SERVICE_CHANGE, ("ROOT",), (services,)),)),)


def hear(
    one: TransactionMachine, *transactions: Transaction, now: float, peer: Peer = PEER, mid: str = "agw", version: int = 2
) -> list[Event]:
    """What the machine makes of a message from a peer."""
    one.receive(encode_compact(Message(mid, transactions, version=version)), peer, now)
    return one.take_events()


def sent(one: TransactionMachine, peer: Peer = PEER) -> list[Transaction]:
    """The transactions that went out, in order."""
    found: list[Transaction] = []
    for data, destination in one.take_output():
        assert destination == peer
        found += decode_untrusted(data).transactions
    return found


def run(one: TransactionMachine, until: float) -> list[tuple[float, Transaction]]:
    """Let the timers go; when went out what."""
    found: list[tuple[float, Transaction]] = []
    while (due := one.next_timer()) is not None and due <= until:
        one.handle_timer(due)
        found += [(round(due, 3), transaction) for transaction in sent(one)]
    return found


def received(events: list[Event]) -> RequestReceived:
    (event,) = events
    assert isinstance(event, RequestReceived)
    return event


class TestAsking:
    def test_a_request_and_its_reply(self) -> None:
        one = machine()
        tid = one.request(PEER, AUDIT, 0.0)
        assert sent(one) == [TransactionRequest(tid, AUDIT)]
        assert hear(one, TransactionReply(tid, DONE), now=0.1) == [ReplyReceived(tid, PEER, DONE, None)]
        assert not any(isinstance(transaction, TransactionRequest) for _, transaction in run(one, 60))
        assert one.next_timer() is None

    def test_a_reply_that_was_hoped_for_is_not_read(self) -> None:
        one = machine()
        hear(one, TransactionReply(1, DONE), now=0.0)   # its header is known from here on
        tid = one.request(PEER, AUDIT, 0.0, write_reply_actions(DONE))
        sent(one)
        assert hear(one, TransactionReply(tid, DONE), now=0.1, peer=OTHER) == []
        assert hear(one, TransactionReply(tid, DONE), now=0.1) == [ReplyReceived(tid, PEER, (), None)]
        assert hear(one, TransactionReply(tid, DONE), now=0.2) == []
        assert run(one, 60) == [(1.1, TransactionAck(((tid, tid),)))]
        assert one.next_timer() is None

    def test_any_other_reply_is_read(self) -> None:
        one = machine()
        hear(one, TransactionReply(1, DONE), now=0.0)
        other = (Action(0, (Command(CommandName.AUDIT_VALUE, ("ROOT",), (Audit(("Media",)),)),)),)
        for answer in (
            TransactionReply(one.request(PEER, AUDIT, 0.0, write_reply_actions(DONE)), other),
            TransactionReply(one.request(PEER, AUDIT, 0.0, write_reply_actions(DONE)), error=ErrorDescriptor(510, "")),
            TransactionReply(one.request(PEER, AUDIT, 0.0, write_reply_actions(DONE)), DONE, immediate_ack_required=True),
        ):
            assert hear(one, answer, now=0.1) == [ReplyReceived(answer.id, PEER, answer.actions, answer.error)]
        tid = one.request(PEER, AUDIT, 0.0, write_reply_actions(DONE))
        one.receive(encode_pretty(Message("agw", (TransactionReply(tid, DONE),))), PEER, 0.1)
        assert one.take_events() == [ReplyReceived(tid, PEER, DONE, None)]

    def test_a_header_that_cannot_be_read_spoils_a_reply_that_was_hoped_for(self) -> None:
        one = machine()
        tid = one.request(PEER, AUDIT, 0.0, write_reply_actions(DONE))
        one.receive(b"!/9 agw\n" + encode_compact(Message("agw", (TransactionReply(tid, DONE),))).partition(b"\n")[2], PEER, 0.1)
        (refused,) = one.take_events()
        assert isinstance(refused, SyntaxRefused)
        one.abandon(tid)
        assert hear(one, TransactionReply(tid, DONE), now=0.2) == []

    def test_an_error_is_a_reply(self) -> None:
        one = machine()
        tid = one.request(PEER, AUDIT, 0.0)
        error = ErrorDescriptor(510, "Insufficient Resources")
        assert hear(one, TransactionReply(tid, error=error), now=0.1) == [ReplyReceived(tid, PEER, (), error)]

    def test_it_is_repeated_ever_more_slowly_and_then_given_up(self) -> None:
        one = machine()
        tid = one.request(PEER, AUDIT, 0.0)
        sent(one)
        repeated = run(one, 60)
        assert [when for when, _ in repeated] == [0.2, 0.6, 1.4, 3.0, 6.2, 10.2, 14.2]
        assert {transaction for _, transaction in repeated} == {TransactionRequest(tid, AUDIT)}
        assert one.take_events() == [RequestFailed(tid, PEER, "no reply to 8 sendings within 15 s")]
        assert one.next_timer() is None

    def test_it_is_sent_only_so_often(self) -> None:
        one = machine(replace(TIMERS, repeat_max=0.2))
        tid = one.request(PEER, AUDIT, 0.0)
        assert len(sent(one)) + len(run(one, 60)) == TIMERS.max_sends
        assert one.take_events() == [RequestFailed(tid, PEER, "no reply to 11 sendings")]

    def test_jitter_spreads_the_repeats(self) -> None:
        one = machine(replace(TIMERS, jitter=0.5))
        for _ in range(20):
            one.request(PEER, AUDIT, 0.0)
        sent(one)
        times = {when for when, _ in run(one, 0.35)}
        assert len(times) > 10
        assert all(0.2 <= when <= 0.3 for when in times)

    def test_a_late_reply_is_ignored(self) -> None:
        one = machine()
        tid = one.request(PEER, AUDIT, 0.0)
        run(one, 60)
        one.take_events()
        assert hear(one, TransactionReply(tid, DONE), now=60) == []

    @pytest.mark.parametrize("reply", [TransactionReply(100, DONE), TransactionPending(100)])
    def test_only_the_peer_that_was_asked_may_answer(self, reply: Transaction) -> None:
        one = machine()
        one.request(PEER, AUDIT, 0.0)
        sent(one)
        assert hear(one, reply, now=0.1, peer=OTHER) == []
        assert one.next_timer() == 0.2

    def test_nobody_hears_of_an_abandoned_request(self) -> None:
        one = machine()
        tid = one.request(PEER, AUDIT, 0.0)
        one.take_output()
        one.abandon(tid)
        one.abandon(tid)
        assert hear(one, TransactionReply(tid, DONE), now=0.1) == []
        assert run(one, 60) == []
        assert one.take_events() == []

    def test_a_request_that_no_datagram_holds_fails_at_once(self) -> None:
        one = machine()
        long = Command(CommandName.AUDIT_VALUE, ("ROOT",), (Audit(("Media",) * 40_000),))
        tid = one.request(PEER, (Action(0, (long,)),), 0.0)
        (event,) = one.take_events()
        assert isinstance(event, RequestFailed)
        assert event.tid == tid
        assert one.take_output() == []


class TestIdentifiers:
    def test_they_count_and_wrap_around_zero(self) -> None:
        one = machine(first_id=0xFFFFFFFE)
        assert [one.request(PEER, AUDIT, 0.0) for _ in range(3)] == [0xFFFFFFFE, 0xFFFFFFFF, 1]

    @pytest.mark.parametrize("first", [0, 0x1_0000_0000])
    def test_zero_is_never_one(self, first: int) -> None:
        assert machine(first_id=first).request(PEER, AUDIT, 0.0) == 1

    def test_one_that_still_waits_is_not_taken_again(self) -> None:
        one = machine(first_id=1, prefix_bits=30)
        assert [one.request(PEER, AUDIT, 0.0) for _ in range(2)] == [1, 2]
        one.abandon(1)
        assert [one.request(PEER, AUDIT, 0.0) for _ in range(2)] == [3, 1]

    def test_the_top_bits_name_the_worker(self) -> None:
        one = machine(first_id=0xFFFFFFFF, prefix=5, prefix_bits=8)
        assert [one.request(PEER, AUDIT, 0.0) for _ in range(2)] == [0x05FFFFFF, 0x05000001]

    @pytest.mark.parametrize(("prefix", "bits"), [(1, 0), (4, 2), (0, 32), (-1, 4)])
    def test_a_prefix_has_to_fit(self, prefix: int, bits: int) -> None:
        with pytest.raises(ValueError, match="prefix"):
            machine(prefix=prefix, prefix_bits=bits)


class TestPendingOfThePeer:
    def test_it_stretches_the_wait(self) -> None:
        one = machine()
        tid = one.request(PEER, AUDIT, 0.0)
        sent(one)
        assert hear(one, TransactionPending(tid), now=0.1) == []
        assert [when for when, _ in run(one, 14)] == [4.1, 8.1, 12.1]
        assert hear(one, TransactionReply(tid, DONE), now=14) == [ReplyReceived(tid, PEER, DONE, None)]

    def test_it_does_not_stretch_it_for_ever(self) -> None:
        one = machine()
        tid = one.request(PEER, AUDIT, 0.0)
        for count in range(TIMERS.pending_limit):
            assert hear(one, TransactionPending(tid), now=count) == []
        assert hear(one, TransactionPending(tid), now=6) == [RequestFailed(tid, PEER, "still pending after 5 Pendings")]

    def test_after_the_last_one_the_wait_ends_too(self) -> None:
        one = machine()
        tid = one.request(PEER, AUDIT, 0.0)
        hear(one, TransactionPending(tid), now=10)
        run(one, 24.9)
        assert one.take_events() == []
        run(one, 25)
        assert one.take_events() == [RequestFailed(tid, PEER, "no reply to 4 sendings within 15 s")]

    def test_one_for_an_unknown_request_is_ignored(self) -> None:
        assert hear(machine(), TransactionPending(7), now=0) == []


class TestAcknowledging:
    def test_replies_are_confirmed_after_a_while(self) -> None:
        one = machine()
        for tid in (one.request(PEER, AUDIT, 0.0), one.request(PEER, AUDIT, 0.0), one.request(PEER, AUDIT, 0.0)):
            if tid != 101:
                hear(one, TransactionReply(tid, DONE), now=0.05)
        hear(one, TransactionReply(101, DONE), now=0.1)
        sent(one)
        assert run(one, 60) == [(1.05, TransactionAck(((100, 102),)))]

    def test_or_with_the_next_request(self) -> None:
        one = machine()
        for tid in (one.request(PEER, AUDIT, 0.0), one.request(PEER, AUDIT, 0.0), one.request(PEER, AUDIT, 0.0)):
            if tid != 101:
                hear(one, TransactionReply(tid, DONE), now=0.05)
        sent(one)
        one.request(PEER, AUDIT, 0.1)
        assert sent(one) == [TransactionAck(((100, 100), (102, 102))), TransactionRequest(103, AUDIT)]
        assert not any(isinstance(transaction, TransactionAck) for when, transaction in run(one, 0.19))

    def test_not_to_another_peer(self) -> None:
        one = machine()
        hear(one, TransactionReply(one.request(PEER, AUDIT, 0.0), DONE), now=0.05)
        sent(one)
        one.request(OTHER, AUDIT, 0.1)
        assert sent(one, OTHER) == [TransactionRequest(101, AUDIT)]

    def test_many_do_not_wait(self) -> None:
        one = machine()
        for _ in range(asking.MAX_ACKS):
            hear(one, TransactionReply(one.request(OTHER, AUDIT, 0.0), DONE), now=0.05, peer=OTHER)
        acks = [transaction for transaction in sent(one, OTHER) if isinstance(transaction, TransactionAck)]
        assert len(acks) == asking.MAX_ACKS - 1  # each next request carried one along

    def test_a_burst_is_confirmed_in_one(self) -> None:
        one = machine()
        tids = [one.request(PEER, AUDIT, 0.0) for _ in range(asking.MAX_ACKS)]
        sent(one)
        for tid in tids:
            hear(one, TransactionReply(tid, DONE), now=0.05)
        assert sent(one) == [TransactionAck(((tids[0], tids[-1]),))]

    def test_at_once_when_the_peer_asks_for_it(self) -> None:
        one = machine()
        tid = one.request(PEER, AUDIT, 0.0)
        sent(one)
        reply = TransactionReply(tid, DONE, immediate_ack_required=True)
        assert hear(one, reply, now=0.05) == [ReplyReceived(tid, PEER, DONE, None)]
        assert one.next_timer() == 0.05
        one.handle_timer(0.05)
        assert sent(one) == [TransactionAck(((tid, tid),))]
        assert hear(one, reply, now=0.5) == []
        one.handle_timer(0.5)
        assert sent(one) == [TransactionAck(((tid, tid),))]
        assert run(one, 60) == []

    def test_in_the_version_that_the_reply_settled(self) -> None:
        one = machine()
        one.set_version(PEER, 1)
        tid = one.request(PEER, AUDIT, 0.0)
        sent(one)
        hear(one, TransactionReply(tid, DONE, immediate_ack_required=True), now=0.05)
        one.set_version(PEER, 2)
        one.handle_timer(0.05)
        [(data, _)] = one.take_output()
        assert decode_untrusted(data).version == 2


class TestServing:
    def test_a_request_is_answered_where_it_came_from(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0, peer=OTHER))
        assert (event.mid, event.peer, event.actions) == ("agw", OTHER, AUDIT)
        one.reply(event.handle, DONE, 0.0)
        assert sent(one, OTHER) == [TransactionReply(7, DONE)]

    def test_with_the_version_it_came_in(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0, version=1))
        one.reply(event.handle, DONE, 0.0)
        assert one.take_output()[0][0].startswith(b"!/1 ")

    def test_or_refused(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0))
        one.reply(event.handle, ErrorDescriptor(505, "Not registered"), 0.0)
        assert sent(one) == [TransactionReply(7, error=ErrorDescriptor(505, "Not registered"))]

    def test_it_is_executed_once_and_answered_as_often_as_it_comes(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0))
        one.reply(event.handle, DONE, 0.0)
        first = sent(one)
        assert hear(one, TransactionRequest(7, AUDIT), now=29.9, mid="AGW", peer=MOVED) == []
        assert sent(one, MOVED) == first

    def test_until_long_timer_is_over(self) -> None:
        one = machine()
        one.reply(received(hear(one, TransactionRequest(7, AUDIT), now=0)).handle, DONE, 0.0)
        sent(one)
        assert run(one, 60) == []
        assert one.next_timer() is None
        received(hear(one, TransactionRequest(7, AUDIT), now=60))

    def test_others_may_use_the_same_number(self) -> None:
        one = machine()
        received(hear(one, TransactionRequest(7, AUDIT), now=0))
        received(hear(one, TransactionRequest(7, AUDIT), now=0, mid="agw/2"))

    def test_only_the_first_answer_counts(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0))
        one.reply(event.handle, DONE, 0.0)
        one.reply(event.handle, ErrorDescriptor(500), 0.1)
        assert sent(one) == [TransactionReply(7, DONE)]

    def test_several_requests_in_one_datagram(self) -> None:
        one = machine()
        events = hear(one, TransactionRequest(7, AUDIT), TransactionRequest(8, AUDIT), TransactionRequest(7, AUDIT), now=0)
        assert [event.handle.tid for event in events if isinstance(event, RequestReceived)] == [7, 8]
        assert sent(one) == [TransactionPending(7)]

    def test_a_reply_that_no_datagram_holds_becomes_533(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0))
        long = Command(CommandName.AUDIT_VALUE, tuple(f"ip/1/1/{number}" for number in range(10_000)))
        one.reply(event.handle, (Action(0, (long,)),), 0.0)
        (reply,) = sent(one)
        assert isinstance(reply, TransactionReply)
        assert reply.error is not None
        assert reply.error.code == 533


class TestAcknowledgementsOfThePeer:
    @pytest.mark.parametrize("ranges", [((7, 7),), ((1, 3), (5, 9)), ((1, 0xFFFFFFFF),)])
    def test_a_late_duplicate_of_a_confirmed_request_is_discarded(self, ranges: tuple[tuple[int, int], ...]) -> None:
        one = machine()
        one.reply(received(hear(one, TransactionRequest(7, AUDIT), now=0)).handle, DONE, 0.0)
        sent(one)
        assert hear(one, TransactionAck(ranges), now=1) == []
        assert hear(one, TransactionRequest(7, AUDIT), now=29) == []
        assert sent(one) == []
        run(one, 31)
        received(hear(one, TransactionRequest(7, AUDIT), now=31))

    def test_it_confirms_replies_of_that_peer_only(self) -> None:
        one = machine()
        one.reply(received(hear(one, TransactionRequest(7, AUDIT), now=0)).handle, DONE, 0.0)
        sent(one)
        hear(one, TransactionAck(((7, 7),)), now=1, mid="agw/2")
        hear(one, TransactionRequest(7, AUDIT), now=2)
        assert sent(one) == [TransactionReply(7, DONE)]

    def test_what_is_still_executed_cannot_be_confirmed(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0))
        hear(one, TransactionAck(((7, 7),)), now=0.1)
        one.reply(event.handle, DONE, 0.2)
        assert sent(one) == [TransactionReply(7, DONE)]


class TestPendingOfOurs:
    def test_an_execution_that_takes_long_is_told(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0))
        assert run(one, 10) == [(0.5, TransactionPending(7))]
        one.reply(event.handle, DONE, 10.0)
        assert sent(one) == [TransactionReply(7, DONE, immediate_ack_required=True)]

    def test_the_reply_is_repeated_until_it_is_confirmed(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0))
        run(one, 1)
        one.reply(event.handle, DONE, 10.0)
        sent(one)
        assert [when for when, _ in run(one, 11.4)] == [10.2, 10.6, 11.4]
        hear(one, TransactionAck(((7, 7),)), now=12)
        assert run(one, 100) == []

    def test_or_until_t_max(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0))
        run(one, 1)
        one.reply(event.handle, DONE, 10.0)
        sent(one)
        assert [when for when, _ in run(one, 100)] == [10.2, 10.6, 11.4, 13.0, 16.2, 20.2, 24.2]
        assert one.next_timer() is None

    def test_a_duplicate_meanwhile_gets_pending(self) -> None:
        one = machine()
        received(hear(one, TransactionRequest(7, AUDIT), now=0))
        assert hear(one, TransactionRequest(7, AUDIT), now=0.2) == []
        assert sent(one) == [TransactionPending(7)]

    def test_too_many_end_in_506(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0))
        for _ in range(TIMERS.pending_limit + 1):
            hear(one, TransactionRequest(7, AUDIT), now=0.2)
        *pendings, reply = sent(one)
        assert pendings == [TransactionPending(7)] * TIMERS.pending_limit
        assert isinstance(reply, TransactionReply)
        assert reply.error is not None
        assert reply.error.code == 506
        one.reply(event.handle, DONE, 1.0)
        assert one.take_output() == []

    def test_a_request_that_nobody_answers_is_forgotten(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0))
        run(one, 60)
        assert one.next_timer() is None
        one.reply(event.handle, DONE, 60.0)
        assert one.take_output() == []


class TestRestartOfThePeer:
    def test_a_repeated_registration_is_a_duplicate(self) -> None:
        one = machine()
        one.reply(received(hear(one, TransactionRequest(1, restart()), now=0)).handle, DONE, 0.0)
        sent(one)
        assert hear(one, TransactionRequest(1, restart()), now=1) == []
        assert sent(one) == [TransactionReply(1, DONE)]

    def test_another_one_with_the_same_number_is_not(self) -> None:
        one = machine()
        one.reply(received(hear(one, TransactionRequest(1, restart()), now=0)).handle, DONE, 0.0)
        received(hear(one, TransactionRequest(1, restart("20300102T03050000")), now=1))

    def test_numbers_of_before_count_no_more(self) -> None:
        one = machine()
        one.reply(received(hear(one, TransactionRequest(2, AUDIT), now=0)).handle, DONE, 0.0)
        received(hear(one, TransactionRequest(1, restart()), now=1))
        received(hear(one, TransactionRequest(2, AUDIT), now=2))

    def test_a_reply_to_a_request_of_before_is_not_sent(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(2, AUDIT), now=0))
        received(hear(one, TransactionRequest(1, restart()), now=0.1))
        one.reply(event.handle, DONE, 0.2)
        assert one.take_output() == []


class TestVersions:
    def test_ours_unless_the_peer_has_its_own(self) -> None:
        one = machine(version=1)
        one.request(PEER, AUDIT, 0.0)
        one.set_version(PEER, 2)
        one.set_version(PEER, 2)
        one.request(PEER, AUDIT, 0.0)
        one.request(OTHER, AUDIT, 0.0)
        assert [data[:3] for data, _ in one.take_output()] == [b"!/1", b"!/2", b"!/1"]

    def test_a_request_that_waits_is_repeated_in_the_new_one(self) -> None:
        one = machine(version=1)
        tid = one.request(PEER, AUDIT, 0.0)
        one.take_output()
        one.receive(encode_compact(Message("agw", error=ErrorDescriptor(406, "Version Not Supported"))), PEER, 0.1)
        assert one.take_events() == [MessageError(PEER, ErrorDescriptor(406, "Version Not Supported"))]
        one.set_version(PEER, 2)
        one.handle_timer(0.2)
        ((data, _),) = one.take_output()
        assert decode_untrusted(data) == Message("[192.0.2.1]:2944", (TransactionRequest(tid, AUDIT),), version=2)


class TestWhatCannotBeRead:
    def refused(self, one: TransactionMachine, data: bytes, now: float = 0.0) -> list[Message]:
        one.receive(data, PEER, now)
        (event,) = one.take_events()
        assert isinstance(event, SyntaxRefused)
        assert event.peer == PEER
        return [decode_untrusted(data) for data, _ in one.take_output()]

    def test_a_request_gets_an_error_reply(self) -> None:
        (message,) = self.refused(machine(), b"!/2 agw T=9{C=1{Frob=ROOT}}")
        (reply,) = message.transactions
        assert isinstance(reply, TransactionReply)
        assert reply.error is not None
        assert (reply.id, reply.error.code) == (9, 443)

    @pytest.mark.parametrize(
        ("data", "code"), [(b"\x80\x01binary", 400), (b"!/9 agw PN=1{}", 406), (b"!/2 agw" + b" PN=1{}" * 11, 413)]
    )
    def test_a_message_gets_a_message_error(self, data: bytes, code: int) -> None:
        (message,) = self.refused(machine(), data)
        assert message.error is not None
        assert message.error.code == code

    def test_but_not_more_than_one_a_second(self) -> None:
        one = machine()
        assert len(self.refused(one, b"nonsense", 1.0)) == 1
        assert len(self.refused(one, b"nonsense", 1.9)) == 0
        assert len(self.refused(one, b"nonsense", 2.0)) == 1

    @pytest.mark.parametrize("data", [b"!/2 agw P=9{C=1{Frob=ROOT}}", b"!/2 agw PN=9{x}", b"!/2 agw K{}", b"!/2 agw ER=400{x}"])
    def test_replies_and_errors_are_never_answered(self, data: bytes) -> None:
        assert self.refused(machine(), data) == []

    def test_an_error_of_the_peer_is_only_told(self) -> None:
        one = machine()
        one.request(PEER, AUDIT, 0.0)
        sent(one)
        one.receive(b'!/2 agw ER=400{"what?"}', PEER, 0.0)
        assert one.take_events() == [MessageError(PEER, ErrorDescriptor(400, "what?"))]
        assert one.take_output() == []

    def test_a_reply_to_a_request_the_peer_could_not_number(self) -> None:
        error = ErrorDescriptor(403, "what?")
        one = machine()
        one.request(PEER, AUDIT, 0.0)
        assert hear(one, TransactionReply(0, error=error), now=0) == [MessageError(PEER, error)]

    def test_an_error_of_a_peer_that_was_not_asked_is_nothing(self) -> None:
        one = machine()
        one.request(PEER, AUDIT, 0.0)
        one.receive(b'!/2 agw ER=406{"version"}', OTHER, 0.0)
        assert hear(one, TransactionReply(0, error=ErrorDescriptor(403)), now=0, peer=OTHER) == []


class TestMemory:
    def test_of_one_peer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(serving, "MAX_STORED", 3)
        one = machine()
        for tid in range(1, 5):
            one.reply(received(hear(one, TransactionRequest(tid, AUDIT), now=0)).handle, DONE, 0.0)
        assert hear(one, TransactionRequest(2, AUDIT), now=1) == []
        received(hear(one, TransactionRequest(1, AUDIT), now=1))

    def test_of_all_peers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(serving, "MAX_ENTITIES", 2)
        one = machine()
        for mid in ("a", "b", "c"):
            one.reply(received(hear(one, TransactionRequest(1, AUDIT), now=0, mid=mid)).handle, DONE, 0.0)
        assert hear(one, TransactionRequest(1, AUDIT), now=1, mid="c") == []
        received(hear(one, TransactionRequest(1, AUDIT), now=1, mid="a"))
        assert run_out(one) is None

    def test_of_peers_that_were_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transaction, "MAX_REFUSED", 2)
        one = machine()
        for port in range(5):
            one.receive(b"nonsense", ("192.0.2.9", port), 0.0)
        assert len(one.take_output()) == 5


class TestOverAConnection:
    def test_nothing_is_repeated_and_the_deadline_stays(self) -> None:
        one = machine()
        tid = one.request(STREAM, AUDIT, 0.0)
        assert sent(one, STREAM) == [TransactionRequest(tid, AUDIT)]
        assert one.next_timer() == TIMERS.t_max
        assert run(one, 60) == []
        assert one.take_events() == [RequestFailed(tid, STREAM, "no reply to 1 sendings within 15 s")]

    def test_pending_puts_the_deadline_off(self) -> None:
        one = machine()
        tid = one.request(STREAM, AUDIT, 0.0)
        hear(one, TransactionPending(tid), now=10, peer=STREAM)
        sent(one, STREAM)
        assert run(one, 24) == []
        assert one.take_events() == []
        assert hear(one, TransactionReply(tid, DONE), now=24.5, peer=STREAM) == [ReplyReceived(tid, STREAM, DONE, None)]

    def test_a_datagram_from_the_same_address_is_somebody_else(self) -> None:
        one = machine()
        tid = one.request(STREAM, AUDIT, 0.0)
        assert hear(one, TransactionReply(tid, DONE), now=0.1, peer=tuple(STREAM)) == []
        assert len({STREAM, tuple(STREAM), ConnectionPeer(*STREAM)}) == 2

    def test_at_most_once_whatever_connection_a_duplicate_comes_by(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0, peer=STREAM))
        again = ConnectionPeer(STREAM[0], 50000)
        assert hear(one, TransactionRequest(7, AUDIT), now=0.1, peer=again) == []
        assert sent(one, again) == [TransactionPending(7)]
        one.reply(event.handle, DONE, 0.2)
        assert sent(one, again) == [TransactionReply(7, DONE, None, immediate_ack_required=True)]
        assert run(one, 20) == [], "a reply after Pending is not repeated either"
        assert hear(one, TransactionAck(((7, 7),)), TransactionRequest(7, AUDIT), now=21, peer=again) == []
        assert sent(one) == []

    def test_what_waits_is_sent_by_the_next_connection(self) -> None:
        one = machine()
        first, second = one.request(STREAM, AUDIT, 0.0), one.request(STREAM, AUDIT, 1.0)
        one.request(OTHER, AUDIT, 1.0)
        hear(one, TransactionReply(first, DONE), now=1.5, peer=STREAM)
        one.take_output()
        one.resend(STREAM, 2.0)
        assert sent(one, STREAM) == [TransactionRequest(second, AUDIT)]
        assert hear(one, TransactionReply(second, DONE), now=2.1, peer=STREAM) == [ReplyReceived(second, STREAM, DONE, None)]

    def test_a_message_longer_than_a_packet_is_an_error(self) -> None:
        one = machine()
        long = (Action(0, (Command(CommandName.AUDIT_VALUE, ("a" * 64,)),) * 1000),)
        tid = one.request(STREAM, long, 0.0)
        (failed,) = one.take_events()
        assert isinstance(failed, RequestFailed)
        assert failed.tid == tid
        assert "which no packet holds" in failed.cause


    def test_a_long_execution_is_still_one(self) -> None:
        one = machine()
        event = received(hear(one, TransactionRequest(7, AUDIT), now=0, peer=STREAM))
        for now in (15, 30, 45):
            one.handle_timer(now - 0.1)
            assert hear(one, TransactionRequest(7, AUDIT), now=now, peer=STREAM) == []
        one.take_output()
        one.reply(event.handle, DONE, 50)
        assert sent(one, STREAM) == [TransactionReply(7, DONE, None, immediate_ack_required=True)]


class TestSplitting:
    """One message is one datagram, and stays below the path's MTU where it can (RFC 3525 Annex D.1)."""

    def ask(self, octets: int) -> list[list[Transaction]]:
        """The messages that go out when as many octets are asked while a reply is to be confirmed."""
        one = machine()
        hear(one, TransactionReply(one.request(PEER, AUDIT, 0.0), DONE), now=0.1)
        one.take_output()
        request = (Action(1, (Command(CommandName.AUDIT_VALUE, ("a" * (octets % 60 + 1),)),) * (octets // 60)),)
        one.request(PEER, request, 0.2)
        return [list(decode_untrusted(data).transactions) for data, _ in one.take_output()]

    def test_a_confirmation_goes_along_while_there_is_room(self) -> None:
        assert [[type(each) for each in message] for message in self.ask(120)] == [[TransactionAck, TransactionRequest]]

    def test_and_in_a_message_of_its_own_where_there_is_none(self) -> None:
        kinds = [[type(each) for each in message] for message in self.ask(60 * 24 + 59)]
        assert kinds == [[TransactionAck], [TransactionRequest]]

    def test_a_transaction_that_no_datagram_holds_is_an_error(self) -> None:
        one = machine()
        tid = one.request(PEER, (Action(0, (Command(CommandName.AUDIT_VALUE, ("a" * 64,)),) * 1000),), 0.0)
        (failed,) = one.take_events()
        assert isinstance(failed, RequestFailed)
        assert (failed.tid, "which no datagram holds" in failed.cause, one.take_output()) == (tid, True, [])


class TestAnotherAddress:
    def test_a_request_follows_its_peer(self) -> None:
        one = machine()
        tid = one.request(PEER, AUDIT, 0.0)
        run(one, 3)
        one.redirect(tid, MOVED, 3.5)
        assert sent(one, MOVED) == [TransactionRequest(tid, AUDIT)]
        assert hear(one, TransactionReply(tid, DONE), now=3.6) == [], "who was asked before is out of it"
        one.handle_timer(3.7)
        assert sent(one, MOVED) == [TransactionRequest(tid, AUDIT)], "and it is quick again"
        assert hear(one, TransactionReply(tid, DONE), now=3.8, peer=MOVED) == [ReplyReceived(tid, MOVED, DONE, None)]
        one.redirect(tid, PEER, 4.0)
        assert one.take_output() == [], "it is answered"

    def test_where_it_is_already_it_is_left_alone(self) -> None:
        one = machine()
        tid = one.request(PEER, AUDIT, 0.0)
        sent(one)
        one.redirect(tid, PEER, 0.1)
        assert sent(one) == []


class TestStrangers:
    """Whoever may not ask is refused, and changes nothing."""

    REFUSAL = ErrorDescriptor(402, "Unauthorized")

    def guarded(self) -> TransactionMachine:
        return TransactionMachine(
            "[192.0.2.1]:2944", timers=TIMERS, first_id=100, refuses=lambda _, peer: None if peer == PEER else self.REFUSAL
        )

    def test_a_request_is_refused_as_often_as_it_comes(self) -> None:
        one = self.guarded()
        for _ in range(2):
            told = hear(one, TransactionRequest(7, AUDIT), now=0, peer=OTHER)
            assert told == [StrangerRefused(OTHER, "agw", self.REFUSAL)]
            assert sent(one, OTHER) == [TransactionReply(7, error=self.REFUSAL)]
        assert one.next_timer() is None, "nothing is remembered"

    def test_with_the_name_and_the_numbers_of_a_friend(self) -> None:
        one = self.guarded()
        first = received(hear(one, TransactionRequest(7, AUDIT), now=0))
        one.reply(first.handle, DONE, 0.0)
        waiting = one.request(PEER, AUDIT, 0.0)
        answered = one.request(PEER, AUDIT, 0.0)
        hear(one, TransactionReply(answered, DONE), now=0)
        before = sent(one)
        hear(one, TransactionRequest(7, AUDIT), TransactionRequest(8, AUDIT), now=0.1, peer=OTHER)
        hear(one, TransactionRequest(9, restart()), now=0.1, peer=OTHER)
        assert hear(one, TransactionAck(((1, 0xFFFFFFFF),)), now=0.1, peer=OTHER) == []
        assert hear(one, TransactionReply(waiting, DONE), TransactionPending(waiting), now=0.1, peer=OTHER) == []
        assert hear(one, TransactionReply(answered, DONE, immediate_ack_required=True), now=0.1, peer=OTHER) == []
        assert sent(one, OTHER) == [TransactionReply(tid, error=self.REFUSAL) for tid in (7, 8, 9)]
        assert hear(one, TransactionRequest(7, AUDIT), now=0.15) == [], "it is a duplicate still"
        assert sent(one)[-1] == before[0], "and has its reply"
        received(hear(one, TransactionRequest(8, AUDIT), now=0.15))
        assert hear(one, TransactionReply(waiting, DONE), now=0.2) == [ReplyReceived(waiting, PEER, DONE, None)]


def run_out(one: TransactionMachine) -> float | None:
    while (due := one.next_timer()) is not None:
        one.handle_timer(due)
    return one.next_timer()


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"", lambda data: bytes(255 - octet for octet in data)],
)
def test_receive_never_raises(spoil: Callable[[bytes], bytes]) -> None:
    one = machine()
    one.receive(spoil(encode_compact(Message("agw", (TransactionRequest(7, AUDIT),)))), PEER, 0.0)
    (event,) = one.take_events()
    assert isinstance(event, SyntaxRefused)
