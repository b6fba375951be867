"""Ends that know RFC 4975 alone and compare whole paths, through the real process: the gateway maps the paths of their frames."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from pcscf.lab.party import Party
from pcscf.lab.ue import Ue
from pcscf.lab.useragent import CallRefusedError
from tests.support.processes import Pcscf, Stage, pcscf, stage, until, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILE = "".join(f"{number} -------{number:016x}$\r\n" for number in range(10_000))   # full of lines that look like end-lines


class Site:
    def __init__(self, running: Pcscf, around: Stage) -> None:
        self.pcscf = running
        self.stage = around

    async def ends(self, *, ue_cema: bool = False, **of_ue: Any) -> tuple[Ue, Party]:
        """A UE and a party, by default without CEMA. They compare whole paths."""
        party = await self.stage.new_party()
        party.habits, party.manners = replace(party.habits, cema=False), None   # the test speaks for it
        ue = await self.stage.new_ue(self.pcscf.listeners["gm-tls"])
        ue.habits = replace(ue.habits, cema=ue_cema, **of_ue)
        return ue, party


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with stage() as around, pcscf(tmp_path_factory.mktemp("aware"), around.core.address) as running:
        yield Site(running, around)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def clean(site: Site) -> AsyncIterator[None]:
    yield
    await site.stage.leave()
    await site.pcscf.nothing_left()


async def talk(caller: Any, callee: Any) -> None:
    """Several messages and a file each way, all in one session; the sender is answered from end to end."""
    answered = await at_far_end(callee)
    for sender, receiver in ((caller, answered), (answered, caller)):
        session = await within(sender.session(), "an MSRP session")
        for text in ("one", "two", "", FILE):
            await within(session.send(text, success_report=True), "the response to a message")
            assert await within(receiver.receive_text(), f"message {text[:9]!r}") == text
        await until(lambda reports=session.reports: len(reports) == 4, lambda reports=session.reports: reports)
        assert {report.status for report in session.reports} == {200}
    await within(caller.hang_up(), "the answer to BYE")
    await until(lambda: not callee.calls or answered.ended.is_set(), lambda: callee.calls)


async def at_far_end(agent: Any) -> Any:
    await until(lambda: bool(agent.calls), lambda: "no call at the callee")
    [call] = agent.calls.values()
    return call


async def test_a_ue_over_tls_and_a_party_in_the_clear_neither_with_cema(site: Site) -> None:
    ue, party = await site.ends()
    call = await within(ue.call(party.uri, ue.proxy_uri), "the answer to the call")
    far = await at_far_end(party)
    assert not far.remote.cema
    assert (call.local.own_uri.scheme, far.remote.own_uri.scheme) == ("msrps", "msrp")
    assert (far.local.own_uri.scheme, call.remote.own_uri.scheme) == ("msrp", "msrps")
    for ours, theirs in ((call.local, far.remote), (far.local, call.remote)):
        assert ours.own_uri.session == theirs.own_uri.session, "the session-id is kept"
        assert not ours.own_uri.matches(theirs.own_uri), "each end knows the other by a path of the gateway"
        assert theirs.described_address() == theirs.path_address(), "c= and m= fit the path (RFC 4975 §8.1)"
    await talk(call, party)
    assert call.tls is not None


async def test_a_party_calls_such_a_ue(site: Site) -> None:
    ue, party = await site.ends()
    call = await within(party.invite(ue.uri), "the answer of the UE")
    far = await at_far_end(ue)
    assert far.remote.own_uri.scheme == "msrps"
    assert far.remote.secure
    await talk(call, ue)


async def test_where_nobody_would_send_first_the_gateway_binds_both_connections(site: Site) -> None:
    ue, party = await site.ends(secure=False, setup="passive", e2ae="")
    call = await within(ue.call(party.uri, ue.proxy_uri), "the answer to the call")
    far = await at_far_end(party)
    assert (call.remote.setup, far.remote.setup, far.local.setup) == ("active", "actpass", "passive")
    await talk(call, party)


async def test_cema_that_is_not_answered(site: Site) -> None:
    ue, party = await site.ends(ue_cema=True)
    call = await within(ue.call(party.uri, ue.proxy_uri), "the answer to the call")
    far = await at_far_end(party)
    assert far.remote.cema
    assert far.remote.path == call.local.path, "an offer of CEMA goes on untouched"
    assert not call.remote.cema
    assert call.remote.described_address() == call.remote.path_address()
    await talk(call, party)


async def test_policy_can_refuse_it(tmp_path_factory: pytest.TempPathFactory, site: Site) -> None:
    off = "policies.0.media.msrp.aware=false"
    async with pcscf(tmp_path_factory.mktemp("off"), site.stage.core.address, off) as running:
        ue, party = await Site(running, site.stage).ends()
        with pytest.raises(CallRefusedError) as refused:
            await within(ue.call(party.uri, ue.proxy_uri), "the refusal")
        assert refused.value.status == 488
        await site.stage.leave()
