"""Early dialogs, forks, glare, and what passes in a session without being an offer (RFC 3261 §13 and §14, RFC 3262, RFC 3311)."""

from __future__ import annotations

from functools import partial

import pytest

from pcscf.mediasec.model import Direction
from tests.support.audit import run
from tests.support.flowbed import Bed
from tests.support.ladder import BEGINS, ENDS, Body, Ladder
from tests.support.ladder import climbs as ladder_climbs
from tests.support.parties import PLAIN_ANSWER, PLAIN_OFFER, UE_FINGERPRINT, crlf
from tests.support.plays import Play

ALL = ("from-ue", "to-ue", "between-ues")

PRECONDITIONS = crlf("""
    a=curr:qos local none
    a=curr:qos remote none
    a=des:qos mandatory local sendrecv
    a=des:qos none remote sendrecv
    """)
BODIES: dict[str, Body] = {
    "sendonly": lambda end: end.offer + "a=sendonly\r\n",
    "other certificate": lambda end: end.offer.replace(":A1:", ":FE:"),
    "not yet": lambda end: end.offer + PRECONDITIONS,
    "not yet either": lambda end: end.answer + PRECONDITIONS,
    "ready": lambda end: end.offer + PRECONDITIONS.replace("local none", "local sendrecv"),
    "here": PLAIN_ANSWER,
    "there": PLAIN_ANSWER.replace("40100", "40200"),
    "offer here": PLAIN_OFFER,
    "offer there": PLAIN_OFFER.replace("40100", "40200"),
    "plain": lambda end: end.answer.replace("TCP/TLS/MSRP", "TCP/MSRP"),
}

climbs = partial(ladder_climbs, BODIES)


def core_peer(bed: Bed) -> tuple[str, int]:
    """Where the gateway sends to on the core side."""
    (session,) = bed.store.sessions()
    assert session.told is not None
    leg = session.told.lines[0].core
    assert leg is not None
    assert leg.peer_address is not None
    return leg.peer_address


@pytest.mark.parametrize("place", ALL)
def test_preconditions_pass_untouched(place: str) -> None:
    """RFC 3312: offer in INVITE, answer in a reliable 183, then UPDATE when the resources are there."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (not yet) {Require: precondition | Supported: 100rel}
            callee: 183 reliable (not yet either)
            caller: PRACK
            callee: 200 PRACK
            caller: UPDATE (ready)
            callee: 200 UPDATE (not yet either)
            callee: 180 INVITE
            callee: 200 INVITE
            caller: ACK
            """)
        assert PRECONDITIONS in ladder.description("callee", "INVITE")
        assert PRECONDITIONS in ladder.description("caller", "183")
        assert "a=curr:qos local sendrecv" in ladder.description("callee", "UPDATE")
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("again", [" (answer)", " (plain)", ""])
@pytest.mark.parametrize("place", ALL)
def test_after_a_reliable_answer_what_the_2xx_says_of_media_does_not_count(place: str, again: str) -> None:
    """RFC 3261 §13.2.1: the caller must ignore it. It gets what it got, so nobody can be talked out of protection."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(f"""
            caller: INVITE (offer)
            callee: 183 reliable (answer)
            caller: PRACK
            callee: 200 PRACK
            callee: 200 INVITE{again}
            caller: ACK
            """)
        told = ladder.heard["caller", "200"].body
        assert told == (ladder.heard["caller", "183"].body if again else b"")
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_an_update_that_came_early_stands_when_the_2xx_repeats_the_first_answer(place: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (offer)
            callee: 183 reliable (answer)
            caller: PRACK
            callee: 200 PRACK
            callee: UPDATE (sendonly)
            caller: 200 UPDATE (answer)
            """)
        standing = [dict(each.standing) for each in play.bed.store.sessions()]
        await ladder.climb("""
            callee: 200 INVITE (answer)
            caller: ACK
            """)
        assert [dict(each.standing) for each in play.bed.store.sessions()] == standing
        assert ladder.heard["caller", "200"].body == ladder.heard["caller", "183"].body
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_a_preview_that_the_2xx_does_not_repeat_is_the_answer(place: str) -> None:
    """Not what RFC 3261 §13.3.1.4 wants, but what ends do: a session that can be changed follows."""
    climbs(place, """
        caller: INVITE (offer)
        callee: 183 (answer)
        callee: 200
        caller: ACK
        callee: UPDATE (sendonly)
        caller: 200 (answer)
        """, ENDS)


