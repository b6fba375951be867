"""Several gateways behind one controller, on virtual time: who serves, who takes over, who is spared, and what is cleared up."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from pcscf.errors import GatewayUnavailable, InternalFailure
from pcscf.h248.message import CommandName, ContextId, ErrorDescriptor, TransactionPending, TransactionRequest
from pcscf.iq.association import Heartbeat, Traits
from pcscf.iq.clearing import ROLL
from pcscf.iq.media import Media
from pcscf.iq.operations import Done, Failed, Limits, Released
from pcscf.iq.overload import Urgency
from pcscf.iq.states import Leaving, Lost, Registered, Resumed
from tests.unit.iq.plans import answered_by_core, from_ue
from tests.unit.iq.scripted import Answer, ScriptedGateway, Wire

ONE, TWO, THREE = "192.0.2.1", "192.0.2.2", "192.0.2.3"
ALL_PACKAGES = ("g", "root", "ipdc", "hangterm", "it", "ocp", "chp", "tcpbcc", "tlsbsc", "dtlsbsc")


def is_reservation(request: TransactionRequest) -> bool:
    return any(command.name is CommandName.ADD for action in request.actions for command in action.commands)


def served(wire: Wire, count: int, urgency: Urgency = Urgency.NORMAL, patience: float = 0.0) -> Counter[str]:
    """How many of so many new sessions each gateway got; "": refused."""
    for _ in range(count):
        wire.controller.reserve(from_ue(), wire.now, urgency=urgency)
    wire.run(wire.now + patience)
    ends = [event for event in wire.take() if isinstance(event, Done | Failed)]
    assert len(ends) == count
    return Counter(event.media.gateway if isinstance(event, Done) and event.media else "" for event in ends)


# --- selection -------------------------------------------------------------------------------------------------------


def test_sessions_are_spread_by_weight() -> None:
    one, two = ScriptedGateway(ONE), ScriptedGateway(TWO)
    wire = Wire(one, two, traits={two.mid: Traits(weight=3)})
    assert served(wire, 100) == {one.mid: 25, two.mid: 75}


def test_a_gateway_without_the_package_gets_no_session_that_needs_it() -> None:
    plain, able = ScriptedGateway(ONE), ScriptedGateway(TWO)
    plain.packages = ("g", "ipdc", "tcpbcc")
    able.packages = ALL_PACKAGES
    wire = Wire(plain, able)
    assert served(wire, 20) == {able.mid: 20}
    wire.say(able, able.service_change("Forced", "905 Termination taken out of service"))
    wire.run(wire.now)
    wire.controller.reserve(from_ue(), wire.now)
    wire.run(wire.now)
    (failed,) = [event for event in wire.take() if isinstance(event, Failed)]
    assert isinstance(failed.error, GatewayUnavailable)
    assert "realms and packages" in failed.error.what
    assert plain.asked(CommandName.ADD) == []


def test_realms_come_from_the_configuration_or_from_the_gateway() -> None:
    configured, telling, able = ScriptedGateway(ONE), ScriptedGateway(TWO), ScriptedGateway(THREE)
    telling.realms = ("Core", "elsewhere")
    able.realms = ("CORE", "ACCESS")
    wire = Wire(configured, telling, able, traits={configured.mid: Traits(realms=frozenset({"core"}))})
    assert served(wire, 12) == {able.mid: 12}


def test_a_refused_realm_is_remembered_until_the_gateway_registers_anew() -> None:
    one, two = ScriptedGateway(ONE), ScriptedGateway(TWO)
    refusal = ErrorDescriptor(449, "Unsupported or Unknown Parameter or Property Value: ipdc/realm=access")
    one.script = lambda request: refusal if is_reservation(request) else one.obey(request)
    wire = Wire(one, two)
    assert served(wire, 10) == {two.mid: 10}
    asked = len(one.asked(CommandName.ADD))
    assert served(wire, 10) == {two.mid: 10}
    assert len(one.asked(CommandName.ADD)) == asked
    one.script = None
    wire.say(one, one.service_change("Disconnected", "900 Service Restored"))
    wire.run(wire.now)
    assert served(wire, 10)[one.mid] == 10


@pytest.mark.parametrize("code", [440, 500, 501, 512, 529])
def test_what_one_gateway_refuses_another_may_do(code: int) -> None:
    one, two = ScriptedGateway(ONE), ScriptedGateway(TWO)
    one.script = lambda request: ErrorDescriptor(code, "no") if is_reservation(request) else one.obey(request)
    wire = Wire(one, two)
    assert served(wire, 5) == {two.mid: 5}
    two.script = lambda request: ErrorDescriptor(code, "no") if is_reservation(request) else two.obey(request)
    wire.controller.reserve(from_ue(), wire.now)
    wire.run(wire.now)
    (failed,) = wire.take()
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InternalFailure)


# --- a gateway dies --------------------------------------------------------------------------------------------------


def test_new_sessions_move_within_one_heartbeat() -> None:
    one, two = ScriptedGateway(ONE), ScriptedGateway(TWO)
    wire = Wire(one, two, heartbeat=Heartbeat(10.0, 3))
    served(wire, 20)
    one.script = lambda _request: None
    assert served(wire, 10, patience=1.5) == {two.mid: 10}  # half of them had tried the dead one for 1.5 s
    assert len(one.asked(CommandName.ADD)) > 10
    asked = len(one.asked(CommandName.ADD))
    assert served(wire, 100) == {two.mid: 100}  # nobody waits any more
    assert len(one.asked(CommandName.ADD)) == asked
    wire.run(wire.now + 60.0)
    (lost,) = [event for event in wire.take() if isinstance(event, Lost)]
    assert len(lost.contexts) == 10


def test_what_a_slow_gateway_made_for_a_session_that_went_elsewhere_is_subtracted() -> None:
    slow, quick = ScriptedGateway(ONE), ScriptedGateway(TWO)
    wire = Wire(slow, quick)
    wire.delay = lambda data, from_controller: 3.0 if slow.mid.encode() in data and not from_controller else 0.0
    assert served(wire, 2, patience=1.5) == {quick.mid: 2}
    wire.run(20.0)
    assert slow.contexts == {}
    assert len(quick.contexts) == 2
    assert wire.controller.association.gateway(slow.mid) is not None


def test_a_process_that_died_is_noticed_at_once() -> None:
    gateway = ScriptedGateway(ONE)
    wire = Wire(gateway)
    served(wire, 3)
    wire.controller.died(gateway.mid, wire.now)
    wire.run(wire.now)
    assert wire.take() == [Lost(gateway.mid, (1001, 1004, 1007), "the gateway's process died")]
    assert served(wire, 1) == {"": 1}


def test_a_session_waits_for_a_gateway_as_long_as_is_allowed() -> None:
    gateway = ScriptedGateway(ONE)
    wire = Wire(gateway, limits=Limits(patience=2.0))
    wire.controller.died(gateway.mid, wire.now)
    waiting = wire.controller.reserve(from_ue(), wire.now)
    given_up = wire.controller.reserve(from_ue(), wire.now)
    wire.controller.abandon(given_up)
    wire.run(1.9)
    assert [event for event in wire.take() if isinstance(event, Done | Failed)] == []
    wire.say(gateway, gateway.service_change())
    wire.run(1.9)
    (done,) = [event for event in wire.take() if isinstance(event, Done | Failed)]
    assert isinstance(done, Done)
    assert done.operation == waiting
    assert len(gateway.contexts) == 1
    wire.controller.died(gateway.mid, wire.now)
    wire.controller.reserve(from_ue(), wire.now)
    wire.run(3.8)
    assert [event for event in wire.take() if isinstance(event, Done | Failed)] == []
    wire.run(3.9)
    (failed,) = [event for event in wire.take() if isinstance(event, Done | Failed)]
    assert isinstance(failed, Failed)
    assert failed.error.what == "no gateway is registered"


def test_a_reservation_under_way_waits_for_the_next_life_of_its_gateway() -> None:
    """Its deadline begins anew with the gateway, and one that nobody waits for any more is forgotten."""
    gateway = ScriptedGateway(ONE)
    wire = Wire(gateway, limits=Limits(deadline=4.0, patience=10.0))
    gateway.script = lambda request: None if is_reservation(request) else gateway.obey(request)
    operation, given_up = (wire.controller.reserve(from_ue(), wire.now) for _ in range(2))
    wire.run(1.0)
    wire.controller.died(gateway.mid, wire.now)
    wire.controller.abandon(given_up)
    wire.run(6.0)   # past the first deadline
    wire.say(gateway, gateway.service_change())
    wire.run(9.9)
    assert [event for event in wire.take() if isinstance(event, Done | Failed)] == []
    gateway.script = None
    wire.run(11.0)
    (failed,) = [event for event in wire.take() if isinstance(event, Done | Failed)]
    assert isinstance(failed, Failed)
    assert failed.operation == operation
    assert "did not answer within 4 s" in failed.error.what


# --- leave, drain, hand-off ------------------------------------------------------------------------------------------


def test_a_drained_gateway_keeps_its_sessions_and_gets_no_new_ones() -> None:
    one, two = ScriptedGateway(ONE), ScriptedGateway(TWO)
    wire = Wire(one, two)
    served(wire, 4)
    wire.controller.association.drain(one.mid.upper(), drained=True)
    assert served(wire, 10) == {two.mid: 10}
    assert len(one.contexts) == 2
    wire.say(one, one.service_change("Disconnected", "900 Service Restored"))  # the operator's wish outlives that
    wire.run(wire.now)
    assert served(wire, 10) == {two.mid: 10}
    assert served(wire, 1, Urgency.EMERGENCY) == {two.mid: 1}
    wire.controller.association.drain(one.mid, drained=False)
    assert served(wire, 10) == {one.mid: 10}


def test_a_gateway_that_is_drained_from_the_start() -> None:
    one, two = ScriptedGateway(ONE), ScriptedGateway(TWO)
    assert served(Wire(one, two, traits={one.mid: Traits(drains=True)}), 4) == {two.mid: 4}


def test_a_graceful_leave_moves_new_sessions_only() -> None:
    one, two = ScriptedGateway(ONE), ScriptedGateway(TWO)
    wire = Wire(one, two)
    served(wire, 4)
    wire.say(one, one.service_change("Graceful", "905 Termination taken out of service", ", Delay = 30"))
    wire.run(1.0)
    assert wire.take() == [Leaving(one.mid, 30)]
    assert served(wire, 4) == {two.mid: 4}
    wire.run(31.0)
    (lost,) = wire.take()
    assert isinstance(lost, Lost)
    assert len(lost.contexts) == 2


def test_a_hand_off_is_told_and_takes_the_sessions_along() -> None:
    one, two = ScriptedGateway(ONE), ScriptedGateway(TWO)
    wire = Wire(one, two)
    served(wire, 2)
    operation = wire.controller.hand_off(one.mid, "[192.0.2.8]:2944", wire.now)
    wire.run(wire.now)
    leaving, lost, done = sorted(wire.take(), key=lambda event: type(event).__name__ == "Done")
    assert isinstance(leaving, Leaving)
    assert isinstance(lost, Lost)
    assert (lost.why, len(lost.contexts)) == ("the gateway was handed to another controller", 1)
    assert done == Done(operation)
    (asked,) = one.asked(CommandName.SERVICE_CHANGE)
    (services,) = asked.actions[0].commands[0].descriptors
    assert "HandOff" in str(services)
    assert "192.0.2.8" in str(services)
    assert served(wire, 3) == {two.mid: 3}


def test_a_hand_off_that_is_refused_changes_nothing() -> None:
    gateway = ScriptedGateway(ONE)
    wire = Wire(gateway)
    served(wire, 1)
    gateway.script = lambda request: (
        ErrorDescriptor(501, "no") if "HandOff" in str(request.actions) else gateway.obey(request))
    operation = wire.controller.hand_off(gateway.mid, "[192.0.2.8]:2944", wire.now)
    wire.run(wire.now)
    leaving, failed, back = wire.take()
    assert isinstance(leaving, Leaving)
    assert isinstance(failed, Failed)
    assert failed.operation == operation
    assert back == Registered(gateway.mid)
    assert served(wire, 1) == {gateway.mid: 1}


def test_an_ordered_registration_keeps_the_sessions() -> None:
    gateway = ScriptedGateway(ONE)
    wire = Wire(gateway)
    served(wire, 2)
    operation = wire.controller.order_registration(gateway.mid, wire.now)
    wire.run(wire.now)
    assert wire.take() == [Done(operation)]
    (asked,) = gateway.asked(CommandName.SERVICE_CHANGE)
    (services,) = asked.actions[0].commands[0].descriptors
    assert wire.controller.mid in str(services)
    wire.say(gateway, gateway.service_change("HandOff", "903 MGC Directed Change"))
    wire.run(wire.now)
    assert wire.take() == [Resumed(gateway.mid)]
    wire.run(20.0)
    assert len(gateway.contexts) == 2


def test_a_gateway_that_believes_in_an_association_of_before_is_called() -> None:
    gateway = ScriptedGateway(ONE)
    wire = Wire(absent=(gateway,))
    gateway.contexts[77] = ["ip/1/1/1"]
    ito = "Context = - { Notify = ROOT { ObservedEvents = 3 { 20261122T04160000:it/ito } } }"
    for second in range(4):
        wire.run(float(second))
        wire.say(gateway, gateway.request(ito))
    wire.run(4.0)
    (called,) = gateway.asked(CommandName.SERVICE_CHANGE)  # once, however often it asks
    assert "Restart" in str(called.actions[0].commands[0].descriptors)
    wire.say(gateway, gateway.service_change("Disconnected", "900 Service Restored"))
    wire.run(30.0)
    assert gateway.contexts == {}  # nobody owns it


# --- overload --------------------------------------------------------------------------------------------------------


def test_an_overloaded_gateway_gets_less_and_emergencies_all_the_same() -> None:
    gateway = ScriptedGateway(ONE)
    gateway.packages = ALL_PACKAGES
    wire = Wire(gateway)
    armed = gateway.asked(CommandName.MODIFY)[-1].actions[0].commands[0].descriptors
    assert all(name in str(armed) for name in ("it/ito", "ocp/mg_overload", "chp/mgcon"))
    congested = "Context = - { Notify = ROOT { ObservedEvents = 3 { 20261122T04160000:chp/mgcon { reduction = 75 } } } }"
    wire.say(gateway, gateway.request(congested))
    wire.run(wire.now)
    assert served(wire, 100) == {gateway.mid: 25, "": 75}
    assert served(wire, 100, Urgency.EMERGENCY) == {gateway.mid: 100}
    wire.say(gateway, gateway.request(congested.replace("75", "0")))
    wire.run(wire.now)
    assert served(wire, 100) == {gateway.mid: 100}


@pytest.mark.parametrize("code", [510, 511, 526])
def test_errors_of_overload_throttle(code: int) -> None:
    gateway = ScriptedGateway(ONE)
    wire = Wire(gateway)
    gateway.script = lambda request: ErrorDescriptor(code, "busy") if is_reservation(request) else gateway.obey(request)
    for second in range(10):
        wire.run(float(second))
        served(wire, 20)
    assert len(gateway.asked(CommandName.ADD)) < 70  # of 200
    gateway.script = None
    wire.run(40.0)
    assert served(wire, 100) == {gateway.mid: 100}


def test_a_gateway_that_only_says_pending_is_spared_and_passed_over() -> None:
    pending, good = ScriptedGateway(ONE), ScriptedGateway(TWO)
    wire = Wire(pending, good)
    pending.script = lambda request: TransactionPending(request.id) if is_reservation(request) else pending.obey(request)
    assert served(wire, 10, patience=1.5) == {good.mid: 10}
    found = wire.controller.association.gateway(pending.mid)
    assert found is not None
    assert found.throttle.share(wire.now) < 1.0
    pending.script = None
    wire.run(120.0)
    assert found.throttle.share(wire.now) == 1.0
    assert found.reserving == 0


def test_a_full_gateway_is_no_overload() -> None:
    gateway = ScriptedGateway(ONE)
    wire = Wire(gateway)
    gateway.script = lambda request: ErrorDescriptor(412, "full") if is_reservation(request) else gateway.obey(request)
    assert served(wire, 10) == {"": 10}
    gateway.script = None
    assert served(wire, 10) == {gateway.mid: 10}


def test_the_urgency_stands_in_the_context() -> None:
    gateway = ScriptedGateway(ONE)
    wire = Wire(gateway)
    for urgency in Urgency:
        served(wire, 1, urgency)
    properties = [request.actions[0].properties for request in gateway.asked(CommandName.ADD)]
    assert [(each.priority, each.emergency) if each else None for each in properties] == [None, (10, None), (15, True)]


# --- orphans on either side ------------------------------------------------------------------------------------------


def test_comparisons_find_what_was_lost_on_either_side() -> None:
    gateway = ScriptedGateway(ONE)
    wire = Wire(gateway, heartbeat=Heartbeat(compare=60.0))
    served(wire, 3)
    missing = min(gateway.contexts)
    del gateway.contexts[missing]
    gateway.contexts[9999] = ["ip/1/1/9"]
    wire.run(70.0)
    (released,) = wire.take()
    assert isinstance(released, Released)
    assert released.bearer.context == missing
    assert 9999 not in gateway.contexts
    assert len(gateway.contexts) == 2


@pytest.mark.parametrize("sessions", [1, ROLL, 3 * ROLL + 7])
def test_a_gateway_whose_contexts_fit_into_no_message_is_asked_for_them(sessions: int) -> None:
    gateway = ScriptedGateway(ONE)
    wire = Wire(gateway, heartbeat=Heartbeat(compare=60.0))
    served(wire, sessions)

    def too_large(request: TransactionRequest) -> Answer:
        everything = request.actions[0].context == ContextId.ALL
        return ErrorDescriptor(533, "Response Exceeds Maximum Transport PDU Size") if everything else gateway.obey(request)

    gateway.script = too_large
    missing = sorted(gateway.contexts)[::40]
    for context in missing:
        del gateway.contexts[context]
    wire.run(70.0)
    found = [event.bearer.context for event in wire.take() if isinstance(event, Released)]
    assert found == missing


@pytest.mark.parametrize("odd", [(), ErrorDescriptor(431, "No TerminationID matched a wildcard"), ErrorDescriptor(501, "no")])
def test_an_odd_answer_to_the_audit_of_everything_costs_no_session(odd: Answer) -> None:
    gateway = ScriptedGateway(ONE)
    wire = Wire(gateway, heartbeat=Heartbeat(compare=60.0))
    served(wire, 3)
    gateway.script = lambda request: odd if request.actions[0].context == ContextId.ALL else gateway.obey(request)
    wire.run(130.0)
    assert [event for event in wire.take() if isinstance(event, Released)] == []


def test_a_gateway_that_refuses_a_roll_call_as_a_whole_is_asked_one_by_one() -> None:
    gateway = ScriptedGateway(ONE)
    wire = Wire(gateway, heartbeat=Heartbeat(compare=60.0))
    served(wire, 5)
    missing = sorted(gateway.contexts)[1::2]
    for context in missing:
        del gateway.contexts[context]

    def as_a_whole(request: TransactionRequest) -> Answer:
        asked_for = [action.context for action in request.actions if action.context not in (ContextId.NULL, ContextId.ALL)]
        gone = any(context not in gateway.contexts for context in asked_for)
        return ErrorDescriptor(411, "The transaction refers to an unknown ContextId") if gone else gateway.obey(request)

    gateway.script = as_a_whole
    wire.run(70.0)
    assert [event.bearer.context for event in wire.take() if isinstance(event, Released)] == missing


# --- a bad network ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_loss_duplicates_and_reordering_leave_nothing_behind(seed: int) -> None:
    """Hundreds of sessions over a network that loses a tenth, doubles a tenth and delays the rest as it likes."""
    random = Random(seed)
    gateways = [ScriptedGateway(host) for host in (ONE, TWO, THREE)]
    wire = Wire(*gateways, heartbeat=Heartbeat(10.0, 3, compare=60.0))
    wire.delay = lambda _data, _from_controller: None if random.random() < 0.1 else random.random() ** 4 * 2.0
    wire.copies = lambda _data, _from_controller: 2 if random.random() < 0.1 else 1
    begun: set[int] = set()
    owned: dict[tuple[str, int], Media] = {}
    refused = []
    while wire.now < 120.0:
        begun |= {wire.controller.reserve(from_ue(), wire.now) for _ in range(3)}
        wire.run(wire.now + 1.0)
        for event in wire.take():
            if isinstance(event, Done) and event.media is not None:
                key = event.media.gateway, event.media.context
                if key not in owned:
                    owned[key] = event.media
                    wire.controller.configure(event.media, answered_by_core(from_ue()), wire.now)
            elif isinstance(event, Released):
                owned.pop((event.gateway, event.bearer.context), None)
            elif isinstance(event, Lost):
                owned = {key: media for key, media in owned.items() if key[0] != event.gateway}
            elif isinstance(event, Failed) and event.operation in begun:
                refused.append(event.error.what)
        for key in list(owned):
            if random.random() < 0.2:
                wire.controller.release(owned.pop(key), wire.now)
    assert len(begun) == 360
    assert len(refused) <= 7, Counter(refused)
    wire.delay = lambda _data, _from_controller: 0.01
    wire.copies = lambda _data, _from_controller: 1
    wire.run(wire.now + 10.0)
    late = [event.media for event in wire.take() if isinstance(event, Done) and event.media is not None]
    for media in [*owned.values(), *late]:
        wire.controller.release(media, wire.now)
    wire.run(wire.now + 300.0)
    assert [gateway.contexts for gateway in gateways] == [{}, {}, {}]
    assert all(each.load == 0 and not each.releasing for each in wire.controller.association)


@pytest.mark.parametrize("answer", ["nothing", "pending"])
def test_a_gateway_that_answers_no_session_costs_nobody_more_than_the_deadline(answer: str) -> None:
    gateway = ScriptedGateway(ONE)
    wire = Wire(gateway)
    gateway.script = lambda request: (
        gateway.obey(request) if not is_reservation(request) else TransactionPending(request.id) if answer == "pending" else None)
    for _ in range(20):
        wire.controller.reserve(from_ue(), wire.now)
    wire.run(4.0)
    assert [type(event) for event in wire.take()] == [Failed] * 20
    wire.run(300.0)
    assert wire.take() == []
    found = wire.controller.association.gateway(gateway.mid)
    assert found is not None
    assert (found.load, found.releasing) == (0, set())
