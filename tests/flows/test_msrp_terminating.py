"""TS 33.328 §7.3.1: the core offers plain MSRP, the UE is offered MSRP over TLS."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pcscf.gateway.model import TcpRole
from pcscf.sip.message import response_to
from tests.support.flowbed import Bed
from tests.support.parties import PROTECTED_ANSWER, Ue, call_ue, with_body
from tests.support.tales import be_called, core_says, story, ue_answers


def test_the_protected_session() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, answer = await be_called(bed)
        towards_ue, towards_core = invite.body.decode(), answer.body.decode()
        assert "m=message 30000 TCP/TLS/MSRP *" in towards_ue
        assert "c=IN IP4 203.0.113.7" in towards_ue
        assert "a=3ge2ae:applied" in towards_ue
        assert "a=fingerprint:sha-256 00:01:02" in towards_ue
        assert "a=setup:actpass" in towards_ue
        assert "TCP/MSRP" in towards_core
        assert "fingerprint" not in towards_core
        assert "198.51.100.7" in towards_core
        assert invite.get("P-Charging-Vector") is None
        assert invite.get("P-Asserted-Identity") == "<sip:bob@ims.example>"
        assert bed.gateway.asked[-2:] == [("Add", "Add"), ("Modify", "Modify")]
        bed.core.send(core_says("BYE", answer, 2))
        ue.answer(await bed.ue.expect("BYE"))
        await bed.core.expect(200)

    story(tale)


@pytest.mark.parametrize("damage", [
    lambda body: "\r\n".join(line for line in body.split("\r\n") if not line.startswith("a=fingerprint")),
    lambda body: body.replace("TCP/TLS/MSRP", "TCP/MSRP"),
])
def test_an_answer_that_gives_up_protection_ends_the_session_on_both_sides(damage: Callable[[str], str]) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        call_ue(bed)
        bed.ue.send(ue_answers(await bed.ue.expect("INVITE"), damage(PROTECTED_ANSWER)))
        await bed.core.expect(488)
        await bed.ue.expect("ACK")
        assert "cause=488" in (await bed.ue.expect("BYE")).get("Reason")

    story(tale)


def test_a_certificate_that_does_not_match_ends_the_session_both_ways() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await be_called(bed)
        (context,) = bed.gateway.table.contexts
        bed.gateway.notify_tls_failed(context, "mismatch")
        towards_ue, towards_core = await bed.ue.expect("BYE"), await bed.core.expect("BYE")
        assert (towards_ue.from_tag, towards_core.from_tag) == ("far", "ua")
        ue.answer(towards_ue)
        bed.core.send(response_to(towards_core, 200))

    story(tale)


def test_the_ue_declines() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        call_ue(bed)
        bed.ue.send(ue_answers(await bed.ue.expect("INVITE"), "", 486))
        await bed.core.expect(486)

    story(tale)


def test_the_core_cancels() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        call_ue(bed)
        invite = await bed.ue.expect("INVITE")
        bed.ue.send(ue_answers(invite, "", 180))
        ringing = await bed.core.expect(180)
        bed.core.send(with_body(f"""
            CANCEL {invite.uri} SIP/2.0
            Via: SIP/2.0/UDP 198.51.100.2:5080;branch=z9hG4bKin-1
            From: {ringing.get("From")}
            To: {invite.get("To")}
            Call-ID: {invite.call_id}
            CSeq: 1 CANCEL
            Max-Forwards: 70"""))
        await bed.core.expect(200)
        await bed.ue.expect("CANCEL")
        bed.ue.send(ue_answers(invite, "", 487))
        await bed.core.expect(487)

    story(tale)


def test_a_ue_without_mediasec_gets_the_offer_plain() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        call_ue(bed)
        invite = await bed.ue.expect("INVITE")
        assert " TCP/MSRP " in invite.body.decode()
        assert "fingerprint" not in invite.body.decode()
        bed.ue.send(ue_answers(invite, "", 486))
        await bed.core.expect(486)

    story(tale, mediasec=False)


def test_a_ue_that_waits_makes_the_gateway_the_client_of_tcp_and_tls() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        call_ue(bed)
        invite = await bed.ue.expect("INVITE")
        waiting = PROTECTED_ANSWER.replace("m=message 9", "m=message 7654").replace("setup:active", "setup:passive")
        bed.ue.send(ue_answers(invite, waiting))
        answer = await bed.core.expect(200)
        assert "a=setup:passive" in answer.body.decode()
        (context,) = bed.gateway.table.contexts.values()
        access = next(each for each in context.terminations.values() if each.realm == "access")
        assert access.streams[1].tls_client
        assert access.streams[1].tcp is TcpRole.CONNECT
        bed.core.send(core_says("ACK", answer, 1))
        await bed.ue.expect("ACK")
        bed.core.send(core_says("BYE", answer, 2))
        ue.answer(await bed.ue.expect("BYE"))
        await bed.core.expect(200)

    story(tale)


def test_two_contacts_ring_and_one_answers() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        other = Ue(bed, bed.peer("other", bed.ue.flow._replace(remote=("192.0.2.11", 40002), connection=2)))
        await other.register()
        call_ue(bed, contact=0)
        call_ue(bed, contact=1)
        invites = await bed.ue.expect("INVITE"), await other.peer.expect("INVITE")
        assert len(bed.gateway.table.contexts) == 2
        assert invites[0].body != invites[1].body   # each half-call has addresses of its own
        bed.ue.send(ue_answers(invites[0]))
        answer = await bed.core.expect(200)
        bed.core.send(core_says("ACK", answer, 1))
        await bed.ue.expect("ACK")
        bed.core.send(with_body(f"""
            CANCEL {invites[1].uri} SIP/2.0
            Via: SIP/2.0/UDP 198.51.100.2:5080;branch=z9hG4bKin-1.1
            From: {invites[1].get("From")}
            To: {invites[1].get("To")}
            Call-ID: {invites[1].call_id}
            CSeq: 1 CANCEL
            Max-Forwards: 70"""))
        await bed.core.expect(200)
        late = ue_answers(invites[1], "", 180)
        other.peer.send(late)
        await bed.core.expect(180)
        await other.peer.expect("CANCEL")
        other.peer.send(ue_answers(invites[1], "", 487))
        await bed.core.expect(487)
        await bed.settle(1)
        assert len(bed.gateway.table.contexts) == 1
        bed.core.send(core_says("BYE", answer, 2))
        ue.answer(await bed.ue.expect("BYE"))
        await bed.core.expect(200)

    story(tale)
