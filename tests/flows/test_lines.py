"""Lines that are held, come, go and change their kind inside a session (RFC 3264 §8), offered by either side."""

from __future__ import annotations

import re
from functools import partial

import pytest

from pcscf.mediasec.model import Mode
from tests.support.audit import run
from tests.support.ladder import BEGINS, ENDS, Body, Ladder
from tests.support.ladder import climbs as ladder_climbs
from tests.support.parties import crlf
from tests.support.plays import Play

ALL = ("from-ue", "to-ue", "between-ues")

AUDIO = "m=audio 20000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
FAX = "m=image 20002 udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"
SESSION = crlf("""
    v=0
    o=- 7 7 IN IP4 192.0.2.77
    s=-
    c=IN IP4 192.0.2.77
    t=0 0
    """)


def with_another_line(own: str) -> str:
    """The description with its MSRP line twice: another session on a path of its own."""
    line = own[own.index("m=message"):]
    return own + re.sub(r"/\w+;tcp", "/second;tcp", line)


def closed(own: str) -> str:
    """With the (last) line taken out of use."""
    head, _, line = own.rpartition("m=message ")
    return f"{head}m=message 0 {line.partition(' ')[2]}"


BODIES: dict[str, Body] = {
    "hold": lambda end: end.offer + "a=sendonly\r\n",
    "held": lambda end: end.answer + "a=recvonly\r\n",
    "two": lambda end: with_another_line(end.offer),
    "both": lambda end: with_another_line(end.answer),
    "only one": lambda end: closed(with_another_line(end.answer)),
    "one left": lambda end: closed(with_another_line(end.offer)),
    "none": lambda end: closed(end.offer),
    "none either": lambda end: closed(end.answer),
    "audio": SESSION + AUDIO,
    "fax": SESSION + FAX,
    "no fax": SESSION + FAX.replace("20002", "0"),
    "audio gives way": SESSION + AUDIO.replace("20000", "0") + FAX,
    "audio and messages": lambda end: end.offer + AUDIO,
    "audio and answer": lambda end: end.answer + AUDIO,
    "fax and messages": lambda end: end.offer + FAX,
    "fax and answer": lambda end: end.answer + FAX,
}

climbs = partial(ladder_climbs, BODIES)


def at_the_machine(description: str) -> str:
    """With the ports of the telephone and of its fax where the gateway has put its own."""
    ports = {"audio": 20000, "image": 20002}
    return re.sub(r"m=(audio|image) [34]\d{4} ", lambda match: f"m={match[1]} {ports[match[1]]} ", description)


def message_line(description: str) -> str:
    return next(line for line in description.splitlines() if line.startswith("m=message "))


