"""What gateways ask, and the replies they get."""

from __future__ import annotations

import pytest

from pcscf.h248.codec import decode_untrusted
from pcscf.h248.message import (
    Action,
    CommandName,
    ContextId,
    ErrorDescriptor,
    ObservedEvent,
    ObservedEvents,
    Services,
    TransactionRequest,
)
from pcscf.iq.association import Association, Gateway, Heartbeat
from pcscf.iq.notifications import MAX_CAUSE, BearerReleased, Connected, Layer, MediaStopped
from pcscf.iq.requests import UNKNOWN_CONTEXT, Answer, answer_untrusted

MID = "[192.0.2.1]:2945"
PEER = ("192.0.2.1", 40001)
ACCESS = "ip/1/1/1002"


@pytest.fixture
def association() -> Association:
    found = Association(lambda _mid, address: address == PEER[0], heartbeat=Heartbeat())
    found.service_change(MID, PEER, Services(method="Restart", reason="901", version=2), 0.0)
    gateway(found).contexts[77] = (ACCESS, "ip/1/2/1001")
    return found


def gateway(association: Association) -> Gateway:
    found = association.gateway(MID)
    assert found is not None
    return found


def asked(association: Association, text: str, peer: tuple[str, int] = PEER) -> Answer:
    message = decode_untrusted(f"MEGACO/2 {MID}\nTransaction = 9 {{ {text} }}".encode())
    (request,) = message.transactions
    assert isinstance(request, TransactionRequest)
    return answer_untrusted(association, MID, peer, request.actions, 1.0)


def observed(*events: str, context: int = 77, termination: str = ACCESS) -> str:
    told = ", ".join(f"20261122T04220137:{event}" for event in events)
    return f"Context = {context} {{ Notify = {termination} {{ ObservedEvents = 1 {{ {told} }} }} }}"


def replied(answer: Answer) -> tuple[Action, ...]:
    assert isinstance(answer.reply, tuple)
    return answer.reply


def test_release_and_cause_become_one_event(association: Association) -> None:
    answer = asked(
        association,
        observed(
            "tlsbsc/BNCChange { Stream = 1, Type = Rel }",
            'g/cause { Stream = 1, Generalcause = "FP", Failurecause = "TLS certificate fingerprint mismatch" }',
        ),
    )
    (released,) = answer.released
    assert released == BearerReleased(77, ACCESS, 1, "tls", "TLS certificate fingerprint mismatch", "FP")
    assert released.line == 0
    (reply,) = replied(answer)
    assert (reply.context, reply.error) == (77, None)
    assert [(each.name, each.termination) for each in reply.commands] == [(CommandName.NOTIFY, ACCESS)]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("tcpbcc/BNCChange { Stream = 2, Type = Rel }", [(2, "tcp", "")]),
        ("TCPBCC/bncchange { stream = 2, type = rel }", [(2, "tcp", "")]),
        ("dtlsbsc/BNCChange { Stream = 2, Type = Cut }", [(2, "dtls", "")]),
        ("tcpbcc/BNCChange { Type = Rel }", [(None, "tcp", "")]),
        ("tcpbcc/BNCChange { Type = Est }", []),
        ("g/cause { Stream = 1, Generalcause = NR }", [(1, "", "NR")]),
        ("nosuch/thing { a = b }", []),
        ("hangterm/thb", []),
    ],
)
def test_events_by_name(association: Association, event: str, expected: list[tuple[int | None, str, str]]) -> None:
    answer = asked(association, observed(event))
    bearers = [each for each in answer.released if isinstance(each, BearerReleased)]
    assert bearers == answer.released
    assert [(each.stream, each.kind, each.cause) for each in bearers] == expected
    assert replied(answer)[0].error is None


@pytest.mark.parametrize(
    ("event", "layer"),
    [("tcp/connchg", "tcp"), ("tcpbcc/BNCChange", "tcp"), ("tlsbsc/BNCChange", "tls"), ("DTLS/sesschg", "dtls")],
)
def test_a_connection_that_is_up(association: Association, event: str, layer: Layer) -> None:
    (up,) = asked(association, observed(f"{event} {{ Stream = 2, Type = est }}")).released
    assert up == Connected(77, ACCESS, 2, layer)
    assert up.place == 1


def test_media_that_stopped(association: Association) -> None:
    answer = asked(association, observed("aadid/ipstop"))
    assert answer.released == [MediaStopped(77, ACCESS)]


@pytest.mark.parametrize(
    ("event", "share"),
    [
        ("ocp/mg_overload", 0.5), ("ocp/overload", 0.5), ("chp/mgcon { reduction = 30 }", 0.7),
        ("chp/mgcon { reduction = 0 }", 1.0), ("chp/mgcon { reduction = 100 }", 1 / 16),
        ("chp/mgcon { reduction = lots }", 1.0), ("chp/mgcon", 1.0),
    ],
)  # fmt: skip
def test_the_load_of_a_gateway(association: Association, event: str, share: float) -> None:
    answer = asked(association, observed(event, context=0, termination="ROOT").replace("Context = 0", "Context = -"))
    assert replied(answer)[0].error is None
    assert gateway(association).throttle.share(1.0) == pytest.approx(share)


