"""Fax through the real process and its gateway, with openssl as the UE's DTLS: which exchange keeps the association.

Beside it stands a line of MSRP over TLS: what is closed and opened again has another connection, whatever its transport.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from pcscf.lab import tls
from pcscf.lab.call import Dialog
from pcscf.sip.message import Request, response_to
from tests.live.test_gateway_dtls import UE, UE_PRINT, Core, echoed, s_server
from tests.live.test_gateway_openssl import OpenSsl, files, openssl
from tests.support.bfcpends import BfcpUe, Far, Server, Wire, close_sockets, said
from tests.support.gatewaybed import Local
from tests.support.peers import require_peer
from tests.support.processes import Pcscf, Stage, pcscf, stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALICE = tls.self_signed("alice")
THEIRS, OTHER = "the-association-of-the-ue", "another-association-of-the-ue"
PING, PONG = b"MSRP from the ue\r\n", b"MSRP from the core\r\n"


class Site(NamedTuple):
    pcscf: Pcscf
    stage: Stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    require_peer("openssl")
    settings = ("realms.access.mechanisms=[msrp-tls, udptl-dtls]", "gateways.embedded.timers.tcp_accept=5")
    async with stage() as around, pcscf(tmp_path_factory.mktemp("fax"), around.core.address, *settings) as running:
        yield Site(running, around)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def clean(site: Site) -> AsyncIterator[None]:
    """Every test leaves its far ends, and no context at the gateway."""
    yield
    close_sockets()
    await site.stage.leave()
    await site.pcscf.nothing_left()


class Call:
    """A call of a UE with a far end; their descriptions have a line of fax and one of MSRP, each open or closed."""

    def __init__(self, ue: BfcpUe, server: Server, *, setup: str, port: int = 9) -> None:
        self.ue = ue
        self.server = server
        self.core = Core()
        self.msrp = Far("client", ALICE), Far()   # the UE's end, the far end's
        self.setup, self.port = setup, port
        self.version = 0
        self.at_ue: Dialog | None = None
        self.at_server: Dialog | None = None
        self.to_ue = self.to_server = b""   # the descriptions as they came through

    def of_ue(self, tls_id: str, *, fax: bool = True, msrp: bool = True, setup: str = "") -> str:
        return self._sdp(
            f"m=image {self.port if fax else 0} UDP/TLS/UDPTL t38", f"a=setup:{setup or self.setup}", f"a=tls-id:{tls_id}",
            f"a=fingerprint:{UE_PRINT}", "a=3ge2ae:requested",
            f"m=message {9 if msrp else 0} TCP/TLS/MSRP *", "a=accept-types:*", "a=path:msrps://127.0.0.1:9/ue;tcp",
            "a=msrp-cema", "a=setup:active", f"a=fingerprint:{' '.join(ALICE.fingerprint())}", "a=3ge2ae:requested",
        )  # fmt: skip

    def of_server(self, *, fax: bool = True, msrp: bool = True, setup: str = "passive") -> str:
        port = self.msrp[1].port
        return self._sdp(
            f"m=image {self.core.address[1] if fax else 0} udptl t38",
            f"m=message {port if msrp else 0} TCP/MSRP *", "a=accept-types:*", f"a=path:msrp://127.0.0.1:{port}/far;tcp",
            "a=msrp-cema", f"a=setup:{setup}",
        )  # fmt: skip

    def _sdp(self, *lines: str) -> str:
        self.version += 1
        head = ["v=0", f"o=- 77 {self.version} IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
        return "\r\n".join([*head, *lines, ""])

    async def begin(self, tls_id: str = THEIRS) -> None:
        inviting = await self.ue.begin(self.server.uri, self.ue.proxy_uri, self.of_ue(tls_id))
        invite, link = await self.server.expect("INVITE")
        self.to_server = invite.body
        self.at_server = self.server.accept(invite, link, self.of_server())
        self.at_ue, self.to_ue = await self.ue.finish(inviting)

    async def ue_offers(self, tls_id: str, **lines: bool) -> None:
        """A further exchange that the UE begins; the far end answers with the same lines."""
        assert self.at_ue is not None
        asking = await self.ue.re_invite(self.at_ue, self.of_ue(tls_id, **lines))  # type: ignore[arg-type]
        offer, link = await self.server.expect("INVITE")
        self.server.accept(offer, link, self.of_server(**lines))  # type: ignore[arg-type]
        self.to_server, self.to_ue = offer.body, await self.ue.acknowledge(self.at_ue, asking)

    async def hang_up(self) -> None:
        assert self.at_ue is not None
        await self.ue.hang_up(self.at_ue)
        self.core.socket.close()

    def at(self, body: bytes) -> Local:
        """The gateway's side of the fax."""
        return Local(0, "", body.decode())

    def opened(self, folder: Path) -> tuple[str, ...]:
        """Arguments of an openssl that opens the association as the UE."""
        local = self.at(self.to_ue)
        return ("s_client", "-dtls1_2", "-connect", f"{local.host}:{local.port}", *files(UE, folder))

    async def fax_passes(self, run: OpenSsl) -> None:
        await echoed(run, self.core, self.at(self.to_server))

    async def messages(self) -> tuple[Wire, Wire]:
        """The connections of MSRP, made and tried."""
        port = int(self.to_ue.decode().rpartition("m=message ")[2].split()[0])
        ends = await self.msrp[0].connect(port), await self.msrp[1].accept()
        await talk(*ends)
        return ends


