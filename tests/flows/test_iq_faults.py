"""Faults between controller and gateway, on virtual time: every operation ends, and nothing stays behind on a gateway."""

from __future__ import annotations

from collections import Counter

import pytest

from pcscf.errors import GatewayUnavailable, InternalFailure
from pcscf.h248.message import Action, Command, CommandName, ContextId, ErrorDescriptor, TransactionPending, TransactionRequest
from pcscf.iq.media import Media
from pcscf.iq.notifications import BearerReleased
from pcscf.iq.operations import RELEASE_PAUSE, Done, Failed, Released
from pcscf.iq.states import Left, Lost, Restarted, Resumed
from tests.unit.iq.plans import answered_by_core, from_ue
from tests.unit.iq.scripted import Answer, ScriptedGateway, Wire


@pytest.fixture
def gateway() -> ScriptedGateway:
    return ScriptedGateway()


@pytest.fixture
def wire(gateway: ScriptedGateway) -> Wire:
    return Wire(gateway)


def reserved(wire: Wire) -> Media:
    operation = wire.controller.reserve(from_ue(), wire.now)
    wire.run(wire.now)
    (done,) = wire.take()
    assert isinstance(done, Done)
    assert done.operation == operation
    assert done.media is not None
    return done.media


def failure(wire: Wire, operation: int) -> Failed:
    (failed,) = [event for event in wire.take() if isinstance(event, Done | Failed)]
    assert isinstance(failed, Failed)
    assert failed.operation == operation
    return failed


def is_reservation(request: TransactionRequest) -> bool:
    return any(command.name is CommandName.ADD for action in request.actions for command in action.commands)


def test_a_session_costs_three_transactions(wire: Wire, gateway: ScriptedGateway) -> None:
    before = {request.id for request in gateway.seen}
    media = reserved(wire)
    assert (media.gateway, list(gateway.contexts)) == (gateway.mid, [media.context])
    operation = wire.controller.configure(media, answered_by_core(from_ue()), wire.now)
    wire.run(wire.now)
    assert [(type(event), event.operation) for event in wire.take() if isinstance(event, Done)] == [(Done, operation)]
    operation = wire.controller.release(media, wire.now)
    wire.run(wire.now)
    assert wire.take() == [Done(operation)]
    assert gateway.contexts == {}
    assert len({request.id for request in gateway.seen} - before) == 3


def test_no_gateway() -> None:
    wire = Wire()
    operation = wire.controller.reserve(from_ue(), 0.0)
    wire.run(0.0)
    error = failure(wire, operation).error
    assert isinstance(error, GatewayUnavailable)
    assert error.what == "no gateway is registered"


def test_a_dumb_gateway_fails_at_the_deadline(wire: Wire, gateway: ScriptedGateway) -> None:
    gateway.script = lambda _request: None
    operation = wire.controller.reserve(from_ue(), wire.now)
    wire.run(3.9)
    assert wire.take() == []
    wire.run(4.0)
    assert isinstance(failure(wire, operation).error, GatewayUnavailable)
    sent = [request for request in gateway.seen if is_reservation(request)]
    assert len(sent) > 3
    assert len({request.id for request in sent}) == 1


def test_loss_is_repaired_by_repetition(wire: Wire, gateway: ScriptedGateway) -> None:
    lost = iter([True, True, True])
    wire.delay = lambda _data, _from_controller: None if next(lost, False) else 0.01
    wire.controller.reserve(from_ue(), wire.now)
    wire.run(3.0)
    (done,) = wire.take()
    assert isinstance(done, Done)
    assert len(gateway.contexts) == 1


def test_a_late_reply_is_subtracted(wire: Wire, gateway: ScriptedGateway) -> None:
    wire.delay = lambda _data, from_controller: 0.0 if from_controller else 6.0
    operation = wire.controller.reserve(from_ue(), wire.now)
    wire.run(4.0)
    assert isinstance(failure(wire, operation).error, GatewayUnavailable)
    assert len(gateway.contexts) == 1
    wire.run(14.0)
    assert gateway.contexts == {}
    assert wire.take() == []


def test_a_reservation_that_nobody_waits_for_is_subtracted(wire: Wire, gateway: ScriptedGateway) -> None:
    wire.delay = lambda _data, _from_controller: 0.5
    operation = wire.controller.reserve(from_ue(), wire.now)
    wire.run(0.2)
    wire.controller.abandon(operation)
    wire.run(5.0)
    assert wire.take() == []
    assert len(gateway.asked(CommandName.ADD)) == 1
    assert gateway.contexts == {}


