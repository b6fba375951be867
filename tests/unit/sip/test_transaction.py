"""The tables of the four machines, as the standards draw them."""

from __future__ import annotations

import pytest

from pcscf.sip.flow import Flow
from pcscf.sip.message import Request
from pcscf.sip.transaction import INITIAL, TRANSITIONS, Action, Input, Kind, ServerTransaction, State, Timers, response_flow

UDP = Flow("udp", "gm", ("192.0.2.9", 5060), ("192.0.2.1", 1024), 0)
TCP = Flow("tcp", "gm", ("192.0.2.9", 5060), ("192.0.2.1", 1024), 7)


@pytest.mark.parametrize("kind", Kind)
def test_tables_are_total(kind: Kind) -> None:
    table = TRANSITIONS[kind]
    states, inputs = {state for state, _ in table}, {each for _, each in table}
    assert len(table) == len(states) * len(inputs)
    assert State.TERMINATED in states
    assert {after for _, after in table.values()} <= states
    assert INITIAL[kind][1] in states


@pytest.mark.parametrize("kind", Kind)
def test_every_state_can_be_reached_and_left(kind: Kind) -> None:
    table = TRANSITIONS[kind]
    reached, new = set(), {INITIAL[kind][1]}
    while new:
        reached |= new
        new = {after for (state, _), (_, after) in table.items() if state in reached} - reached
    assert reached == {state for state, _ in table}
    for state in reached - {State.TERMINATED}:
        assert any(after is not state for (before, _), (_, after) in table.items() if before is state)


@pytest.mark.parametrize("kind", Kind)
def test_terminated_is_the_end(kind: Kind) -> None:
    assert {entry for (state, _), entry in TRANSITIONS[kind].items() if state is State.TERMINATED} == {((), State.TERMINATED)}


@pytest.mark.parametrize(
    ("kind", "state", "happened", "after"),
    [
        # RFC 6026 Figure 5 (INVITE client), RFC 3261 §9.1, §16.8
        (Kind.INVITE_CLIENT, State.CALLING, Input.RECEIVE_100, State.PROCEEDING),
        (Kind.INVITE_CLIENT, State.CALLING, Input.RECEIVE_2XX, State.ACCEPTED),
        (Kind.INVITE_CLIENT, State.CALLING, Input.RECEIVE_FAILURE, State.COMPLETED),
        (Kind.INVITE_CLIENT, State.CALLING, Input.TIMER_B, State.TERMINATED),
        (Kind.INVITE_CLIENT, State.CALLING, Input.CANCEL, State.CANCEL_PENDING),
        (Kind.INVITE_CLIENT, State.CANCEL_PENDING, Input.RECEIVE_1XX, State.CANCELLING),
        (Kind.INVITE_CLIENT, State.PROCEEDING, Input.TIMER_C, State.CANCELLING),
        (Kind.INVITE_CLIENT, State.CANCELLING, Input.RECEIVE_2XX, State.ACCEPTED),
        (Kind.INVITE_CLIENT, State.CANCELLING, Input.TIMER_CANCEL, State.TERMINATED),
        (Kind.INVITE_CLIENT, State.COMPLETED, Input.RECEIVE_2XX, State.COMPLETED),
        (Kind.INVITE_CLIENT, State.COMPLETED, Input.TIMER_D, State.TERMINATED),
        (Kind.INVITE_CLIENT, State.ACCEPTED, Input.RECEIVE_2XX, State.ACCEPTED),
        (Kind.INVITE_CLIENT, State.ACCEPTED, Input.TIMER_M, State.TERMINATED),
        # RFC 3261 Figure 6
        (Kind.CLIENT, State.TRYING, Input.RECEIVE_1XX, State.PROCEEDING),
        (Kind.CLIENT, State.PROCEEDING, Input.RECEIVE_FAILURE, State.COMPLETED),
        (Kind.CLIENT, State.PROCEEDING, Input.TIMER_F, State.TERMINATED),
        (Kind.CLIENT, State.COMPLETED, Input.TIMER_K, State.TERMINATED),
        # RFC 6026 Figure 4 (INVITE server)
        (Kind.INVITE_SERVER, State.PROCEEDING, Input.SEND_2XX, State.ACCEPTED),
        (Kind.INVITE_SERVER, State.PROCEEDING, Input.SEND_FAILURE, State.COMPLETED),
        (Kind.INVITE_SERVER, State.PROCEEDING, Input.TRANSPORT_ERROR, State.PROCEEDING),
        (Kind.INVITE_SERVER, State.COMPLETED, Input.RECEIVE_ACK, State.CONFIRMED),
        (Kind.INVITE_SERVER, State.COMPLETED, Input.TIMER_H, State.TERMINATED),
        (Kind.INVITE_SERVER, State.CONFIRMED, Input.TIMER_I, State.TERMINATED),
        (Kind.INVITE_SERVER, State.ACCEPTED, Input.RECEIVE_REQUEST, State.ACCEPTED),
        (Kind.INVITE_SERVER, State.ACCEPTED, Input.TIMER_L, State.TERMINATED),
        # RFC 3261 Figure 8, RFC 4320
        (Kind.SERVER, State.TRYING, Input.RECEIVE_REQUEST, State.TRYING),
        (Kind.SERVER, State.TRYING, Input.SEND_1XX, State.TRYING),
        (Kind.SERVER, State.TRYING, Input.SEND_2XX, State.COMPLETED),
        (Kind.SERVER, State.PROCEEDING, Input.TRANSPORT_ERROR, State.TERMINATED),
        (Kind.SERVER, State.COMPLETED, Input.TIMER_J, State.TERMINATED),
    ],
)
def test_transitions_of_the_standards(kind: Kind, state: State, happened: Input, after: State) -> None:
    assert TRANSITIONS[kind][state, happened][1] is after


