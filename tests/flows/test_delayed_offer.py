"""The callee offers: in the 2xx with the answer in ACK, or in a reliable 1xx with the answer in PRACK (RFC 3261 §13.2.1,
RFC 3262 §5, RFC 6337 §2.2). Who sent the INVITE does not matter: the direction of the offer decides (TS 33.328 §7.2, §7.3).
"""

from __future__ import annotations

from functools import partial

import pytest

from tests.support.audit import run
from tests.support.ends import End
from tests.support.flowbed import Bed
from tests.support.ladder import ENDS, Body, Ladder
from tests.support.ladder import climbs as ladder_climbs
from tests.support.plays import Play

ALL = ("from-ue", "to-ue", "between-ues")
UE_ANSWERS = ("from-ue", "between-ues")   # here the caller answers


def plain(end: End) -> str:
    """The answer of an end that gives up protection."""
    return end.answer.replace("TCP/TLS/MSRP", "TCP/MSRP")


def bare(end: End) -> str:
    """An answer without a certificate to check."""
    return "".join(line for line in end.answer.splitlines(keepends=True) if not line.startswith("a=fingerprint"))


def bent(end: End) -> str:
    """An answer whose role no offer of actpass or active allows."""
    return end.answer.replace("a=setup:active", "a=setup:actpass")


BODIES: dict[str, Body] = {
    "plain": plain, "no certificate": bare, "illegal role": bent, "nonsense": "v=0\r\nnonsense\r\n",
    "sendonly": lambda end: end.offer + "a=sendonly\r\n",
}


climbs = partial(ladder_climbs, BODIES)


def contexts(bed: Bed) -> int:
    return len(bed.gateway.table.contexts)


@pytest.mark.parametrize("place", ALL)
def test_the_2xx_offers_and_the_ack_answers(place: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play)
        await ladder.climb("""
            caller: INVITE
            callee: 180
            """)
        assert contexts(play.bed) == 0   # nothing to reserve before the offer comes
        await ladder.climb("""
            callee: 200 (offer)
            caller: ACK (answer)
            """)
        assert contexts(play.bed) == len(play.served)
        offer, answer = ladder.description("caller", "200"), ladder.description("callee", "ACK")
        if play.caller.peer is not play.bed.core:   # the offer came out of the core: PROTECT
            assert " TCP/TLS/MSRP *" in offer
            assert "a=3ge2ae:applied" in offer
            assert "a=fingerprint:sha-256 00:01:02" in offer
        else:
            assert "TCP/MSRP" in offer
        if play.callee.peer is not play.bed.core:   # the answer to the UE's offer: TERMINATE
            assert "TCP/TLS/MSRP" in answer
            assert "a=fingerprint:sha-256 00:01:02" in answer
            assert "3ge2ae" not in answer
        else:
            assert "TCP/MSRP" in answer
        assert all(
            stream.remote is not None for context in play.bed.gateway.table.contexts.values()
            for termination in context.terminations.values() for stream in termination.streams.values())
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_a_reliable_183_offers_and_the_prack_answers(place: str) -> None:
    """RFC 3262 §5: and the 2xx that says it again leaves in the same octets, with no gateway in between."""

    async def story(play: Play) -> None:
        ladder = Ladder(play)
        await ladder.climb("""
            caller: INVITE
            callee: 183 reliable (offer)
            caller: PRACK (answer)
            callee: 200 PRACK
            """)
        asked = len(play.bed.gateway.asked)
        offer = ladder.description("caller", "183")
        await ladder.climb("""
            callee: 200 INVITE (offer)
            caller: ACK
            """)
        assert ladder.description("caller", "200") == offer
        assert len(play.bed.gateway.asked) == asked
        assert contexts(play.bed) == len(play.served)
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_an_unreliable_183_is_a_preview_of_the_offer(place: str) -> None:
    """RFC 6337 §3.1.1: nothing is answered before a reliable message has said it."""

    async def story(play: Play) -> None:
        ladder = Ladder(play)
        await ladder.climb("""
            caller: INVITE
            callee: 183 (offer)
            callee: 200 (offer)
            """)
        assert ladder.description("caller", "183") == ladder.description("caller", "200")
        await ladder.climb("""
            caller: ACK (answer)
            caller: BYE
            callee: 200
            """)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_a_preview_that_was_wrong_is_replaced(place: str) -> None:
    climbs(place, """
        caller: INVITE
        callee: 183 (offer)
        callee: 200 (sendonly)
        caller: ACK (answer)
        caller: BYE
        callee: 200
        """)


