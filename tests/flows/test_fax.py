"""T.38: UDPTL over DTLS towards the UE, plain udptl towards the core (TS 33.328 annex on T.38, RFC 7345)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from pcscf.gateway.endpoint import TlsRole
from pcscf.gateway.model import LegPlan
from pcscf.sip.message import Request, Response, response_to
from tests.support.flowbed import Bed
from tests.support.memorygateway import FINGERPRINT, RSA_FINGERPRINT
from tests.support.parties import UE_FINGERPRINT, Ue, answered, bed_with_ue, call_ue, crlf, from_far
from tests.support.virtual import run_virtually

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


def story(tale: Callable[[Bed, Ue], Awaitable[None]]) -> None:
    async def run() -> None:
        bed, ue = await bed_with_ue(mechanisms=("msrp-tls", "udptl-dtls"))
        await tale(bed, ue)
        await bed.settle(300)
        assert not bed.gateway.table.contexts, bed.story()
        assert not bed.store.sessions(), bed.story()
        await bed.close()

    run_virtually(run)


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


async def hang_up(bed: Bed, ue: Ue, answer: Response) -> None:
    ue.in_dialog("BYE", answer)
    bed.core.send(answered(await bed.core.expect("BYE"), body=""))
    await bed.ue.expect(200)


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
        await hang_up(bed, ue, answer)

    story(tale)


CONTACT = "Contact: <sip:bob@198.51.100.2:5080>"