def modes(play: Play) -> list[tuple[Mode, ...]]:
    """What stands, per half-call."""
    return [
        tuple(line.mode for line in plan.lines)
        for session in play.bed.store.sessions() for plan in session.standing.values()]


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("place", ALL)
def test_hold_and_resume(place: str, method: str, who: str) -> None:
    """RFC 3264 §8.4, RFC 4145 §6.2: direction says nothing of the connection, so the gateway is not told."""
    other = "callee" if who == "caller" else "caller"
    ack = f"{who}: ACK" if method == "INVITE" else ""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        told = play.bed.gateway.asked.count(("Modify", "Modify"))
        await ladder.climb(f"""
            {who}: {method} (hold)
            {other}: 200 (held)
            {ack}
            """)
        assert "a=sendonly" in ladder.description(other, method)
        assert "a=recvonly" in ladder.description(who, "200")
        held = play.bed.gateway.asked.count(("Modify", "Modify"))
        if (place, who) != ("between-ues", "callee"):   # there the half-calls offer one another their ports for the first time
            assert held == told
        await ladder.climb(f"""
            {who}: {method} (offer)
            {other}: 200 (answer)
            {ack}
            """)
        assert "a=sendonly" not in ladder.description(other, method)
        assert play.bed.gateway.asked.count(("Modify", "Modify")) == held
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_a_line_is_added_removed_and_its_slot_used_again(place: str) -> None:
    """RFC 3264 §8.1, §8.2."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        contexts = play.contexts
        for offer, answer, live in (("two", "both", 2), ("one left", "only one", 1), ("two", "both", 2)):
            await ladder.climb(f"""
                caller: INVITE ({offer})
                callee: 200 ({answer})
                caller: ACK
                """)
            assert play.contexts == contexts   # the same context, whatever becomes of its streams
            for standing in modes(play):
                assert sum(mode in {Mode.TERMINATE, Mode.PROTECT} for mode in standing) == live
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_an_added_line_that_is_declined_leaves_the_other(place: str) -> None:
    climbs(place, BEGINS, """
        callee: UPDATE (two)
        caller: 200 (only one)
        """, ENDS)


@pytest.mark.parametrize("place", ALL)
def test_the_last_line_goes_and_the_context_with_it_and_one_comes_again(place: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        await ladder.climb("""
            caller: INVITE (none)
            callee: 200 (none either)
            caller: ACK
            """)
        await play.bed.settle(1)
        assert play.contexts == []
        await ladder.climb("""
            callee: INVITE (offer)
            caller: 200 (answer)
            callee: ACK
            """)
        assert len(play.contexts) == len(play.served)
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("place", ALL)
def test_audio_becomes_fax_in_its_slot_and_audio_again(place: str, who: str) -> None:
    """RFC 3264 §8.3.3: the kind of a line may change. Audio has its ports at the gateway again when it comes back."""
    other = "callee" if who == "caller" else "caller"

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (audio)
            callee: 200 (audio)
            caller: ACK
            """)
        ports = [line for line in ladder.description("callee", "INVITE").splitlines() if line.startswith("m=")]
        for kind in ("fax", "audio", "fax", "audio"):
            await ladder.climb(f"""
                {who}: INVITE ({kind})
                {other}: 200 ({kind})
                {who}: ACK
                """)
            offer, body = ladder.description(other, "INVITE"), str(BODIES[kind])
            assert body[body.index("m="):] in at_the_machine(offer)
        seen_by_callee = offer if other == "callee" else ladder.description("callee", "200")
        assert ports == [line for line in seen_by_callee.splitlines() if line.startswith("m=")]
        assert len(play.contexts) == len(play.served)
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("refusal", [
    "{who}: INVITE (fax)\n{other}: 488 INVITE",
    "{who}: INVITE (fax)\n{other}: 200 (no fax)\n{who}: ACK\n{who}: INVITE (audio)\n{other}: 200 (audio)\n{who}: ACK",
])
@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("place", ALL)
def test_fax_that_is_refused_leaves_audio(place: str, who: str, refusal: str) -> None:
    """RFC 3264 §8: what was refused never was; a line declined with port 0 can be had again by another offer."""
    other = "callee" if who == "caller" else "caller"

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (audio)
            callee: 200 (audio)
            caller: ACK
            """)
        before = modes(play)
        await ladder.climb(refusal.format(who=who, other=other))
        assert modes(play) == before
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_fax_in_a_slot_of_its_own_with_audio_closed(place: str) -> None:
    """The form of RFC 7345 appendix A.3."""
    climbs(place, """
        caller: INVITE (audio)
        callee: 200 (audio)
        caller: ACK
        callee: INVITE (audio gives way)
        caller: 200 (audio gives way)
        callee: ACK
        """, ENDS)


@pytest.mark.parametrize("place", ALL)
def test_audio_beside_messages_becomes_fax_and_the_messages_stay(place: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (audio and messages)
            callee: 200 (audio and answer)
            caller: ACK
            """)
        contexts, line = play.contexts, message_line(ladder.description("callee", "INVITE"))
        await ladder.climb("""
            caller: INVITE (fax and messages)
            callee: 200 (fax and answer)
            caller: ACK
            """)
        offer = ladder.description("callee", "INVITE")
        assert "m=image 20002 udptl t38" in at_the_machine(offer)
        assert (play.contexts, message_line(offer)) == (contexts, line)
        await ladder.climb(ENDS)

    run(story, place)