@pytest.mark.parametrize("place", ALL)
def test_an_early_re_offer_in_prack_and_its_answer(place: str) -> None:
    """RFC 3262 §5: a PRACK may offer anew once the INVITE's offer was answered; its 200 answers (RFC 6337 §2.2)."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (offer)
            callee: 183 reliable (answer)
            caller: PRACK (sendonly)
            callee: 200 PRACK (answer)
            """)
        assert "a=sendonly" in ladder.description("callee", "PRACK")
        assert "message" in ladder.description("caller", "200")
        await ladder.climb("""
            callee: 200 INVITE
            caller: ACK
            callee: BYE
            caller: 200
            """)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_a_second_reliable_183_can_be_pracked_with_an_offer(place: str) -> None:
    climbs(place, """
        caller: INVITE
        callee: 183 reliable (offer)
        caller: PRACK (answer)
        callee: 200 PRACK
        callee: 183 INVITE reliable
        caller: PRACK (sendonly)
        callee: 200 PRACK (answer)
        callee: 200 INVITE
        caller: ACK
        caller: BYE
        callee: 200
        """)


@pytest.mark.parametrize("place", ALL)
def test_an_offer_in_prack_while_one_is_open_meets_491(place: str) -> None:
    """RFC 3264 §4: one offer at a time. The 183 said nothing of media, so the INVITE's offer is still open."""
    climbs(place, """
        caller: INVITE (offer)
        callee: 183 reliable
        caller: PRACK (sendonly) !
        pcscf: 491 PRACK caller
        callee: 200 INVITE (answer)
        caller: ACK
        caller: BYE
        callee: 200
        """)