def test_an_association_that_we_do_not_have(association: Association) -> None:
    stranger = "[192.0.2.77]:2945"
    message = decode_untrusted(f"MEGACO/2 {stranger}\nTransaction = 9 {{ {observed('hangterm/thb')} }}".encode())
    (request,) = message.transactions
    assert isinstance(request, TransactionRequest)
    answer = answer_untrusted(association, stranger, PEER, request.actions, 1.0)
    assert answer.is_unregistered
    assert not asked(association, observed("hangterm/thb"), ("203.0.113.66", 2944)).is_unregistered


def test_two_streams_are_two_events(association: Association) -> None:
    answer = asked(
        association,
        observed("tcpbcc/BNCChange { Stream = 1, Type = Rel }", "tcpbcc/BNCChange { Stream = 2, Type = Rel }"),
    )
    assert [each.line for each in answer.released] == [0, 1]


def test_a_cause_is_short_and_printable(association: Association) -> None:
    events = ObservedEvents(1, (ObservedEvent("g/cause", ()),))
    assert asked(association, observed(f'g/cause {{ Failurecause = "{"x" * 500}" }}')).released[0].cause == "x" * MAX_CAUSE
    assert events.events[0].parameters == ()


def test_heartbeat_of_a_known_context(association: Association) -> None:
    answer = asked(association, observed("hangterm/thb"))
    assert (answer.released, answer.unowned) == ([], [])


def test_heartbeat_of_an_unknown_context_is_refused_and_cleaned_up(association: Association) -> None:
    answer = asked(association, observed("hangterm/thb", context=99))
    assert replied(answer) == (Action(99, error=UNKNOWN_CONTEXT),)
    assert answer.unowned == [99]


def test_other_events_of_an_unknown_context_are_refused_only(association: Association) -> None:
    answer = asked(association, observed("tcpbcc/BNCChange { Type = Rel }", context=99))
    assert (replied(answer)[0].error, answer.unowned, answer.released) == (UNKNOWN_CONTEXT, [], [])


def test_a_context_under_release_tells_nothing_new(association: Association) -> None:
    gateway(association).releasing.add(99)
    answer = asked(association, observed("tcpbcc/BNCChange { Type = Rel }", context=99))
    assert (replied(answer)[0].error, answer.unowned, answer.released) == (None, [], [])


def test_inactivity_of_the_controller_is_answered(association: Association) -> None:
    answer = asked(association, "Context = - { Notify = ROOT { ObservedEvents = 3 { it/ito } } }")
    (reply,) = replied(answer)
    assert (reply.context, reply.commands[0].termination, reply.error) == (ContextId.NULL, "ROOT", None)


@pytest.mark.parametrize("pattern", [ACCESS, "ip/1/1/*", "ip/*/*/*", "*", "IP/1/1/1002"])
@pytest.mark.parametrize("context", ["77", "*", "-"])
def test_terminations_out_of_service(association: Association, pattern: str, context: str) -> None:
    answer = asked(
        association,
        f'Context = {context} {{ ServiceChange = {pattern} {{ Services {{ Method = Forced, Reason = "904 Broken" }} }} }}',
    )
    assert BearerReleased(77, ACCESS, None, "", "termination out of service: 904 Broken") in answer.released
    assert replied(answer)[0].error is None


def test_terminations_back_in_service_change_nothing(association: Association) -> None:
    answer = asked(
        association, 'Context = * { ServiceChange = * { Services { Method = Restart, Reason = "900 Service Restored" } } }'
    )
    assert answer.released == []


def test_a_gateway_cannot_command_its_controller(association: Association) -> None:
    (reply,) = replied(asked(association, "Context = 77 { Subtract = *, Notify = ROOT { ObservedEvents = 1 { it/ito } } }"))
    assert [command.error.code if command.error else 0 for command in reply.commands] == [443]
    assert 77 in gateway(association).contexts


def test_the_first_failing_action_ends_the_transaction(association: Association) -> None:
    both = observed("hangterm/thb", context=98) + ", " + observed("tcpbcc/BNCChange { Type = Rel }")
    answer = asked(association, both)
    assert len(replied(answer)) == 1
    assert answer.released == []


def test_strangers_get_an_error_and_change_nothing(association: Association) -> None:
    stranger = ("203.0.113.66", 2944)
    registration = 'Context = - { ServiceChange = ROOT { Services { Method = Restart, Reason = "901 Cold Boot" } } }'
    for text, code in ((registration, 402), (observed("tcpbcc/BNCChange { Type = Rel }"), 504)):
        answer = asked(association, text, stranger)
        assert isinstance(answer.reply, ErrorDescriptor)
        assert (answer.reply.code, answer.released) == (code, [])
    assert association.take_events()[1:] == []


def test_registration_is_answered_on_root(association: Association) -> None:
    answer = asked(
        association,
        'Context = - { ServiceChange = root { Services { Method = Disconnected, Reason = "900 Service Restored", '
        "Version = 2, Profile = iqprofile/1 } } }",
    )
    (reply,) = replied(answer)
    assert reply.context == ContextId.NULL
    assert reply.commands[0].descriptors == (Services(version=2, profile="iqprofile/1"),)
