"""The transaction layer: finds the transaction a message belongs to and runs its table (RFC 3261 §17, §9, RFC 6026).

No I/O and no clock: messages and `now` (monotonic seconds) come in, octets and events are taken out.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from math import inf
from operator import attrgetter
from typing import Any, Final, TypeAlias

from pcscf.errors import MalformedMessage
from pcscf.sip.counts import OTHER, SipCounts
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
from pcscf.sip.flow import Destination, Flow
from pcscf.sip.matching import acknowledges, answered_tag, hop_by_hop, own_tag, server_key
from pcscf.sip.message import Message, Request, Response, response_to
from pcscf.sip.transaction import (
    INITIAL,
    TRANSITIONS,
    Action,
    ClientTransaction,
    Input,
    Key,
    Kind,
    ServerTransaction,
    State,
    TimerEntry,
    Timers,
    Transaction,
)

# Looking up a member in its Enum costs as much as a function: what every call needs is looked up once.
_TERMINATED: Final = State.TERMINATED
_INVITE_SERVER: Final = Kind.INVITE_SERVER
_RECEIVE_REQUEST: Final = Input.RECEIVE_REQUEST
_RECEIVE_ACK: Final = Input.RECEIVE_ACK
# By the first digit of a status above 100.
_RECEIVED: Final = (Input.RECEIVE_100, Input.RECEIVE_1XX, Input.RECEIVE_2XX, *[Input.RECEIVE_FAILURE] * 4)
_SENT: Final = (Input.SEND_100, Input.SEND_1XX, Input.SEND_2XX, *[Input.SEND_FAILURE] * 4)


Act: TypeAlias = Callable[[Any, Any, float], None]
"""An action on a transaction, with the message that caused it or None, at a time."""


class TransactionLayer:
    """All transactions of one process. `timers` gives the base timers by where the peer is."""

    def __init__(self, timers: Callable[[Destination], Timers]) -> None:
        self._timers_for = timers
        self._clients: dict[Key, ClientTransaction] = {}
        self._servers: dict[Key, ServerTransaction] = {}
        self._heap: list[TimerEntry] = []
        self.earliest = inf
        """No timer is due before this time; one that has been stopped since may have set it."""
        self._serials = itertools.count()
        self._crowded = 64   # from how many timers on it is worth looking for those that have been stopped
        self.output: list[tuple[bytes, Destination]] = []
        self.events: list[Event] = []
        self.counts = SipCounts()
        clocks: dict[Action, Act] = {
            **{action: self._deadline(*entry) for action, entry in _DEADLINES.items()},
            **{action: self._repeat(*entry) for action, entry in _REPEATS.items()},
        }
        client: dict[Action, Act] = {
            **clocks,
            Action.SEND_REQUEST: self._send_request,
            Action.SEND_ACK: self._send_ack,
            Action.SEND_CANCEL: self._send_cancel,
            Action.DELIVER: self._deliver,
            Action.TIME_OUT: self._time_out,
            Action.FAIL: self._fail_client,
        }
        server: dict[Action, Act] = {
            **clocks,
            Action.SEND_RESPONSE: self._send_response,
            Action.RETRANSMIT: self._retransmit,
            Action.SEND_TRYING: self._send_trying,
            Action.DELIVER_ACK: self._deliver_ack,
            Action.DELIVER_CANCEL: self._deliver_cancel,
            Action.TIME_OUT: self._unacknowledged,
            Action.FAIL: self._fail_server,
        }
        acts = {Kind.INVITE_CLIENT: client, Kind.CLIENT: client, Kind.INVITE_SERVER: server, Kind.SERVER: server}
        self._begin = {kind: _acts(acts[kind], actions) for kind, (actions, _) in INITIAL.items()}
        self._steps = {
            kind: {pair: (_acts(acts[kind], actions), state) for pair, (actions, state) in table.items()}
            for kind, table in TRANSITIONS.items()
        }

    # --- from the network

    def receive(self, message: Request | Response, source: Flow, now: float) -> None:
        """A message that was parsed, its top Via stamped (`headers.stamp_received`). Never raises.

        A request whose transaction cannot be told is answered 400; such a response is dropped, like a stray one.
        """
        try:
            if isinstance(message, Response):
                self._receive_response(message, now)
            elif message.method == "ACK":
                self._receive_ack(message, source, now)
            else:
                self._receive_request(message, source, now)
        except MalformedMessage as error:
            self.counts.malformed += 1
            if isinstance(message, Request) and message.method != "ACK":
                answer = response_to(message, error.status, error.reason, to_tag=own_tag(message))
                self.output.append((answer.to_bytes(), source))

    def _receive_response(self, response: Response, now: float) -> None:
        client = self._clients.get((response.top_via.branch, response.cseq[1]))
        status, counts = response.status, self.counts
        counts.responses_received[status // 100] += 1
        if client is not None:
            self._step(client, _received(status), response, now)
        else:
            counts.stray += 1

    def _receive_ack(self, request: Request, source: Flow, now: float) -> None:
        self.counts.requests_received["ACK"] += 1
        server = self._servers.get(server_key(request, "INVITE"))
        if server is not None and (request.top_via.has_magic_cookie or acknowledges(request, server)):
            server.flow = source
            self._step(server, _RECEIVE_ACK, request, now)
        else:
            self.events.append(Ack(request, source))

    def _receive_request(self, request: Request, source: Flow, now: float) -> None:
        key = server_key(request, request.method)
        server = self._servers.get(key)
        if server is not None:
            self.counts.repeats_received += 1
            self._step(server, _RECEIVE_REQUEST, request, now)
            return
        _count(self.counts.requests_received, request.method)
        server = ServerTransaction(key, request, source, self._timers_for(source), now)
        self._servers[key] = server
        for act in self._begin[server.kind]:
            act(server, request, now)
        if request.method == "CANCEL":
            self._answer_cancel(server, now)
        else:
            self.events.append(NewRequest(server))

    def _answer_cancel(self, cancel: ServerTransaction, now: float) -> None:
        invite = self._servers.get(server_key(cancel.request, "INVITE"))
        tag = own_tag(cancel.request)
        if invite is None:
            self.respond(cancel, response_to(cancel.request, 481, to_tag=tag), now)
            return
        self.respond(cancel, response_to(cancel.request, 200, to_tag=answered_tag(invite) or tag), now)
        self._step(invite, Input.RECEIVE_CANCEL, cancel.request, now)

    # --- from the transaction user

    def request(self, request: Request, destination: Destination, now: float) -> ClientTransaction:
        """Sends `request`, whose top Via is ours with a new branch. Raises ValueError for a branch that is in use."""
        key = (request.top_via.branch, request.method)
        if key in self._clients:
            raise ValueError(f"branch is in use: {key}")
        client = ClientTransaction(key, request, destination, self._timers_for(destination))
        self._clients[key] = client
        _count(self.counts.requests_sent, request.method)
        for act in self._begin[client.kind]:
            act(client, request, now)
        return client

    def respond(self, server: ServerTransaction, response: Response, now: float) -> None:
        """Sends `response`, unless the table says that it comes too late or must not be sent."""
        is_invite = server.kind is _INVITE_SERVER
        status = response.status
        if status == 100 and not is_invite and not server.reliable and now < server.arrived + server.timers.trying:
            # Over UDP a 100 that early would only make the peer retransmit less often (RFC 4320 §4.1).
            return
        self._step(server, _sent(status, is_invite=is_invite), response, now)

    def trying(self, server: ServerTransaction, now: float) -> None:
        """Answers 100 unless something was answered already (RFC 3261 §17.2.1)."""
        if not server.response:
            self.respond(server, response_to(server.request, 100), now)

    def cancel(self, client: ClientTransaction, now: float, reason: str = "") -> None:
        """Sends CANCEL, or waits with it for the first provisional response (RFC 3261 §9.1); nothing after a final one.

        reason: value of its Reason header field (RFC 3326).
        """
        if client.kind is Kind.INVITE_CLIENT:
            if client.state in {State.CALLING, State.PROCEEDING}:
                client.reason = reason
            self._step(client, Input.CANCEL, None, now)

    def transport_failed(self, destination: Destination, now: float) -> None:
        """Nothing can be sent to `destination` any more: every transaction on it learns so."""
        for transaction in list(self.transactions_on(destination)):
            self._step(transaction, Input.TRANSPORT_ERROR, None, now)

    def transactions_on(self, destination: Destination) -> Iterator[ClientTransaction | ServerTransaction]:
        """The transactions whose requests (as client) or responses (as server) go to `destination`."""
        for client in self._clients.values():
            if client.destination == destination:
                yield client
        for server in self._servers.values():
            if destination in {server.source, server.flow}:
                yield server

    # --- time

    def next_timer(self) -> float | None:
        """When `handle_timer` has something to do, None for never."""
        heap = self._heap
        while heap and not _is_armed(heap[0]):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def handle_timer(self, now: float) -> None:
        """Fires every timer that is due at `now`."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            entry = heapq.heappop(heap)
            if _is_armed(entry):
                if entry[3] in _CLIENT_REPEATS:
                    self.counts.repeats_sent += 1
                self._step(entry[2], entry[3], None, now)
        soonest = self.next_timer()
        self.earliest = inf if soonest is None else soonest

    # --- what comes out

    def take_output(self) -> list[tuple[bytes, Destination]]:
        """The messages to send, in order."""
        output = self.output
        if output:
            self.output = []
        return output

    def take_events(self) -> list[Event]:
        events = self.events
        if events:
            self.events = []
        return events

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    @property
    def clients(self) -> int:
        """How many transactions are under way that we began."""
        return len(self._clients)

    # --- running the tables

    def _step(self, transaction: Transaction, happened: Input, message: Message | None, now: float) -> None:
        acts, transaction.state = self._steps[transaction.kind][transaction.state, happened]
        for act in acts:
            act(transaction, message, now)
        if transaction.state is _TERMINATED:
            self._terminate(transaction)

    def _terminate(self, transaction: Transaction) -> None:
        home: dict[Key, Any] = self._clients if isinstance(transaction, ClientTransaction) else self._servers
        if home.get(transaction.key) is not transaction:
            return   # it has ended before, and another may go by its key now
        del home[transaction.key]
        transaction.repeat = transaction.deadline = None
        if transaction.request.method != "CANCEL":
            self.events.append(Terminated(transaction))

    # --- timers

    def _deadline(self, timer: Input, duration: Callable[[Timers], float], only_unreliable: bool) -> Act:
        def start(transaction: Transaction, _: Message | None, now: float) -> None:
            # The timer that ends a state; retransmissions belonged to the state before.
            transaction.repeat = None
            if only_unreliable and transaction.reliable:
                transaction.deadline = None
                self._step(transaction, timer, None, now)
            else:
                transaction.deadline = self._push(now + duration(transaction.timers), transaction, timer)

        return start

    def _repeat(self, timer: Input, interval: Callable[[Timers, float], float]) -> Act:
        def start(transaction: Transaction, _: Message | None, now: float) -> None:
            if not transaction.reliable:
                transaction.interval = interval(transaction.timers, transaction.interval)
                transaction.repeat = self._push(now + transaction.interval, transaction, timer)

        return start

    def _push(self, when: float, transaction: Transaction, timer: Input) -> TimerEntry:
        heap = self._heap
        if len(heap) > self._crowded:
            heap[:] = [entry for entry in heap if entry[2].deadline is entry or entry[2].repeat is entry]   # those that are armed
            heapq.heapify(heap)
            self._crowded = max(64, 2 * len(heap))
        entry = (when, next(self._serials), transaction, timer)
        heapq.heappush(heap, entry)
        if when < self.earliest:  # noqa: PLR1730 - min() is a call more
            self.earliest = when
        return entry

    # --- actions of clients

    def _send_request(self, client: ClientTransaction, _: Message | None, __: float) -> None:
        self.output.append((client.request.to_bytes(), client.destination))

    def _send_ack(self, client: ClientTransaction, response: Message | None, _: float) -> None:
        if response is not None and not client.ack:
            client.ack = hop_by_hop("ACK", client.request, to=response).to_bytes()
            self.counts.requests_sent["ACK"] += 1
        self.output.append((client.ack, client.destination))

    def _send_cancel(self, client: ClientTransaction, _: Message | None, now: float) -> None:
        cancel = hop_by_hop("CANCEL", client.request, to=client.request)
        if client.reason:
            cancel.add("Reason", client.reason)
        self.request(cancel, client.destination, now)

    def _deliver(self, client: ClientTransaction, response: Response, _: float) -> None:
        if client.request.method != "CANCEL":
            self.events.append(ResponseReceived(client, response))

    def _time_out(self, client: ClientTransaction, _: Message | None, __: float) -> None:
        self.counts.timed_out += 1
        if client.request.method != "CANCEL":
            self.events.append(TimedOut(client))

    def _fail_client(self, client: ClientTransaction, _: Message | None, __: float) -> None:
        self.counts.unreachable += 1
        if client.request.method != "CANCEL":
            self.events.append(TransportFailed(client))

    # --- actions of servers

    def _send_response(self, server: ServerTransaction, response: Response, _: float) -> None:
        self.counts.responses_sent[response.status // 100] += 1
        server.response = response.to_bytes()
        self.output.append((server.response, server.source))

    def _retransmit(self, server: ServerTransaction, _: Message | None, __: float) -> None:
        if server.response:
            self.counts.repeats_sent += 1
            self.output.append((server.response, server.source))

    def _send_trying(self, server: ServerTransaction, _: Message | None, now: float) -> None:
        self._send_response(server, response_to(server.request, 100), now)

    def _deliver_ack(self, server: ServerTransaction, request: Request, _: float) -> None:
        self.events.append(Ack(request, server.flow))

    def _deliver_cancel(self, server: ServerTransaction, request: Request, _: float) -> None:
        self.events.append(Cancelled(server, request))

    def _unacknowledged(self, server: ServerTransaction, _: Message | None, __: float) -> None:
        self.counts.unacknowledged += 1
        self.events.append(Unacknowledged(server))

    def _fail_server(self, server: ServerTransaction, _: Message | None, __: float) -> None:
        self.counts.undeliverable += 1
        if server.request.method != "CANCEL":
            self.events.append(ResponseUndeliverable(server))


# Retransmission timers: the input when they fire, and the next interval from the last. Unreliable transports only.
_REPEATS: Final[dict[Action, tuple[Input, Callable[[Timers, float], float]]]] = {
    Action.START_A: (Input.TIMER_A, lambda timers, _: timers.t1),
    Action.DOUBLE_A: (Input.TIMER_A, lambda _, interval: 2 * interval),
    Action.START_E: (Input.TIMER_E, lambda timers, _: timers.t1),
    Action.DOUBLE_E: (Input.TIMER_E, lambda timers, interval: min(2 * interval, timers.t2)),
    Action.SLOW_E: (Input.TIMER_E, lambda timers, _: timers.t2),
    Action.START_G: (Input.TIMER_G, lambda timers, _: timers.t1),
    Action.DOUBLE_G: (Input.TIMER_G, lambda timers, interval: min(2 * interval, timers.t2)),
}

_CLIENT_REPEATS: Final = frozenset({Input.TIMER_A, Input.TIMER_E})   # what a server repeats is counted where it does

# The timer that ends a state; one at a time. Third: zero on a reliable transport.
_DEADLINES: Final[dict[Action, tuple[Input, Callable[[Timers], float], bool]]] = {
    Action.START_B: (Input.TIMER_B, attrgetter("lifetime"), False),
    Action.START_C: (Input.TIMER_C, attrgetter("c"), False),
    Action.START_D: (Input.TIMER_D, attrgetter("d"), True),
    Action.START_F: (Input.TIMER_F, attrgetter("lifetime"), False),
    Action.START_H: (Input.TIMER_H, attrgetter("lifetime"), False),
    Action.START_I: (Input.TIMER_I, attrgetter("t4"), True),
    Action.START_J: (Input.TIMER_J, attrgetter("lifetime"), True),
    Action.START_K: (Input.TIMER_K, attrgetter("t4"), True),
    Action.START_L: (Input.TIMER_L, attrgetter("lifetime"), False),
    Action.START_M: (Input.TIMER_M, attrgetter("lifetime"), False),
    Action.START_CANCEL_WAIT: (Input.TIMER_CANCEL, attrgetter("lifetime"), False),
    Action.START_TRYING: (Input.TIMER_TRYING, attrgetter("trying"), False),
}


def _acts(known: dict[Action, Act], actions: tuple[Action, ...]) -> tuple[Act, ...]:
    return tuple([known[action] for action in actions])


def _count(counts: dict[str, int], method: str) -> None:
    counts[method if method in counts else OTHER] += 1


def _is_armed(entry: TimerEntry) -> bool:
    """Whether a heap entry is still the timer of its transaction, not one that was stopped or started anew."""
    transaction = entry[2]
    return transaction.deadline is entry or transaction.repeat is entry


def _received(status: int) -> Input:
    return _RECEIVED[status // 100] if status != 100 else Input.RECEIVE_100


def _sent(status: int, *, is_invite: bool) -> Input:
    if status == 100:
        return Input.SEND_100
    return Input.SEND_408 if status == 408 and not is_invite else _SENT[status // 100]
