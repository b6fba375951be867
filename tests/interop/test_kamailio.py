"""Kamailio as the SIP core of a real P-CSCF: registrations, calls in every direction, MSRP with TLS as far as the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest
import pytest_asyncio

from pcscf.lab import tls
from pcscf.lab.agent import Agent
from pcscf.lab.call import Call, Habits, Manners
from pcscf.lab.net import Target
from pcscf.lab.party import Party
from pcscf.lab.tap import Address, NoTap
from pcscf.lab.ue import Account, RegistrationRefusedError, Ue
from pcscf.lab.useragent import CallRefusedError
from tests.support.kamailio import PARTY, kamailio
from tests.support.peers import require_peer
from tests.support.processes import DOMAIN, PASSWORD, Heard, Pcscf, converse, pcscf, until, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPLY = "Got it: {text}"
GM = pytest.mark.parametrize("gm", ["udp", "tcp", "tls"])


class Site(NamedTuple):
    """`mw`: the transport between P-CSCF and core."""

    pcscf: Pcscf
    core: Address
    party: Party
    heard: Heard
    mw: str


class Reached:
    """The party needs the address of the core, which needs the address of the party: it is told afterwards."""

    def __init__(self) -> None:
        self.heard = Heard()
        self.party = Party(
            f"sip:{PARTY}@{DOMAIN}", Target("udp", "127.0.0.1", 1), self.heard, habits=Habits(choice="passive"),
            manners=Manners(ring=True, reply=REPLY),
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["udp", "tcp"])
async def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    require_peer("kamailio")
    mw: str = request.param
    reached, folder = Reached(), tmp_path_factory.mktemp(mw)
    address = await reached.party.start()
    try:
        async with kamailio(folder / "core", address, transport=mw) as core:
            reached.party.core = Target(mw, *core)
            hop = f"realms.core.next_hop=sip:{core[0]}:{core[1]};transport={mw}"
            only = ["listeners.mw-udp={realm: core, transport: tcp, address: 127.0.0.1, port: 0}"] if mw == "tcp" else []
            async with pcscf(folder / "pcscf", core, hop, *only) as running:
                yield Site(running, core, reached.party, reached.heard, mw)
    finally:
        await reached.party.close()


@pytest_asyncio.fixture(loop_scope="module")
async def new_ue(site: Site) -> AsyncIterator[Callable[..., Awaitable[Ue]]]:
    """Makes UEs that are registered at the P-CSCF; afterwards they leave, and no context stays."""
    made: list[Agent] = []

    async def make(name: str, gm: str, *, password: str = PASSWORD, manners: Manners | None = None) -> Ue:
        proxy = site.pcscf.listeners[f"gm-{gm}"]
        habits = Habits(secure=True, choice="active", identity=tls.self_signed(name), e2ae="requested")
        context = tls.client_context() if gm == "tls" else None
        ue = Ue(Account(name, password, DOMAIN, proxy), habits, NoTap(), tls=context, manners=manners)
        made.append(ue)
        await ue.start()
        await within(ue.register(), "the registration")
        return ue

    yield make
    while made:
        ue = made.pop()
        assert isinstance(ue, Ue)
        if ue.registration.active:
            await within(ue.deregister(), "the deregistration")
        await ue.close()
    await site.pcscf.nothing_left()


@GM
@pytest.mark.interop("kamailio", "registration with digest, Path and Service-Route; Gm over {gm}")
async def test_a_registration(site: Site, gm: str, new_ue: Callable[..., Awaitable[Ue]]) -> None:
    ue = await new_ue("alice", gm)
    registration = ue.registration
    assert registration.active
    assert registration.security_server == ["msrp-tls;mediasec"]
    assert registration.associated_uris == [f"<sip:alice@{DOMAIN}>"]
    assert len(registration.service_route) == 1, "the UE sees our Service-Route alone, or the core's behind it"
    await within(ue.deregister(), "the deregistration")
    assert not registration.active


@pytest.mark.interop("kamailio", "a wrong password is refused")
async def test_a_wrong_password(site: Site, new_ue: Callable[..., Awaitable[Ue]]) -> None:
    with pytest.raises(RegistrationRefusedError, match="401"):
        await new_ue("alice", "tcp", password="not-the-one")


@GM
@pytest.mark.interop("kamailio", "call from a UE, MSRP both ways, TLS on the access side; Gm over {gm}, Mw over udp and tcp")
async def test_a_call_to_the_core(site: Site, gm: str, new_ue: Callable[..., Awaitable[Ue]]) -> None:
    site.heard.messages.clear()
    ue = await new_ue("alice", gm)
    call = await converse(ue, site.party, f"through Kamailio over {gm} and {site.mw}")
    await _went_as_it_should(site, call)
    offer = site.heard.first("INVITE")
    assert b"TLS" not in offer.body
    assert f"sip:alice@{DOMAIN}" in offer.get("P-Asserted-Identity")
    for name in ("Security-Client", "Security-Verify", "P-Preferred-Identity"):
        assert offer.get(name) is None
    vias = offer.values("Via")
    assert vias[1].startswith(f"SIP/2.0/{site.mw.upper()} "), "how the P-CSCF sent it to Kamailio"


@GM
@pytest.mark.interop("kamailio", "call to a UE along the stored Path, MSRP with TLS; Gm over {gm}, Mw over udp and tcp")
async def test_a_call_from_the_core(site: Site, gm: str, new_ue: Callable[..., Awaitable[Ue]]) -> None:
    ue = await new_ue("carol", gm, manners=Manners(ring=True, reply=REPLY))
    call = await within(site.party.invite(ue.uri), "the answer of the UE")
    await within(call.send_text("for carol"), "the response to a message")
    assert await within(call.receive_text(), "the reply") == "Got it: for carol"
    assert ue.received == ["for carol"]
    [at_ue] = ue.calls.values()
    assert at_ue.tls is not None
    assert call.tls is None
    await _went_as_it_should(site, call)
    await until(lambda: bool(ue.ended))


@pytest.mark.interop("kamailio", "call between two UEs behind one P-CSCF, TLS on both access legs")
async def test_a_call_between_two_ues(site: Site, new_ue: Callable[..., Awaitable[Ue]]) -> None:
    caller = await new_ue("alice", "tls")
    callee = await new_ue("carol", "tcp", manners=Manners(reply=REPLY))
    call = await within(caller.call(callee.uri, caller.proxy_uri), "the answer of the UE")
    await within(call.send_text("from UE to UE"), "the response to a message")
    assert await within(call.receive_text(), "the reply") == "Got it: from UE to UE"
    [at_callee] = callee.calls.values()
    assert call.tls is not None
    assert at_callee.tls is not None
    assert len(site.pcscf.contexts()) == 2
    await _went_as_it_should(site, call)


@pytest.mark.interop("kamailio", "call that the caller cancels")
async def test_a_cancelled_call(site: Site, new_ue: Callable[..., Awaitable[Ue]]) -> None:
    ue = await new_ue("carol", "tcp", manners=Manners(ring=True, delay=20))
    with pytest.raises(CallRefusedError, match="487"):
        await within(site.party.call(ue.uri, site.party.core_uri, cancel_after=0.1), "the end of the call")
    await site.pcscf.nothing_left()


@pytest.mark.interop("kamailio", "call to nobody: 404 of the core reaches the UE, nothing stays at the gateway")
async def test_a_call_to_nobody(site: Site, new_ue: Callable[..., Awaitable[Ue]]) -> None:
    ue = await new_ue("alice", "udp")
    with pytest.raises(CallRefusedError, match="404"):
        await within(ue.call(f"sip:nobody@{DOMAIN}", ue.proxy_uri), "the refusal")
    await site.pcscf.nothing_left()


async def _went_as_it_should(site: Site, call: Call) -> None:
    """Media flows through the gateway while the call stands; it ends with the BYE."""
    assert site.pcscf.gateway().media_sockets() >= 2
    await within(call.hang_up(), "the answer to BYE")
    await site.pcscf.nothing_left()
