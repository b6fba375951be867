"""What a look finds in the tables of a P-CSCF."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from pcscf.config.policy import MediaPolicy
from pcscf.mediasec.model import Agreed, Direction, Leg, LinePlan, MediaPlan, Mode
from pcscf.procedures.binding import Attempt, Binding
from pcscf.procedures.session import Session, State
from pcscf.procedures.site import Side
from pcscf.runtime.status import BATCH, Registrations, Sessions, batched
from pcscf.sip.flow import Flow

FLOW = Flow("tls", "gm", ("192.0.2.9", 5061), ("192.0.2.1", 1024), 1)
BOTH = Agreed(frozenset({"msrp-tls"}), frozenset({"msrp-tls", "bfcp-tls"}))
ONE_SIDED = Agreed(frozenset({"udptl-dtls"}), frozenset({"msrp-tls"}))
NOW = 100.0


def leg(transport: str) -> Leg:
    return Leg(None, None, "", "", None, (), transport)


def line(index: int, mode: Mode, transport: str, **more: str) -> LinePlan:
    return replace(LinePlan(index, mode, "rule", "reason", access=leg(transport), core=leg(transport)), **more)


def session(token: str, state: State, *lines: LinePlan) -> Session:
    plan = MediaPlan(Direction.OFFER_FROM_UE, lines)
    return Session(
        token, "b", Side.ACCESS, FLOW, "call", 1, MediaPolicy(), BOTH, state=state, accepted="far", standing={"far": plan})


def binding(token: str, **more: object) -> Binding:
    made = Binding(token, FLOW, "sip:a@example.org", "sip:a@192.0.2.1", "", MediaPolicy())
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_registrations() -> None:
    found = Registrations(NOW)
    waiting = Attempt("call", (), (), BOTH, NOW + 1)
    found.add([
        binding("protected", expires_at=NOW + 1, agreed=BOTH), binding("one side alone", expires_at=NOW + 1, agreed=ONE_SIDED),
        binding("bare", expires_at=NOW + 1), binding("challenged", attempt=waiting), binding("expired", expires_at=NOW - 1),
        binding("given up", attempt=replace(waiting, until=NOW - 1))])
    assert found.numbers() == {"registered": 3, "protected": 1, "pending": 1}


def test_open_lines_of_confirmed_sessions_by_medium_and_protection() -> None:
    found = Sessions()
    found.add([
        session("1", State.CONFIRMED, line(0, Mode.TERMINATE, "TCP/TLS", medium="msrp"),
                line(1, Mode.PROTECT, "UDP/DTLS", medium="fax"), line(2, Mode.PLAIN, "RTP/AVP", kind="audio"),
                line(3, Mode.RELEASED, "TCP/TLS", medium="msrp")),
        session("2", State.CONFIRMED, line(0, Mode.PROTECT, "TCP/TLS", medium="msrp"), line(1, Mode.PASS, "TCP", medium="msrp")),
        session("3", State.EARLY, line(0, Mode.TERMINATE, "TCP/TLS", medium="bfcp")),
        session("4", State.ENDED, line(0, Mode.TERMINATE, "TCP/TLS", medium="bfcp"))])
    assert found.states == {State.CONFIRMED: 2, State.EARLY: 1, State.ENDED: 1}
    assert found.lines == {("msrp", "tls"): 2, ("msrp", "end-to-end"): 1, ("fax", "dtls"): 1, ("audio", "none"): 1}


async def test_others_have_their_turn_while_it_looks() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    seen = [each async for some in batched(range(3 * BATCH + 1)) for each in some]
    task.cancel()
    assert seen == list(range(3 * BATCH + 1))
    assert turns == 4