def test_what_a_proxy_must_never_send() -> None:
    for state in (State.TRYING, State.PROCEEDING):
        assert Action.SEND_RESPONSE not in TRANSITIONS[Kind.SERVER][state, Input.SEND_1XX][0]
        assert Action.SEND_RESPONSE not in TRANSITIONS[Kind.SERVER][state, Input.SEND_408][0]


def test_timer_c_starts_again_with_101_to_199_only() -> None:
    table = TRANSITIONS[Kind.INVITE_CLIENT]
    assert Action.START_C in table[State.PROCEEDING, Input.RECEIVE_1XX][0]
    assert Action.START_C not in table[State.PROCEEDING, Input.RECEIVE_100][0]
    assert Action.START_C not in table[State.CANCELLING, Input.RECEIVE_1XX][0]


def test_timers() -> None:
    assert (Timers().lifetime, Timers().d, Timers().trying) == (32.0, 32.0, 3.5)
    slow = Timers(t1=2.0, t2=16.0, t4=17.0)
    assert (slow.lifetime, slow.d, slow.trying) == (128.0, 128.0, 14.0)
    assert Timers(t1=0.01).d == 32.0


def request(via: str) -> Request:
    return Request("OPTIONS", "sip:x", [("Via", via), ("CSeq", "1 OPTIONS")])


@pytest.mark.parametrize(
    ("via", "flow", "remote"),
    [
        ("SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK1", UDP, ("192.0.2.1", 5070)),
        ("SIP/2.0/UDP h;branch=z9hG4bK1;received=192.0.2.1", UDP, ("192.0.2.1", 5060)),
        ("SIP/2.0/UDP h:5070;branch=z9hG4bK1;rport=1024;received=192.0.2.1", UDP, ("192.0.2.1", 1024)),
        ("SIP/2.0/UDP h;maddr=6.6.6.6;branch=z9hG4bK1", UDP, ("192.0.2.1", 5060)),
        ("SIP/2.0/TCP h:5070;branch=z9hG4bK1", TCP, ("192.0.2.1", 1024)),
    ],
)
def test_responses_go_back_where_the_request_came_from(via: str, flow: Flow, remote: tuple[str, int]) -> None:
    assert response_flow(request(via), flow) == flow._replace(remote=remote)


@pytest.mark.parametrize(
    ("via", "transport", "host", "port"),
    [
        ("SIP/2.0/TCP h:5070;received=192.0.2.1;rport=1024", "tcp", "192.0.2.1", 5070),
        ("SIP/2.0/TCP h", "tcp", "h", 5060),
        ("SIP/2.0/TLS h", "tls", "h", 5061),
    ],
)
def test_fallback_when_the_connection_is_gone(via: str, transport: str, host: str, port: int) -> None:
    server = ServerTransaction(("k",), request(via), TCP._replace(transport=transport), Timers(), 0.0)
    assert server.fallback("access") == (transport, "access", host, port)