def test_a_preview_that_was_wrong_is_replaced_by_the_answer() -> None:
    """RFC 6337 §3.1.1: an unreliable 183 counts for nothing, so the gateway follows the 2xx."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("""
            caller: INVITE (offer)
            callee: 183 (here)
            """)
        assert core_peer(play.bed) == ("198.51.100.50", 40100)
        await ladder.climb("""
            callee: 200 (there)
            caller: ACK
            """)
        assert core_peer(play.bed) == ("198.51.100.50", 40200)
        await ladder.climb(ENDS)

    run(story, "from-ue")


@pytest.mark.parametrize("place", ALL)
def test_an_update_after_a_mere_preview_meets_491(place: str) -> None:
    """RFC 3311 §5.1: the INVITE's offer is still without answer."""
    climbs(place, """
        caller: INVITE (offer)
        callee: 183 (answer)
        caller: UPDATE (sendonly) !
        pcscf: 491 UPDATE caller
        callee: 200 INVITE (answer)
        caller: ACK
        """, ENDS)


def test_what_is_kept_of_earlier_changes_is_bounded() -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        for _ in range(5):
            for who, other in (("caller", "callee"), ("callee", "caller")):
                await ladder.climb(f"""
                    {who}: INVITE (offer)
                    {other}: 200 (answer)
                    {who}: ACK
                    {who}: UPDATE (sendonly)
                    {other}: 200 (answer)
                    """)
        (session,) = play.bed.store.sessions()
        assert len(session.negotiations) <= 2
        assert not session.before
        await ladder.climb(ENDS)

    run(story, "from-ue")


@pytest.mark.parametrize("place", ALL)
def test_an_offer_under_the_number_of_another_transaction_goes_no_further(place: str) -> None:
    """RFC 3261 §12.2.1.1: every request of a dialog has a CSeq of its own, so what is said of one offer is of no other."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        update = ladder.dialogs["caller", ""].request("UPDATE")
        update.set("CSeq", f"{play.sent.cseq[0]} UPDATE")
        update.set_body(play.caller.offer.encode(), "application/sdp")
        play.caller.send(update)
        await play.caller.expect(491)
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("place", ALL)
def test_a_change_that_is_accepted_without_an_answer_changes_nothing(place: str, method: str) -> None:
    """Against RFC 3264 §5, so the offer counts as refused; the next one is as good as ever."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        before = [dict(each.standing) for each in play.bed.store.sessions()]
        ack = "caller: ACK" if method == "INVITE" else ""
        await ladder.climb(f"caller: {method} (other certificate)\ncallee: 200\n{ack}")
        assert [dict(each.standing) for each in play.bed.store.sessions()] == before
        await ladder.climb(f"caller: {method} (sendonly)\ncallee: 200 (answer)\n{ack}")
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_an_update_before_the_first_answer_meets_491(place: str) -> None:
    """RFC 3311 §5.2."""
    climbs(place, """
        caller: INVITE (offer)
        callee: 180
        callee: UPDATE (sendonly) !
        pcscf: 491 UPDATE callee
        callee: 200 INVITE (answer)
        caller: ACK
        """, ENDS)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("place", ALL)
def test_glare(place: str, method: str) -> None:
    """RFC 3261 §14.1: the second offer meets 491, the first goes on, and both can be tried again."""
    climbs(place, BEGINS, f"""
        caller: INVITE (sendonly)
        callee: {method} (sendonly) !
        pcscf: 491 {method} callee
        callee: 200 INVITE (answer)
        caller: ACK
        callee: {method} (sendonly)
        caller: 200 {method} (answer)
        {"callee: ACK" if method == "INVITE" else ""}
        """, ENDS)


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("status", [401, 422, 488, 491, 500, 606])
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_refused_change_leaves_what_stood(method: str, status: int, who: str) -> None:
    """RFC 3264 §8, RFC 3311 §5.2."""
    other = "callee" if who == "caller" else "caller"

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb(BEGINS)
        (session,) = play.bed.store.sessions()
        before, media = dict(session.standing), session.media
        await ladder.climb(f"""
            {who}: {method} (other certificate)
            {other}: {status} {method}
            """)
        assert (session.standing, session.media) == (before, media)
        (context,) = play.bed.gateway.table.contexts.values()
        access = next(each for each in context.terminations.values() if each.realm == "access")
        assert access.streams[1].remote.fingerprints[0].value in (UE_FINGERPRINT, f"01{UE_FINGERPRINT[2:]}")
        await ladder.climb(ENDS)

    run(story, "from-ue")


