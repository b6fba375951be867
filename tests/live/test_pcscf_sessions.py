"""Registration and protected sessions through the real process: every transport, both address families, both ways to the core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio

from pcscf.lab.call import Manners
from pcscf.lab.useragent import CallRefusedError
from pcscf.sip.message import Request
from tests.support.processes import Heard, Pcscf, Stage, converse, has_ipv6, pcscf, require_ipv6, stage, until, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPLY = "Got it: {text}"
IPV6_ACCESS = [
    f"listeners.gm6-{transport}={{realm: access, transport: {transport}, address: '::1', port: 0, announce: trusted{more}}}"
    for transport, more in (("udp", ""), ("tcp", ""), ("tls", ", certificate: lab"))
]
BOTH_FAMILIES = "gateways.embedded.media.access.addresses=[127.0.0.1, '::1']"


class Site(NamedTuple):
    pcscf: Pcscf
    stage: Stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def over_udp(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """UEs on both families, the core over UDP and IPv4."""
    settings = [*IPV6_ACCESS, BOTH_FAMILIES] if has_ipv6() else []
    async with stage() as around, pcscf(tmp_path_factory.mktemp("udp"), around.core.address, *settings) as running:
        yield Site(running, around)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def over_tcp(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """UEs on both families, the core over TCP alone, and over IPv6 where the machine has it."""
    host = "::1" if has_ipv6() else "127.0.0.1"
    settings = [
        *((*IPV6_ACCESS, BOTH_FAMILIES) if has_ipv6() else ()),
        *(f"listeners.{name}={{realm: core, transport: tcp, address: '{host}', port: 0}}" for name in ("mw-udp", "mw-tcp")),
        f"gateways.embedded.media.core.addresses=['{host}']",
    ]
    async with stage(host) as around:
        where = f"[{host}]" if ":" in host else host
        hop = f"realms.core.next_hop=sip:{where}:{around.core.address[1]};transport=tcp"
        async with pcscf(tmp_path_factory.mktemp("tcp"), around.core.address, *settings, hop) as running:
            yield Site(running, around)


@pytest.fixture(params=["udp", "tcp"])
def site(request: pytest.FixtureRequest) -> Site:
    found: Site = request.getfixturevalue(f"over_{request.param}")
    return found


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def clean(over_udp: Site, over_tcp: Site) -> AsyncIterator[None]:
    """Every test leaves its far ends, and no context at any gateway."""
    yield
    for each in (over_udp, over_tcp):
        await each.stage.leave()
        await each.pcscf.nothing_left()


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_registration_and_a_protected_session(site: Site, transport: str, host: str) -> None:
    require_ipv6(host)
    listener = site.pcscf.listeners[f"gm{'6' if ':' in host else ''}-{transport}"]
    assert (listener.transport, listener.host) == (transport, host)
    party_heard = Heard()
    party = await site.stage.new_party(Manners(ring=True, reply=REPLY), tap=party_heard)
    ue = await site.stage.new_ue(listener)
    assert ue.registration.security_server == ["msrp-tls;mediasec"]

    call = await converse(ue, party, f"over {transport} and {host}")
    assert len(site.pcscf.contexts()) == 1
    assert site.pcscf.gateway().media_sockets() >= 2
    assert call.remote.address == host
    assert call.remote.secure
    offer = party_heard.first("INVITE").body.decode()
    assert "TCP/MSRP" in offer
    for word in ("TLS", "fingerprint", "3ge2ae"):
        assert word not in offer
    await within(call.hang_up(), "the answer to BYE")
    await until(lambda: bool(party.ended), lambda: party.calls)
    assert party.ended[0].ended_by == "peer"


async def test_the_core_is_reached_over_the_transport_that_the_configuration_names(over_tcp: Site) -> None:
    ue = await over_tcp.stage.new_ue(over_tcp.pcscf.listeners["gm-tls"])
    await ue.deregister()
    registers = [message for message in over_tcp.stage.core.received if message.startswith(b"REGISTER")]
    assert registers
    for message in registers:
        assert message.partition(b"\r\nVia: ")[2].startswith(b"SIP/2.0/TCP ")


async def test_nothing_of_the_agreement_reaches_the_core(site: Site) -> None:
    party = await site.stage.new_party(Manners(reply=REPLY))
    ue = await site.stage.new_ue(site.pcscf.listeners["gm-tls"])
    call = await converse(ue, party, "for bob alone")
    await within(call.hang_up(), "the answer to BYE")
    seen = b"\r\n".join(site.stage.core.received)
    assert b"INVITE sip:" in seen
    for name in (b"Security-", b"sec-agree", b"mediasec", b"3ge2ae", b"fingerprint", b"TCP/TLS/MSRP"):
        assert name not in seen


@pytest.mark.parametrize("listener", ["gm-udp", "gm-tls"])
async def test_a_call_towards_the_ue_is_protected_as_well(site: Site, listener: str) -> None:
    heard = Heard()
    party = await site.stage.new_party()
    ue = await site.stage.new_ue(site.pcscf.listeners[listener], tap=heard)
    call = await within(party.invite(ue.uri), "the answer of the UE")
    await within(call.send_text("for alice"), "the response to a message")
    invite = heard.first("INVITE")
    assert isinstance(invite, Request)
    assert b"TCP/TLS/MSRP" in invite.body
    [at_ue] = ue.calls.values()
    assert await within(at_ue.receive_text(), "the message") == "for alice"
    assert at_ue.tls is not None
    assert call.tls is None
    await within(call.hang_up(), "the answer to BYE")
    await within(at_ue.ended.wait(), "BYE at the UE")


async def test_several_sessions_of_several_users_at_once(over_udp: Site) -> None:
    party = await over_udp.stage.new_party(Manners(reply=REPLY))
    ues = [
        await over_udp.stage.new_ue(over_udp.pcscf.listeners[listener], name=name)
        for name, listener in (("alice", "gm-udp"), ("carol", "gm-tcp"), ("eve", "gm-tls"))
    ]
    calls = await asyncio.gather(*(converse(ue, party, f"from {ue.uri}, call {n}") for ue in ues for n in range(2)))
    assert len(over_udp.pcscf.contexts()) == len(calls)
    await asyncio.gather(*(within(call.hang_up(), "the answer to BYE") for call in calls))


async def test_a_deregistered_ue_can_no_longer_call(over_udp: Site) -> None:
    heard = Heard()
    await over_udp.stage.new_party(Manners(reply=REPLY))
    ue = await over_udp.stage.new_ue(over_udp.pcscf.listeners["gm-tcp"], tap=heard)
    await ue.deregister()
    with pytest.raises(CallRefusedError, match="403"):
        await within(ue.call("sip:bob@ims.example", ue.proxy_uri), "a refusal")
    assert heard.first(403).get("Warning")
