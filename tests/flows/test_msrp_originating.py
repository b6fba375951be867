"""TS 33.328 §7.2.1: a UE offers MSRP over TLS, the core gets plain MSRP, the gateway stands between – and every way it ends."""

from __future__ import annotations

import pytest

from pcscf.config.policy import MediaPolicy, MediumPolicy
from pcscf.h248.message import ErrorDescriptor
from pcscf.procedures.site import Deadlines
from pcscf.sip.message import Request, Response
from tests.support.flowbed import Bed
from tests.support.parties import PLAIN_ANSWER, PLAIN_OFFER, PROTECTED_OFFER, Ue, answered, from_far
from tests.support.tales import establish, hang_up, story
from tests.support.virtual import virtual_loop


def test_the_protected_session() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, answer = await establish(bed, ue)
        towards_core, towards_ue = invite.body.decode(), answer.body.decode()
        assert towards_core.splitlines() == [
            "v=0", "o=alice 2890844526 2890844526 IN IP4 192.0.2.10", "s=-", "c=IN IP4 198.51.100.7", "t=0 0",
            "m=message 9 TCP/MSRP *", "a=accept-types:message/cpim text/plain", "a=path:msrps://192.0.2.10:9/kjh37s;tcp",
            "a=msrp-cema", "a=setup:active", "a=x-unknown:stays",
        ] or "m=message 41000 TCP/MSRP *" in towards_core
        assert "m=message 30000 TCP/TLS/MSRP *" in towards_ue
        assert "c=IN IP4 203.0.113.7" in towards_ue
        assert "a=setup:passive" in towards_ue
        assert "a=fingerprint:sha-256 00:01:02" in towards_ue
        assert "3ge2ae" not in towards_ue
        await hang_up(bed, ue, answer)
        await bed.settle()
        assert bed.gateway.asked[-3:] == [("Add", "Add"), ("Modify", "Modify"), ("Subtract",)]

    story(tale)


def test_everything_that_is_not_ours_passes_byte_for_byte() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite(more="X-Odd:  a , b;c\nSubject: hello\nUser-Agent: test")
        invite = await bed.core.expect("INVITE")
        assert invite.first_line("X-Odd") == "  a , b;c"
        assert invite.get("Subject") == "hello"
        assert invite.get("Contact") == "<sip:alice@192.0.2.10:40001;transport=tls>"
        assert [line for line in invite.body.decode().splitlines() if line.startswith(("a=accept", "a=path", "a=x-"))] == [
            line for line in PROTECTED_OFFER.splitlines() if line.startswith(("a=accept", "a=path", "a=x-"))]
        bed.core.send(answered(invite, 486, body=""))
        await bed.ue.expect(486)

    story(tale)


def test_the_far_end_hangs_up() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, _ = await establish(bed, ue)
        bed.core.send(from_far(invite, "BYE"))
        ue.answer(await bed.ue.expect("BYE"))
        await bed.core.expect(200)

    story(tale)


def test_both_hang_up_at_once() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, answer = await establish(bed, ue)
        bed.core.send(from_far(invite, "BYE"))
        ue.in_dialog("BYE", answer)
        ue.answer(await bed.ue.expect("BYE"))
        bed.core.send(answered(await bed.core.expect("BYE"), 481, body=""))
        assert await bed.core.expect(200)
        assert await bed.ue.expect(481)

    story(tale)


def test_provisional_responses_pass_and_previews_are_the_answer() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        invite = await bed.core.expect("INVITE")
        bed.core.send(answered(invite, 180, body=""))
        assert not (await bed.ue.expect(180)).body
        bed.core.send(answered(invite, 183))
        preview = await bed.ue.expect(183)
        bed.core.send(answered(invite))
        answer = await bed.ue.expect(200)
        assert answer.body == preview.body
        assert bed.gateway.asked.count(("Modify", "Modify")) == 1
        ue.in_dialog("ACK", answer)
        await hang_up(bed, ue, answer) if await bed.core.expect("ACK") else None

    story(tale)


