"""Further offers inside a session (RFC 3264 §8, RFC 3311, RFC 4028): what stands is kept until the new is accepted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from pcscf.h248.message import ErrorDescriptor
from pcscf.sip.message import response_to
from tests.support.flowbed import Bed
from tests.support.parties import PLAIN_ANSWER, PLAIN_OFFER, PROTECTED_ANSWER, PROTECTED_OFFER, Ue, answered, from_far
from tests.support.tales import establish, hang_up, story
from tests.support.tales import re_offer as re_invite

OTHER_CERTIFICATE = PROTECTED_OFFER.replace("A0:A1", "FF:FE")
MOVED_ANSWER = PLAIN_ANSWER.replace("m=message 40100", "m=message 40300").replace("100 200", "100 201")

Tale = Callable[[Bed, Ue], Awaitable[None]]


def modifies(bed: Bed) -> int:
    return sum("Modify" in commands for commands in bed.gateway.asked)


def test_a_refresh_leaves_in_the_same_octets_and_the_gateway_alone() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        first, answer = await establish(bed, ue)
        told = modifies(bed)
        for _ in range(2):
            invite, again = await re_invite(bed, ue, answer)
            assert invite.body == first.body
            assert again.body == answer.body
        assert modifies(bed) == told
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_refresh_whose_o_line_counts_on_its_own_is_still_the_same() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        first, answer = await establish(bed, ue)
        invite, _ = await re_invite(bed, ue, answer, PROTECTED_OFFER.replace("2890844526 IN", "2890844599 IN"))
        assert invite.body == first.body
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_new_certificate_reaches_the_gateway() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue)
        told = modifies(bed)
        await re_invite(bed, ue, answer, OTHER_CERTIFICATE)
        assert modifies(bed) > told
        (session,) = bed.store.sessions()
        assert session.standing["far"].lines[0].access.peer_fingerprints[0][1].startswith("FF:FE")
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_far_end_that_moves_reaches_the_gateway_and_the_version_steps_only_where_the_body_changes() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue)
        told = modifies(bed)
        _, again = await re_invite(bed, ue, answer, back=MOVED_ANSWER)
        assert modifies(bed) == told + 1
        assert again.body == answer.body   # the UE sees our address, which did not move
        await hang_up(bed, ue, answer)

    story(tale)


def test_hold_passes_and_keeps_the_connection() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        first, answer = await establish(bed, ue)
        told = modifies(bed)
        invite, _ = await re_invite(bed, ue, answer, PROTECTED_OFFER + "a=sendonly\r\n")
        assert b"a=sendonly" in invite.body
        assert b"2890844527" in invite.body   # the version stepped: the body changed
        assert b"2890844526 2890844526" in first.body
        assert modifies(bed) == told
        await hang_up(bed, ue, answer)

    story(tale)


@pytest.mark.parametrize("status", [488, 491, 500])
def test_a_refused_offer_leaves_everything_as_it_was(status: int) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue)
        (before,) = bed.store.sessions()
        standing = before.standing["far"]
        ue.in_dialog("INVITE", answer, OTHER_CERTIFICATE)
        bed.core.send(answered(await bed.core.expect("INVITE"), status, body=""))
        await bed.ue.expect(status)
        await bed.core.expect("ACK")
        await bed.settle(1)
        (session,) = bed.store.sessions()
        assert not session.is_negotiating("far")
        assert session.standing["far"] == standing
        assert len(bed.gateway.table.contexts) == 1
        (context,) = bed.gateway.table.contexts.values()
        access = next(each for each in context.terminations.values() if each.realm == "access")
        assert access.streams[1].remote.fingerprints[0].value.startswith("A0:A1")
        await hang_up(bed, ue, answer)

    story(tale)


def test_an_update_is_as_good() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        first, answer = await establish(bed, ue)
        ue.in_dialog("UPDATE", answer, PROTECTED_OFFER)
        update = await bed.core.expect("UPDATE")
        assert update.body == first.body
        bed.core.send(answered(update))
        assert (await bed.ue.expect(200)).body == answer.body
        await hang_up(bed, ue, answer)

    story(tale)


def test_the_far_end_offers_and_the_line_stays_protected() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, answer = await establish(bed, ue)
        bed.core.send(from_far(invite, "INVITE", body=PLAIN_ANSWER.replace("setup:passive", "setup:actpass")))
        offer = await bed.ue.expect("INVITE")
        assert "TCP/TLS/MSRP" in offer.body.decode()
        assert "a=3ge2ae:applied" in offer.body.decode()
        ue.answer(offer, body=PROTECTED_ANSWER)
        back = await bed.core.expect(200)
        assert "TCP/MSRP" in back.body.decode()
        assert "fingerprint" not in back.body.decode()
        bed.core.send(from_far(invite, "ACK"))
        await bed.ue.expect("ACK")
        await hang_up(bed, ue, answer)

    story(tale)


def test_an_answer_that_drops_protection_ends_the_session() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, _ = await establish(bed, ue)
        bed.core.send(from_far(invite, "INVITE", body=PLAIN_ANSWER.replace("setup:passive", "setup:actpass")))
        ue.answer(await bed.ue.expect("INVITE"), body=PLAIN_ANSWER)
        await bed.core.expect(488)
        assert "cause=488" in (await bed.ue.expect("BYE")).get("Reason")

    story(tale)


def test_a_second_offer_meets_491_while_the_first_is_open() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, answer = await establish(bed, ue)
        ue.in_dialog("INVITE", answer, PROTECTED_OFFER + "a=sendonly\r\n")
        open_offer = await bed.core.expect("INVITE")
        bed.core.send(from_far(invite, "INVITE", body=PLAIN_ANSWER))
        await bed.core.expect(491)
        bed.core.send(answered(open_offer))
        await bed.ue.expect(200)
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_plain_offer_of_what_was_protected_is_decided_anew() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue)
        plain = PROTECTED_OFFER.replace("TCP/TLS/MSRP", "TCP/MSRP").replace("a=3ge2ae:requested\r\n", "")
        invite, _ = await re_invite(bed, ue, answer, plain)
        assert "TCP/MSRP" in invite.body.decode()
        assert bed.recorded("downgrade")
        await hang_up(bed, ue, answer)

    story(tale)


@pytest.mark.parametrize("refusal", [0, 488])
def test_what_the_ue_made_plain_is_protected_anew_when_the_far_end_offers(refusal: int) -> None:
    """Towards the UE the gateway gives up plain TCP before it knows the new peer, and takes it back where the UE refuses."""

    async def tale(bed: Bed, ue: Ue) -> None:
        invite, answer = await establish(bed, ue)
        plain = PROTECTED_OFFER.replace("TCP/TLS/MSRP", "TCP/MSRP").replace("a=3ge2ae:requested\r\n", "")
        _, in_clear = await re_invite(bed, ue, answer, plain)
        assert "m=message 30000 TCP/MSRP" in in_clear.body.decode()
        bed.core.send(from_far(invite, "UPDATE", 1, body=PLAIN_OFFER.replace("100 200", "100 201")))
        update = await bed.ue.expect("UPDATE")
        assert "m=message 30000 TCP/TLS/MSRP" in update.body.decode()
        if refusal:
            ue.answer(update, refusal)
        else:
            ue.answer(update, 200, PROTECTED_ANSWER)
        await bed.core.expect(refusal or 200)
        await bed.settle()
        [context] = bed.gateway.table.contexts.values()
        [access] = [each.streams[1] for each in context.terminations.values() if each.realm == "access"]
        assert access.remote is not None
        assert (access.local.secure, bool(access.remote.fingerprints)) == (not refusal, not refusal)
        assert access.address == ("203.0.113.7", 30000)
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_re_invite_can_be_cancelled() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue)
        ue.in_dialog("INVITE", answer, OTHER_CERTIFICATE)
        invite = await bed.core.expect("INVITE")
        bed.core.send(answered(invite, 180, body=""))
        await bed.ue.expect(180)
        ue.cancel_in_dialog(answer)
        await bed.ue.expect(200)
        await bed.core.expect("CANCEL")
        bed.core.send(answered(invite, 487, body=""))
        await bed.ue.expect(487)
        await bed.core.expect("ACK")
        await bed.settle(1)
        assert len(bed.gateway.table.contexts) == 1
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_gateway_that_has_no_room_for_another_line_leaves_the_session() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue)
        bed.gateway.answer = lambda commands: ErrorDescriptor(500, "no") if "Modify" in commands else None
        second = PROTECTED_OFFER[PROTECTED_OFFER.index("m="):].replace("kjh37s", "kjh38s")
        ue.in_dialog("INVITE", answer, PROTECTED_OFFER + second)
        await bed.ue.expect(500)
        bed.gateway.answer = lambda _commands: None
        assert bed.core.count("INVITE") == 1
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_gateway_that_refuses_what_both_ends_have_agreed_ends_the_session() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue)
        ue.in_dialog("INVITE", answer, OTHER_CERTIFICATE)
        invite = await bed.core.expect("INVITE")
        bed.gateway.answer = lambda commands: ErrorDescriptor(500, "no") if "Modify" in commands else None
        bed.core.send(answered(invite))
        await bed.ue.expect(500)
        ue.answer(await bed.ue.expect("BYE"))
        bed.core.send(response_to(await bed.core.expect("BYE"), 200))

    story(tale)


def test_the_gateway_hears_of_a_change_when_it_is_agreed() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue)
        told = modifies(bed)
        ue.in_dialog("INVITE", answer, OTHER_CERTIFICATE)
        invite = await bed.core.expect("INVITE")
        assert modifies(bed) == told
        bed.core.send(answered(invite))
        await bed.ue.expect(200)
        assert modifies(bed) == told + 1
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_re_offer_that_nobody_answers_leaves_the_session() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue)
        ue.in_dialog("INVITE", answer, OTHER_CERTIFICATE)
        await bed.core.expect("INVITE")
        await bed.ue.expect(408, within=60)
        (session,) = bed.store.sessions()
        assert not session.is_negotiating("far")
        await hang_up(bed, ue, answer)

    story(tale)