async def talk(ue: Wire, server: Wire) -> None:
    await ue.say(PING)
    assert await server.hear(len(PING)) == PING
    await server.say(PONG)
    assert await ue.hear(len(PONG)) == PONG


async def new_call(site: Site, *, setup: str = "actpass", port: int = 9) -> Call:
    server = await site.stage.new_party(name="far", kind=Server)
    ue = await site.stage.new_ue(site.pcscf.listeners["gm-tls"], kind=BfcpUe)
    assert isinstance(server, Server)
    assert isinstance(ue, BfcpUe)
    call = Call(ue, server, setup=setup, port=port)
    await call.begin()
    return call


async def refused(call: Call, tls_id: str) -> None:
    assert call.at_ue is not None
    asking = await call.ue.re_invite(call.at_ue, call.of_ue(tls_id))
    offer, link = await call.server.expect("INVITE")
    assert isinstance(offer, Request)
    call.server.respond(offer, response_to(offer, 488, to_tag=offer.to_tag), link)
    assert (await asking.final_response()).status == 488


@pytest.mark.interop("openssl", "e2ae: the UE opens; an unchanged offer keeps the association, a new a=tls-id makes another")
async def test_a_ue_that_opens(site: Site, tmp_path: Path) -> None:
    call = await new_call(site)
    ours = said(call.to_ue, "tls-id")
    assert len(ours) == 32
    assert b"tls-id" not in call.to_server
    async with openssl(*call.opened(tmp_path)) as run:
        await call.fax_passes(run)
        await call.ue_offers(THEIRS)
        assert said(call.to_ue, "tls-id") == ours
        await call.fax_passes(run)
        await refused(call, OTHER)
        await call.fax_passes(run)
        await call.ue_offers(OTHER)
        assert b"close notify" in await run.end() or b"closed" in run.printed
    assert said(call.to_ue, "tls-id") not in ("", ours)
    async with openssl(*call.opened(tmp_path)) as again:
        await call.fax_passes(again)
        assert b"Client certificate" in again.printed or b"Verify return code" in again.printed
    await call.hang_up()