def test_in_dialog_requests_pass_both_ways() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, answer = await establish(bed, ue)
        ue.in_dialog("INFO", answer)
        bed.core.send(answered(await bed.core.expect("INFO"), body=""))
        await bed.ue.expect(200)
        bed.core.send(from_far(invite, "MESSAGE"))
        ue.answer(await bed.ue.expect("MESSAGE"))
        await bed.core.expect(200)
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_retransmitted_answer_leaves_again_with_the_same_octets() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        bed.gateway.delay = 1.0
        ue.invite()
        invite = await bed.core.expect("INVITE")
        for _ in range(3):
            bed.core.send(answered(invite))
            await bed.settle(0.4)
        answer = await bed.ue.expect(200)
        bed.gateway.delay = 0.0
        await bed.settle(1)
        bodies = {each.body for each in bed.ue.seen if isinstance(each, Response) and each.cseq[1] == "INVITE" and each.body}
        assert bodies == {answer.body}
        assert bed.gateway.asked.count(("Modify", "Modify")) == 1
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")
        await hang_up(bed, ue, answer)

    story(tale)


def test_requests_survive_a_lossy_wire() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        lost: set[bytes] = set()

        def lose_first(sender: str, data: bytes) -> bool:
            fresh = sender == "pcscf" and b"SIP/2.0/UDP" in data and data not in lost
            lost.add(data)
            return fresh and data.startswith((b"INVITE", b"BYE"))

        bed.net.lose = lose_first
        seen: set[bytes] = set()

        def copies(_sender: object, _receiver: object, data: bytes) -> int:
            fresh = data not in seen
            seen.add(data)
            return 0 if fresh else 2

        virtual_loop().copies = copies
        _, answer = await establish(bed, ue)
        await hang_up(bed, ue, answer)

    story(tale)


@pytest.mark.parametrize("status", [302, 401, 404, 407, 480, 486, 488, 500, 503, 600, 603])
def test_a_failure_passes_and_gives_the_context_back(status: int) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        bed.core.send(answered(await bed.core.expect("INVITE"), status, body=""))
        assert (await bed.ue.expect(status)).get("Warning") is None
        await bed.core.expect("ACK")
        await bed.settle()
        assert not bed.gateway.table.contexts

    story(tale)


def test_cancel() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        invite = await bed.core.expect("INVITE")
        bed.core.send(answered(invite, 180, body=""))
        await bed.ue.expect(180)
        ue.cancel()
        assert (await bed.ue.expect(200)).cseq[1] == "CANCEL"
        cancel = await bed.core.expect("CANCEL")
        assert cancel.top_via.branch == invite.top_via.branch
        bed.core.send(answered(cancel, body=""))
        bed.core.send(answered(invite, 487, body=""))
        await bed.ue.expect(487)

    story(tale)


def test_cancel_before_the_first_provisional_response() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        invite = await bed.core.expect("INVITE")
        ue.cancel()
        await bed.ue.expect(200)
        await bed.settle(0.2)
        assert bed.core.count("CANCEL") == 0
        bed.core.send(answered(invite, 180, body=""))
        await bed.core.expect("CANCEL")
        bed.core.send(answered(invite, 487, body=""))
        await bed.ue.expect(180)
        await bed.ue.expect(487)

    story(tale)


def test_cancel_while_the_gateway_is_asked() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        bed.gateway.delay = 1.0
        ue.invite()
        await bed.settle(0.3)
        ue.cancel()
        await bed.ue.expect(200)
        await bed.ue.expect(487)
        assert bed.core.count("INVITE") == 0

    story(tale)


def test_cancel_that_crosses_the_answer() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        invite = await bed.core.expect("INVITE")
        bed.core.send(answered(invite, 180, body=""))
        await bed.ue.expect(180)
        ue.cancel()
        bed.core.send(answered(invite))
        await bed.ue.expect(200)
        answer = await bed.ue.expect(200)
        assert answer.cseq[1] == "INVITE"
        await bed.core.expect("CANCEL")
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")
        await hang_up(bed, ue, answer)

    story(tale)


