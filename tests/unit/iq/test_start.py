"""When TCP begins where a gateway opens it: what it is told with the offer, with the answer, and once the other side is up."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest

from pcscf.config.policy import MediaPolicy
from pcscf.h248.message import Action, Command, Event, Events
from pcscf.h248.message import Media as MediaDescriptor
from pcscf.iq import procedures
from pcscf.iq.media import Media, TcpStart
from pcscf.iq.notifications import Connected
from pcscf.iq.procedures import Realms
from pcscf.iq.replies import read_configured_untrusted, read_reserved_untrusted
from pcscf.iq.start import following, is_waiting
from pcscf.iq.supervision import Supervision
from pcscf.mediasec.model import Direction, MediaPlan
from pcscf.mediasec.plan import decide, settle
from tests.unit.iq.plans import (
    BFCP,
    BFCP_TLS,
    BOTH,
    GATEWAY_PRINT,
    MSRP,
    answered_by_core,
    answered_by_ue,
    from_core,
    from_ue,
    protection,
    sdp,
)
from tests.unit.iq.test_procedures import both, signals, streams

ACCESS, CORE = "ip/1/1/1", "ip/1/2/2"
TCP, TLS = ("tcpbcc/EstBNC", "1"), ("tlsbsc/EstBNC", "1")


class Told(NamedTuple):
    """What one termination was told: whether it knows its peer of stream 1, and its signals."""

    peer: bool
    signals: list[tuple[str, str]]


class Desk:
    """A session on a gateway that does as it is told."""

    def __init__(self, start: TcpStart, *, begins_tls: bool = False) -> None:
        self.start = start
        self.supervision = Supervision(begins_tls=begins_tls, tcp_start=start)
        self.media: Media | None = None

    def reserve(self, plan: MediaPlan) -> tuple[Told, Told]:
        actions = procedures.reserve(plan, Realms(), self.supervision)
        self.media = read_reserved_untrusted("gw", plan, _reply(actions, 77), self.start)
        access, core = both(actions)
        return _told(access), _told(core)

    def configure(self, plan: MediaPlan) -> dict[str, Told]:
        assert self.media is not None
        actions = procedures.configure(self.media, plan, self.supervision)
        self.media = read_configured_untrusted(self.media, plan, _reply(actions, 77), self.start)
        return {command.termination: _told(command) for action in actions for command in action.commands}

    def up(self, plan: MediaPlan, termination: str, layer: str) -> dict[str, Told]:
        assert self.media is not None
        ordered = following(self.media, plan, Connected(77, termination, 1, layer))   # type: ignore[arg-type]
        if ordered is None:
            return {}
        actions = procedures.begin_tcp(self.media, plan, ordered, self.supervision)
        self.media = read_configured_untrusted(self.media, plan, _reply(actions, 77), self.start, ordered)
        return {command.termination: _told(command) for action in actions for command in action.commands}


def _told(command: Command) -> Told:
    told = any(isinstance(each, MediaDescriptor) for each in command.descriptors)
    return Told(told and bool(streams(command)[0].remote), signals(command))


def _reply(actions: tuple[Action, ...], context: int) -> tuple[Action, ...]:
    """What a gateway answers: its choices in place of `$`."""
    answered = []
    names = iter((ACCESS, CORE))
    for action in actions:
        commands = []
        for command in action.commands:
            found = [each for each in command.descriptors if isinstance(each, MediaDescriptor)]
            locals_ = [
                replace(stream, local_control=None, remote=None, local=_chosen(stream.local))
                for media in found for stream in media.streams if stream.local]
            name = next(names) if "$" in command.termination else command.termination
            commands.append(replace(command, terminations=(name,), descriptors=(MediaDescriptor(tuple(locals_)),)))
        answered.append(Action(context, tuple(commands)))
    return tuple(answered)


def _chosen(local: str) -> str:
    chosen = local.replace("c=IN IP4 $", "c=IN IP4 192.0.2.1").replace(" $ ", " 40000 ")
    return chosen.replace("sha-256 $", f"sha-256 {GATEWAY_PRINT}")


def terminating(setup: str) -> tuple[MediaPlan, MediaPlan]:
    """The core calls and opens; the UE answers."""
    offered = from_core("active")
    return offered, answered_by_ue(offered, setup)


def test_by_default_the_gateway_knows_all_at_once() -> None:
    desk = Desk("gateway")
    offered, settled = terminating("passive")
    desk.reserve(offered)
    assert desk.configure(settled) == {ACCESS: Told(True, [TLS]), CORE: Told(True, [])}
    assert desk.media is not None
    assert desk.media.held == frozenset()
    assert desk.up(settled, CORE, "tcp") == {}


def test_with_the_answer_it_is_told_to_open() -> None:
    desk = Desk("answer")
    offered, settled = terminating("passive")
    assert desk.reserve(offered) == (Told(False, []), Told(True, []))
    assert desk.configure(settled) == {ACCESS: Told(True, [TCP, TLS]), CORE: Told(True, [])}
    assert desk.media is not None
    assert desk.media.held == frozenset()
    assert desk.configure(settled) == {ACCESS: Told(True, []), CORE: Told(True, [])}, "said once"


@pytest.mark.parametrize("start", ["answer", "interlinked"])
def test_a_ue_that_waits_is_not_dialled_before_the_answer(start: TcpStart) -> None:
    desk = Desk(start)
    offered = from_ue("passive")
    assert offered.lines[0].access is not None
    assert offered.lines[0].access.tcp == "connect"
    assert desk.reserve(offered) == (Told(False, []), Told(False, []))
    settled = answered_by_core(offered, "active")
    told = desk.configure(settled)
    assert told.get(ACCESS, Told(False, [])) == (Told(True, [TCP, TLS]) if start == "answer" else Told(False, []))
    assert told[CORE] == Told(True, [])


def test_interlinked_it_opens_once_the_other_side_is_up() -> None:
    desk = Desk("interlinked")
    offered, settled = terminating("passive")
    desk.reserve(offered)
    assert desk.configure(settled) == {CORE: Told(True, [])}
    assert desk.media is not None
    assert desk.media.held == {("access", 0)}
    assert desk.media.tls_clients == frozenset()
    assert is_waiting(desk.media, settled)
    assert desk.up(settled, "ip/9/9/9", "tcp") == {}
    assert desk.up(settled, CORE.upper(), "tcp") == {ACCESS: Told(True, [TCP, TLS])}
    assert desk.media.held == frozenset()
    assert desk.media.tls_clients == {0}
    assert not is_waiting(desk.media, settled)
    assert desk.up(settled, CORE, "tcp") == {}, "told again, it changes nothing"
    assert desk.configure(settled) == {ACCESS: Told(True, []), CORE: Told(True, [])}


def test_tls_of_the_other_side_must_be_up_and_not_tcp_alone() -> None:
    """A stranger can connect to the access side; the core is dialled for the one with the certificate."""
    desk = Desk("interlinked")
    offered = from_ue("active")
    desk.reserve(offered)
    settled = answered_by_core(offered, "passive")
    assert desk.configure(settled) == {ACCESS: Told(True, [])}
    assert desk.up(settled, ACCESS, "tcp") == {}
    assert desk.up(settled, ACCESS, "tls") == {CORE: Told(True, [TCP])}


def test_tls_and_tcp_are_both_for_us_to_begin() -> None:
    desk = Desk("interlinked", begins_tls=True)
    offered, settled = terminating("passive")
    desk.reserve(offered)
    desk.configure(settled)
    assert desk.up(settled, CORE, "tcp") == {ACCESS: Told(True, [TCP])}
    assert desk.media is not None
    assert desk.media.tls_clients == {0}


def test_where_both_sides_wait_nothing_is_held() -> None:
    desk = Desk("interlinked")
    offered, settled = terminating("active")
    desk.reserve(offered)
    assert desk.configure(settled) == {ACCESS: Told(True, []), CORE: Told(True, [])}
    assert desk.media is not None
    assert desk.media.held == frozenset()


def test_where_the_gateway_opens_both_the_answer_is_what_they_wait_for() -> None:
    desk = Desk("interlinked")
    offered = bfcp_of_core("passive")
    desk.reserve(offered)
    settled = settle(offered, sdp("203.0.113.9", BFCP_TLS + protection("passive")))
    assert [leg.tcp for leg in (settled.lines[0].access, settled.lines[0].core) if leg is not None] == ["connect", "connect"]
    assert desk.configure(settled) == {ACCESS: Told(True, [TCP]), CORE: Told(True, [TCP])}   # TLS: with the offer


@pytest.mark.parametrize("start", ["gateway", "answer", "interlinked"])
def test_what_is_armed(start: TcpStart) -> None:
    access, core = both(procedures.reserve(from_ue(), Realms(), Supervision(tcp_start=start)))
    bare = {event.name: not event.parameters for event in _events(access)}
    assert bare["tlsbsc/BNCChange"] is (start == "interlinked")
    assert bare["tcpbcc/BNCChange"] is False
    assert {event.name: not event.parameters for event in _events(core)}["tcpbcc/BNCChange"] is (start == "interlinked")


def _events(command: Command) -> tuple[Event, ...]:
    return next(each for each in command.descriptors if isinstance(each, Events)).events


def test_a_new_connection_waits_like_the_first() -> None:
    """The one that stands is released at once, and what follows it is ordered when the other side is up again."""
    ue = sdp("203.0.113.9", BFCP_TLS + protection("active") + "a=connection:new\n")
    offered = bfcp_of_core("passive")
    first = settle(offered, ue)
    desk = Desk("interlinked")
    desk.reserve(offered)
    assert desk.configure(first) == {ACCESS: Told(True, [])}
    assert desk.up(first, ACCESS, "tls") == {CORE: Told(True, [TCP])}
    answer = sdp("198.51.100.9", BFCP + "a=setup:passive\na=connection:new\n")
    second = settle(decide(MediaPolicy(), BOTH, ue, Direction.OFFER_FROM_UE, previous=first), answer)
    assert desk.configure(second) == {ACCESS: Told(True, []), CORE: Told(False, [("tcpbcc/RelBNC", "1")])}
    assert desk.up(second, ACCESS, "tls") == {CORE: Told(True, [TCP])}
    assert desk.configure(second) == {ACCESS: Told(True, []), CORE: Told(True, [])}


@pytest.mark.parametrize("start", ["answer", "interlinked"])
def test_a_line_that_comes_later_is_held_alone(start: TcpStart) -> None:
    """A further offer adds a line: what runs is left alone, and the new connection waits for its answer."""
    desk = Desk(start)
    offered, first = terminating("active")
    desk.reserve(offered)
    desk.configure(first)
    offer = sdp("198.51.100.9", MSRP + "a=setup:active\n", BFCP + "a=setup:passive\n")
    both_lines = decide(MediaPolicy(), BOTH, offer, Direction.OFFER_FROM_CORE, previous=first)
    desk.configure(both_lines)
    assert desk.media is not None
    assert {place for _, place in desk.media.held} == {1}


def bfcp_of_core(setup: str) -> MediaPlan:
    core = sdp("198.51.100.9", BFCP + f"a=setup:{setup}\na=connection:new\n")
    return decide(MediaPolicy(), BOTH, core, Direction.OFFER_FROM_CORE)