@pytest.mark.interop("openssl", "e2ae: the gateway opens; a new a=tls-id makes another handshake, an unchanged one makes none")
async def test_a_ue_that_waits(site: Site, tmp_path: Path) -> None:
    async with s_server(tmp_path, UE) as (run, port):
        call = await new_call(site, setup="passive", port=port)
        await run.until(b"Client certificate")
        await call.fax_passes(run)
        await call.ue_offers(THEIRS)
        await call.fax_passes(run)
        assert run.printed.count(b"Client certificate") == 1
        run.printed = b""
        await call.ue_offers(OTHER)
        await run.until(b"Client certificate")
        await call.fax_passes(run)
        await call.hang_up()


@pytest.mark.interop("openssl", "e2ae: a further offer of the core names the association that stands, and keeps it")
async def test_the_core_offers_again(site: Site, tmp_path: Path) -> None:
    call = await new_call(site)
    assert call.at_server is not None
    async with openssl(*call.opened(tmp_path)) as run:
        await call.fax_passes(run)
        asking = await call.server.re_invite(call.at_server, call.of_server(setup="passive"))
        offer, link = await call.ue.expect("INVITE")
        assert said(offer.body, "tls-id") == said(call.to_ue, "tls-id")
        assert said(offer.body, "setup") == "actpass"
        call.ue.accept(offer, link, call.of_ue(THEIRS, setup="active"))
        assert b"tls-id" not in await call.server.acknowledge(call.at_server, asking)
        await call.fax_passes(run)
    await call.hang_up()


@pytest.mark.interop("openssl", "e2ae: a fax line closed and opened again unchanged has another association")
async def test_a_fax_line_that_is_closed_and_opened_again(site: Site, tmp_path: Path) -> None:
    call = await new_call(site)
    ours = said(call.to_ue, "tls-id")
    towards_core = call.at(call.to_server).address
    wires = await call.messages()
    async with openssl(*call.opened(tmp_path)) as run:
        await call.fax_passes(run)
        await call.ue_offers(THEIRS, fax=False)
        await run.end()
    await talk(*wires)
    call.core.send(b"while it is closed\n", towards_core)
    await call.ue_offers(THEIRS)
    assert said(call.to_ue, "tls-id") not in ("", ours)
    async with openssl(*call.opened(tmp_path)) as again:
        await call.fax_passes(again)
        assert b"while it is closed" not in again.printed
    await talk(*wires)
    await call.hang_up()


@pytest.mark.parametrize("lost", ["by the gateway", "by the ue"])
async def test_a_line_of_msrp_that_is_closed_and_opened_again(site: Site, tmp_path: Path, lost: str) -> None:
    """Its SDP is the same as before, and RFC 6135 §4.4 has no a=connection: a port that was 0 says enough."""
    call = await new_call(site)
    wires = await call.messages()
    async with openssl(*call.opened(tmp_path)) as run:
        await call.fax_passes(run)
        if lost == "by the ue":
            wires[0].close()
            assert await wires[1].is_over()
        await call.ue_offers(THEIRS, msrp=False)
        if lost == "by the gateway":
            assert await wires[0].is_over()
            assert await wires[1].is_over()
        wires[0].close()
        wires[1].close()
        await call.ue_offers(THEIRS)
        await call.messages()
        await call.fax_passes(run)
    await call.hang_up()


async def test_a_line_of_msrp_that_the_core_opens_again_finds_a_listener_at_once(site: Site) -> None:
    """The UE may connect before its answer is at the gateway."""
    call = await new_call(site)
    assert call.at_server is not None
    wires = await call.messages()
    await call.ue_offers(THEIRS, msrp=False)
    assert await wires[0].is_over()
    wires[0].close()
    wires[1].close()
    asking = await call.server.re_invite(call.at_server, call.of_server(setup="actpass"))
    offer, link = await call.ue.expect("INVITE")
    port = int(offer.body.decode().rpartition("m=message ")[2].split()[0])
    early = await call.msrp[0].dial(port)
    call.ue.accept(offer, link, call.of_ue(THEIRS, setup="active"))
    await call.server.acknowledge(call.at_server, asking)
    ue = await call.msrp[0].shake_hands(early)
    await talk(ue, await call.msrp[1].accept())
    await call.hang_up()
