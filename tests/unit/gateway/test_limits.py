"""What a controller sets on ROOT about transactions."""

from __future__ import annotations

import pytest

from pcscf.errors import H248Error
from pcscf.gateway.limits import adopted, check_limit
from pcscf.h248.codec import decode_untrusted, encode_compact
from pcscf.h248.message import (
    Action,
    Audit,
    Command,
    CommandName,
    Message,
    Property,
    TransactionPending,
    TransactionRequest,
    Value,
)
from pcscf.h248.transaction import H248Timers, RequestFailed, RequestReceived, TransactionMachine

PEER = ("192.0.2.1", 2944)
AUDIT = (Action(0, (Command(CommandName.AUDIT_VALUE, ("ROOT",), (Audit(),)),)),)
TIMERS = H248Timers(jitter=0)


def properties(**values: str) -> dict[str, Property]:
    return {f"root/{name}": Property(f"root/{name}", Value((value,))) for name, value in values.items()}


def test_nothing_set_changes_nothing() -> None:
    assert adopted(TIMERS, {}) == (TIMERS, TIMERS)
    assert adopted(TIMERS, properties(normalMGExecutionTime="100", MGCProvisionalResponseTimerValue="100")) == (TIMERS, TIMERS)


def test_each_limit_counts_for_its_side() -> None:
    asking, serving = adopted(
        TIMERS, properties(MGProvisionalResponseTimerValue="1500", MGOriginatedPendingLimit="2", MGCOriginatedPendingLimit="7")
    )
    assert (asking.provisional, asking.pending_limit) == (TIMERS.provisional, 7)
    assert (serving.provisional, serving.pending_limit) == (1.5, 2)


@pytest.mark.parametrize("value", ["", "x", "0", "-1", "1.5", "60001", "9" * 5000, "١"])
@pytest.mark.parametrize("name", ["root/MGProvisionalResponseTimerValue", "ROOT/mgoriginatedpendinglimit"])
def test_what_is_no_limit_is_refused(name: str, value: str) -> None:
    with pytest.raises(H248Error) as caught:
        check_limit(Property(name, Value((value,))))
    assert caught.value.code == 449


def test_other_properties_are_nobodys_limit() -> None:
    check_limit(Property("root/maxNumberOfContexts", Value(("all",))))
    check_limit(Property("ServiceStates", Value(("InService",))))


def test_a_machine_goes_by_them() -> None:
    one = TransactionMachine("agw", timers=TIMERS, first_id=1)
    one.set_timers(*adopted(TIMERS, properties(MGProvisionalResponseTimerValue="50", MGCOriginatedPendingLimit="1")))
    one.receive(encode_compact(Message("[192.0.2.1]:2944", (TransactionRequest(7, AUDIT),))), PEER, 0.0)
    [event] = one.take_events()
    assert isinstance(event, RequestReceived)
    one.handle_timer(0.05)
    [(data, _)] = one.take_output()
    assert decode_untrusted(data).transactions == (TransactionPending(7),)
    tid = one.request(PEER, AUDIT, 1.0)
    for _ in range(2):
        one.receive(encode_compact(Message("[192.0.2.1]:2944", (TransactionPending(tid),))), PEER, 1.1)
    assert one.take_events() == [RequestFailed(tid, PEER, "still pending after 1 Pendings")]
