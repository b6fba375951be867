"""Session timers (RFC 4028): the P-CSCF asks for none, learns those of the ends, and releases what nobody refreshed."""

from __future__ import annotations

import pytest

from tests.support.audit import run
from tests.support.ladder import Ladder
from tests.support.plays import Play

ALL = ("from-ue", "to-ue", "between-ues")

TIMED = """
    caller: INVITE (offer) {Supported: timer | Session-Expires: 300;refresher=uac}
    callee: 200 (answer) {Require: timer | Session-Expires: 300;refresher=uac}
    caller: ACK
    """
ENDS = """
    callee: BYE
    caller: 200
    """


async def sweep(play: Play, seconds: float) -> None:
    """Time passes, and the P-CSCF looks round."""
    for _ in range(int(seconds)):
        await play.bed.settle(1)
        play.bed.watch()


def running(play: Play) -> int:
    return len(play.bed.store.sessions())


@pytest.mark.parametrize("place", ALL)
def test_a_session_that_nobody_refreshes_is_released_after_its_grace(place: str) -> None:
    """§10: the ends say BYE before the expiry; when neither did, it is over."""

    async def story(play: Play) -> None:
        ladder = Ladder(play)
        await ladder.climb(TIMED)
        await sweep(play, 325)
        assert running(play) == len(play.served)
        await sweep(play, 10)
        await ladder.climb("""
            pcscf: BYE caller
            pcscf: BYE callee
            """)
        assert "cause=408" in str(ladder.heard["caller", "BYE"].get("Reason"))

    run(story, place)


@pytest.mark.parametrize("refresh", [
    "caller: UPDATE {Session-Expires: 300;refresher=uac}\ncallee: 200 {Session-Expires: 300;refresher=uac}",
    "callee: UPDATE {Session-Expires: 300;refresher=uas}\ncaller: 200 {Session-Expires: 300;refresher=uas}",
    "caller: INVITE (offer)\ncallee: 200 (answer) {Session-Expires: 300;refresher=uac}\ncaller: ACK",
])
@pytest.mark.parametrize("place", ALL)
def test_a_refresh_begins_the_interval_anew(place: str, refresh: str) -> None:
    """§10: only a 2xx to INVITE or UPDATE does."""

    async def story(play: Play) -> None:
        ladder = Ladder(play)
        await ladder.climb(TIMED)
        await sweep(play, 290)
        await ladder.climb(refresh)
        await sweep(play, 290)
        assert running(play) == len(play.served)
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("noise", [
    "caller: INFO\ncallee: 200", "caller: UPDATE {Session-Expires: 60}\ncallee: 422 {Min-SE: 400}",
    "caller: MESSAGE\ncallee: 200 {Session-Expires: 9000}",
])
def test_what_is_no_refresh_does_not(noise: str) -> None:
    """§7.4, §10: a 422 least of all."""

    async def story(play: Play) -> None:
        ladder = Ladder(play)
        await ladder.climb(TIMED)
        await sweep(play, 290)
        await ladder.climb(noise)
        await sweep(play, 50)
        await ladder.climb("""
            pcscf: BYE caller
            pcscf: BYE callee
            """)

    run(story, "from-ue")


@pytest.mark.parametrize("answer", ["", " {Session-Expires: nonsense}", " {Session-Expires: 99999999999999999999}"])
def test_a_2xx_without_an_interval_ends_the_timer(answer: str) -> None:
    """§8.2: without Session-Expires in the 2xx there is no session timer."""

    async def story(play: Play) -> None:
        ladder = Ladder(play)
        await ladder.climb(TIMED)
        await ladder.climb(f"""
            caller: UPDATE
            callee: 200{answer}
            """)
        await play.bed.ue.bed.settle(400)
        play.bed.watch()
        await play.bed.settle(1)
        assert running(play) == 1
        await ladder.climb(ENDS)

    run(story, "from-ue")


@pytest.mark.parametrize(("asked", "granted", "kept"), [("", "1", 90), ("Min-SE: 200 | ", "100", 200)])
def test_no_interval_is_shorter_than_it_may_be(asked: str, granted: str, kept: int) -> None:
    """§4, §5: 90 seconds, and what the request says in Min-SE."""

    async def story(play: Play) -> None:
        ladder = Ladder(play)
        await ladder.climb(f"""
            caller: INVITE (offer) {{{asked}Supported: timer}}
            callee: 200 (answer) {{Session-Expires: {granted};refresher=uac}}
            caller: ACK
            """)
        await sweep(play, kept + 25)
        assert running(play) == 1
        await sweep(play, 15)
        await ladder.climb("""
            pcscf: BYE caller
            pcscf: BYE callee
            """)

    run(story, "from-ue")


def test_the_fields_pass_as_they_are() -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play)
        await ladder.climb("""
            caller: INVITE (offer) {Supported: timer | Session-Expires: 300 | Min-SE: 90}
            callee: 422 {Min-SE: 1800}
            """)
        assert ladder.heard["callee", "INVITE"].get("Session-Expires") == "300"
        assert ladder.heard["callee", "INVITE"].get("Min-SE") == "90"
        assert ladder.heard["caller", "422"].get("Min-SE") == "1800"

    run(story, "from-ue")
