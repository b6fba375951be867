"""Early sessions (RFC 3959): the gateway has no stream for a second session in a call, so nobody gets one."""

from __future__ import annotations

import pytest

from tests.support.audit import run
from tests.support.ends import End
from tests.support.ladder import ENDS, Body, Ladder
from tests.support.plays import Play

ALL = ("from-ue", "to-ue", "between-ues")
MIXED = "Content-Type: multipart/mixed;boundary=edge"
RINGBACK = "v=0\r\no=- 9 9 IN IP4 192.0.2.99\r\ns=-\r\nc=IN IP4 192.0.2.99\r\nt=0 0\r\nm=audio 20900 RTP/AVP 8\r\n"


def beside(sdp: str, handling: str) -> str:
    """The session and an early one."""
    parts = f"Content-Type: application/sdp\r\nContent-Disposition: session\r\n\r\n{sdp}", early(handling)
    return "".join(f"--edge\r\n{part}\r\n" for part in parts) + "--edge--\r\n"


def early(handling: str) -> str:
    return f"Content-Type: application/sdp\r\nContent-Disposition: early-session{handling}\r\n\r\n{RINGBACK}"


def _offer(handling: str) -> Body:
    return lambda end: beside(end.offer, handling)


def _answer(end: End) -> str:
    return beside(end.answer, "")


BODIES: dict[str, Body] = {
    "with an early one": _offer(""), "with an optional one": _offer(";handling=optional"), "answer and early offer": _answer,
    "early": RINGBACK,
}


@pytest.mark.parametrize("place", ALL)
def test_nobody_is_told_that_early_sessions_are_known(place: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (offer) {Supported: 100rel, Early-Session, timer | Supported: early-session}
            callee: 183 reliable (answer) {Supported: early-session}
            caller: PRACK
            callee: 200 PRACK
            callee: 200 INVITE
            caller: ACK
            """)
        assert ladder.heard["callee", "INVITE"].values("Supported") == ["100rel", "timer"]
        assert "Supported" not in ladder.heard["caller", "183"]
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_an_early_offer_that_comes_all_the_same_is_taken_out(place: str) -> None:
    """The flow of RFC 3959 §7 with a callee that did not wait to be told: the session goes on without the early one."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(f"""
            caller: INVITE (offer)
            callee: 183 reliable (answer and early offer) {{{MIXED}}}
            caller: PRACK
            callee: 200 PRACK
            callee: 200 INVITE
            caller: ACK
            """)
        got = ladder.heard["caller", "183"]
        assert b"m=message" in got.body
        assert b"RTP/AVP" not in got.body
        assert got.get("Content-Length") == str(len(got.body))
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_an_optional_early_offer_is_ignored_and_one_that_must_be_understood_is_refused(place: str) -> None:
    """RFC 3261 §20.11: handling=required is what a body has that says nothing."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(f"""
            caller: INVITE (with an early one) {{{MIXED}}} !
            pcscf: 415 caller
            """)
        await ladder.climb(f"""
            caller: INVITE (with an optional one) {{{MIXED}}}
            callee: 200 (answer)
            caller: ACK
            caller: UPDATE (with an optional one) {{{MIXED}}}
            callee: 200 (answer)
            caller: UPDATE (with an early one) {{{MIXED}}} !
            pcscf: 415 UPDATE caller
            """)
        for what in ("INVITE", "UPDATE"):
            assert "m=message" in ladder.description("callee", what)
            assert "RTP/AVP" not in ladder.description("callee", what)
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_an_invite_that_requires_them_is_refused(place: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (offer) {Require: early-session} !
            pcscf: 420 caller
            """)
        assert ladder.heard["caller", "420"].get("Unsupported") == "early-session"

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_an_early_session_alone_leaves_nothing(place: str) -> None:
    """In a 2xx and an ACK there must be none (RFC 3959 §4); in an INVITE it is no offer."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (early) {Content-Disposition: early-session;handling=optional}
            callee: 200 (offer)
            caller: ACK (answer)
            callee: INVITE (offer)
            caller: 200 (answer)
            callee: ACK (early) {Content-Disposition: early-session}
            """)
        for what in ("INVITE", "ACK"):
            assert not ladder.heard["callee" if what == "INVITE" else "caller", what].body
        await ladder.climb(ENDS)

    run(story, place)
