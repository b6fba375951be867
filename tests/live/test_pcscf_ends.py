"""Every way in which a session ends, or never comes about: whatever it was, the gateway has no context afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from pcscf.lab import tls
from pcscf.lab.agent import ClientTransaction
from pcscf.lab.call import Manners
from pcscf.lab.core import party_uri
from pcscf.lab.medium import MediaFailedError
from pcscf.lab.ue import Ue
from pcscf.lab.useragent import CallRefusedError
from pcscf.sip.message import Request
from tests.support.processes import DOMAIN, Heard, Pcscf, Stage, converse, pcscf, stage, until, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPLY = "Got it: {text}"
T1 = 0.05   # seconds: a silent far end is given up after 64 of them


class Site(NamedTuple):
    pcscf: Pcscf
    stage: Stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ordinary(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with stage() as around, pcscf(tmp_path_factory.mktemp("ordinary"), around.core.address) as running:
        yield Site(running, around)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def impatient(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A P-CSCF with short waits."""
    settings = (f"realms.core.timers.t1={T1}", "timers.ack=1.0")
    async with stage() as around, pcscf(tmp_path_factory.mktemp("impatient"), around.core.address, *settings) as running:
        yield Site(running, around)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def clean(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    yield
    site: Site = request.getfixturevalue("impatient" if "impatient" in request.fixturenames else "ordinary")
    await site.pcscf.nothing_left()
    await site.stage.leave()


@pytest.mark.parametrize("listener", ["gm-udp", "gm-tls"])
async def test_bye_of_the_ue(ordinary: Site, listener: str) -> None:
    party = await ordinary.stage.new_party(Manners(reply=REPLY))
    ue = await ordinary.stage.new_ue(ordinary.pcscf.listeners[listener])
    call = await converse(ue, party, "soon over")
    await within(call.hang_up(), "the answer to BYE")
    await ordinary.pcscf.nothing_left()
    await until(lambda: bool(party.ended))
    assert party.ended[0].ended_by == "peer"


@pytest.mark.parametrize("listener", ["gm-udp", "gm-tls"])
async def test_bye_of_the_party(ordinary: Site, listener: str) -> None:
    party = await ordinary.stage.new_party(Manners(reply=REPLY, hang_up_after=1))
    ue = await ordinary.stage.new_ue(ordinary.pcscf.listeners[listener])
    call = await within(ue.call(party.uri, ue.proxy_uri), "the answer")
    await within(call.send_text("one and only"), "the response to a message")
    await within(call.ended.wait(), "BYE of the party")
    assert call.ended_by == "peer"


@pytest.mark.parametrize("listener", ["gm-udp", "gm-tls"])
async def test_cancel_while_it_rings(ordinary: Site, listener: str) -> None:
    at_party = Heard()
    party = await ordinary.stage.new_party(Manners(ring=True, delay=300.0), tap=at_party)
    ue = await ordinary.stage.new_ue(ordinary.pcscf.listeners[listener])
    calling = asyncio.create_task(ue.call(party.uri, ue.proxy_uri, cancel_after=0.2))
    await until(lambda: at_party.count("INVITE") > 0)
    assert await _refusal(calling) == 487
    assert at_party.count("CANCEL") > 0
    await until(lambda: at_party.count("ACK") > 0, lambda: at_party.messages)


@pytest.mark.parametrize("status", [404, 486, 503, 603])
async def test_a_failure_of_the_far_end_comes_through(ordinary: Site, status: int) -> None:
    at_party = Heard()
    party = await ordinary.stage.new_party(Manners(reject=status, ring=status == 603), tap=at_party)
    ue = await ordinary.stage.new_ue(ordinary.pcscf.listeners["gm-tls"])
    assert await _refusal(ue.call(party.uri, ue.proxy_uri)) == status
    await until(lambda: at_party.count("ACK") > 0, lambda: at_party.messages)


async def test_nobody_is_there(ordinary: Site) -> None:
    ue = await ordinary.stage.new_ue(ordinary.pcscf.listeners["gm-tls"])
    assert await _refusal(ue.call(f"sip:nobody@{DOMAIN}", ue.proxy_uri)) == 404


async def test_a_certificate_that_the_sdp_does_not_name(ordinary: Site) -> None:
    """Nothing of the session reaches the far end, and the network releases it on both sides."""
    party = await ordinary.stage.new_party(Manners(reply=REPLY))
    eve = await ordinary.stage.new_ue(
        ordinary.pcscf.listeners["gm-tls"], name="eve", announced=tls.self_signed("somebody else"))
    call = await within(eve.call(party.uri, eve.proxy_uri), "the answer")
    with pytest.raises(MediaFailedError):
        await within(call.send_text("never seen"), "the failure")
    await within(call.ended.wait(), "BYE at the UE")
    assert call.ended_by == "peer"
    assert "cause=488" in call.reason
    await until(lambda: bool(party.ended))
    assert party.ended[0].ended_by == "peer"
    assert "cause=488" in party.ended[0].reason
    assert party.received == []


async def test_the_connection_of_the_ue_breaks(ordinary: Site) -> None:
    """The flow of a running session is gone: BYE of the far end finds an end all the same."""
    party = await ordinary.stage.new_party(Manners(reply=REPLY))
    ue = await ordinary.stage.new_ue(ordinary.pcscf.listeners["gm-tls"])
    await converse(ue, party, "before the break")
    await ue.sockets.close()
    [at_party] = party.calls.values()
    await within(at_party.hang_up(), "the answer to BYE")


async def test_a_far_end_that_never_answers(impatient: Site) -> None:
    """One caller waits until the network gives up, another cancels what nobody has answered yet."""
    loop = asyncio.get_running_loop()
    silent, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    try:
        impatient.stage.core.config.parties["silent"] = party_uri(silent.get_extra_info("sockname"), "silent")
        patient, hasty = [
            await impatient.stage.new_ue(impatient.pcscf.listeners[listener], name=name)
            for name, listener in (("alice", "gm-tls"), ("carol", "gm-udp"))
        ]
        target = f"sip:silent@{DOMAIN}"
        waiting = [
            asyncio.create_task(_refusal(patient.call(target, patient.proxy_uri))),
            asyncio.create_task(_refusal(hasty.call(target, hasty.proxy_uri, cancel_after=0.2))),
        ]
        await until(lambda: len(impatient.pcscf.contexts()) == 2, impatient.pcscf.contexts)
        assert await asyncio.gather(*waiting) == [408, 487]
    finally:
        silent.close()


class Mute(Ue):
    """A UE that never acknowledges an answer."""

    def send_ack(self, ack: Request, invite: ClientTransaction) -> None:
        del ack, invite


async def test_an_answer_that_is_never_acknowledged(impatient: Site) -> None:
    at_party = Heard()
    party = await impatient.stage.new_party(tap=at_party)
    ue = await impatient.stage.new_ue(impatient.pcscf.listeners["gm-tls"], kind=Mute)
    call = await within(ue.call(party.uri, ue.proxy_uri), "the answer")
    await within(call.ended.wait(), "BYE at the UE")
    assert "cause=408" in call.reason
    await until(lambda: at_party.count("BYE") > 0)
    assert "cause=408" in at_party.first("BYE").get("Reason")


async def _refusal(calling: Any) -> int:
    """The status that a call was refused with."""
    with pytest.raises(CallRefusedError) as refused:
        await within(calling, "a refusal")
    return refused.value.status
