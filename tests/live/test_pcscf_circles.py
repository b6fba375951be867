"""Two UEs behind one P-CSCF: their contexts are joined at the gateway. In league, they try to close the circle."""

from __future__ import annotations

from pathlib import Path

from pcscf.observe.trace import GATEWAY, read_trace
from tests.live.test_gateway_openssl import UE, UE_PRINT, files, openssl
from tests.live.test_pcscf_start import sdp
from tests.support.bfcpends import BfcpUe as SdpUe
from tests.support.bfcpends import media_port, said
from tests.support.peers import require_peer
from tests.support.processes import pcscf, stage, until


async def test_ends_in_league_are_parted(tmp_path: Path) -> None:
    """They talk, as two UEs behind one gateway do. Then each says that its media is where the gateway serves the other one, with
    the certificate of the gateway: what was on its way would go round between its own sockets.
    """
    require_peer("openssl")
    async with stage() as around, pcscf(tmp_path / "site", around.core.address) as running:
        alice = await around.new_ue(running.listeners["gm-tls"], kind=SdpUe)
        carol = await around.new_ue(running.listeners["gm-tls"], name="carol", kind=SdpUe)
        assert isinstance(alice, SdpUe)
        assert isinstance(carol, SdpUe)
        offer = sdp(9, "active", protected=True, e2ae="requested")
        inviting = await alice.begin(carol.uri, alice.proxy_uri, offer)
        invite, link = await carol.expect("INVITE")
        at_carol = carol.accept(invite, link, sdp(9, "active", protected=True))
        at_alice, answer = await alice.finish(inviting)
        to_alice, to_carol = media_port(answer), media_port(invite.body)
        async with (
            openssl("s_client", "-connect", f"127.0.0.1:{to_alice}", *files(UE, tmp_path)) as one,
            openssl("s_client", "-connect", f"127.0.0.1:{to_carol}", *files(UE, tmp_path)) as other,
        ):
            one.say(b"from the one\n")
            await other.until(b"from the one\n")
            other.say(b"from the other\n")
            await one.until(b"from the other\n")
            one.say(b"x" * 1_000_000)   # on its way, for the other one does not read any more
            gateways = {said(answer, "fingerprint"), said(invite.body, "fingerprint")}
            assert len(gateways) == 1

            def claims(port: int, setup: str) -> str:
                ours = sdp(port, setup, protected=True, e2ae="requested").replace("o=- 7 1", "o=- 7 2")
                return ours.replace(UE_PRINT, gateways.copy().pop())

            waits = await alice.re_invite(at_alice, claims(to_carol, "active"))
            for_carol, link = await carol.expect("INVITE")
            carol.accept(for_carol, link, claims(to_alice, "passive"))
            await alice.acknowledge(at_alice, waits)
            await until(lambda: bool(alice.byes and carol.byes), lambda: [each.text for each in read_trace(running.trace)][-20:])
        assert any("lead back to the gateway" in (bye.get("Reason") or "") for bye in (*alice.byes, *carol.byes))
        failed = [each for each in read_trace(running.trace) if each.node == GATEWAY and each.facts.get("cause") == "LEADS_BACK"]
        assert failed
        assert at_carol.call_id == at_alice.call_id
        await running.nothing_left()
