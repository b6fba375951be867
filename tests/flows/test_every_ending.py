"""Every way a session can end, from the UE, to the UE and from UE to UE.

After each story the gateway, asked over Iq, has no context left, the P-CSCF no session, and both ends were told
something definite.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from pcscf.errors import TemporarilyUnavailable
from pcscf.h248.message import ErrorDescriptor
from pcscf.lab.call import Dialog
from pcscf.procedures.release import release
from pcscf.procedures.session import State
from pcscf.procedures.site import Deadlines
from tests.support.audit import Story, run
from tests.support.ends import End
from tests.support.flowbed import Bed
from tests.support.ladder import Body, Ladder
from tests.support.plays import Play

FULL = ErrorDescriptor(510, "Insufficient resources")
BROKEN = ErrorDescriptor(500, "Internal software failure")


# The ends end it


async def caller_hangs_up(play: Play) -> None:
    near, _ = await play.establish()
    await play.hang_up(play.caller, near)


async def callee_hangs_up(play: Play) -> None:
    _, far = await play.establish()
    await play.hang_up(play.callee, far)


async def both_hang_up_at_once(play: Play) -> None:
    near, far = await play.establish()
    play.caller.say(near, "BYE")
    play.callee.say(far, "BYE")
    for end in play.ends:
        await end.answer_bye()
    for end in play.ends:
        await end.expect(200)


async def bye_is_challenged(play: Play) -> None:
    near, _ = await play.establish()
    play.caller.say(near, "BYE")
    play.callee.reply(await play.callee.expect("BYE"), 407)
    await play.caller.expect(407)
    assert play.contexts
    await play.hang_up(play.caller, near)


async def bye_is_refused(play: Play) -> None:
    near, _ = await play.establish()
    play.caller.say(near, "BYE")
    play.callee.reply(await play.callee.expect("BYE"), 481)
    await play.caller.expect(481)


async def bye_is_not_answered(play: Play) -> None:
    near, _ = await play.establish()
    play.caller.say(near, "BYE")
    await play.callee.expect("BYE")
    await play.bed.settle(60)
    assert not play.contexts
    assert play.caller.peer.count(408) == 0   # RFC 4320 §4.2: its own timer tells it


# The caller changes its mind


async def cancel_before_any_response(play: Play) -> None:
    await play.offer()
    play.caller.cancel(play.sent)
    await play.caller.expect(200)
    await play.bed.settle(0.2)
    assert play.callee.peer.count("CANCEL") == 0   # RFC 3261 §9.1: not before a provisional response
    play.callee.reply(play.got, 180)
    play.callee.reply(await play.callee.expect("CANCEL"), 200)
    play.callee.reply(play.got, 487)
    await play.caller.expect(180)
    await play.refused(487)


async def cancel_while_it_rings(play: Play) -> None:
    await play.ring()
    play.caller.cancel(play.sent)
    await play.caller.expect(200)
    play.callee.reply(await play.callee.expect("CANCEL"), 200)
    play.callee.reply(play.got, 487)
    await play.refused(487)


async def cancel_crosses_the_answer(play: Play) -> None:
    await play.ring()
    play.caller.cancel(play.sent)
    await play.caller.expect(200)
    far = play.callee.accept(play.got)
    answer = await play.caller.expect(200)
    assert answer.cseq[1] == "INVITE"
    near = play.caller.acknowledge(play.sent, answer)
    play.callee.reply(await play.callee.expect("CANCEL"), 481)
    await play.callee.expect("ACK")
    assert far.call_id == near.call_id
    await play.hang_up(play.caller, near)


async def cancel_is_not_answered(play: Play) -> None:
    await play.ring()
    play.caller.cancel(play.sent)
    await play.caller.expect(200)
    await play.callee.expect("CANCEL")
    await play.refused(487, within=60)


async def cancel_while_the_gateway_is_asked(play: Play) -> None:
    play.bed.gateway.delay = 1.0
    play.invite()
    await play.bed.settle(0.3)
    play.caller.cancel(play.sent)
    await play.caller.expect(200)
    await play.refused(487)
    assert play.callee.peer.count("INVITE") == 0


# The callee does not want, or does not answer


async def refusal(play: Play, status: int) -> None:
    await play.offer()
    play.callee.reply(play.got, status)
    await play.refused(status)
    await play.callee.expect("ACK")


async def refusal_after_ringing(play: Play) -> None:
    await play.ring()
    play.callee.reply(play.got, 486)
    await play.refused(486)


async def callee_says_nothing(play: Play) -> None:
    await play.offer()
    await play.refused(408, within=60)


async def callee_rings_for_ever(play: Play) -> None:
    await play.ring()
    play.callee.reply(await play.callee.expect("CANCEL"), 200)
    play.callee.reply(play.got, 487)
    await play.refused(487)


async def callee_rings_for_ever_and_ignores_cancel(play: Play) -> None:
    await play.ring()
    await play.callee.expect("CANCEL")
    await play.refused(408)


async def ack_is_lost(play: Play) -> None:
    await play.ring()
    play.callee.accept(play.got)
    await play.caller.expect(200)
    for end in play.ends:
        assert "cause=408" in (await end.answer_bye()).get("Reason")


# The answer cannot be served


async def answer_drops_protection(play: Play) -> None:
    await play.offer()
    play.callee.accept(play.got, body=play.callee.answer.replace("TCP/TLS/MSRP", "TCP/MSRP"))
    await play.refused(488)
    await play.callee.expect("ACK")
    assert "cause=488" in (await play.callee.answer_bye()).get("Reason")


async def answer_has_no_fingerprint(play: Play) -> None:
    await play.offer()
    lines = play.callee.answer.splitlines(keepends=True)
    play.callee.accept(play.got, body="".join(line for line in lines if not line.startswith("a=fingerprint")))
    await play.refused(488)
    await play.callee.expect("ACK")
    await play.callee.answer_bye()


async def answer_cannot_be_read(play: Play) -> None:
    await play.offer()
    play.callee.accept(play.got, body="v=0\r\nnonsense\r\n")
    await play.refused(502)
    await play.callee.expect("ACK")
    await play.callee.answer_bye()


async def answer_closes_the_line(play: Play) -> None:
    await play.ring()
    port = "m=message 9 " if "m=message 9 " in play.callee.answer else "m=message 40100 "
    near, _ = await play.accept(body=play.callee.answer.replace(port, "m=message 0 "))
    await play.bed.settle()
    assert await play.bed.gateways.audit() == []
    await play.hang_up(play.caller, near)


# The gateway does not do its part


async def reservation_fails(play: Play, answer: ErrorDescriptor | str, status: int) -> None:
    play.bed.gateway.answer = lambda commands: answer if "Add" in commands else None
    play.invite()
    await play.refused(status)
    assert play.callee.peer.count("INVITE") == 0


async def reservation_is_slow(play: Play) -> None:
    play.bed.gateway.delay = 6.0
    play.invite()
    await play.refused(503)
    play.bed.gateway.delay = 0.0
    assert play.callee.peer.count("INVITE") == 0


async def second_reservation_fails(play: Play) -> None:
    asked = []

    def answer(commands: tuple[str, ...]) -> ErrorDescriptor | None:
        asked.extend(each for each in commands if each == "Add")
        return FULL if "Add" in commands and len(asked) > 2 else None

    play.bed.gateway.answer = answer
    play.invite()
    await play.refused(503)
    assert play.callee.peer.count("INVITE") == 0


async def configuration_fails(play: Play, answer: ErrorDescriptor | str, status: int) -> None:
    play.bed.gateway.answer = lambda commands: answer if "Modify" in commands else None
    await play.offer()
    play.callee.accept(play.got)
    await play.refused(status)
    await play.callee.expect("ACK")
    assert f"cause={status}" in (await play.callee.answer_bye()).get("Reason")


async def configuration_is_slow(play: Play) -> None:
    await play.offer()
    play.bed.gateway.delay = 6.0
    play.callee.accept(play.got)
    await play.refused(503)
    play.bed.gateway.delay = 0.0
    await play.callee.expect("ACK")
    await play.callee.answer_bye()


async def second_configuration_fails(play: Play) -> None:
    asked = []

    def answer(commands: tuple[str, ...]) -> ErrorDescriptor | None:
        asked.extend(each for each in commands if each == "Modify")
        return BROKEN if "Modify" in commands and len(asked) > 2 else None

    play.bed.gateway.answer = answer
    await play.offer()
    play.callee.accept(play.got)
    await play.refused(500)
    await play.callee.expect("ACK")
    await play.callee.answer_bye()


async def release_is_refused(play: Play) -> None:
    near, _ = await play.establish()
    refusals = [BROKEN] * 2
    play.bed.gateway.answer = lambda commands: refusals.pop() if "Subtract" in commands and refusals else None
    await play.hang_up(play.caller, near)


async def release_is_not_answered(play: Play) -> None:
    near, _ = await play.establish()
    play.bed.gateway.answer = lambda commands: "silence" if "Subtract" in commands else None
    await play.hang_up(play.caller, near)
    await play.bed.settle(8)
    play.bed.gateway.answer = lambda _commands: None


async def release_is_slow(play: Play) -> None:
    near, _ = await play.establish()
    play.bed.gateway.delay = 3.0
    await play.hang_up(play.caller, near)
    await play.bed.settle(8)
    play.bed.gateway.delay = 0.0


async def gateway_restarts_in_the_session(play: Play) -> None:
    await play.establish()
    await _restart(play.bed)
    for end in play.ends:
        assert "cause=503" in (await end.answer_bye()).get("Reason")


async def gateway_restarts_while_it_rings(play: Play) -> None:
    await play.ring()
    await _restart(play.bed)
    await play.refused(503)
    play.callee.reply(await play.callee.expect("CANCEL"), 200)
    play.callee.reply(play.got, 487)


async def _restart(bed: Bed) -> None:
    bed.gateway.table.forget_all()
    bed.gateway.stop()
    await bed.gateway.start()


async def gateway_is_lost_in_the_session(play: Play) -> None:
    await play.establish()
    play.bed.gateway.stop()
    for end in play.ends:
        assert "cause=503" in (await end.answer_bye()).get("Reason")
    await _come_back(play.bed)


async def gateway_is_lost_while_it_rings(play: Play) -> None:
    await play.ring()
    play.bed.gateway.stop()
    await play.refused(503)
    play.callee.reply(await play.callee.expect("CANCEL"), 200)
    play.callee.reply(play.got, 487)
    await _come_back(play.bed)


async def _come_back(bed: Bed) -> None:
    """With all the contexts that it had: they must be found and taken away."""
    assert bed.gateway.table.contexts
    await bed.gateway.start("Disconnected", "900 Service Restored")
    await bed.settle(1)
    assert bed.gateways.registered


# Protection fails


async def tls_fails_in_the_session(play: Play, which: int) -> None:
    await play.establish()
    play.bed.gateway.notify_tls_failed(play.contexts[which], "the certificate does not match")
    for end in play.ends:
        assert "cause=488" in (await end.answer_bye()).get("Reason")


async def tls_fails_while_it_rings(play: Play, which: int) -> None:
    await play.ring()
    play.bed.gateway.notify_tls_failed(play.contexts[which], "the certificate does not match")
    await play.refused(488)
    cancel = await play.callee.expect("CANCEL")
    play.callee.reply(cancel, 200)
    play.callee.reply(play.got, 487)


async def answer_comes_after_giving_up(play: Play) -> None:
    await play.ring()
    play.bed.gateway.notify_tls_failed(play.contexts[0], "the certificate does not match")
    await play.refused(488)
    play.callee.accept(play.got)
    await play.callee.expect("CANCEL")
    await play.callee.expect("ACK")
    await play.callee.answer_bye()


# The UE leaves


async def registration_ends_in_the_session(play: Play, which: int) -> None:
    await play.establish()
    await play.served[which].register(expires=0)
    for end in play.ends:
        assert "cause=480" in (await end.answer_bye()).get("Reason")


async def registration_ends_while_it_rings(play: Play, which: int) -> None:
    await play.ring()
    await play.served[which].register(expires=0)
    await play.refused(480)
    play.callee.reply(await play.callee.expect("CANCEL"), 200)
    play.callee.reply(play.got, 487)


async def registration_expires(play: Play) -> None:
    await play.establish()
    await play.bed.settle(700)
    play.bed.watch()
    for end in play.ends:
        assert "cause=480" in (await end.answer_bye()).get("Reason")


async def flow_dies_and_the_other_end_hangs_up(play: Play, which: int) -> None:
    dialogs = dict(zip(play.ends, await play.establish(), strict=True))
    lost = play.served[which]
    other = play.other(lost)
    _cut(play, lost)
    bye = other.say(dialogs[other], "BYE")
    assert (await _final(other, bye)) >= 400


async def flow_of_the_callee_dies_while_it_rings(play: Play) -> None:
    await play.ring()
    _cut(play, play.callee)
    invite = play.sent
    assert (status := await _final(play.caller, invite)) >= 400, status


async def flow_of_the_caller_dies_while_it_rings(play: Play) -> None:
    await play.ring()
    _cut(play, play.caller)
    play.callee.accept(play.got)
    await play.callee.answer_bye()


def _cut(play: Play, end: End) -> None:
    play.gone.add(end)
    play.bed.net.dead.add(end.peer.flow)
    play.bed.driver.gone(end.peer.flow)


async def _final(end: End, request: Any) -> int:
    """The status that a request of `end` comes to."""
    for _ in range(600):
        for each in end.peer.seen:
            status = getattr(each, "status", 0)
            if status >= 200 and each.call_id == request.call_id and each.cseq == request.cseq:
                return status
        await asyncio.sleep(0.5)
    raise AssertionError(f"{request.method} was not answered\n{end.bed.story()}")


# It ends while something else is under way


async def a_change_cannot_be_served(play: Play) -> None:
    await _change(play)
    play.callee.reply(play.got, 200, body="v=0\r\nnonsense\r\n")
    await play.refused(502)
    for end in play.ends:
        await end.answer_bye()


async def callee_hangs_up_in_a_change(play: Play) -> None:
    dialog = await _change(play)
    play.callee.say(dialog, "BYE")
    await play.caller.answer_bye()
    await play.callee.expect(200)
    play.callee.reply(play.got, 487)
    await play.refused(487)


async def gateway_restarts_in_a_change(play: Play) -> None:
    await _change(play)
    await _restart(play.bed)
    for end in play.ends:
        await end.answer_bye()
    play.callee.reply(play.got, 487)
    await play.refused(487)


async def change_is_not_answered(play: Play) -> None:
    dialog = await _change(play)
    await play.refused(408, within=60)
    await play.hang_up(play.callee, dialog)


async def _change(play: Play) -> Dialog:
    """The caller offers anew in a session, and the callee got it: its dialog."""
    near, far = await play.establish()
    request = near.request("INVITE")
    request.add("Contact", play.caller.contact)
    request.set_body(play.caller.offer.replace("a=accept-types:", "a=accept-types:text/html ").encode(), "application/sdp")
    play.sent = play.caller.send(request)
    play.got = await play.callee.expect("INVITE")
    return far


# Several far ends answer


async def two_preview_and_one_answers(play: Play) -> None:
    await play.offer()
    for tag in ("one", "two"):
        play.callee.reply(play.got, 183, tag=tag, body=play.callee.answer)
        await play.caller.expect(183)
    near, _ = await play.accept(tag="two")
    await play.hang_up(play.caller, near)


async def two_answer_and_the_caller_hangs_up(play: Play) -> None:
    near, _ = await _two_answer(play)
    await play.hang_up(play.caller, near)


async def two_answer_and_the_first_hangs_up(play: Play) -> None:
    _, far = await _two_answer(play)
    await play.hang_up(play.callee, far)


async def two_answer_and_protection_fails(play: Play) -> None:
    await _two_answer(play)
    play.bed.gateway.notify_tls_failed(play.contexts[0], "the certificate does not match")
    for end in play.ends:
        await end.answer_bye()
    await play.bed.settle(1)
    assert (play.caller.peer.count("BYE"), play.callee.peer.count("BYE")) == (1, 2)   # the second far end was told before


async def _two_answer(play: Play) -> tuple[Dialog, Dialog]:
    """The dialog of the first, as the caller and as the callee know it; the second is sent away."""
    await play.offer()
    dialogs = await play.accept(tag="one")
    play.callee.accept(play.got, tag="two")
    await play.callee.expect("ACK")
    await play.callee.answer_bye()
    return dialogs


async def a_second_answer_comes_late(play: Play) -> None:
    await play.offer()
    near, _ = await play.accept(tag="one")
    await play.hang_up(play.caller, near)
    play.callee.accept(play.got, tag="two")
    await play.callee.expect("ACK")
    await play.callee.answer_bye()


# The P-CSCF ends it


async def nothing_is_signalled_for_too_long(play: Play) -> None:
    await play.establish()
    await play.bed.settle(120)
    play.bed.watch()
    for end in play.ends:
        await end.answer_bye()


async def clean_stop_in_the_session(play: Play) -> None:
    await play.establish()
    await asyncio.gather(_stop(play.bed), *(end.answer_bye() for end in play.ends))


async def clean_stop_while_it_rings(play: Play) -> None:
    await play.ring()
    await _stop(play.bed)
    await play.refused(480)
    play.callee.reply(await play.callee.expect("CANCEL"), 200)
    play.callee.reply(play.got, 487)


async def _stop(bed: Bed) -> None:
    """What the process does when it is told to end."""
    running = [session.token for session in bed.store.sessions() if session.state is not State.ENDED]
    assert running
    error = TemporarilyUnavailable("the P-CSCF is going out of service")
    await asyncio.gather(*(release(bed.calls, token, error) for token in running))
    await bed.driver.idle()


# What ends a call in the middle of a negotiation

NEGOTIATING: dict[str, Body] = {"new offer": lambda end: end.offer + "a=sendonly\r\n"}
SESSION = "caller: INVITE (offer)\ncallee: 200 (answer)\ncaller: ACK\n"

ASKED = "caller: INVITE\ncallee: 180\n"
OFFERED = ASKED + "callee: 183 INVITE reliable (offer)\n"
EARLY = {
    "offered in a 183": OFFERED,
    "answered in PRACK": OFFERED + "caller: PRACK (answer)\ncallee: 200 PRACK\n",
    "PRACK on its way": OFFERED + "caller: PRACK (answer)\n",
    "offered anew in PRACK": "caller: INVITE (offer)\ncallee: 183 reliable (answer)\ncaller: PRACK (new offer)\n",
    "offered anew in an early UPDATE": (
        "caller: INVITE (offer)\ncallee: 183 reliable (answer)\ncaller: PRACK\ncallee: 200 PRACK\ncallee: UPDATE (new offer)\n"),
}
"""States before the 2xx, in which the gateway has a context."""
LATE = {
    "offered in the 2xx": "caller: INVITE\ncallee: 200 (offer)\n",
    "asked for an offer in the session": SESSION + "caller: INVITE\n",
    "offered in a 183 in the session": SESSION + "caller: INVITE\ncallee: 183 INVITE reliable (offer)\n",
    "answered in PRACK in the session": (
        SESSION + "caller: INVITE\ncallee: 183 INVITE reliable (new offer)\ncaller: PRACK (answer)\ncallee: 200 PRACK\n"),
    "offered in the 2xx of a change": SESSION + "callee: INVITE\ncaller: 200 (new offer)\n",
    "offered anew in an UPDATE": SESSION + "callee: UPDATE (new offer)\n",
}
"""States after it."""


def _restarted(play: Play) -> Awaitable[None]:
    return _restart(play.bed)


async def _tls_failed(play: Play) -> None:
    play.bed.gateway.notify_tls_failed(play.contexts[0], "the certificate does not match")


async def _deregistered(play: Play) -> None:
    await play.served[0].register(expires=0)


def _stopped(play: Play) -> Awaitable[None]:
    return _stop(play.bed)


NETWORK_ENDS: dict[str, tuple[Callable[[Play], Awaitable[None]], int]] = {
    "the gateway restarts": (_restarted, 503),
    "TLS fails": (_tls_failed, 488),
    "the registration ends": (_deregistered, 480),
    "a clean stop": (_stopped, 480),
}


async def the_network_ends_it_early(play: Play, state: str, ending: str) -> None:
    ladder = Ladder(play, NEGOTIATING)
    await ladder.climb(EARLY[state])
    end, status = NETWORK_ENDS[ending]
    await end(play)
    await ladder.climb(f"pcscf: {status} INVITE caller\npcscf: CANCEL callee")


async def the_caller_ends_it_early(play: Play, state: str) -> None:
    ladder = Ladder(play, NEGOTIATING)
    await ladder.climb(EARLY[state])
    play.caller.cancel(play.sent)
    await play.caller.expect(200)
    await ladder.climb("pcscf: CANCEL callee\npcscf: 487 INVITE caller")


async def the_callee_ends_it_early(play: Play, state: str) -> None:
    ladder = Ladder(play, NEGOTIATING)
    await ladder.climb(EARLY[state] + "callee: 580 INVITE\n")


async def the_callee_says_no_more(play: Play, state: str) -> None:
    ladder = Ladder(play, NEGOTIATING)
    await ladder.climb(EARLY[state])
    if state in {"PRACK on its way", "offered anew in PRACK"}:
        await ladder.climb("callee: 200 PRACK\n")
    if state == "offered anew in an early UPDATE":
        await ladder.climb("caller: 200 UPDATE (answer)\n")
    await ladder.climb("pcscf: CANCEL callee\npcscf: 487 INVITE caller")


async def the_network_ends_it_late(play: Play, state: str, ending: str) -> None:
    ladder = Ladder(play, NEGOTIATING)
    await ladder.climb(LATE[state])
    end, status = NETWORK_ENDS[ending]
    ending_it = asyncio.ensure_future(end(play))
    if end is not _stopped:   # which waits for the answers to its BYEs
        await ending_it
    for each in play.ends:
        assert f"cause={status}" in (await each.answer_bye()).get("Reason")
    await ending_it
    await _answer_what_is_left(ladder, state)


async def an_end_hangs_up_late(play: Play, state: str, who: str) -> None:
    ladder = Ladder(play, NEGOTIATING)
    other = "callee" if who == "caller" else "caller"
    await ladder.climb(f"{LATE[state]}{who}: BYE\n{other}: 200 BYE\n")
    await _answer_what_is_left(ladder, state)


async def _answer_what_is_left(ladder: Ladder, state: str) -> None:
    """The other end has left, but its transaction is still to be answered (RFC 3261 §15.1.2)."""
    if "caller: INVITE\n" in LATE[state].removeprefix("caller: INVITE\n"):
        await ladder.climb("callee: 487 INVITE")
    elif "UPDATE" in LATE[state]:
        await ladder.climb("caller: 487 UPDATE")


ALL = ("from-ue", "to-ue", "between-ues")
UE_ANSWERS = ("to-ue", "between-ues")
UE_CALLS = ("from-ue", "between-ues")
TWO_UES = ("between-ues",)
CORE_ANSWERS = ("from-ue",)


@dataclass(frozen=True)
class Row:
    name: str
    story: Story
    places: tuple[str, ...] = ALL
    settings: dict[str, Any] = field(default_factory=dict)


ROWS = (
    Row("the caller hangs up", caller_hangs_up),
    Row("the callee hangs up", callee_hangs_up),
    Row("both hang up at once", both_hang_up_at_once),
    Row("BYE is challenged", bye_is_challenged),
    Row("BYE meets 481", bye_is_refused),
    Row("BYE is not answered", bye_is_not_answered),
    Row("CANCEL before any response", cancel_before_any_response),
    Row("CANCEL while it rings", cancel_while_it_rings),
    Row("CANCEL crosses the answer", cancel_crosses_the_answer),
    Row("CANCEL is not answered", cancel_is_not_answered),
    Row("CANCEL while the gateway is asked", cancel_while_the_gateway_is_asked),
    *(Row(f"refused with {status}", partial(refusal, status=status)) for status in (302, 404, 480, 486, 488, 500, 503, 600, 603)),
    Row("refused after ringing", refusal_after_ringing),
    Row("the callee says nothing", callee_says_nothing),
    Row("the callee rings for ever", callee_rings_for_ever),
    Row("the callee rings for ever, deaf to CANCEL", callee_rings_for_ever_and_ignores_cancel),
    Row("the ACK is lost", ack_is_lost),
    Row("the answer drops protection", answer_drops_protection, UE_ANSWERS),
    Row("the answer has no fingerprint", answer_has_no_fingerprint, UE_ANSWERS),
    Row("the answer cannot be read", answer_cannot_be_read),
    Row("the answer closes the line", answer_closes_the_line),
    Row("the gateway is full", partial(reservation_fails, answer=FULL, status=503)),
    Row("the gateway refuses to reserve", partial(reservation_fails, answer=BROKEN, status=500)),
    Row("the gateway is silent when asked to reserve", partial(reservation_fails, answer="silence", status=503)),
    Row("the gateway is slow to reserve", reservation_is_slow),
    Row("the gateway is full for the second half-call", second_reservation_fails, TWO_UES),
    Row("the gateway refuses to configure", partial(configuration_fails, answer=BROKEN, status=500)),
    Row("the gateway is silent when asked to configure", partial(configuration_fails, answer="silence", status=503)),
    Row("the gateway is slow to configure", configuration_is_slow),
    Row("the gateway refuses to configure the first half-call", second_configuration_fails, TWO_UES),
    Row("the gateway refuses to release", release_is_refused),
    Row("the gateway is silent when asked to release", release_is_not_answered),
    Row("the gateway is slow to release", release_is_slow),
    Row("the gateway restarts in the session", gateway_restarts_in_the_session),
    Row("the gateway restarts while it rings", gateway_restarts_while_it_rings),
    Row("the gateway is lost in the session", gateway_is_lost_in_the_session),
    Row("the gateway is lost while it rings", gateway_is_lost_while_it_rings),
    Row("TLS fails in the session", partial(tls_fails_in_the_session, which=0)),
    Row("TLS of the callee fails in the session", partial(tls_fails_in_the_session, which=1), TWO_UES),
    Row("TLS fails while it rings", partial(tls_fails_while_it_rings, which=0)),
    Row("TLS of the callee fails while it rings", partial(tls_fails_while_it_rings, which=1), TWO_UES),
    Row("an answer comes after giving up", answer_comes_after_giving_up),
    Row("the registration ends in the session", partial(registration_ends_in_the_session, which=0)),
    Row("the registration of the callee ends in the session", partial(registration_ends_in_the_session, which=1), TWO_UES),
    Row("the registration ends while it rings", partial(registration_ends_while_it_rings, which=0)),
    Row("the registration of the callee ends while it rings", partial(registration_ends_while_it_rings, which=1), TWO_UES),
    Row("the registration expires", registration_expires),
    Row("a flow dies, the other end hangs up", partial(flow_dies_and_the_other_end_hangs_up, which=0)),
    Row("the flow of the callee dies, the other end hangs up", partial(flow_dies_and_the_other_end_hangs_up, which=1), TWO_UES),
    Row("the flow of the callee dies while it rings", flow_of_the_callee_dies_while_it_rings, UE_ANSWERS),
    Row("the flow of the caller dies while it rings", flow_of_the_caller_dies_while_it_rings, UE_CALLS),
    Row("a change cannot be served", a_change_cannot_be_served),
    Row("the callee hangs up in a change", callee_hangs_up_in_a_change),
    Row("the gateway restarts in a change", gateway_restarts_in_a_change),
    Row("a change is not answered", change_is_not_answered),
    Row("two preview and one answers", two_preview_and_one_answers, CORE_ANSWERS),
    Row("two answer and the caller hangs up", two_answer_and_the_caller_hangs_up),
    Row("two answer and the first hangs up", two_answer_and_the_first_hangs_up),
    Row("two answer and protection fails", two_answer_and_protection_fails, CORE_ANSWERS),
    Row("a second answer comes late", a_second_answer_comes_late, CORE_ANSWERS),
    Row("nothing is signalled for too long", nothing_is_signalled_for_too_long, settings={"deadlines": Deadlines(session=100.0)}),
    *(Row(f"{state}: {ending}", partial(the_network_ends_it_early, state=state, ending=ending))
      for state in EARLY for ending in NETWORK_ENDS),
    *(Row(f"{state}: the caller cancels", partial(the_caller_ends_it_early, state=state)) for state in EARLY),
    *(Row(f"{state}: the callee refuses", partial(the_callee_ends_it_early, state=state)) for state in EARLY),
    *(Row(f"{state}: the callee says no more", partial(the_callee_says_no_more, state=state)) for state in EARLY),
    *(Row(f"{state}: {ending}", partial(the_network_ends_it_late, state=state, ending=ending))
      for state in LATE for ending in NETWORK_ENDS if (state, ending) != ("offered in the 2xx", "TLS fails")),
    *(Row(f"{state}: the {who} hangs up", partial(an_end_hangs_up_late, state=state, who=who))
      for state in LATE for who in ("caller", "callee")),
    Row("a clean stop in the session", clean_stop_in_the_session),
    Row("a clean stop while it rings", clean_stop_while_it_rings),
)


@pytest.mark.parametrize(("row", "place"), [
    pytest.param(row, place, id=f"{row.name}, {place}")
    for row in ROWS for place in row.places])
def test_nothing_is_left(row: Row, place: str) -> None:
    run(row.story, place, **row.settings)


@pytest.mark.parametrize("place", ALL)
@pytest.mark.parametrize(("story", "left"), [
    (Play.establish, ["context", "a session", "goes on"]),
    (Play.ring, ["context", "a session", "the invitation", "has no final response", "still rings"]),
])
def test_what_is_left_is_seen(story: Story, left: list[str], place: str) -> None:
    with pytest.raises(AssertionError) as seen:
        run(story, place)
    assert [what for what in left if what not in str(seen.value)] == []
