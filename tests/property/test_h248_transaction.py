"""Two machines over a network that loses, repeats and reorders: each request is executed at most once, and every wait ends.

So it is over connections that break: what they carried is lost, and the next one carries what still waits.
"""

from __future__ import annotations

from collections import Counter
from heapq import heapify, heappop, heappush

from hypothesis import given
from hypothesis import strategies as st

from pcscf.h248.message import Action, Audit, Command, CommandName, ErrorDescriptor
from pcscf.h248.peer import ConnectionPeer
from pcscf.h248.transaction import H248Timers, Peer, ReplyReceived, RequestFailed, RequestReceived, TransactionMachine

ENDS: dict[bool, tuple[Peer, Peer]] = {
    False: (("192.0.2.1", 2944), ("192.0.2.2", 2944)),
    True: (ConnectionPeer("192.0.2.1", 2944), ConnectionPeer("192.0.2.2", 2944)),
}


def question(number: int) -> tuple[Action, ...]:
    return (Action(number, (Command(CommandName.AUDIT_VALUE, ("*",), (Audit(),)),)),)


def answer(number: int) -> tuple[Action, ...]:
    return (Action(number, (Command(CommandName.AUDIT_VALUE, ("*",)),)),)


@given(
    fates=st.lists(st.lists(st.floats(0.001, 10), max_size=3), max_size=200),
    executions=st.lists(st.sampled_from([0.0, 0.01, 0.7, 3.0, 100.0]), min_size=1, max_size=6),
    refuse=st.booleans(),
    connected=st.booleans(),
    connections=st.lists(st.floats(0.1, 40), max_size=4),
)
def test_at_most_once_and_always_an_end(
    fates: list[list[float]], executions: list[float], refuse: bool, connected: bool, connections: list[float]
) -> None:
    """`fates`: for each message the delays with which it arrives, none when it is lost; later ones arrive at once.

    connections: when what waits is sent once more, because a new connection stands.
    """
    controller, gateway = ENDS[connected]
    machines = {
        controller: TransactionMachine("[192.0.2.1]:2944", timers=H248Timers(), first_id=1),
        gateway: TransactionMachine("[192.0.2.2]:2944", timers=H248Timers(), first_id=1),
    }
    asked = {machines[controller].request(gateway, question(number), 0.0): number for number in range(1, len(executions) + 1)}
    waiting: list[tuple[float, int, object]] = [(when, -number, None) for number, when in enumerate(connections)]
    heapify(waiting)
    coming = iter(fates)
    executed: Counter[int] = Counter()
    ended: Counter[int] = Counter()
    serial = 0
    now = 0.0
    while now < 1000:
        for source, machine in machines.items():
            for data, destination in machine.take_output():
                for delay in next(coming, [0.001]):
                    serial += 1
                    heappush(waiting, (now + delay, serial, (data, destination, source)))
            for event in machine.take_events():
                match event:
                    case RequestReceived(handle, _, _, (action,)):
                        executed[action.context] += 1
                        serial += 1
                        delay = executions[action.context - 1]
                        heappush(waiting, (now + delay, serial, (handle, action.context)))
                    case ReplyReceived(tid, _, actions, error):
                        ended[tid] += 1
                        if error is None:
                            assert actions == answer(asked[tid])
                    case RequestFailed(tid):
                        ended[tid] += 1
        times = [due for machine in machines.values() if (due := machine.next_timer()) is not None]
        times += [waiting[0][0]] if waiting else []
        if not times:
            break
        now = max(now, min(times))
        for machine in machines.values():
            machine.handle_timer(now)
        while waiting and waiting[0][0] <= now:
            match heappop(waiting)[2]:
                case (bytes(data), destination, source):
                    machines[destination].receive(data, source, now)
                case (handle, number):
                    said = ErrorDescriptor(510, "no") if refuse else answer(number)
                    machines[gateway].reply(handle, said, now)
                case None:
                    machines[controller].resend(gateway, now)
    assert now < 1000
    assert all(count == 1 for count in executed.values())
    assert ended == Counter(dict.fromkeys(asked, 1))