def test_a_context_whose_reply_never_came_is_found_and_subtracted(wire: Wire, gateway: ScriptedGateway) -> None:
    def mute(request: TransactionRequest) -> Answer:
        if not is_reservation(request):
            return gateway.obey(request)
        if not gateway.contexts:
            gateway.obey(request)
        return None

    gateway.script = mute
    wire.controller.reserve(from_ue(), wire.now)
    wire.run(14.0)
    assert len(gateway.contexts) == 1
    wire.run(30.0)
    assert gateway.contexts == {}


def test_pending_forever_fails_at_the_deadline(wire: Wire, gateway: ScriptedGateway) -> None:
    gateway.script = lambda request: TransactionPending(request.id) if is_reservation(request) else gateway.obey(request)
    operation = wire.controller.reserve(from_ue(), wire.now)
    wire.run(60.0)
    assert isinstance(failure(wire, operation).error, GatewayUnavailable)


@pytest.mark.parametrize("code", [400, 403, 410, 430, 441, 445, 449, 473, 474, 500, 501, 515, 529])
def test_an_error_of_the_gateway_is_an_internal_failure(wire: Wire, gateway: ScriptedGateway, code: int) -> None:
    gateway.script = lambda _request: ErrorDescriptor(code, "no")
    operation = wire.controller.reserve(from_ue(), wire.now)
    wire.run(wire.now)
    assert isinstance(failure(wire, operation).error, InternalFailure)


@pytest.mark.parametrize("code", [412, 432, 502, 510, 511, 526])
def test_a_full_gateway_is_passed_over(code: int) -> None:
    full, empty = ScriptedGateway("192.0.2.1"), ScriptedGateway("192.0.2.2")
    full.script = lambda request: ErrorDescriptor(code, "full") if is_reservation(request) else full.obey(request)
    wire = Wire(full, empty)
    assert reserved(wire).gateway == empty.mid
    assert len(full.asked(CommandName.ADD)) == 1
    wire.controller.association.gateway(empty.mid)
    reserved(wire)
    assert len(full.asked(CommandName.ADD)) == 1  # it comes last for a while
    empty.script = full.script
    operation = wire.controller.reserve(from_ue(), wire.now)
    wire.run(wire.now)
    assert isinstance(failure(wire, operation).error, GatewayUnavailable)


def test_a_request_that_overtook_the_registration_is_repeated(wire: Wire, gateway: ScriptedGateway) -> None:
    too_early = iter([505, 505])

    def registering(request: TransactionRequest) -> Answer:
        code = next(too_early, 0)
        return ErrorDescriptor(code, "Command Received before ServiceChange Reply") if code else gateway.obey(request)

    gateway.script = registering
    operation = wire.controller.reserve(from_ue(), wire.now)
    wire.run(1.0)
    (done,) = wire.take()
    assert isinstance(done, Done)
    assert done.operation == operation
    assert len(gateway.contexts) == 1


def test_a_gateway_that_never_registers_fully_is_unavailable(wire: Wire, gateway: ScriptedGateway) -> None:
    gateway.script = lambda _request: ErrorDescriptor(505, "Command Received before ServiceChange Reply")
    operation = wire.controller.reserve(from_ue(), wire.now)
    wire.run(3.9)
    assert isinstance(failure(wire, operation).error, GatewayUnavailable)
    asked = len(gateway.asked(CommandName.ADD))
    wire.run(9.0)
    assert len(gateway.asked(CommandName.ADD)) == asked == 6


def test_the_watch_is_armed_even_when_the_registration_is_overtaken() -> None:
    gateway = ScriptedGateway()
    refused: list[int] = []

    def registering(request: TransactionRequest) -> Answer:
        if not refused:
            refused.append(request.id)
            return ErrorDescriptor(505, "Command Received before ServiceChange Reply")
        return gateway.obey(request)

    gateway.script = registering
    wire = Wire(gateway)
    wire.run(1.0)
    assert refused
    assert len(gateway.asked(CommandName.MODIFY)) == 1


def test_what_a_partly_failed_reservation_made_is_subtracted(wire: Wire, gateway: ScriptedGateway) -> None:
    def half(request: TransactionRequest) -> Answer:
        answer = gateway.obey(request)
        if not is_reservation(request):
            return answer
        assert isinstance(answer, tuple)
        access, core = answer[0].commands
        refused = Command(CommandName.ADD, core.terminations, (ErrorDescriptor(510, "no port"),))
        return (Action(answer[0].context, (access, refused)),)

    gateway.script = half
    operation = wire.controller.reserve(from_ue(), wire.now)
    wire.run(wire.now)
    assert isinstance(failure(wire, operation).error, GatewayUnavailable)
    assert gateway.contexts == {}


def test_a_refused_configure_leaves_the_context_for_release(wire: Wire, gateway: ScriptedGateway) -> None:
    media = reserved(wire)
    gateway.script = lambda _request: ErrorDescriptor(500, "no")
    operation = wire.controller.configure(media, answered_by_core(from_ue()), wire.now)
    wire.run(wire.now)
    assert isinstance(failure(wire, operation).error, InternalFailure)
    gateway.script = None
    wire.controller.release(media, wire.now)
    wire.run(wire.now)
    assert gateway.contexts == {}


