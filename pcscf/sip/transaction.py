"""The four transaction machines as tables (RFC 3261 §17, RFC 6026 §7, RFC 4320 §4, RFC 3261 §9.1 and §16.8).

`TRANSITIONS[kind][state, input]` gives the actions and the next state; it has an entry for every pair. `layer` runs it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from pcscf.sip.flow import Destination, Flow, Hop, is_reliable
from pcscf.sip.message import Request

DEFAULT_PORTS: Final = MappingProxyType({"udp": 5060, "tcp": 5060, "tls": 5061})


@dataclass(frozen=True, slots=True)
class Timers:
    """Base timers in seconds (RFC 3261 Table 4; towards UEs TS 24.229 Table 7.7 has slower ones). c exceeds 180."""

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0
    c: float = 190.0
    lifetime: float = field(init=False)
    """64*T1: timers B, F, H, J, L, M, and the wait after a CANCEL (RFC 3261 §9.1)."""
    d: float = field(init=False)
    trying: float = field(init=False)
    """When a non-INVITE request must be answered 100: once Timer E of the peer reached T2 (RFC 4320 §4.1)."""

    def __post_init__(self) -> None:
        elapsed, interval = 0.0, self.t1
        while interval < self.t2:
            elapsed += interval
            interval *= 2
        for name, value in (("lifetime", 64 * self.t1), ("d", max(32.0, 64 * self.t1)), ("trying", elapsed)):
            object.__setattr__(self, name, value)


class Kind(StrEnum):
    INVITE_CLIENT = "INVITE client"
    CLIENT = "non-INVITE client"
    INVITE_SERVER = "INVITE server"
    SERVER = "non-INVITE server"


class State(StrEnum):
    """The RFC's states, and two of an INVITE client that the RFC has in its text.

    CANCEL_PENDING: Calling, and CANCEL goes out with the first provisional response. CANCELLING: Proceeding, it did.
    """

    CALLING = "Calling"
    CANCEL_PENDING = "Calling, to be cancelled"
    TRYING = "Trying"
    PROCEEDING = "Proceeding"
    CANCELLING = "Proceeding, cancelled"
    COMPLETED = "Completed"
    CONFIRMED = "Confirmed"
    ACCEPTED = "Accepted"
    TERMINATED = "Terminated"


class Input(StrEnum):
    """What can happen to a transaction: a message from the network, a wish of the transaction user, a timer, an error."""

    RECEIVE_REQUEST = "the request again"
    RECEIVE_ACK = "ACK"
    RECEIVE_CANCEL = "CANCEL"
    RECEIVE_100 = "100"
    RECEIVE_1XX = "101-199"
    RECEIVE_2XX = "2xx"
    RECEIVE_FAILURE = "300-699"
    CANCEL = "cancel"
    SEND_100 = "100 from TU"
    SEND_1XX = "101-199 from TU"
    SEND_2XX = "2xx from TU"
    SEND_408 = "408 from TU"
    SEND_FAILURE = "300-699 from TU"
    TIMER_A = "Timer A"
    TIMER_B = "Timer B"
    TIMER_C = "Timer C"
    TIMER_D = "Timer D"
    TIMER_E = "Timer E"
    TIMER_F = "Timer F"
    TIMER_G = "Timer G"
    TIMER_H = "Timer H"
    TIMER_I = "Timer I"
    TIMER_J = "Timer J"
    TIMER_K = "Timer K"
    TIMER_L = "Timer L"
    TIMER_M = "Timer M"
    TIMER_CANCEL = "64*T1 after CANCEL"
    TIMER_TRYING = "100 is due"
    TRANSPORT_ERROR = "transport error"


class Action(StrEnum):
    SEND_REQUEST = "send the request"
    SEND_RESPONSE = "send the response and remember it"
    RETRANSMIT = "send the last response again"
    SEND_TRYING = "send 100"
    SEND_ACK = "make and send ACK"
    SEND_CANCEL = "make and send CANCEL"
    DELIVER = "response to TU"
    DELIVER_ACK = "ACK to TU"
    DELIVER_CANCEL = "CANCEL to TU"
    TIME_OUT = "time-out to TU"
    FAIL = "transport error to TU"
    START_A = "start A"
    DOUBLE_A = "restart A, doubled"
    START_B = "start B"
    START_C = "start C"
    START_D = "start D"
    START_E = "start E"
    DOUBLE_E = "restart E, doubled up to T2"
    SLOW_E = "restart E with T2"
    START_F = "start F"
    START_G = "start G"
    DOUBLE_G = "restart G, doubled up to T2"
    START_H = "start H"
    START_I = "start I"
    START_J = "start J"
    START_K = "start K"
    START_L = "start L"
    START_M = "start M"
    START_CANCEL_WAIT = "wait 64*T1 for the end of a cancelled INVITE"
    START_TRYING = "wait until 100 is due"


Transition: TypeAlias = tuple[tuple[Action, ...], State]
Table: TypeAlias = Mapping[tuple[State, Input], Transition]


def _table(
    inputs: Collection[Input],
    rows: Mapping[State, Mapping[Input, Transition]],
    ignored: Mapping[State, Collection[Input]],
) -> Table:
    """The total table: each pair stands in `rows` or in `ignored` (no action, same state); Terminated ignores all."""
    table: dict[tuple[State, Input], Transition] = {}
    for state in [*rows, State.TERMINATED]:
        acted = rows.get(state, {})
        passed_over = ignored.get(state, inputs)
        if set(acted) & set(passed_over) or set(acted) | set(passed_over) != set(inputs):
            raise ValueError(f"{state}: every input needs exactly one entry")
        table |= {(state, each): transition for each, transition in acted.items()}
        table |= {(state, each): ((), state) for each in passed_over}
    return MappingProxyType(table)


_INVITE_CLIENT_INPUTS: Final = (
    Input.RECEIVE_100, Input.RECEIVE_1XX, Input.RECEIVE_2XX, Input.RECEIVE_FAILURE, Input.CANCEL, Input.TIMER_A,
    Input.TIMER_B, Input.TIMER_C, Input.TIMER_D, Input.TIMER_M, Input.TIMER_CANCEL, Input.TRANSPORT_ERROR,
)  # fmt: skip

_INVITE_CLIENT: Final = _table(
    _INVITE_CLIENT_INPUTS,
    {
        State.CALLING: {
            Input.RECEIVE_100: ((Action.DELIVER, Action.START_C), State.PROCEEDING),
            Input.RECEIVE_1XX: ((Action.DELIVER, Action.START_C), State.PROCEEDING),
            Input.RECEIVE_2XX: ((Action.DELIVER, Action.START_M), State.ACCEPTED),
            Input.RECEIVE_FAILURE: ((Action.SEND_ACK, Action.DELIVER, Action.START_D), State.COMPLETED),
            Input.CANCEL: ((), State.CANCEL_PENDING),
            Input.TIMER_A: ((Action.SEND_REQUEST, Action.DOUBLE_A), State.CALLING),
            Input.TIMER_B: ((Action.TIME_OUT,), State.TERMINATED),
            Input.TRANSPORT_ERROR: ((Action.FAIL,), State.TERMINATED),
        },
        State.CANCEL_PENDING: {
            Input.RECEIVE_100: ((Action.DELIVER, Action.SEND_CANCEL, Action.START_CANCEL_WAIT), State.CANCELLING),
            Input.RECEIVE_1XX: ((Action.DELIVER, Action.SEND_CANCEL, Action.START_CANCEL_WAIT), State.CANCELLING),
            Input.RECEIVE_2XX: ((Action.DELIVER, Action.START_M), State.ACCEPTED),
            Input.RECEIVE_FAILURE: ((Action.SEND_ACK, Action.DELIVER, Action.START_D), State.COMPLETED),
            Input.TIMER_A: ((Action.SEND_REQUEST, Action.DOUBLE_A), State.CANCEL_PENDING),
            Input.TIMER_B: ((Action.TIME_OUT,), State.TERMINATED),
            Input.TRANSPORT_ERROR: ((Action.FAIL,), State.TERMINATED),
        },
        State.PROCEEDING: {
            Input.RECEIVE_100: ((Action.DELIVER,), State.PROCEEDING),
            Input.RECEIVE_1XX: ((Action.DELIVER, Action.START_C), State.PROCEEDING),
            Input.RECEIVE_2XX: ((Action.DELIVER, Action.START_M), State.ACCEPTED),
            Input.RECEIVE_FAILURE: ((Action.SEND_ACK, Action.DELIVER, Action.START_D), State.COMPLETED),
            Input.CANCEL: ((Action.SEND_CANCEL, Action.START_CANCEL_WAIT), State.CANCELLING),
            Input.TIMER_C: ((Action.SEND_CANCEL, Action.START_CANCEL_WAIT), State.CANCELLING),
            Input.TRANSPORT_ERROR: ((Action.FAIL,), State.TERMINATED),
        },
        State.CANCELLING: {
            Input.RECEIVE_100: ((Action.DELIVER,), State.CANCELLING),
            Input.RECEIVE_1XX: ((Action.DELIVER,), State.CANCELLING),
            Input.RECEIVE_2XX: ((Action.DELIVER, Action.START_M), State.ACCEPTED),
            Input.RECEIVE_FAILURE: ((Action.SEND_ACK, Action.DELIVER, Action.START_D), State.COMPLETED),
            Input.TIMER_CANCEL: ((Action.TIME_OUT,), State.TERMINATED),
            Input.TRANSPORT_ERROR: ((Action.FAIL,), State.TERMINATED),
        },
        State.COMPLETED: {
            Input.RECEIVE_FAILURE: ((Action.SEND_ACK,), State.COMPLETED),
            Input.TIMER_D: ((), State.TERMINATED),
            Input.TRANSPORT_ERROR: ((Action.FAIL,), State.TERMINATED),
        },
        State.ACCEPTED: {
            Input.RECEIVE_2XX: ((Action.DELIVER,), State.ACCEPTED),
            Input.TIMER_M: ((), State.TERMINATED),
        },
    },
    {
        State.CALLING: {Input.TIMER_C, Input.TIMER_D, Input.TIMER_M, Input.TIMER_CANCEL},
        State.CANCEL_PENDING: {Input.CANCEL, Input.TIMER_C, Input.TIMER_D, Input.TIMER_M, Input.TIMER_CANCEL},
        State.PROCEEDING: {Input.TIMER_A, Input.TIMER_B, Input.TIMER_D, Input.TIMER_M, Input.TIMER_CANCEL},
        State.CANCELLING: {
            Input.CANCEL, Input.TIMER_A, Input.TIMER_B, Input.TIMER_C, Input.TIMER_D, Input.TIMER_M,
        },
        State.COMPLETED: {
            Input.RECEIVE_100, Input.RECEIVE_1XX, Input.RECEIVE_2XX, Input.CANCEL, Input.TIMER_A, Input.TIMER_B,
            Input.TIMER_C, Input.TIMER_M, Input.TIMER_CANCEL,
        },
        State.ACCEPTED: {
            Input.RECEIVE_100, Input.RECEIVE_1XX, Input.RECEIVE_FAILURE, Input.CANCEL, Input.TIMER_A, Input.TIMER_B,
            Input.TIMER_C, Input.TIMER_D, Input.TIMER_CANCEL, Input.TRANSPORT_ERROR,
        },
    },
)  # fmt: skip

_CLIENT_INPUTS: Final = (
    Input.RECEIVE_100, Input.RECEIVE_1XX, Input.RECEIVE_2XX, Input.RECEIVE_FAILURE, Input.CANCEL, Input.TIMER_E,
    Input.TIMER_F, Input.TIMER_K, Input.TRANSPORT_ERROR,
)  # fmt: skip

_CLIENT: Final = _table(
    _CLIENT_INPUTS,
    {
        State.TRYING: {
            Input.RECEIVE_100: ((Action.DELIVER,), State.PROCEEDING),
            Input.RECEIVE_1XX: ((Action.DELIVER,), State.PROCEEDING),
            Input.RECEIVE_2XX: ((Action.DELIVER, Action.START_K), State.COMPLETED),
            Input.RECEIVE_FAILURE: ((Action.DELIVER, Action.START_K), State.COMPLETED),
            Input.TIMER_E: ((Action.SEND_REQUEST, Action.DOUBLE_E), State.TRYING),
            Input.TIMER_F: ((Action.TIME_OUT,), State.TERMINATED),
            Input.TRANSPORT_ERROR: ((Action.FAIL,), State.TERMINATED),
        },
        State.PROCEEDING: {
            Input.RECEIVE_100: ((Action.DELIVER,), State.PROCEEDING),
            Input.RECEIVE_1XX: ((Action.DELIVER,), State.PROCEEDING),
            Input.RECEIVE_2XX: ((Action.DELIVER, Action.START_K), State.COMPLETED),
            Input.RECEIVE_FAILURE: ((Action.DELIVER, Action.START_K), State.COMPLETED),
            Input.TIMER_E: ((Action.SEND_REQUEST, Action.SLOW_E), State.PROCEEDING),
            Input.TIMER_F: ((Action.TIME_OUT,), State.TERMINATED),
            Input.TRANSPORT_ERROR: ((Action.FAIL,), State.TERMINATED),
        },
        State.COMPLETED: {Input.TIMER_K: ((), State.TERMINATED)},
    },
    {
        State.TRYING: {Input.CANCEL, Input.TIMER_K},
        State.PROCEEDING: {Input.CANCEL, Input.TIMER_K},
        State.COMPLETED: set(_CLIENT_INPUTS) - {Input.TIMER_K},
    },
)

_INVITE_SERVER_INPUTS: Final = (
    Input.RECEIVE_REQUEST, Input.RECEIVE_ACK, Input.RECEIVE_CANCEL, Input.SEND_100, Input.SEND_1XX, Input.SEND_2XX,
    Input.SEND_FAILURE, Input.TIMER_G, Input.TIMER_H, Input.TIMER_I, Input.TIMER_L, Input.TRANSPORT_ERROR,
)  # fmt: skip

# A transport error never ends an INVITE server transaction: it must go on absorbing retransmissions (RFC 6026 §7.1).
_INVITE_SERVER: Final = _table(
    _INVITE_SERVER_INPUTS,
    {
        State.PROCEEDING: {
            Input.RECEIVE_REQUEST: ((Action.RETRANSMIT,), State.PROCEEDING),
            Input.RECEIVE_CANCEL: ((Action.DELIVER_CANCEL,), State.PROCEEDING),
            Input.SEND_100: ((Action.SEND_RESPONSE,), State.PROCEEDING),
            Input.SEND_1XX: ((Action.SEND_RESPONSE,), State.PROCEEDING),
            Input.SEND_2XX: ((Action.SEND_RESPONSE, Action.START_L), State.ACCEPTED),
            Input.SEND_FAILURE: ((Action.SEND_RESPONSE, Action.START_H, Action.START_G), State.COMPLETED),
            Input.TRANSPORT_ERROR: ((Action.FAIL,), State.PROCEEDING),
        },
        State.COMPLETED: {
            Input.RECEIVE_REQUEST: ((Action.RETRANSMIT,), State.COMPLETED),
            Input.RECEIVE_ACK: ((Action.START_I,), State.CONFIRMED),
            Input.TIMER_G: ((Action.RETRANSMIT, Action.DOUBLE_G), State.COMPLETED),
            Input.TIMER_H: ((Action.TIME_OUT,), State.TERMINATED),
            Input.TRANSPORT_ERROR: ((Action.FAIL,), State.COMPLETED),
        },
        State.CONFIRMED: {Input.TIMER_I: ((), State.TERMINATED)},
        State.ACCEPTED: {
            Input.RECEIVE_ACK: ((Action.DELIVER_ACK,), State.ACCEPTED),
            Input.SEND_2XX: ((Action.SEND_RESPONSE,), State.ACCEPTED),
            Input.TIMER_L: ((), State.TERMINATED),
            Input.TRANSPORT_ERROR: ((Action.FAIL,), State.ACCEPTED),
        },
    },
    {
        State.PROCEEDING: {Input.RECEIVE_ACK, Input.TIMER_G, Input.TIMER_H, Input.TIMER_I, Input.TIMER_L},
        State.COMPLETED: {
            Input.RECEIVE_CANCEL, Input.SEND_100, Input.SEND_1XX, Input.SEND_2XX, Input.SEND_FAILURE, Input.TIMER_I,
            Input.TIMER_L,
        },
        State.CONFIRMED: set(_INVITE_SERVER_INPUTS) - {Input.TIMER_I},
        State.ACCEPTED: {
            Input.RECEIVE_REQUEST, Input.RECEIVE_CANCEL, Input.SEND_100, Input.SEND_1XX, Input.SEND_FAILURE,
            Input.TIMER_G, Input.TIMER_H, Input.TIMER_I,
        },
    },
)  # fmt: skip

_SERVER_INPUTS: Final = (
    Input.RECEIVE_REQUEST, Input.SEND_100, Input.SEND_1XX, Input.SEND_2XX, Input.SEND_408, Input.SEND_FAILURE,
    Input.TIMER_J, Input.TIMER_TRYING, Input.TRANSPORT_ERROR,
)  # fmt: skip

# RFC 4320 §4: no provisional response but 100, and never 408: who cannot answer in time stays silent.
_SERVER: Final = _table(
    _SERVER_INPUTS,
    {
        State.TRYING: {
            Input.SEND_100: ((Action.SEND_RESPONSE,), State.PROCEEDING),
            Input.SEND_2XX: ((Action.SEND_RESPONSE, Action.START_J), State.COMPLETED),
            Input.SEND_408: ((Action.START_J,), State.COMPLETED),
            Input.SEND_FAILURE: ((Action.SEND_RESPONSE, Action.START_J), State.COMPLETED),
            Input.TIMER_TRYING: ((Action.SEND_TRYING,), State.PROCEEDING),
            Input.TRANSPORT_ERROR: ((Action.FAIL,), State.TRYING),
        },
        State.PROCEEDING: {
            Input.RECEIVE_REQUEST: ((Action.RETRANSMIT,), State.PROCEEDING),
            Input.SEND_2XX: ((Action.SEND_RESPONSE, Action.START_J), State.COMPLETED),
            Input.SEND_408: ((Action.START_J,), State.COMPLETED),
            Input.SEND_FAILURE: ((Action.SEND_RESPONSE, Action.START_J), State.COMPLETED),
            Input.TRANSPORT_ERROR: ((Action.FAIL,), State.TERMINATED),
        },
        State.COMPLETED: {
            Input.RECEIVE_REQUEST: ((Action.RETRANSMIT,), State.COMPLETED),
            Input.TIMER_J: ((), State.TERMINATED),
            Input.TRANSPORT_ERROR: ((Action.FAIL,), State.TERMINATED),
        },
    },
    {
        State.TRYING: {Input.RECEIVE_REQUEST, Input.SEND_1XX, Input.TIMER_J},
        State.PROCEEDING: {Input.SEND_100, Input.SEND_1XX, Input.TIMER_J, Input.TIMER_TRYING},
        State.COMPLETED: {
            Input.SEND_100, Input.SEND_1XX, Input.SEND_2XX, Input.SEND_408, Input.SEND_FAILURE, Input.TIMER_TRYING,
        },
    },
)  # fmt: skip

TRANSITIONS: Final[Mapping[Kind, Table]] = MappingProxyType(
    {
        Kind.INVITE_CLIENT: _INVITE_CLIENT,
        Kind.CLIENT: _CLIENT,
        Kind.INVITE_SERVER: _INVITE_SERVER,
        Kind.SERVER: _SERVER,
    }
)

INITIAL: Final[Mapping[Kind, Transition]] = MappingProxyType(
    {
        Kind.INVITE_CLIENT: ((Action.SEND_REQUEST, Action.START_B, Action.START_A), State.CALLING),
        Kind.CLIENT: ((Action.SEND_REQUEST, Action.START_F, Action.START_E), State.TRYING),
        Kind.INVITE_SERVER: ((), State.PROCEEDING),
        Kind.SERVER: ((Action.START_TRYING,), State.TRYING),
    }
)

Key: TypeAlias = tuple[object, ...]
TimerEntry: TypeAlias = tuple[float, int, "Transaction", Input]


class Transaction:
    """What the four kinds share. `user` is the transaction user's own; the layer never looks at it.

    The messages handed to a transaction must not be changed afterwards: retransmissions are written from them.
    """

    __slots__ = ("deadline", "interval", "key", "kind", "reliable", "repeat", "request", "state", "timers", "user")

    def __init__(self, kind: Kind, key: Key, request: Request, destination: Destination, timers: Timers) -> None:
        self.kind = kind
        self.key = key
        self.request = request
        self.reliable = is_reliable(destination)
        self.timers = timers
        self.state = INITIAL[kind][1]
        self.interval = 0.0
        self.repeat: TimerEntry | None = None
        self.deadline: TimerEntry | None = None
        self.user: object | None = None

    def __repr__(self) -> str:
        return f"<{self.kind}, {self.state}: {self.request.method} {self.key}>"


class ClientTransaction(Transaction):
    """destination: where the request went. reason: Reason field value of a CANCEL to come."""

    __slots__ = ("ack", "destination", "reason")

    def __init__(self, key: Key, request: Request, destination: Destination, timers: Timers) -> None:
        kind = Kind.INVITE_CLIENT if request.method == "INVITE" else Kind.CLIENT
        super().__init__(kind, key, request, destination, timers)
        self.destination = destination
        self.ack = b""
        self.reason = ""


class ServerTransaction(Transaction):
    """flow: where the request, or its ACK, came from. source: where its responses go. response: the last one
    sent, as octets: all that a retransmission needs of it.
    """

    __slots__ = ("arrived", "flow", "response", "source")

    def __init__(self, key: Key, request: Request, flow: Flow, timers: Timers, now: float) -> None:
        kind = Kind.INVITE_SERVER if request.method == "INVITE" else Kind.SERVER
        super().__init__(kind, key, request, flow, timers)
        self.flow = flow
        self.source: Destination = response_flow(request, flow)
        self.response = b""
        self.arrived = now

    def fallback(self, realm: str) -> Hop:
        """Where responses go when the connection of `source` is gone (RFC 3261 §18.2.2). Raises MalformedMessage."""
        via = self.request.top_via
        transport = self.flow.transport
        return Hop(transport, realm, via.received or via.host, via.port or DEFAULT_PORTS[transport])


def response_flow(request: Request, flow: Flow) -> Flow:
    """The flow that responses leave on: the same connection; for UDP the source address of the request, and the source
    port if the sender asked for it by `rport`, else the port of its Via (RFC 3261 §18.2.2, RFC 3581 §4).

    maddr is not followed: it would let anyone point our responses at anyone. Raises MalformedMessage.
    """
    via = request.top_via
    if flow.connection or via.rport is not None:
        return flow
    port = via.port or DEFAULT_PORTS["udp"]
    return flow if port == flow.remote[1] else flow._replace(remote=(flow.remote[0], port))