def test_cancel_that_nobody_answers() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        invite = await bed.core.expect("INVITE")
        bed.core.send(answered(invite, 180, body=""))
        await bed.ue.expect(180)
        ue.cancel()
        await bed.ue.expect(200)
        await bed.ue.expect(487, within=60)

    story(tale)


def test_a_core_that_says_nothing() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        await bed.core.expect("INVITE")
        assert "did not answer" in (await bed.ue.expect(408, within=60)).get("Warning")

    story(tale)


def test_a_far_end_that_rings_for_ever() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        invite = await bed.core.expect("INVITE")
        bed.core.send(answered(invite, 180, body=""))
        await bed.ue.expect(180)
        cancel = await bed.core.expect("CANCEL", within=250)
        bed.core.send(answered(cancel, body=""))
        bed.core.send(answered(invite, 487, body=""))
        await bed.ue.expect(487)

    story(tale)


def test_an_ack_that_never_comes_releases_the_session() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        bed.core.send(answered(await bed.core.expect("INVITE")))
        await bed.ue.expect(200)
        assert 'cause=408' in (await bed.ue.expect("BYE", within=60)).get("Reason")
        assert 'cause=408' in (await bed.core.expect("BYE")).get("Reason")

    story(tale)


def test_a_certificate_that_does_not_match_ends_the_session_both_ways() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, _ = await establish(bed, ue)
        (context,) = bed.gateway.table.contexts
        bed.gateway.notify_tls_failed(context, "the certificate does not match the fingerprint")
        towards_ue, towards_core = await bed.ue.expect("BYE"), await bed.core.expect("BYE")
        for bye in (towards_ue, towards_core):
            assert bye.get("Reason").startswith("SIP;cause=488;")
            assert "does not match the fingerprint" in bye.get("Reason")
        assert towards_ue.uri == "sip:alice@192.0.2.10:40001;transport=tls"
        assert (towards_ue.from_tag, towards_ue.to_tag) == ("far", "ua")
        assert (towards_core.from_tag, towards_core.to_tag) == ("ua", "far")
        assert towards_core.uri == "sip:bob@198.51.100.2:5080"
        assert towards_core.cseq[0] == invite.cseq[0] + 1
        assert not towards_core.values("Route")
        ue.answer(towards_ue)
        bed.core.send(answered(towards_core, body=""))

    story(tale)


def test_what_crosses_our_release_is_answered() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue)
        (context,) = bed.gateway.table.contexts
        bed.gateway.notify_tls_failed(context, "mismatch")
        ue.in_dialog("BYE", answer)
        await bed.ue.expect("BYE")
        await bed.ue.expect(200)
        ue.in_dialog("INFO", answer)
        await bed.ue.expect(481)

    story(tale)


def test_protection_that_fails_before_the_answer_cancels_the_call() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        invite = await bed.core.expect("INVITE")
        bed.core.send(answered(invite, 180, body=""))
        await bed.ue.expect(180)
        (context,) = bed.gateway.table.contexts
        bed.gateway.notify_tls_failed(context, "mismatch")
        await bed.ue.expect(488)
        assert 'cause=488' in (await bed.core.expect("CANCEL")).get("Reason")
        bed.core.send(answered(invite))   # too late: it is acknowledged and ended
        await bed.core.expect("ACK")
        await bed.core.expect("BYE")

    story(tale)


def test_a_gateway_that_comes_anew_releases_its_sessions() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await establish(bed, ue)
        bed.gateway.table.contexts.clear()
        bed.gateway.stop()
        await bed.gateway.start()
        assert 'cause=503' in (await bed.ue.expect("BYE")).get("Reason")
        assert 'cause=503' in (await bed.core.expect("BYE")).get("Reason")

    story(tale)