def test_a_release_goes_on_until_it_is_confirmed(wire: Wire, gateway: ScriptedGateway) -> None:
    media = reserved(wire)
    refusals = iter([511, 500])

    def reluctant(request: TransactionRequest) -> Answer:
        code = next(refusals, 0)
        return ErrorDescriptor(code, "later") if code else gateway.obey(request)

    gateway.script = reluctant
    operation = wire.controller.release(media, wire.now)
    wire.run(wire.now)
    assert wire.take() == [Done(operation)]
    assert list(gateway.contexts) == [media.context]
    wire.run(RELEASE_PAUSE + 2 * RELEASE_PAUSE)
    assert gateway.contexts == {}
    asked = len(gateway.asked(CommandName.SUBTRACT))
    wire.run(200.0)
    assert len(gateway.asked(CommandName.SUBTRACT)) == asked == 3


def test_a_lost_release_is_asked_again(wire: Wire, gateway: ScriptedGateway) -> None:
    media = reserved(wire)
    wire.delay = lambda _data, _from_controller: None
    operation = wire.controller.release(media, wire.now)
    wire.run(4.0)
    assert wire.take() == [Done(operation)]
    wire.run(16.0)
    wire.delay = lambda _data, _from_controller: 0.0
    wire.run(30.0)
    assert gateway.contexts == {}
    assert wire.take() == []


def test_a_release_ends_with_the_loss_of_the_gateway(wire: Wire, gateway: ScriptedGateway) -> None:
    media = reserved(wire)
    wire.delay = lambda _data, _from_controller: None
    wire.controller.release(media, wire.now)
    wire.run(120.0)
    assert [type(event) for event in wire.take()] == [Done, Lost]
    assert wire.controller.next_timer() is None


@pytest.mark.parametrize("code", [411, 430, 431, 435])
def test_a_context_that_is_gone_counts_as_released(wire: Wire, gateway: ScriptedGateway, code: int) -> None:
    media = reserved(wire)
    gateway.script = lambda _request: ErrorDescriptor(code, "gone")
    operation = wire.controller.release(media, wire.now)
    wire.run(60.0)
    assert wire.take() == [Done(operation)]
    assert len(gateway.asked(CommandName.SUBTRACT)) == 1


def test_releasing_twice_asks_once(wire: Wire, gateway: ScriptedGateway) -> None:
    media = reserved(wire)
    operations = [wire.controller.release(media, wire.now) for _ in range(2)]
    wire.run(wire.now)
    assert {event.operation for event in wire.take() if isinstance(event, Done)} == set(operations)
    assert len(gateway.asked(CommandName.SUBTRACT)) == 1


def test_silence_of_the_gateway_is_its_loss(wire: Wire, gateway: ScriptedGateway) -> None:
    media = reserved(wire)
    wire.delay = lambda _data, _from_controller: None
    wire.run(39.0)
    assert wire.take() == []
    wire.run(41.0)
    (lost,) = wire.take()
    assert isinstance(lost, Lost)
    assert lost.contexts == (media.context,)
    operation = wire.controller.configure(media, answered_by_core(from_ue()), wire.now)
    wire.run(wire.now)
    assert isinstance(failure(wire, operation).error, GatewayUnavailable)


def test_a_gateway_that_answers_its_audits_stays(wire: Wire, gateway: ScriptedGateway) -> None:
    wire.run(3600.0)
    assert wire.take() == []
    by_context = Counter(request.actions[0].context for request in gateway.asked(CommandName.AUDIT_VALUE))
    assert by_context == {ContextId.NULL: 1 + 360, ContextId.ALL: 12}  # packages once; heartbeats; comparisons


def test_a_gateway_lost_in_the_middle_hands_over_to_another() -> None:
    first, second = ScriptedGateway("192.0.2.1"), ScriptedGateway("192.0.2.2")
    wire = Wire(first, second)
    first.script = lambda _request: None
    operation = wire.controller.reserve(from_ue(), wire.now)
    wire.run(1.0)
    wire.say(first, first.service_change("Forced", "905 Termination taken out of service"))
    wire.run(1.0)
    lost, done = wire.take()
    assert isinstance(lost, Done | Lost)
    assert isinstance(done, Done | Lost)
    assert {type(lost), type(done)} == {Done, Left}
    media = next(event.media for event in (lost, done) if isinstance(event, Done) and event.operation == operation)
    assert media is not None
    assert media.gateway == second.mid