@pytest.mark.parametrize("place", ["to-ue", "between-ues"])
def test_an_update_whose_answer_drops_protection_ends_the_session(place: str) -> None:
    """CA4, in the 2xx of an UPDATE."""
    climbs(place, BEGINS, """
        caller: UPDATE (offer)
        callee: 200 (plain) !
        pcscf: 488 UPDATE caller
        pcscf: BYE caller
        pcscf: BYE callee
        """)


def test_the_fork_that_answers_in_the_end_gets_the_gateway() -> None:
    """RFC 3261 §13.2.2.4: every early dialog has an answer of its own; the 2xx selects."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("caller: INVITE (offer)")
        for ladder.tag, body in (("one", "here"), ("two", "there")):
            await ladder.climb(f"callee: 183 INVITE reliable ({body})\ncaller: PRACK\ncallee: 200 PRACK")
        assert core_peer(play.bed) == ("198.51.100.50", 40200)
        ladder.tag = "one"
        await ladder.climb("callee: 200 INVITE\ncaller: ACK")
        assert core_peer(play.bed) == ("198.51.100.50", 40100)
        await ladder.climb(ENDS)

    run(story, "from-ue")


def test_forks_that_offer_themselves() -> None:
    """A delayed offer to several far ends: each offer is decided and answered in its own dialog."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, BODIES)
        await ladder.climb("caller: INVITE")
        for ladder.tag, body in (("one", "offer here"), ("two", "offer there")):
            await ladder.climb(f"callee: 183 INVITE reliable ({body})\ncaller: PRACK (answer)\ncallee: 200 PRACK")
        (session,) = play.bed.store.sessions()
        assert {plan.direction for plan in session.standing.values()} == {Direction.OFFER_FROM_CORE}
        ladder.tag = "one"
        await ladder.climb("callee: 200 INVITE\ncaller: ACK")
        assert core_peer(play.bed) == ("198.51.100.50", 40100)
        await ladder.climb(ENDS)

    run(story, "from-ue")


@pytest.mark.parametrize("method", ["INFO", "MESSAGE", "REFER", "NOTIFY", "OPTIONS", "PRACK", "UPDATE"])
@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("place", ALL)
def test_what_is_no_offer_passes(place: str, who: str, method: str) -> None:
    if method == "PRACK":
        return climbs(place, """
            caller: INVITE (offer)
            callee: 180 reliable
            caller: PRACK
            callee: 200 PRACK
            callee: 200 INVITE (answer)
            caller: ACK
            """, ENDS)
    other = "callee" if who == "caller" else "caller"
    return climbs(place, BEGINS, f"{who}: {method} {{X-Own: 1}}\n{other}: 200", ENDS)


@pytest.mark.parametrize("place", ALL)
def test_the_description_of_capabilities_is_no_offer(place: str) -> None:
    """RFC 3264 §9: OPTIONS and its 200 pass octet by octet."""
    capabilities = PLAIN_OFFER.replace("m=message 40100", "m=message 0")

    async def story(play: Play) -> None:
        ladder = Ladder(play, {"capabilities": capabilities})
        await ladder.climb(BEGINS + """
            callee: OPTIONS (capabilities)
            caller: 200 (capabilities)
            """)
        assert ladder.description("caller", "OPTIONS") == ladder.description("callee", "200") == capabilities
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_a_2xx_to_update_that_offers_unasked_says_nothing(place: str) -> None:
    """RFC 3311 §5.2: only an UPDATE with an offer has an answer. What nobody decided about goes no further."""

    async def story(play: Play) -> None:
        ladder = Ladder(play)
        await ladder.climb(BEGINS + """
            callee: UPDATE
            caller: 200 (offer)
            """)
        assert not ladder.heard["callee", "200"].body
        await ladder.climb(ENDS)

    run(story, place)


def _multipart(*parts: str, boundary: str = "edge") -> str:
    return "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + f"--{boundary}--\r\nafter all\r\n"


PLACE = "Content-Type: application/pidf+xml\r\nContent-ID: <here@ims.example>\r\n\r\n<presence>\r\n</presence>"


