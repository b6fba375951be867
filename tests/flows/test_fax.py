"""T.38: UDPTL over DTLS towards the UE, plain udptl towards the core (TS 33.328 annex on T.38, RFC 7345)."""

from __future__ import annotations

from functools import partial

import pytest

from pcscf.gateway.endpoint import TlsRole
from pcscf.gateway.model import LegPlan
from pcscf.sip.message import Request, Response, response_to
from tests.support import tales
from tests.support.flowbed import Bed
from tests.support.memorygateway import FINGERPRINT, RSA_FINGERPRINT
from tests.support.parties import UE_FINGERPRINT, Ue, answered, call_ue, crlf, from_far
from tests.support.tales import hang_up

T38 = """
    a=T38FaxVersion:0
    a=T38MaxBitRate:14400
    a=T38FaxRateManagement:transferredTCF
    a=T38FaxMaxDatagram:150
    a=T38FaxUdpEC:t38UDPRedundancy
    """


def protected(setup: str, *, more: str = "a=3ge2ae:requested", fingerprint: str = UE_FINGERPRINT) -> str:
    return crlf(f"""
    v=0
    o=alice 1 1 IN IP4 192.0.2.10
    s=-
    c=IN IP4 192.0.2.10
    t=0 0
    m=image 6100 UDP/TLS/UDPTL t38
    {T38.strip()}
    a=setup:{setup}
    a=fingerprint:sha-256 {fingerprint}
    {more}""")


PLAIN = crlf(f"""
    v=0
    o=bob 1 1 IN IP4 198.51.100.50
    s=-
    c=IN IP4 198.51.100.50
    t=0 0
    m=image 7100 udptl t38
    {T38.strip()}""")


story = partial(tales.story, mechanisms=("msrp-tls", "udptl-dtls"))


def legs(bed: Bed, *, rtp: bool | None = None) -> tuple[LegPlan, LegPlan]:
    """(access, core) of the only context; where its line was of several kinds, that of the first one, or as `rtp` says."""
    [context] = bed.gateway.table.contexts.values()
    plans = bed.gateway.table._plans[context.id]
    wanted = next(iter(plans.values())).rtp if rtp is None else rtp
    realms = {context.terminations[leg.termination].realm: plan for leg, plan in plans.items() if plan.rtp is wanted}
    return realms["access"], realms["core"]


def plain_lines(text: str) -> list[str]:
    """The lines of the medium that have nothing to do with protection."""
    return [line for line in text.splitlines() if line.startswith(("m=", "a="))]


@pytest.mark.parametrize(
    ("offered", "answers", "role"),
    [("actpass", "passive", TlsRole.SERVER), ("active", "passive", TlsRole.SERVER), ("passive", "active", TlsRole.CLIENT)],
)
def test_a_fax_of_the_ue(offered: str, answers: str, role: TlsRole) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite(protected(offered, more="a=tls-id:ueassociation0123456789\na=3ge2ae:requested"))
        invite = await bed.core.expect("INVITE")
        assert plain_lines(invite.body.decode()) == [
            "m=image 41000 udptl t38", *(line.strip() for line in T38.strip().splitlines())]
        assert "c=IN IP4 198.51.100.7" in invite.body.decode()
        access, core = legs(bed)
        assert (access.datagram, access.secure, access.tls, access.remote) == (True, True, role, ("192.0.2.10", 6100))
        assert (core.datagram, core.secure, core.remote) == (True, False, None)
        bed.core.send(answered(invite, body=PLAIN))
        answer = await bed.ue.expect(200)
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")
        seen = answer.body.decode().splitlines()
        assert "m=image 30000 UDP/TLS/UDPTL t38" in seen
        assert f"a=setup:{answers}" in seen
        assert [line for line in seen if "fingerprint" in line] == [
            f"a=fingerprint:{FINGERPRINT}", f"a=fingerprint:{RSA_FINGERPRINT}"]
        assert not any("3ge2ae" in line for line in seen)
        access, core = legs(bed)
        assert (access.tls, access.complete, access.receives, access.sends) == (role, True, True, True)
        assert [one.value for one in access.fingerprints] == [UE_FINGERPRINT]
        assert (core.remote, core.complete, core.receives, core.sends) == (("198.51.100.50", 7100), True, True, True)
        await hang_up(bed, ue, answer)

    story(tale)


def ue_answers(invite: Request, body: str) -> Response:
    answer = response_to(invite, 200, to_tag="ua")
    answer.copy_lines(invite, "Record-Route")
    answer.add("Contact", "<sip:alice@192.0.2.10:40001;transport=tls>")
    answer.set_body(body.encode(), "application/sdp")
    return answer