@pytest.mark.parametrize("place", ALL)
def test_either_side_asks_for_an_offer_in_the_session(place: str) -> None:
    """RFC 3261 §14.1: a re-INVITE without an offer; the far end offers what it has, and the lines stay protected."""

    async def story(play: Play) -> None:
        ladder = Ladder(play)
        await ladder.climb("""
            caller: INVITE (offer)
            callee: 200 (answer)
            caller: ACK
            callee: INVITE
            caller: 200 (offer)
            callee: ACK (answer)
            """)
        if play.callee.peer is not play.bed.core:
            assert "TCP/TLS/MSRP" in ladder.description("callee", "200")
        await ladder.climb("""
            caller: INVITE
            callee: 200 (offer)
            caller: ACK (answer)
            """)
        assert contexts(play.bed) == len(play.served)
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_what_a_reliable_183_changed_in_a_re_invite_is_undone_by_its_refusal(place: str) -> None:
    """RFC 6141 §3.4: after a refusal none of it counts, whatever PRACK had answered."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (offer)
            callee: 200 (answer)
            caller: ACK
            """)
        before = [dict(each.standing) for each in play.bed.store.sessions()]
        await ladder.climb("""
            caller: INVITE
            callee: 183 reliable (sendonly)
            caller: PRACK (answer)
            callee: 200 PRACK
            callee: 488 INVITE
            """)
        assert [dict(each.standing) for each in play.bed.store.sessions()] == before
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("wrong", ["plain", "no certificate", "illegal role", "nonsense"])
@pytest.mark.parametrize("place", UE_ANSWERS)
def test_an_ack_that_drops_protection_ends_the_session_both_ways(place: str, wrong: str) -> None:
    """CA3, CA4, CA5: an ACK cannot be refused. What goes on is an answer that closes every line (RFC 3261 §13.2.2.4)."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(f"""
            caller: INVITE
            callee: 200 (offer)
            caller: ACK ({wrong})
            """)
        assert "m=message 0 " in ladder.description("callee", "ACK")
        await ladder.climb("""
            pcscf: BYE caller
            pcscf: BYE callee
            """)
        assert "cause=" in str(ladder.heard["callee", "BYE"].get("Reason"))
        assert contexts(play.bed) == 0

    run(story, place)


@pytest.mark.parametrize("wrong", ["plain", "no certificate", "illegal role"])
@pytest.mark.parametrize("place", UE_ANSWERS)
def test_a_prack_that_drops_protection_ends_the_call(place: str, wrong: str) -> None:
    climbs(place, f"""
        caller: INVITE
        callee: 183 reliable (offer)
        caller: PRACK ({wrong}) !
        pcscf: 488 PRACK caller
        pcscf: 488 INVITE caller
        pcscf: CANCEL callee
        """)


@pytest.mark.parametrize("wrong", ["plain", "no certificate", "illegal role"])
@pytest.mark.parametrize("place", UE_ANSWERS)
def test_a_prack_in_a_session_that_drops_protection_ends_it_both_ways(place: str, wrong: str) -> None:
    climbs(place, f"""
        caller: INVITE (offer)
        callee: 200 (answer)
        caller: ACK
        caller: INVITE
        callee: 183 reliable (offer)
        caller: PRACK ({wrong}) !
        pcscf: 488 PRACK caller
        pcscf: BYE caller
        pcscf: BYE callee
        callee: 487 INVITE
        """)


@pytest.mark.parametrize("place", ALL)
def test_an_ack_without_the_answer_ends_the_session_both_ways(place: str) -> None:
    climbs(place, """
        caller: INVITE
        callee: 200 (offer)
        caller: ACK
        pcscf: BYE caller
        pcscf: BYE callee
        """)


@pytest.mark.parametrize("place", ALL)
def test_an_ack_to_a_re_invite_that_never_comes_ends_the_session(place: str) -> None:
    climbs(place, """
        caller: INVITE (offer)
        callee: 200 (answer)
        caller: ACK
        caller: INVITE
        callee: 200 (offer)
        pcscf: BYE caller
        pcscf: BYE callee
        """)


@pytest.mark.parametrize("place", ALL)
def test_a_description_in_an_ack_that_nobody_asked_for_goes_no_further(place: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play)
        await ladder.climb("""
            caller: INVITE (offer)
            callee: 200 (answer)
            caller: ACK (offer)
            """)
        assert not ladder.heard["callee", "ACK"].body
        assert ladder.heard["callee", "ACK"].get("Content-Type") is None
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_a_2xx_that_offers_nothing_passes(place: str) -> None:
    climbs(place, """
        caller: INVITE
        callee: 200
        caller: ACK
        caller: BYE
        callee: 200
        """)


@pytest.mark.parametrize("place", ALL)
def test_a_session_that_had_no_media_has_none_again_after_a_refusal(place: str) -> None:
    """RFC 6141 §3.4, where nothing stood before: the gateway gets its context back."""

    async def story(play: Play) -> None:
        ladder = Ladder(play)
        await ladder.climb("""
            caller: INVITE
            callee: 200
            caller: ACK
            callee: INVITE
            caller: 183 reliable (offer)
            callee: PRACK (answer)
            caller: 200 PRACK
            """)
        assert contexts(play.bed) == len(play.served)
        await ladder.climb("caller: 488 INVITE")
        await play.bed.settle(1)
        assert contexts(play.bed) == 0
        assert all(not each.standing for each in play.bed.store.sessions())
        await ladder.climb(ENDS)

    run(story, place)
