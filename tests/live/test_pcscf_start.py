"""The controller says when TCP and TLS begin at the embedded gateway: whole MSRP calls, with openssl as the UE's media end.

The UE's SIP is written by the test, so that what openssl shows and where it waits stand in its SDP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from pcscf.observe.trace import GATEWAY, read_trace
from tests.live.test_gateway_openssl import STRANGER, UE, UE_PRINT, OpenSsl, files, openssl, s_server
from tests.live.test_gateway_relay import Peer, dial, listening
from tests.support.bfcpends import BfcpUe as SdpUe
from tests.support.bfcpends import Server as SdpParty
from tests.support.bfcpends import media_port, said
from tests.support.peers import require_peer
from tests.support.processes import Pcscf, Stage, pcscf, stage, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Site(NamedTuple):
    pcscf: Pcscf
    stage: Stage


@asynccontextmanager
async def running(folder: Path, *settings: str) -> AsyncIterator[Site]:
    """A P-CSCF that leaves nothing at its gateway once the ends are gone."""
    require_peer("openssl")
    given = [f"gateways.supervision.{each}" for each in settings]
    async with stage() as around, pcscf(folder, around.core.address, *given) as made:
        yield Site(made, around)
        await around.leave()
        await made.nothing_left()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """TLS is begun by the controller."""
    async with running(tmp_path_factory.mktemp("tls"), "tls_start=controller") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def interlinked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """TCP is begun by the controller once the other side is up, and then TLS as well."""
    settings = "tls_start=controller", "tcp_start=interlinked", "tcp_wait=0.5"
    async with running(tmp_path_factory.mktemp("interlinked"), *settings) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def answered(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """TCP is begun by the controller with the answer."""
    async with running(tmp_path_factory.mktemp("answered"), "tcp_start=answer") as made:
        yield made


def sdp(port: int, setup: str, *, protected: bool, e2ae: str = "") -> str:
    scheme, proto = ("msrps", "TCP/TLS/MSRP") if protected else ("msrp", "TCP/MSRP")
    lines = [
        "v=0", "o=- 7 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", f"m=message {port} {proto} *",
        "a=accept-types:text/plain", f"a=path:{scheme}://127.0.0.1:{port}/s{port};tcp", "a=msrp-cema", f"a=setup:{setup}",
        *([f"a=fingerprint:{UE_PRINT}"] if protected else []), *([f"a=3ge2ae:{e2ae}"] if e2ae else []),
    ]
    return "\r\n".join(lines) + "\r\n"


async def ends(site: Site) -> tuple[SdpUe, SdpParty]:
    party = await site.stage.new_party(kind=SdpParty)
    ue = await site.stage.new_ue(site.pcscf.listeners["gm-tls"], kind=SdpUe)
    assert isinstance(party, SdpParty)
    assert isinstance(ue, SdpUe)
    return ue, party


@asynccontextmanager
async def called(site: Site, port: int) -> AsyncIterator[tuple[bytes, bytes]]:
    """The core's party calls a UE that waits for TLS at `port`, or opens (9); what the UE and the party were told."""
    ue, party = await ends(site)
    inviting = await party.begin(ue.uri, party.core_uri, sdp(9, "active", protected=False))
    invite, link = await ue.expect("INVITE")
    ue.accept(invite, link, sdp(port, "active" if port == 9 else "passive", protected=True))
    dialog, answer = await party.finish(inviting)
    try:
        yield invite.body, answer
    finally:
        await party.hang_up(dialog)


async def talk(run: OpenSsl, core: Peer) -> None:
    run.say(b"from the ue\n")
    assert await core.read(12) == b"from the ue\n"
    core.send(b"from the core\n")
    await run.until(b"from the core\n")


WORDS = {
    "Est": "tcpbcc/BNCChange Est", "verified": "tlsbsc/BNCChange Est", "TCP!": "tcpbcc/EstBNC", "TLS!": "tlsbsc/EstBNC",
}


def steps(site: Site, since: float) -> list[str]:
    """What the gateway's connections did, what it reported and what it was told to begin, in that order."""
    found = []
    for event in sorted(read_trace(site.pcscf.trace), key=lambda each: each.t):
        if event.t < since:
            continue
        if event.node == GATEWAY and event.facts.get("kind") in ("tcp-connected", "tcp-accepted", "tls-established"):
            found.append(str(event.facts["kind"]))
        elif event.node != GATEWAY and event.proto == "Iq" and event.facts.get("kind") == "request":
            found += [word for word, name in WORDS.items() if name in event.text]
    return found


@pytest.mark.interop("openssl", "P-CSCF and embedded gateway, TLS begun by the controller: gateway as client, MSRP session")
async def test_the_gateway_is_client_at_our_signal(site: Site, tmp_path: Path) -> None:
    began = time.time()
    async with s_server(tmp_path, UE) as (run, port), called(site, port) as (to_ue, to_party):
        assert said(to_ue, "3ge2ae") == "applied"
        core = await dial(("127.0.0.1", media_port(to_party)))
        await talk(run, core)
        assert b"CN = IMS-AGW" in run.printed, "the certificate of the gateway"
        await core.close()
    assert steps(site, began)[:5] == ["tcp-accepted", "tcp-connected", "Est", "TLS!", "tls-established"]


@pytest.mark.interop("openssl", "P-CSCF and embedded gateway, TLS begun by the controller: gateway as server, MSRP session")
async def test_the_gateway_is_server_without_a_signal(site: Site, tmp_path: Path) -> None:
    began = time.time()
    async with called(site, 9) as (to_ue, to_party):
        core = await dial(("127.0.0.1", media_port(to_party)))
        async with openssl("s_client", "-connect", f"127.0.0.1:{media_port(to_ue)}", *files(UE, tmp_path)) as run:
            await talk(run, core)
        await core.close()
    assert "Est" in steps(site, began)
    assert "TLS!" not in steps(site, began)


