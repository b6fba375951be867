"""A fax from the SDP to the octets: the offer decided, Iq made of the plan, a real gateway, and openssl by the rewritten SDP."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcscf.config.policy import MediaPolicy
from pcscf.h248.codec import encode_compact
from pcscf.h248.message import Action, Message, TransactionRequest
from pcscf.iq.procedures import Realms, configure, release, reserve
from pcscf.iq.replies import read_configured_untrusted, read_reserved_untrusted
from pcscf.mediasec.plan import Agreed, Direction, MediaPlan, decide, settle
from pcscf.mediasec.rewrite import rewrite_answer, rewrite_offer
from pcscf.sdp.lines import Sdp, parse_sdp_untrusted
from tests.live.test_gateway_dtls import SLOW, UE, UE_PRINT, Core, core, echoed, s_server
from tests.live.test_gateway_openssl import files, openssl
from tests.support.gatewaybed import Bench, Local, bench
from tests.support.peers import require_peer

AGREED = Agreed(frozenset({"udptl-dtls"}), frozenset({"udptl-dtls"}))


@pytest.fixture(autouse=True)
def present() -> None:
    require_peer("openssl")


def fax(address: tuple[str, int], proto: str, *lines: str) -> Sdp:
    host, port = address
    text = ["v=0", f"o=- 1 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0", f"m=image {port} {proto} t38", *lines, ""]
    return parse_sdp_untrusted("\r\n".join(text).encode())


def protected(port: int, setup: str, *lines: str) -> Sdp:
    return fax(("127.0.0.1", port), "UDP/TLS/UDPTL", f"a=setup:{setup}", f"a=fingerprint:{UE_PRINT}", *lines)


async def told(gateway: Bench, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Carried out by the gateway; the actions of its reply."""
    text = encode_compact(Message("[127.0.0.1]:1", (TransactionRequest(1, actions),))).decode()
    reply = await gateway.ask(text[text.index("{") + 1 : -1])
    assert reply.error is None
    return reply.actions


def seen(sdp: Sdp) -> Local:
    return Local(0, "", sdp.to_bytes().decode())


async def call(gateway: Bench, offer: Sdp, direction: Direction, answer: Sdp) -> tuple[MediaPlan, Local, Local]:
    """The call up to its answer; where offerer and answerer find the gateway."""
    plan = decide(MediaPolicy(), AGREED, offer, direction)
    assert plan.action == "forward"
    media = read_reserved_untrusted("gw", plan, await told(gateway, reserve(plan, Realms())))
    from_ue = direction is Direction.OFFER_FROM_UE
    far = seen(rewrite_offer(plan, offer, media.core if from_ue else media.access))
    settled = settle(plan, answer)
    assert settled.action == "forward"
    media = read_configured_untrusted(media, settled, await told(gateway, configure(media, settled)))
    near = seen(rewrite_answer(settled, answer, media.access if from_ue else media.core))
    near.context = media.context
    return settled, near, far


def plain(far: Core) -> Sdp:
    return fax(far.address, "udptl")


async def test_a_fax_of_the_ue_that_opens(tmp_path: Path) -> None:
    async with bench(timers=SLOW) as gateway, core() as far:
        offer = protected(9, "actpass", "a=3ge2ae:requested")
        _, near, towards_core = await call(gateway, offer, Direction.OFFER_FROM_UE, plain(far))
        assert "a=setup:passive" in near.sdp
        assert near.sdp.count("a=fingerprint:sha-256 ") == 2
        assert "fingerprint" not in towards_core.sdp
        async with openssl("s_client", "-dtls1_2", "-connect", f"{near.host}:{near.port}", *files(UE, tmp_path)) as run:
            await echoed(run, far, towards_core)
        assert await told(gateway, release(near.context))
        assert not gateway.gateway.relay.legs


async def test_a_fax_of_the_ue_that_waits(tmp_path: Path) -> None:
    async with s_server(tmp_path, UE) as (run, port), bench(timers=SLOW) as gateway, core() as far:
        offer = protected(port, "passive", "a=3ge2ae:requested")
        _, near, towards_core = await call(gateway, offer, Direction.OFFER_FROM_UE, plain(far))
        assert "a=setup:active" in near.sdp
        await gateway.until("tls-established")
        await echoed(run, far, towards_core)


async def test_a_fax_to_a_ue_that_opens(tmp_path: Path) -> None:
    async with bench(timers=SLOW) as gateway, core() as far:
        _, near, towards_ue = await call(gateway, plain(far), Direction.OFFER_FROM_CORE, protected(9, "active"))
        assert "a=setup:actpass" in towards_ue.sdp
        assert "m=image" in near.sdp
        assert "TLS" not in near.sdp
        address = f"{towards_ue.host}:{towards_ue.port}"
        async with openssl("s_client", "-dtls1_2", "-connect", address, *files(UE, tmp_path)) as run:
            await echoed(run, far, near)


async def test_a_fax_to_a_ue_that_waits(tmp_path: Path) -> None:
    async with s_server(tmp_path, UE) as (run, port), bench(timers=SLOW) as gateway, core() as far:
        _, near, _ = await call(gateway, plain(far), Direction.OFFER_FROM_CORE, protected(port, "passive"))
        await gateway.until("tls-established")
        await echoed(run, far, near)


async def test_plain_fax_passes_through(tmp_path: Path) -> None:
    async with bench(timers=SLOW) as gateway, core() as ue, core() as far:
        plan, near, towards_core = await call(gateway, plain(ue), Direction.OFFER_FROM_UE, plain(far))
        assert plan.lines[0].gateway
        ue.send(b"up", near.address)
        assert await far.receive() == b"up"
        far.send(b"down", towards_core.address)
        assert await ue.receive() == b"down"