def _with_place(sdp: str) -> str:
    head = "Content-Type: application/sdp\r\nContent-Disposition: session\r\nContent-Length:  %d\r\n\r\n"
    return _multipart(PLACE, head % len(sdp) + sdp, "Content-Type: text/plain\r\n\r\nbye")


def _mixed() -> dict[str, Body]:
    return {
        "offer and place": lambda end: _with_place(end.offer),
        "answer and place": lambda end: _with_place(end.answer),
        "two descriptions": lambda end: _multipart(*[f"Content-Type: application/sdp\r\n\r\n{end.offer}"] * 2),
        "nested": lambda end: _multipart("Content-Type: multipart/mixed;boundary=in\r\n\r\n" + _multipart(PLACE, boundary="in")),
        "place": _multipart(PLACE),
    }


MIXED = "Content-Type: multipart/mixed;boundary=edge"


@pytest.mark.parametrize("place", ALL)
def test_a_description_in_a_multipart_is_rewritten_in_its_place(place: str) -> None:
    """RFC 5621: the other parts, their headers and what stands between them leave as they came."""

    async def story(play: Play) -> None:
        ladder = Ladder(play, _mixed())
        await ladder.climb(f"""
            caller: INVITE (offer and place) {{{MIXED}}}
            callee: 200 (answer and place) {{{MIXED}}}
            caller: ACK
            """)
        for who, what, sent in (("callee", "INVITE", play.caller.offer), ("caller", "200", play.callee.answer)):
            message = ladder.heard[who, what]
            assert message.get("Content-Length") == str(len(message.body))
            assert message.get("Content-Type") == "multipart/mixed;boundary=edge"
            received, emitted = _with_place(sent), message.body.decode()
            head, _, rest = emitted.partition("Content-Length:  ")
            assert head == received.partition("Content-Length:  ")[0]
            sdp, _, after = rest.partition("\r\n\r\n")[2].partition("\r\n--edge")
            assert rest.partition("\r\n")[0] == str(len(sdp))
            assert after == received.partition("a=setup")[2].partition("\r\n--edge")[2]
            assert sdp != sent
            assert "a=path" in sdp
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_multiparts_in_every_message_that_negotiates(place: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, _mixed())
        await ladder.climb(f"""
            caller: INVITE
            callee: 183 reliable (offer and place) {{{MIXED}}}
            caller: PRACK (answer and place) {{{MIXED}}}
            callee: 200 PRACK
            callee: 200 INVITE
            caller: ACK
            callee: INVITE
            caller: 200 (offer and place) {{{MIXED}}}
            callee: ACK (answer and place) {{{MIXED}}}
            caller: UPDATE (offer and place) {{{MIXED}}}
            callee: 200 (answer and place) {{{MIXED}}}
            """)
        for who, what in (("callee", "PRACK"), ("caller", "ACK"), ("callee", "UPDATE"), ("caller", "200")):
            assert PLACE in ladder.description(who, what)
            assert "a=path" in ladder.description(who, what)
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_a_multipart_without_a_description_is_an_invite_without_an_offer(place: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, _mixed())
        await ladder.climb(f"""
            caller: INVITE (place) {{{MIXED}}}
            callee: 200 (offer)
            caller: ACK (answer)
            """)
        assert ladder.description("callee", "INVITE") == _multipart(PLACE)
        await ladder.climb(ENDS)

    run(story, place)


@pytest.mark.parametrize("what", ["two descriptions", "nested"])
@pytest.mark.parametrize("place", ALL)
def test_a_multipart_that_cannot_be_rewritten_is_refused(place: str, what: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, _mixed())
        await ladder.climb(f"""
            caller: INVITE ({what}) {{{MIXED}}} !
            pcscf: 415 caller
            """)
        assert "application/sdp" in str(ladder.heard["caller", "415"].get("Accept"))

    run(story, place)


@pytest.mark.parametrize("place", ALL)
def test_an_answer_hidden_in_a_nested_multipart_ends_the_call(place: str) -> None:
    async def story(play: Play) -> None:
        ladder = Ladder(play, _mixed())
        await ladder.climb(f"""
            caller: INVITE (offer)
            callee: 200 (nested) {{{MIXED}}} !
            pcscf: 502 caller
            """)
        await play.callee.expect("ACK")
        await ladder.climb("pcscf: BYE callee")

    run(story, place)