async def test_the_wrong_certificate_ends_the_session(site: Site, tmp_path: Path) -> None:
    async with s_server(tmp_path, STRANGER) as (run, port):
        ue, party = await ends(site)
        inviting = await party.begin(ue.uri, party.core_uri, sdp(9, "active", protected=False))
        invite, link = await ue.expect("INVITE")
        ue.accept(invite, link, sdp(port, "passive", protected=True))
        _, answer = await party.finish(inviting)
        core = await dial(("127.0.0.1", media_port(answer)))
        core.send(b"never")
        await until(lambda: bool(ue.byes and party.byes), lambda: "BYE of the network")
        assert "cause=488" in (ue.byes[0].get("Reason") or "")
        assert b"never" not in run.printed
        await core.close()


@pytest.mark.parametrize("setup", ["active", "passive"])
async def test_a_call_of_the_ue(site: Site, setup: str, tmp_path: Path) -> None:
    """The UE offers: where it waits, the gateway is told to be the client once it has opened."""
    began = time.time()
    ue, party = await ends(site)
    async with listening() as far, s_server(tmp_path, UE) as (waits, port):
        offered = sdp(9 if setup == "active" else port, setup, protected=True, e2ae="requested")
        inviting = await ue.begin(party.uri, ue.proxy_uri, offered)
        invite, link = await party.expect("INVITE")
        opens = said(invite.body, "setup") == "passive"
        party.accept(invite, link, sdp(9 if opens else far.address[1], "active" if opens else "passive", protected=False))
        dialog, answer = await ue.finish(inviting)
        if setup == "active":
            async with openssl("s_client", "-connect", f"127.0.0.1:{media_port(answer)}", *files(UE, tmp_path)) as run:
                core = await far.accept()
                await talk(run, core)
        else:
            core = await dial(("127.0.0.1", media_port(invite.body)))
            await talk(waits, core)
        await core.close()
        await ue.hang_up(dialog)
    assert ("TLS!" in steps(site, began)) is (setup == "passive")


@pytest.mark.interop("openssl", "P-CSCF and embedded gateway, TCP and TLS begun by the controller: UE waits, core opens first")
async def test_interlinked_the_ue_is_dialled_once_the_core_has_come(interlinked: Site, tmp_path: Path) -> None:
    began = time.time()
    async with s_server(tmp_path, UE) as (run, port), called(interlinked, port) as (_, to_party):
        await asyncio.sleep(0.3)
        assert steps(interlinked, began) == []
        core = await dial(("127.0.0.1", media_port(to_party)))
        await talk(run, core)
        await core.close()
    assert steps(interlinked, began)[:7] == [
        "tcp-accepted", "Est", "TCP!", "tcp-connected", "Est", "TLS!", "tls-established"]


@pytest.mark.interop("openssl", "P-CSCF and embedded gateway, TCP and TLS begun by the controller: UE opens first")
async def test_interlinked_the_core_is_dialled_once_the_ue_is_verified(interlinked: Site, tmp_path: Path) -> None:
    began = time.time()
    ue, party = await ends(interlinked)
    async with listening() as far:
        inviting = await ue.begin(party.uri, ue.proxy_uri, sdp(9, "active", protected=True, e2ae="requested"))
        invite, link = await party.expect("INVITE")
        party.accept(invite, link, sdp(far.address[1], "passive", protected=False))
        dialog, answer = await ue.finish(inviting)
        async with openssl("s_client", "-connect", f"127.0.0.1:{media_port(answer)}", *files(UE, tmp_path)) as run:
            core = await far.accept()
            await talk(run, core)
        await core.close()
        await ue.hang_up(dialog)
    assert steps(interlinked, began)[:6] == ["tcp-accepted", "Est", "tls-established", "verified", "TCP!", "tcp-connected"]


async def test_interlinked_nobody_waits_for_ever(interlinked: Site, tmp_path: Path) -> None:
    """The core's party was to open and did not: both sides are told."""
    began = time.time()
    async with s_server(tmp_path, UE) as (_, port):
        ue, party = await ends(interlinked)
        inviting = await party.begin(ue.uri, party.core_uri, sdp(9, "active", protected=False))
        invite, link = await ue.expect("INVITE")
        ue.accept(invite, link, sdp(port, "passive", protected=True))
        await party.finish(inviting)
        await until(lambda: bool(ue.byes and party.byes), lambda: "BYE of the network")
    for bye in (ue.byes[0], party.byes[0]):
        assert "the peer made no TCP connection" in (bye.get("Reason") or "")
    assert steps(interlinked, began) == []


@pytest.mark.interop("openssl", "P-CSCF and embedded gateway, TCP begun by the controller with the answer: UE waits")
async def test_with_the_answer_the_ue_is_dialled_at_once(answered: Site, tmp_path: Path) -> None:
    began = time.time()
    async with s_server(tmp_path, UE) as (run, port), called(answered, port) as (_, to_party):
        await until(lambda: "tls-established" in steps(answered, began), lambda: steps(answered, began))
        core = await dial(("127.0.0.1", media_port(to_party)))
        await talk(run, core)
        await core.close()
    assert sorted(steps(answered, began)[:2]) == ["TCP!", "TLS!"]
    assert steps(answered, began)[2:5] == ["tcp-connected", "tls-established", "tcp-accepted"]
