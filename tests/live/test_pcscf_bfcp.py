"""BFCP through the real process and its gateway: dial-in and dial-out, every pair of roles, renewal, and every way to fail.

The offerer is the TLS client and the answerer the server, whoever opened the TCP connection (RFC 8856 §8).
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Literal, NamedTuple

import pytest
import pytest_asyncio

from pcscf.lab import tls
from pcscf.lab.call import Dialog, Habits, Manners
from tests.support.bfcpends import HELLO, HELLO_ACK, BfcpUe, Far, Server, Wire, close_sockets, media_port, said, sdp
from tests.support.processes import DOMAIN, Pcscf, Stage, pcscf, stage, until, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPLEMENT = {"active": "passive", "passive": "active", "": "passive", "actpass": "passive"}
ALICE = tls.self_signed("alice")
ALICE_NEW = tls.self_signed("alice again")
STRANGER = tls.self_signed("somebody else")
SETTINGS = (
    "realms.access.mechanisms=[msrp-tls, bfcp-tls]", "gateways.embedded.timers.tls_handshake=1.5",
    "gateways.embedded.timers.tcp_accept=2",
)
Role = Literal["client", "server"]


class Site(NamedTuple):
    pcscf: Pcscf
    stage: Stage


class Call(NamedTuple):
    """A call with its two ends, what each was told of the gateway, and what each listens on."""

    ue: BfcpUe
    server: Server
    at_ue: Dialog
    at_server: Dialog
    to_ue: bytes
    to_server: bytes
    ue_far: Far
    server_far: Far

    async def connect(self, ue_setup: str, server_setup: str) -> tuple[Wire, Wire]:
        """The connections of both ends, as their setup says. The gateway dials only when its waiting side is up."""
        if server_setup == "active" and ue_setup == "passive":
            server = await self.server_far.connect(media_port(self.to_server))
            return await self.ue_far.accept(), server
        ue = await self.ue_far.open(ue_setup, media_port(self.to_ue))
        return ue, await self.server_far.open(server_setup, media_port(self.to_server))


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["gateway", "interlinked"])
async def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """TCP that the gateway opens is begun by itself, or by the controller: the ends cannot tell."""
    start = f"gateways.supervision.tcp_start={request.param}", "gateways.supervision.tcp_wait=2"
    async with stage() as around, pcscf(tmp_path_factory.mktemp("bfcp"), around.core.address, *SETTINGS, *start) as running:
        yield Site(running, around)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def clean(site: Site) -> AsyncIterator[None]:
    """Every test leaves its far ends, and no context at the gateway."""
    yield
    close_sockets()
    await site.stage.leave()
    await site.pcscf.nothing_left()


async def ends(site: Site) -> tuple[BfcpUe, Server]:
    """A registered UE that agreed on bfcp-tls, and a conference server."""
    server = await site.stage.new_party(name="conference", kind=Server)
    ue = await site.stage.new_ue(site.pcscf.listeners["gm-tls"], kind=BfcpUe)
    assert isinstance(server, Server)
    assert isinstance(ue, BfcpUe)
    assert ue.registration.security_server == ["msrp-tls;mediasec", "bfcp-tls;mediasec"]
    return ue, server


def print_of(identity: tls.Identity) -> str:
    return " ".join(identity.fingerprint())


def ue_sdp(
    far: Far, setup: str, *, announced: tls.Identity = ALICE, connection: str = "new", e2ae: str = "", version: int = 1,
) -> str:
    return sdp(port=9 if setup == "active" else far.port, setup=setup, connection=connection, secure=True, e2ae=e2ae,
               fingerprint=print_of(announced), version=version)  # fmt: skip


def server_sdp(far: Far, setup: str, *, connection: str = "new", version: int = 1) -> str:
    return sdp(port=9 if setup == "active" else far.port, setup=setup, connection=connection, version=version)


async def dial_in(
    site: Site, ue_setup: str, server_setup: str, *, role: Role = "client", identity: tls.Identity = ALICE,
) -> Call:
    """The UE offers to the conference server."""
    ue, server = await ends(site)
    ue_far, server_far = Far(role, identity), Far()
    inviting = await ue.begin(server.uri, ue.proxy_uri, ue_sdp(ue_far, ue_setup, e2ae="requested"))
    invite, link = await server.expect("INVITE")
    at_server = server.accept(invite, link, server_sdp(server_far, server_setup))
    at_ue, answer = await ue.finish(inviting)
    return Call(ue, server, at_ue, at_server, answer, invite.body, ue_far, server_far)


async def dial_out(
    site: Site, server_setup: str, ue_setup: str, *, role: Role = "server", identity: tls.Identity = ALICE,
) -> Call:
    """The conference server offers to the UE."""
    ue, server = await ends(site)
    ue_far, server_far = Far(role, identity), Far()
    inviting = await server.begin(ue.uri, server.core_uri, server_sdp(server_far, server_setup))
    invite, link = await ue.expect("INVITE")
    at_ue = ue.accept(invite, link, ue_sdp(ue_far, ue_setup))
    at_server, answer = await server.finish(inviting)
    return Call(ue, server, at_ue, at_server, invite.body, answer, ue_far, server_far)


async def talk(ue: Wire, server: Wire) -> None:
    await ue.say(HELLO)
    assert await server.hear(len(HELLO)) == HELLO
    await server.say(HELLO_ACK)
    assert await ue.hear(len(HELLO_ACK)) == HELLO_ACK


async def ended_with(call: Call, status: int, words: str) -> None:
    """Both sides got BYE with that reason."""
    await until(lambda: bool(call.ue.byes and call.server.byes), lambda: "BYE")
    for bye in (call.ue.byes[0], call.server.byes[0]):
        assert f"cause={status}" in (bye.get("Reason") or "")
        assert words in (bye.get("Reason") or "")


@pytest.mark.parametrize("ue_setup", ["active", "passive", "actpass"])
@pytest.mark.parametrize("server_setup", ["active", "passive"])
async def test_dial_in(site: Site, ue_setup: str, server_setup: str) -> None:
    """The UE is the TLS client, whichever end opens the TCP connections."""
    call = await dial_in(site, ue_setup, server_setup)
    answered = said(call.to_ue, "setup")
    assert answered == {"active": "passive", "passive": "active", "actpass": "passive"}[ue_setup]
    assert b"TCP/BFCP" in call.to_server
    for word in (b"TLS", b"fingerprint", b"3ge2ae"):
        assert word not in call.to_server
    ue, server = await call.connect(COMPLEMENT[answered], server_setup)
    await talk(ue, server)
    await call.ue.hang_up(call.at_ue)
    assert await ue.is_over()
    assert await server.is_over()


@pytest.mark.parametrize("server_setup", ["active", "passive", "actpass"])
@pytest.mark.parametrize("ue_setup", ["active", "passive"])
async def test_dial_out(site: Site, server_setup: str, ue_setup: str) -> None:
    """The UE is the TLS server, whichever end opens the TCP connections."""
    call = await dial_out(site, server_setup, ue_setup)
    assert said(call.to_ue, "3ge2ae") == "applied"
    assert said(call.to_ue, "setup") == "actpass"
    ue, server = await call.connect(ue_setup, COMPLEMENT[said(call.to_server, "setup")])
    await talk(ue, server)
    await call.server.hang_up(call.at_server)
    assert await ue.is_over()


async def test_a_ue_that_takes_the_tls_role_from_its_setup(site: Site) -> None:
    """ClientHello against ClientHello: the gateway yields, and there is a session."""
    call = await dial_out(site, "actpass", "active", role="client")
    ue, server = await call.connect("active", COMPLEMENT[said(call.to_server, "setup")])
    await talk(ue, server)
    await call.server.hang_up(call.at_server)


async def test_both_ends_wait_for_a_client_hello(site: Site) -> None:
    """A UE that offers to wait, and takes itself for the TLS server: the handshake times out, and both sides are told."""
    call = await dial_in(site, "passive", "active", role="server")
    server = await call.server_far.connect(media_port(call.to_server))
    with pytest.raises((OSError, ssl.SSLError)):
        await call.ue_far.accept()
    await ended_with(call, 503, "TLS handshake timeout")
    assert await server.is_over()


async def test_client_hello_against_client_hello_on_a_dialled_connection_ends(site: Site) -> None:
    """The gateway dialled and is the client; a UE that is one too cannot be yielded to any more."""
    call = await dial_out(site, "active", "passive", role="client")
    server = await call.server_far.connect(media_port(call.to_server))
    with pytest.raises((OSError, ssl.SSLError)):
        await call.ue_far.accept()
    await ended_with(call, 488, "e2ae failure")
    server.close()


async def test_nobody_connects(site: Site) -> None:
    call = await dial_in(site, "active", "passive")
    await ended_with(call, 503, "the peer made no TCP connection")


@pytest.mark.parametrize("direction", ["in", "out"])
async def test_a_certificate_that_the_sdp_does_not_name(site: Site, direction: str) -> None:
    make = dial_in if direction == "in" else dial_out
    call = await make(site, "active", "passive", identity=STRANGER)
    if direction == "in":
        ue = await call.ue_far.connect(media_port(call.to_ue))   # TLS 1.3: the client is done before it is judged
        assert await ue.is_over()
    else:
        server = await call.server_far.connect(media_port(call.to_server))
        with pytest.raises((OSError, ssl.SSLError)):
            await call.ue_far.accept()
        assert await server.is_over()
    await ended_with(call, 488, "fingerprint mismatch")


async def test_an_existing_connection_survives_a_further_offer_of_either_side(site: Site) -> None:
    call = await dial_in(site, "active", "passive")
    ue, server = await call.connect("active", "passive")
    await talk(ue, server)

    asking = await call.ue.re_invite(
        call.at_ue, ue_sdp(call.ue_far, "actpass", connection="existing", e2ae="requested", version=2))
    offer, link = await call.server.expect("INVITE")
    assert said(offer.body, "connection") == "existing"
    call.server.accept(offer, link, server_sdp(call.server_far, "active", connection="existing", version=2))
    assert said(await call.ue.acknowledge(call.at_ue, asking), "connection") == "existing"
    await talk(ue, server)

    asking = await call.server.re_invite(call.at_server, server_sdp(call.server_far, "actpass", connection="existing", version=3))
    offer, link = await call.ue.expect("INVITE")
    call.ue.accept(offer, link, ue_sdp(call.ue_far, "passive", connection="existing", version=3))
    await call.server.acknowledge(call.at_server, asking)
    await talk(ue, server)
    await call.ue.hang_up(call.at_ue)


async def test_a_lost_connection_comes_back_with_a_further_offer(site: Site) -> None:
    """The same descriptions, a new connection (RFC 8855 §8.3): the UE is the client again."""
    call = await dial_in(site, "active", "passive")
    ue, server = await call.connect("active", "passive")
    await talk(ue, server)
    ue.close()
    assert await server.is_over()
    server.close()

    asking = await call.ue.re_invite(call.at_ue, ue_sdp(call.ue_far, "active", e2ae="requested", version=2))
    offer, link = await call.server.expect("INVITE")
    assert said(offer.body, "connection") == "new"
    call.server.accept(offer, link, server_sdp(call.server_far, "passive", version=2))
    await call.ue.acknowledge(call.at_ue, asking)
    ue, server = await call.connect("active", "passive")
    await talk(ue, server)
    await call.ue.hang_up(call.at_ue)


async def test_tls_roles_follow_who_offers_the_new_connection(site: Site) -> None:
    """The server dials out, so the gateway is the client; then the UE offers a connection with another certificate, and is."""
    call = await dial_out(site, "actpass", "active")
    ue, server = await call.connect("active", COMPLEMENT[said(call.to_server, "setup")])
    await talk(ue, server)

    fresh, far = Far("client", ALICE_NEW), Far()
    asking = await call.ue.re_invite(
        call.at_ue, ue_sdp(fresh, "active", announced=ALICE_NEW, e2ae="requested", version=2))
    offer, link = await call.server.expect("INVITE")
    call.server.accept(offer, link, server_sdp(far, "passive", version=2))
    answer = await call.ue.acknowledge(call.at_ue, asking)
    assert await ue.is_over()
    ue = await fresh.connect(media_port(answer))
    server = await far.accept()
    await talk(ue, server)

    # And back: the server offers, the gateway is the client once more.
    far, fresh = Far(), Far("server", ALICE_NEW)
    asking = await call.server.re_invite(call.at_server, server_sdp(far, "active", version=3))
    offer, link = await call.ue.expect("INVITE")
    call.ue.accept(offer, link, ue_sdp(fresh, "passive", announced=ALICE_NEW, version=3))
    answer = await call.server.acknowledge(call.at_server, asking)
    server = await far.connect(media_port(answer))
    ue = await fresh.accept()
    await talk(ue, server)
    await call.server.hang_up(call.at_server)


async def test_an_answer_that_drops_protection(site: Site) -> None:
    ue, server = await ends(site)
    far = Far()
    inviting = await server.begin(ue.uri, server.core_uri, server_sdp(far, "actpass"))
    invite, link = await ue.expect("INVITE")
    ue.accept(invite, link, server_sdp(far, "passive"))
    response = await inviting.final_response()
    assert response.status == 488
    await until(lambda: bool(ue.byes))
    assert "cause=488" in (ue.byes[0].get("Reason") or "")


async def test_a_conference_s_other_requests_pass(site: Site) -> None:
    """REFER and the conference package: in the dialog and beside it (RFC 4579, RFC 4575)."""
    call = await dial_in(site, "active", "passive")
    ue, server = await call.connect("active", "passive")
    for method, headers in (("REFER", [("Refer-To", f"<sip:carol@{DOMAIN}>")]), ("SUBSCRIBE", [("Event", "conference")])):
        request = call.at_ue.request(method)
        for name, value in [("Contact", call.ue.contact(await call.ue.link_to(call.ue.proxy_uri))), *headers]:
            request.add(name, value)
        call.ue.decorate(request)
        transaction = call.ue.send_request(request, await call.ue.link_to(call.ue.proxy_uri))
        got, link = await call.server.expect(method)
        for name, value in headers:
            assert got.get(name) == value
        call.server.accept(got, link)
        assert (await transaction.final_response()).status == 200
    notify = call.at_server.request("NOTIFY")
    for name, value in (("Event", "conference"), ("Subscription-State", "active"), ("Contact", "<sip:conference@127.0.0.1>")):
        notify.add(name, value)
    notify.set_body(b"<conference-info/>", "application/conference-info+xml")
    transaction = call.server.send_request(notify, await call.server.link_to(call.at_server.next_hop))
    got, link = await call.ue.expect("NOTIFY")
    assert got.body == b"<conference-info/>"
    call.ue.accept(got, link)
    assert (await transaction.final_response()).status == 200
    await talk(ue, server)
    await call.ue.hang_up(call.at_ue)


@pytest.mark.parametrize("caller", ["ue", "server"])
@pytest.mark.parametrize("ue_setup", ["active", "passive"])
async def test_a_floor_is_asked_for_and_granted(site: Site, caller: str, ue_setup: str) -> None:
    """The lab's own BFCP ends: Hello, FloorRequest and what follows, protected as far as the edge."""
    party = await site.stage.new_party(Manners(reply="got: {text}"), name="conference")
    party.habits = Habits(medium="bfcp", setup="actpass", choice="passive", floorctrl="s-only")
    ue = await site.stage.new_ue(site.pcscf.listeners["gm-tls"])
    ue.habits = Habits(
        medium="bfcp", secure=True, setup=ue_setup, choice=ue_setup, identity=ALICE, e2ae="requested")   # type: ignore[arg-type]
    ue.manners = party.manners
    call = await within(ue.call(party.uri, ue.proxy_uri) if caller == "ue" else party.invite(ue.uri), "the answer")
    await within(call.send_text("the floor, please"), "the peer to have it")
    assert await within(call.receive_text(), "the reply") == "got: the floor, please"
    [at_ue] = ue.calls.values()
    [at_party] = party.calls.values()
    assert at_ue.tls is not None
    assert at_party.tls is None
    await within(call.hang_up(), "the end")
