"""The transaction layer under any order of messages, wishes and time: it keeps its promises and forgets all."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from pcscf.sip.events import Ack, Cancelled, NewRequest, ResponseReceived, Terminated
from pcscf.sip.flow import Destination, Flow, Hop
from pcscf.sip.layer import TransactionLayer
from pcscf.sip.message import Request, Response, response_to
from pcscf.sip.parse import parse_datagram_untrusted
from pcscf.sip.transaction import ClientTransaction, Kind, ServerTransaction, State, Timers

FLOWS = [
    Flow("udp", "gm", ("192.0.2.9", 5060), ("192.0.2.1", 5060), 0),
    Flow("tcp", "gm", ("192.0.2.9", 5060), ("192.0.2.1", 1024), 7),
]
HOPS: list[Destination] = [Hop("udp", "core", "s.example", 5060), Hop("tls", "core", "s.example", 5061)]
METHODS = st.sampled_from(["INVITE", "MESSAGE", "BYE"])
STATUSES = st.sampled_from([100, 180, 183, 200, 302, 408, 486, 500, 603])


def make(method: str, branch: str) -> Request:
    return Request(
        method,
        "sip:b@b.example",
        [
            ("Via", f"SIP/2.0/UDP 192.0.2.1;branch={branch}"),
            ("From", "<sip:a@a.example>;tag=A"),
            ("To", "<sip:b@b.example>"),
            ("Call-ID", branch),
            ("CSeq", f"1 {method}"),
        ],
    )


class Transactions(RuleBasedStateMachine):
    clients = Bundle("clients")
    servers = Bundle("servers")

    def __init__(self) -> None:
        super().__init__()
        self.layer = TransactionLayer(lambda _: Timers())
        self.now = 0.0
        self.count = 0
        self.finals: dict[int, int] = {}
        self.live: dict[int, ServerTransaction | ClientTransaction] = {}

    def step(self) -> tuple[list[Request | Response], list[object]]:
        """What the layer gave, after checking what holds for all of it."""
        events: list[object] = list(self.layer.take_events())
        for event in events:
            if isinstance(event, NewRequest):
                assert event.server.request.method not in {"ACK", "CANCEL"}
                self.live[id(event.server)] = event.server
            elif isinstance(event, ResponseReceived):
                assert event.client.request.method != "CANCEL"
                status = event.response.status
                if status >= 300 or (status >= 200 and event.client.kind is Kind.CLIENT):
                    self.finals[id(event.client)] = self.finals.get(id(event.client), 0) + 1
                    assert self.finals[id(event.client)] == 1
            elif isinstance(event, Terminated):
                assert event.transaction.state is State.TERMINATED
                assert self.live.pop(id(event.transaction)) is event.transaction
        return [parse_datagram_untrusted(data) for data, _ in self.layer.take_output()], events

    @rule(target=servers, method=METHODS, flow=st.sampled_from(FLOWS))
    def request_comes(self, method: str, flow: Flow) -> ServerTransaction:
        self.count += 1
        self.layer.receive(make(method, f"z9hG4bKs{self.count}"), flow, self.now)
        _, events = self.step()
        (event,) = events
        assert isinstance(event, NewRequest)
        return event.server

    @rule(target=clients, method=METHODS, hop=st.sampled_from(HOPS))
    def request_goes(self, method: str, hop: Destination) -> ClientTransaction:
        self.count += 1
        client = self.layer.request(make(method, f"z9hG4bKc{self.count}"), hop, self.now)
        self.live[id(client)] = client
        sent, _ = self.step()
        assert [message.to_bytes() for message in sent] == [client.request.to_bytes()]
        return client

    @rule(server=servers)
    def request_again(self, server: ServerTransaction) -> None:
        if server.state is State.TERMINATED:
            return
        self.layer.receive(server.request.copy(), server.flow, self.now)
        sent, events = self.step()
        assert events == []
        assert len(sent) <= 1
        assert all(isinstance(message, Response) for message in sent)

    @rule(server=servers, status=STATUSES)
    def respond(self, server: ServerTransaction, status: int) -> None:
        before = server.state
        self.layer.respond(server, response_to(server.request, status, to_tag="B"), self.now)
        sent, _ = self.step()
        if server.kind is Kind.SERVER:
            assert all(isinstance(m, Response) and m.status != 408 and not 100 < m.status < 200 for m in sent)
        if before in {State.COMPLETED, State.CONFIRMED, State.TERMINATED}:
            assert sent == []
        if before is State.ACCEPTED:
            assert len(sent) == (200 <= status < 300)

    @rule(server=servers, same_branch=st.booleans())
    def ack_comes(self, server: ServerTransaction, same_branch: bool) -> None:
        branch = server.request.top_via.branch if same_branch else "z9hG4bKack"
        absorbed = server.kind is Kind.INVITE_SERVER and same_branch and server.state not in {State.ACCEPTED, State.TERMINATED}
        self.layer.receive(make("ACK", branch), server.flow, self.now)
        sent, events = self.step()
        assert sent == []
        assert any(isinstance(event, Ack) for event in events) is not absorbed

    @rule(server=servers)
    def cancel_comes(self, server: ServerTransaction) -> None:
        is_open = server.kind is Kind.INVITE_SERVER and server.state is State.PROCEEDING
        is_known = server.kind is Kind.INVITE_SERVER and server.state is not State.TERMINATED
        first = len(self.layer)
        self.layer.receive(make("CANCEL", server.request.top_via.branch), server.flow, self.now)
        sent, events = self.step()
        assert len(sent) == 1
        assert isinstance(sent[0], Response)
        if len(self.layer) > first:  # not a retransmission
            assert sent[0].status == (200 if is_known else 481)
            assert [type(event) for event in events] == ([Cancelled] if is_open else [])

    @rule(client=clients, status=STATUSES)
    def response_comes(self, client: ClientTransaction, status: int) -> None:
        before = client.state
        self.layer.receive(response_to(client.request, status, to_tag="B"), FLOWS[0], self.now)
        sent, events = self.step()
        if before is State.TERMINATED:
            assert (sent, events) == ([], [])
        if client.kind is Kind.INVITE_CLIENT and status >= 300 and before not in {State.ACCEPTED, State.TERMINATED}:
            assert [m.method for m in sent if isinstance(m, Request)] == ["ACK"]
        if client.kind is Kind.INVITE_CLIENT and status == 200 and before not in {State.COMPLETED, State.TERMINATED}:
            assert ResponseReceived in {type(event) for event in events}

    @rule(client=clients)
    def cancel(self, client: ClientTransaction) -> None:
        before = client.state
        self.layer.cancel(client, self.now)
        sent, events = self.step()
        assert events == []
        assert len(sent) == (before is State.PROCEEDING and client.kind is Kind.INVITE_CLIENT)

    @rule(destination=st.sampled_from([*FLOWS, *HOPS]))
    def transport_fails(self, destination: Destination) -> None:
        self.layer.transport_failed(destination, self.now)
        self.step()

    @rule(client=consumes(clients))
    def forget_client(self, client: ClientTransaction) -> None:
        """The bundle stays small."""

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.layer.next_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.layer.handle_timer(self.now)
            self.step()
        self.now = end

    @invariant()
    def timers_are_never_overdue(self) -> None:
        due = self.layer.next_timer()
        assert due is None or due >= self.now

    @precondition(lambda self: self.live)
    @invariant()
    def what_lives_has_not_terminated(self) -> None:
        assert all(transaction.state is not State.TERMINATED for transaction in self.live.values())

    def teardown(self) -> None:
        """Once every request is answered, everything ends by itself."""
        for transaction in list(self.live.values()):
            if isinstance(transaction, ServerTransaction):
                self.layer.respond(transaction, response_to(transaction.request, 500), self.now)
            elif transaction.kind is Kind.INVITE_CLIENT:
                self.layer.cancel(transaction, self.now)
        self.step()
        self.time_passes(1000.0)
        assert len(self.layer) == 0
        assert self.live == {}
        assert self.layer.next_timer() is None


TestTransactions = Transactions.TestCase
TestTransactions.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