def test_a_gateway_that_falls_silent_releases_its_sessions() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await establish(bed, ue)
        bed.gateway.table.contexts.clear()
        bed.gateway.stop()
        await bed.ue.expect("BYE", within=120)
        await bed.core.expect("BYE", within=120)
        ue.invite(call="call-2")
        assert (await bed.ue.expect(503)).get("Retry-After")

    story(tale)


@pytest.mark.parametrize(("answer", "status"), [
    (ErrorDescriptor(510, "Insufficient resources"), 503),
    (ErrorDescriptor(500, "Internal software failure"), 500),
    (ErrorDescriptor(449, "Unsupported or Unknown Parameter or Property Value"), 500),
    ("silence", 503),
])
def test_a_reservation_that_fails(answer: ErrorDescriptor | str, status: int) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        bed.gateway.answer = lambda commands: answer if "Add" in commands else None
        ue.invite()
        await bed.ue.expect(status)
        assert bed.core.count("INVITE") == 0

    story(tale)


@pytest.mark.parametrize(("answer", "status"), [(ErrorDescriptor(500, "Internal software failure"), 500), ("silence", 503)])
def test_a_configuration_that_fails_ends_the_call_on_both_sides(answer: ErrorDescriptor | str, status: int) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        bed.gateway.answer = lambda commands: answer if "Modify" in commands else None
        ue.invite()
        bed.core.send(answered(await bed.core.expect("INVITE")))
        await bed.ue.expect(status)
        await bed.core.expect("ACK")
        bye = await bed.core.expect("BYE")
        assert f"cause={status}" in bye.get("Reason")

    story(tale)


def test_a_release_that_is_refused_is_tried_again() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        refusals = [ErrorDescriptor(500, "Internal software failure")] * 2
        bed.gateway.answer = lambda commands: refusals.pop() if "Subtract" in commands and refusals else None
        _, answer = await establish(bed, ue)
        await hang_up(bed, ue, answer)
        await bed.settle(20)
        assert bed.gateway.asked.count(("Subtract",)) == 3

    story(tale)


def test_a_late_reservation_is_given_back() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        bed.gateway.delay = 6.0
        ue.invite()
        await bed.ue.expect(503)
        bed.gateway.delay = 0.0
        await bed.settle(20)
        assert ("Subtract",) in bed.gateway.asked

    story(tale)


def test_an_answer_that_cannot_be_read_ends_the_call() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        bed.core.send(answered(await bed.core.expect("INVITE"), body="v=0\r\nnonsense\r\n"))
        await bed.ue.expect(502)
        await bed.core.expect("ACK")
        await bed.core.expect("BYE")

    story(tale)


def test_an_answer_that_declines_the_line_gives_the_context_back() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        body = PLAIN_ANSWER.replace("m=message 40100", "m=message 0")
        bed.core.send(answered(await bed.core.expect("INVITE"), body=body))
        answer = await bed.ue.expect(200)
        assert "m=message 0 TCP/TLS/MSRP *" in answer.body.decode()
        assert "fingerprint" not in answer.body.decode()
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")
        await bed.settle()
        assert not bed.gateway.table.contexts
        await hang_up(bed, ue, answer)

    story(tale)


def test_two_far_ends_answer() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite()
        invite = await bed.core.expect("INVITE")
        bed.core.send(answered(invite, 183, tag="one"))
        await bed.ue.expect(183)
        other = PLAIN_ANSWER.replace("40100", "40200")
        bed.core.send(answered(invite, body=other, tag="two"))
        second = await bed.ue.expect(200)
        assert second.to_tag == "two"
        ue.in_dialog("ACK", second)
        await bed.core.expect("ACK")
        await hang_up(bed, ue, second)

    story(tale)