def test_a_restarted_gateway_is_asked_anew(wire: Wire, gateway: ScriptedGateway) -> None:
    media = reserved(wire)
    gateway.contexts.clear()
    gateway.script = lambda request: None if is_reservation(request) else gateway.obey(request)
    operation = wire.controller.reserve(from_ue(), wire.now)
    wire.run(1.0)
    gateway.script = None
    wire.say(gateway, gateway.service_change())
    wire.run(1.0)
    events = wire.take()
    assert Restarted(gateway.mid, (media.context,)) in events
    again = [event for event in events if isinstance(event, Done)]
    assert [event.operation for event in again] == [operation]


def test_a_gateway_that_returns_is_compared(wire: Wire, gateway: ScriptedGateway) -> None:
    kept, missing = reserved(wire), reserved(wire)
    gateway.contexts[9999] = ["ip/1/1/9"]
    del gateway.contexts[missing.context]
    wire.say(gateway, gateway.service_change("Disconnected", "900 Service Restored"))
    wire.run(1.0)
    resumed, released = wire.take()
    assert resumed == Resumed(gateway.mid)
    assert isinstance(released, Released)
    assert released.bearer.context == missing.context
    wire.run(10.0)
    assert list(gateway.contexts) == [kept.context]


def test_a_reservation_under_way_survives_the_comparison(wire: Wire, gateway: ScriptedGateway) -> None:
    wire.say(gateway, gateway.service_change("Disconnected", "900 Service Restored"))
    wire.delay = lambda data, from_controller: 0.0 if from_controller or b"AV=" in data else 1.0
    wire.controller.reserve(from_ue(), wire.now)
    wire.run(30.0)
    assert len(gateway.contexts) == 1
    assert any(isinstance(event, Done) for event in wire.take())


def test_a_broken_bearer_is_told(wire: Wire, gateway: ScriptedGateway) -> None:
    media = reserved(wire)
    events = '20261122T04220137:tlsbsc/BNCChange { Stream = 1, Type = Rel }'
    notify = f"Notify = {media.access_termination} {{ ObservedEvents = 1 {{ {events} }} }}"
    data = gateway.request(f"Context = {media.context} {{ {notify} }}")
    for _ in range(3):  # repetitions are one event
        wire.say(gateway, data)
    wire.run(wire.now)
    assert wire.take() == [
        Released(gateway.mid, BearerReleased(media.context, media.access_termination, 1, "tls", "")),
    ]


def test_a_hanging_context_is_subtracted(wire: Wire, gateway: ScriptedGateway) -> None:
    gateway.contexts[9999] = ["ip/1/1/9"]
    notify = "Notify = ip/1/1/9 { ObservedEvents = 1 { 20261122T04220137:hangterm/thb } }"
    wire.say(gateway, gateway.request(f"Context = 9999 {{ {notify} }}"))
    wire.run(wire.now)
    assert gateway.contexts == {}


def test_a_context_given_twice_is_an_error_and_the_session_keeps_it(wire: Wire, gateway: ScriptedGateway) -> None:
    media = reserved(wire)

    def twice(request: TransactionRequest) -> Answer:
        answer = gateway.obey(request)
        if not is_reservation(request):
            return answer
        assert isinstance(answer, tuple)
        del gateway.contexts[answer[0].context]
        return (Action(media.context, answer[0].commands),)

    gateway.script = twice
    operation = wire.controller.reserve(from_ue(), wire.now)
    wire.run(wire.now)
    assert isinstance(failure(wire, operation).error, InternalFailure)
    assert list(gateway.contexts) == [media.context]


def test_refusal_of_the_optional_watch_does_not_matter() -> None:
    gateway = ScriptedGateway()
    gateway.script = lambda _request: ErrorDescriptor(440, "Unsupported or unknown Package")
    wire = Wire(gateway)
    gateway.script = None
    assert reserved(wire).gateway == gateway.mid


def test_garbage_changes_nothing(wire: Wire, gateway: ScriptedGateway) -> None:
    media = reserved(wire)
    for data in (b"", b"\x00" * 40, b"MEGACO/2 [192.0.2.1]:2945 Transaction = 1 {", b"!/2 [192.0.2.1]:2945 P=5000{C=1{A=$}}"):
        wire.controller.receive(data, gateway.peer, wire.now)
        wire.controller.receive(data, ("203.0.113.1", 9), wire.now)
    wire.run(5.0)
    operation = wire.controller.release(media, wire.now)
    wire.run(wire.now)
    assert Done(operation) in wire.take()


def test_audit_tells_the_contexts(wire: Wire, gateway: ScriptedGateway) -> None:
    media = reserved(wire)
    operation = wire.controller.audit(gateway.mid, wire.now)
    wire.run(wire.now)
    assert wire.take() == [Done(operation, contexts=(media.context,))]
    operation = wire.controller.audit("[192.0.2.77]:1", wire.now)
    wire.run(wire.now)
    assert isinstance(failure(wire, operation).error, GatewayUnavailable)