@pytest.mark.parametrize(("answers", "role"), [("active", TlsRole.SERVER), ("passive", TlsRole.CLIENT)])
def test_a_fax_to_the_ue(answers: str, role: TlsRole) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        call_ue(bed, PLAIN)
        invite = await bed.ue.expect("INVITE")
        seen = invite.body.decode().splitlines()
        assert "m=image 30000 UDP/TLS/UDPTL t38" in seen
        assert "a=setup:actpass" in seen
        assert "a=3ge2ae:applied" in seen
        assert len(tls_ids(invite.body)[0]) == 32
        assert [line for line in seen if "fingerprint" in line] == [
            f"a=fingerprint:{FINGERPRINT}", f"a=fingerprint:{RSA_FINGERPRINT}"]
        bed.ue.send(ue_answers(invite, protected(answers, more="")))
        answer = await bed.core.expect(200)
        assert plain_lines(answer.body.decode()) == [
            "m=image 41000 udptl t38", *(line.strip() for line in T38.strip().splitlines())]
        access, core = legs(bed)
        assert (access.tls, access.complete, access.remote) == (role, True, ("192.0.2.10", 6100))
        assert (core.remote, core.complete) == (("198.51.100.50", 7100), True)
        [context] = bed.gateway.table.contexts
        bed.gateway.notify_tls_failed(context, "TLS certificate fingerprint mismatch", package="dtlsbsc")
        ue.answer(await bed.ue.expect("BYE"))
        bed.core.send(response_to(await bed.core.expect("BYE"), 200, to_tag="far"))

    story(tale)


def test_the_association_that_fails_ends_the_call() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite(protected("actpass"))
        invite = await bed.core.expect("INVITE")
        bed.core.send(answered(invite, body=PLAIN))
        answer = await bed.ue.expect(200)
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")
        [context] = bed.gateway.table.contexts
        bed.gateway.notify_tls_failed(context, "TLS certificate fingerprint mismatch", package="dtlsbsc")
        ue.answer(await bed.ue.expect("BYE"))
        bye = await bed.core.expect("BYE")
        assert "fingerprint mismatch" in (bye.get("Reason") or "")
        bed.core.send(response_to(bye, 200, to_tag="far"))

    story(tale)


def test_a_new_certificate_makes_a_new_association() -> None:
    """RFC 7345 §4.5: the gateway is told, on the ports that it has."""

    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite(protected("actpass"))
        invite = await bed.core.expect("INVITE")
        bed.core.send(answered(invite, body=PLAIN))
        answer = await bed.ue.expect(200)
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")
        before, _ = legs(bed)
        changed = UE_FINGERPRINT[::-1]
        ue.in_dialog("INVITE", answer, protected("active", fingerprint=changed).replace("alice 1 1", "alice 1 2"))
        again = await bed.core.expect("INVITE")
        bed.core.send(answered(again, body=PLAIN))
        await bed.ue.expect(200)
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")
        after, _ = legs(bed)
        assert [one.value for one in after.fingerprints] == [changed]
        assert after.local == before.local
        assert after.association != before.association
        await hang_up(bed, ue, answer)

    story(tale)


THEIRS, OTHER = "the-association-of-the-ue", "another-association-of-the-ue"


def named(setup: str, tls_id: str, version: int = 1) -> str:
    return protected(setup, more=f"a=tls-id:{tls_id}\na=3ge2ae:requested").replace("alice 1 1", f"alice 1 {version}")


def tls_ids(body: bytes) -> list[str]:
    return [line.removeprefix("a=tls-id:") for line in body.decode().splitlines() if line.startswith("a=tls-id:")]


async def established(bed: Bed, ue: Ue) -> tuple[Request, Response]:
    """The UE calls: the INVITE as the core got it, the answer as the UE did."""
    ue.invite(named("actpass", THEIRS))
    invite = await bed.core.expect("INVITE")
    assert isinstance(invite, Request)
    bed.core.send(answered(invite, body=PLAIN))
    answer = await bed.ue.expect(200)
    ue.in_dialog("ACK", answer)
    await bed.core.expect("ACK")
    return invite, answer


async def offered_again(bed: Bed, ue: Ue, answer: Response, body: str, back: str = PLAIN) -> Response:
    ue.in_dialog("INVITE", answer, body)
    invite = await bed.core.expect("INVITE")
    assert not tls_ids(invite.body)
    bed.core.send(answered(invite, body=back))
    again = await bed.ue.expect(200)
    ue.in_dialog("ACK", answer)
    await bed.core.expect("ACK")
    return again


