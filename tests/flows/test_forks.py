"""Several far ends answer one INVITE (RFC 3261 §13.2.2.4, RFC 3960 §3): the gateway serves one, and it is definite which."""

from __future__ import annotations

import pytest

from pcscf.config.policy import MediaPolicy
from tests.support.audit import run
from tests.support.flowbed import Bed
from tests.support.ladder import ENDS, Body, Ladder
from tests.support.parties import PLAIN_ANSWER, PLAIN_OFFER
from tests.support.plays import Play

ALL = ("from-ue", "to-ue", "between-ues")
RESERVE, CONFIGURE, RELEASE = ("Add", "Add"), ("Modify", "Modify"), ("Subtract",)
AT_REGISTRATION = [("AuditValue", "AuditCapability"), ("Modify",)]   # what it can do, and what it shall watch
BODIES: dict[str, Body] = {
    "here": PLAIN_ANSWER,
    "there": PLAIN_ANSWER.replace("40100", "40200"),
    "elsewhere": PLAIN_ANSWER.replace("40100", "40300"),
    "no line": PLAIN_ANSWER.replace("message 40100", "message 0"),
    "offer here": PLAIN_OFFER,
    "offer there": PLAIN_OFFER.replace("40100", "40200"),
}


def served(bed: Bed) -> int:
    """The port that the gateway sends to on the core side."""
    (session,) = bed.store.sessions()
    assert session.told is not None
    leg = session.told.lines[0].core
    assert leg is not None
    assert leg.peer_address is not None
    return leg.peer_address[1]


def climbs(text: str, place: str = "from-ue") -> None:
    """`as TAG` in a line of its own: from here on it is that far end that answers. `serves PORT`: whom the gateway serves."""

    async def story(play: Play) -> None:
        await climb(Ladder(play, BODIES), text)

    run(story, place)


async def climb(ladder: Ladder, text: str) -> None:
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "as":
            ladder.tag = rest
        elif word == "serves":
            assert served(ladder.play.bed) == int(rest), line
        else:
            await ladder.climb(line)


def test_each_answer_of_a_fork_costs_one_transaction_and_the_2xx_selects() -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await climb(ladder, """
            caller: INVITE (offer)
            as one
            callee: 183 INVITE (here)
            serves 40100
            as two
            callee: 183 INVITE (there)
            serves 40200
            as one
            callee: 183 INVITE (here) {X-Again: 1}
            serves 40200
            callee: 200 INVITE (here)
            serves 40100
            caller: ACK
            """)
        assert play.bed.gateway.asked == [*AT_REGISTRATION, RESERVE, CONFIGURE, CONFIGURE, CONFIGURE]
        await ladder.climb(ENDS)
        await play.bed.settle(1)
        assert play.bed.gateway.asked[6:] == [RELEASE]

    run(story, "from-ue")


def test_the_2xx_of_the_fork_that_is_served_costs_nothing() -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await climb(ladder, """
            caller: INVITE (offer)
            as one
            callee: 183 INVITE (here)
            as two
            callee: 183 INVITE (there)
            callee: 200 INVITE (there)
            serves 40200
            caller: ACK
            """)
        assert play.bed.gateway.asked == [*AT_REGISTRATION, RESERVE, CONFIGURE, CONFIGURE]
        await ladder.climb(ENDS)

    run(story, "from-ue")


def test_what_a_fork_declined_is_open_for_the_one_that_answers() -> None:
    climbs("""
        caller: INVITE (offer)
        as one
        callee: 183 INVITE reliable (here)
        caller: PRACK
        callee: 200 PRACK
        as two
        callee: 183 INVITE reliable (no line)
        caller: PRACK
        callee: 200 PRACK
        as one
        callee: 200 INVITE
        serves 40100
        caller: ACK
        caller: BYE
        callee: 200
        """)


def test_where_the_one_that_answers_declined_the_context_goes_whatever_others_had() -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await climb(ladder, """
            caller: INVITE (offer)
            as one
            callee: 183 INVITE reliable (here)
            caller: PRACK
            callee: 200 PRACK
            as two
            callee: 200 INVITE (no line)
            caller: ACK
            """)
        await play.bed.settle(1)
        assert play.contexts == []
        await ladder.climb(ENDS)

    run(story, "from-ue")