def test_the_ue_rebinds_to_another_port_in_the_middle_of_a_call() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue)
        moved = bed.peer("moved", bed.ue.flow._replace(remote=("192.0.2.10", 40999), connection=7))
        ue.peer = moved
        ue.in_dialog("INFO", answer)
        bed.core.send(answered(await bed.core.expect("INFO"), body=""))
        await moved.expect(200)
        ue.in_dialog("BYE", answer)
        bed.core.send(answered(await bed.core.expect("BYE"), body=""))
        await moved.expect(200)

    story(tale)


def test_a_silent_session_is_released() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await establish(bed, ue)
        await bed.settle(120)
        bed.watch()
        await bed.ue.expect("BYE")
        await bed.core.expect("BYE")

    story(tale, deadlines=Deadlines(session=100.0))


def test_the_end_of_the_registration_ends_the_session() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        await establish(bed, ue)
        await bed.settle(700)
        bed.watch()
        assert 'cause=480' in (await bed.core.expect("BYE")).get("Reason")
        await bed.ue.expect("BYE")

    story(tale)


def test_a_stranger_cannot_reach_into_a_session() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, answer = await establish(bed, ue)
        forged = from_far(invite, "BYE", tag="not-the-far-end")
        bed.core.send(forged)
        await bed.core.expect(481)
        (token,) = {session.token for session in bed.store.sessions()}
        altered = token[:-1] + ("A" if token[-1] != "A" else "B")
        bed.core.send(from_far(invite, "BYE", cseq=2).replace(token, altered))
        await bed.core.expect(481)
        assert len(bed.gateway.table.contexts) == 1
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_connection_that_an_end_closes_itself_is_left_to_it() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue)
        (context,) = bed.gateway.table.contexts
        bed.gateway.notify_tls_failed(context, "connection released by the peer", general="NR")
        await bed.settle(5)
        assert bed.ue.count("BYE") == 0
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_request_too_large_for_a_datagram_falls_back_to_one_where_nobody_takes_tcp() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        bed.net.has_tcp = True
        ue.invite(more=f"X-Long: {'x' * 1400}")
        invite = await bed.core.expect("INVITE")
        assert invite.top_via.transport == "UDP"
        (refused,) = bed.net.refused
        assert b"SIP/2.0/TCP" in refused
        bed.core.send(answered(invite, 486, body=""))
        await bed.ue.expect(486)

    story(tale)


def test_a_downgrade_is_counted_once() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue, body=PLAIN_OFFER)
        assert len(bed.recorded("downgrade")) == 1
        await hang_up(bed, ue, answer)

    story(tale)


def test_without_cema_the_gateway_maps_paths_or_policy_says_what_becomes_of_it() -> None:
    bare = PROTECTED_OFFER.replace("a=msrp-cema\r\n", "")

    async def refused(bed: Bed, ue: Ue) -> None:
        ue.invite(bare)
        assert "msrp-cema" in (await bed.ue.expect(488)).get("Warning")

    async def rewritten(bed: Bed, ue: Ue) -> None:
        _, answer = await establish(bed, ue, body=bare)
        offered = next(each for each in reversed(bed.core.seen) if isinstance(each, Request) and each.method == "INVITE")
        assert b"a=path:msrp://198.51.100.7:" in offered.body
        assert b"/kjh37s;tcp" in offered.body
        assert b"a=path:msrps://203.0.113.7:" in answer.body
        assert b"/z9;tcp" in answer.body
        await hang_up(bed, ue, answer)

    async def mapped(bed: Bed, ue: Ue) -> None:
        await rewritten(bed, ue)
        told = bed.gateway.paths[-2:]
        assert told == [
            ("msrps://203.0.113.7:30000/z9;tcp", "msrps://192.0.2.10:9/kjh37s;tcp"),
            ("msrp://198.51.100.7:41000/kjh37s;tcp", "msrp://198.51.100.50:40100/z9;tcp"),
        ]

    story(refused, policy=MediaPolicy(msrp=MediumPolicy(aware=False)))
    story(rewritten, policy=MediaPolicy(msrp=MediumPolicy(sessmatch=True)))
    story(mapped)