def test_the_answer_names_our_end_of_the_association_and_a_refresh_keeps_it() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        invite, answer = await established(bed, ue)
        assert not tls_ids(invite.body)
        (ours,) = tls_ids(answer.body)
        assert len(ours) == 32
        before, _ = legs(bed)
        assert before.tls_ids == (ours, THEIRS)
        asked = len(bed.gateway.asked)
        again = await offered_again(bed, ue, answer, named("actpass", THEIRS))
        assert again.body == answer.body
        assert len(bed.gateway.asked) == asked
        assert legs(bed)[0] == before
        await hang_up(bed, ue, answer)

    story(tale)


def test_another_name_makes_another_association() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await established(bed, ue)
        (ours,) = tls_ids(answer.body)
        before, core = legs(bed)
        again = await offered_again(bed, ue, answer, named("actpass", OTHER, 2))
        (anew,) = tls_ids(again.body)
        assert anew != ours
        after, core_after = legs(bed)
        assert after.tls_ids == (anew, OTHER)
        assert (after.local, core_after) == (before.local, core)
        assert after.association != before.association
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_refused_change_leaves_the_association() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        _, answer = await established(bed, ue)
        (ours,) = tls_ids(answer.body)
        before = legs(bed)
        asked = len(bed.gateway.asked)
        ue.in_dialog("INVITE", answer, named("actpass", OTHER, 2))
        bed.core.send(answered(await bed.core.expect("INVITE"), 488, body=""))
        await bed.ue.expect(488)
        await bed.core.expect("ACK")
        await bed.settle(1)
        assert (legs(bed), len(bed.gateway.asked)) == (before, asked)
        again = await offered_again(bed, ue, answer, named("actpass", THEIRS, 3))
        assert tls_ids(again.body) == [ours]
        assert (legs(bed), len(bed.gateway.asked)) == (before, asked)
        await hang_up(bed, ue, answer)

    story(tale)


@pytest.mark.parametrize("answers", [THEIRS, OTHER])
def test_a_further_offer_of_the_core_wants_to_keep_the_association(answers: str) -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        first, answer = await established(bed, ue)
        before, _ = legs(bed)
        bed.core.send(from_far(first, "INVITE", 1, body=PLAIN.replace("7100", "7200"), more=CONTACT))
        invite = await bed.ue.expect("INVITE")
        assert tls_ids(invite.body) == tls_ids(answer.body)
        assert "a=setup:actpass" in invite.body.decode().splitlines()
        ue.answer(invite, 200, named("active", answers))
        done = await bed.core.expect(200)
        assert not tls_ids(done.body)
        bed.core.send(from_far(first, "ACK", 1))
        await bed.ue.expect("ACK")
        after, core = legs(bed)
        assert core.remote == ("198.51.100.50", 7200)
        assert (after.association == before.association) == (answers == THEIRS)
        await hang_up(bed, ue, answer)

    story(tale)


def test_a_ue_that_names_no_association_is_told_no_name() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite(protected("actpass"))
        bed.core.send(answered(await bed.core.expect("INVITE"), body=PLAIN))
        answer = await bed.ue.expect(200)
        assert not tls_ids(answer.body)
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")
        before, _ = legs(bed)
        again = await offered_again(bed, ue, answer, protected("actpass"))
        assert not tls_ids(again.body)
        assert legs(bed)[0] == before
        await hang_up(bed, ue, answer)

    story(tale)


SECOND = T38.replace("a=T38FaxVersion:0", "m=image {} {} t38\n    a=T38FaxVersion:0").strip()


def test_a_line_that_was_closed_and_opens_again_has_another_association() -> None:
    """Nothing else in its SDP has changed; the other line of the session lives on."""

    def two(tls_id: str, port: int, version: int) -> str:
        second = SECOND.format(port, "UDP/TLS/UDPTL")
        return named("actpass", tls_id, version) + crlf(f"""
            {second}
            a=setup:actpass
            a=fingerprint:sha-256 {UE_FINGERPRINT}
            a=tls-id:the-association-of-the-second
            a=3ge2ae:requested""")

    def answer_to(port: int) -> str:
        return PLAIN + crlf(SECOND.format(port, "udptl"))

    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite(two(THEIRS, 6300, 1))
        bed.core.send(answered(await bed.core.expect("INVITE"), body=answer_to(7300)))
        answer = await bed.ue.expect(200)
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")

        def access() -> dict[int, LegPlan]:
            [context] = bed.gateway.table.contexts.values()
            return {leg.stream: plan for leg, plan in bed.gateway.table._plans[context.id].items() if plan.secure}

        before = access()
        await offered_again(bed, ue, answer, two(THEIRS, 0, 2), answer_to(0))
        closed = access()
        assert closed[1] == before[1]
        assert (closed[2].remote, closed[2].receives, closed[2].sends) == (None, False, False)
        again = await offered_again(bed, ue, answer, two(THEIRS, 6300, 3), answer_to(7300))
        after = access()
        assert after[1] == before[1]
        assert (after[2].remote, after[2].local, after[2].complete) == (before[2].remote, before[2].local, True)
        assert after[2].association != before[2].association
        assert tls_ids(again.body)[0] == tls_ids(answer.body)[0]
        assert tls_ids(again.body)[1] != tls_ids(answer.body)[1]
        await hang_up(bed, ue, answer)

    story(tale)