@pytest.mark.parametrize("place", ALL)
def test_a_second_2xx_is_acknowledged_and_left_from_here(place: str) -> None:
    """One gateway, one far end: the caller never sees the other, and what stands is not touched."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, {"answer": lambda end: end.answer, "another": lambda end: end.answer.replace("40100", "40200")})
        await climb(ladder, """
            caller: INVITE (offer)
            as one
            callee: 200 INVITE (answer)
            caller: ACK
            """)
        asked = list(play.bed.gateway.asked)
        far = play.callee.accept(play.got, tag="two", body=play.callee.answer.replace("40100", "40200"))
        await play.callee.expect("ACK")
        bye = await play.callee.answer_bye()
        assert bye.to_tag == "two"
        assert bye.get("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
        play.callee.accept(play.got, tag="two", body=play.callee.answer.replace("40100", "40200"))   # the ACK was lost
        await play.callee.expect("ACK")
        assert play.callee.peer.count("ACK") == 3
        assert play.callee.peer.count("BYE") == 1
        assert play.caller.peer.is_quiet()
        assert play.bed.gateway.asked == asked
        play.callee.say(far, "BYE")   # it crosses ours
        await play.callee.expect(200)
        play.callee.say(far, "INFO")
        await play.callee.expect(481)
        await ladder.climb(ENDS)

    run(story, place)


def test_the_first_2xx_wins_whichever_answered_early() -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await climb(ladder, """
            caller: INVITE (offer)
            as one
            callee: 183 INVITE reliable (here)
            caller: PRACK
            callee: 200 PRACK
            as two
            callee: 183 INVITE reliable (there)
            caller: PRACK
            callee: 200 PRACK
            as one
            callee: 200 INVITE
            caller: ACK
            serves 40100
            """)
        play.callee.reply(play.got, 200, tag="two")
        await play.callee.expect("ACK")
        await play.callee.answer_bye()
        await climb(ladder, "serves 40100")
        await ladder.climb(ENDS)

    run(story, "from-ue")


def test_a_second_2xx_that_offers_is_answered_with_closed_lines() -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await climb(ladder, """
            caller: INVITE
            as one
            callee: 200 INVITE (offer here)
            caller: ACK (answer)
            serves 40100
            """)
        play.callee.reply(play.got, 200, tag="two", body=PLAIN_OFFER.replace("40100", "40200"))
        ack = await play.callee.expect("ACK")
        assert b"m=message 0 TCP/MSRP" in ack.body   # RFC 3261 §13.2.2.4: the offer must be answered
        await play.callee.answer_bye()
        await climb(ladder, "serves 40100")
        await ladder.climb(ENDS)

    run(story, "from-ue")


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_an_early_dialog_of_a_call_that_was_answered_elsewhere_negotiates_no_more(who: str) -> None:
    climbs(f"""
        caller: INVITE (offer)
        as two
        callee: 183 INVITE reliable (there)
        caller: PRACK
        callee: 200 PRACK
        as one
        callee: 200 INVITE (here)
        caller: ACK
        as two
        {who}: UPDATE (offer) !
        pcscf: 481 UPDATE {who}
        {who}: INFO
        {"callee" if who == "caller" else "caller"}: 200
        caller: BYE
        callee: 200 BYE
        serves 40100
        as one
        caller: BYE
        callee: 200
        """)


def test_an_answer_to_a_fork_that_lost_takes_the_gateway_from_nobody() -> None:
    climbs("""
        caller: INVITE
        as two
        callee: 183 INVITE reliable (offer there)
        as one
        callee: 200 INVITE (offer here)
        caller: ACK (answer)
        serves 40100
        as two
        caller: PRACK (answer) !
        pcscf: 481 PRACK caller
        serves 40100
        as one
        caller: BYE
        callee: 200
        """)


def test_an_early_dialog_that_ends_gives_the_gateway_to_the_one_that_answered_before_it() -> None:
    """RFC 6228: 199 tells that one fork is gone while the INVITE goes on."""
    climbs("""
        caller: INVITE (offer)
        as one
        callee: 183 INVITE (here)
        as two
        callee: 183 INVITE (there)
        serves 40200
        callee: 199 INVITE
        serves 40100
        as one
        callee: 200 INVITE (here)
        caller: ACK
        serves 40100
        caller: BYE
        callee: 200
        """)


def test_the_end_of_a_fork_that_is_not_served_moves_nothing() -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await climb(ladder, """
            caller: INVITE (offer)
            as one
            callee: 183 INVITE (here)
            as two
            callee: 183 INVITE (there)
            as three
            callee: 183 INVITE (no line)
            as one
            callee: 183 INVITE (elsewhere)
            serves 40300
            """)
        asked = list(play.bed.gateway.asked)
        await climb(ladder, """
            as three
            callee: 199 INVITE
            as two
            callee: 199 INVITE
            serves 40300
            as one
            callee: 199 INVITE
            callee: 486 INVITE
            """)
        assert play.bed.gateway.asked[len(asked):] in ([], [RELEASE])

    run(story, "from-ue")


def test_the_caller_ends_one_early_dialog_and_the_call_goes_on() -> None:
    """RFC 3261 §15: BYE in an early dialog ends that one alone."""
    climbs("""
        caller: INVITE (offer)
        as one
        callee: 183 INVITE (here)
        as two
        callee: 183 INVITE (there)
        caller: BYE
        callee: 200 BYE
        serves 40100
        as one
        callee: 200 INVITE (here)
        caller: ACK
        caller: BYE
        callee: 200 BYE
        """)


@pytest.mark.parametrize("place", ALL)
def test_the_caller_ends_the_only_early_dialog(place: str) -> None:
    """The callee answers the INVITE with 487 then (RFC 3261 §15.1.2)."""
    climbs("""
        caller: INVITE (offer)
        callee: 183 INVITE (answer)
        caller: BYE
        callee: 200 BYE
        callee: 487 INVITE
        """, place)


@pytest.mark.parametrize("place", ALL)
def test_where_the_gateway_has_no_part_every_2xx_passes(place: str) -> None:
    """RFC 3261 §16.7: a proxy lets every 2xx pass, and the caller has them both."""
    audio = "v=0\r\no=- 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8\r\n"

    async def story(play: Play) -> None:
        ladder = Ladder(play, {"audio": audio})
        await climb(ladder, """
            caller: INVITE (audio)
            as one
            callee: 200 INVITE (audio)
            caller: ACK
            as two
            callee: 200 INVITE (audio)
            caller: ACK
            as one
            caller: BYE
            callee: 200 BYE
            as two
            caller: BYE
            callee: 200 BYE
            """)
        assert play.bed.gateway.asked == AT_REGISTRATION

    run(story, place, policy=MediaPolicy(anchor_plain=False))