def test_the_core_hangs_up() -> None:
    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite(protected("actpass"))
        invite = await bed.core.expect("INVITE")
        bed.core.send(answered(invite, body=PLAIN))
        ue.in_dialog("ACK", await bed.ue.expect(200))
        await bed.core.expect("ACK")
        bed.core.send(from_far(invite, "BYE"))
        ue.answer(await bed.ue.expect("BYE"))
        await bed.core.expect(200)

    story(tale)


AUDIO_OFFER = crlf("""
    v=0
    o=alice 1 1 IN IP4 192.0.2.10
    s=-
    c=IN IP4 192.0.2.10
    t=0 0
    m=audio 6000 RTP/AVP 8
    a=rtpmap:8 PCMA/8000
    """)
AUDIO_ANSWER = AUDIO_OFFER.replace("alice", "bob").replace("192.0.2.10", "198.51.100.50").replace("6000", "7000")


def test_a_voice_call_that_turns_into_a_fax_and_back() -> None:
    """The usual life of a fax: the callee hears the tone and offers T.38 in place of audio, on the same m-line."""

    async def tale(bed: Bed, ue: Ue) -> None:
        ue.invite(AUDIO_OFFER)
        invite = await bed.core.expect("INVITE")
        assert "m=audio 41000 RTP/AVP 8" in invite.body.decode()
        bed.core.send(answered(invite, body=AUDIO_ANSWER))
        answer = await bed.ue.expect(200)
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")

        bed.core.send(from_far(invite, "INVITE", 1, body=PLAIN.replace("bob 1 1", "bob 1 2"), more=CONTACT))
        again = await bed.ue.expect("INVITE")
        seen = again.body.decode().splitlines()
        assert "m=image 30002 UDP/TLS/UDPTL t38" in seen
        assert "a=3ge2ae:applied" in seen
        ue.answer(again, 200, protected("active", more=""))
        done = await bed.core.expect(200)
        assert "m=image 41002 udptl t38" in done.body.decode()
        bed.core.send(from_far(invite, "ACK", 1))
        await bed.ue.expect("ACK")
        voice = legs(bed)
        assert [(each.rtp, each.receives) for each in voice] == [(True, False)] * 2
        access, core = legs(bed, rtp=False)
        assert (access.complete, access.tls, core.complete) == (True, TlsRole.SERVER, True)

        ue.in_dialog("INVITE", answer, AUDIO_OFFER.replace("alice 1 1", "alice 1 3"))
        back = await bed.core.expect("INVITE")
        assert "m=audio 41000 RTP/AVP 8" in back.body.decode()
        bed.core.send(answered(back, body=AUDIO_ANSWER))
        await bed.ue.expect(200)
        ue.in_dialog("ACK", answer)
        await bed.core.expect("ACK")
        await bed.settle()
        assert [(each.rtp, each.receives) for each in legs(bed)] == [(True, True)] * 2
        assert [each.receives for each in legs(bed, rtp=False)] == [False] * 2
        ended, _ = legs(bed, rtp=False)
        assert (ended.remote, ended.association != access.association) == (None, True)   # the UE gets its close_notify

        bed.core.send(from_far(invite, "INVITE", 2, body=PLAIN.replace("bob 1 1", "bob 1 4"), more=CONTACT))
        anew = await bed.ue.expect("INVITE")
        assert tls_ids(anew.body) != tls_ids(again.body)
        ue.answer(anew, 200, protected("active", more=""))
        await bed.core.expect(200)
        bed.core.send(from_far(invite, "ACK", 2))
        await bed.ue.expect("ACK")
        second, _ = legs(bed, rtp=False)
        assert (second.complete, second.local, second.tls_ids != access.tls_ids) == (True, access.local, True)
        await hang_up(bed, ue, answer)

    story(tale)


CONTACT = "Contact: <sip:bob@198.51.100.2:5080>"
