"""MSRP, BFCP and fax through the real P-CSCF and its gateway, in the clear and end to end protected, called from either side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import NamedTuple

import pytest
import pytest_asyncio

from pcscf.lab import tls
from pcscf.lab.call import Call, Habits, Manners
from pcscf.lab.medium import MediaFailedError
from pcscf.lab.party import Party
from pcscf.lab.ue import Ue
from tests.support.processes import Pcscf, Stage, pcscf, stage, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALICE, BOB = tls.self_signed("alice"), tls.self_signed("bob")


class Site(NamedTuple):
    pcscf: Pcscf
    stage: Stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with stage() as around, pcscf(tmp_path_factory.mktemp("carried"), around.core.address) as running:
        yield Site(running, around)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def clean(site: Site) -> AsyncIterator[None]:
    yield
    await site.stage.leave()
    await site.pcscf.nothing_left()


async def ends(site: Site, medium: str, *, secure: bool) -> tuple[Ue, Party]:
    """Both have the medium; neither asks for protection to the edge."""
    setup = "actpass" if medium == "t38" else "active"
    habits = Habits(medium=medium, secure=secure, setup=setup, choice="passive")   # type: ignore[arg-type]
    party = await site.stage.new_party(Manners(reply="got: {text}"))
    party.habits = replace(habits, identity=BOB, floorctrl="s-only")
    ue = await site.stage.new_ue(site.pcscf.listeners["gm-tls"])
    ue.habits = replace(habits, identity=ALICE)
    ue.manners = party.manners
    return ue, party


@pytest.mark.parametrize("caller", ["ue", "party"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "protected"])
@pytest.mark.parametrize("medium", ["msrp", "bfcp", "t38"])
async def test_both_sides_hear_each_other(site: Site, medium: str, secure: bool, caller: str) -> None:
    ue, party = await ends(site, medium, secure=secure)
    call: Call = await within(ue.call(party.uri, ue.proxy_uri) if caller == "ue" else party.invite(ue.uri), "the answer")
    await within(call.send_text("grüße"), "the peer to have it")
    assert await within(call.receive_text(), "the reply") == "got: grüße"
    assert (party if caller == "ue" else ue).received == ["grüße"]
    assert (call.tls is not None) is secure
    if call.tls is not None:
        peer = BOB if caller == "ue" else ALICE
        assert call.tls.peer_fingerprint == " ".join(peer.fingerprint()), "the peer's own: nobody stands between"
    await within(call.hang_up(), "the end")


@pytest.mark.parametrize("medium", ["msrp", "bfcp", "t38"])
async def test_a_liar_is_not_spoken_to(site: Site, medium: str) -> None:
    ue, party = await ends(site, medium, secure=True)
    party.habits = replace(party.habits, announced=tls.self_signed("somebody else"))
    call = await within(ue.call(party.uri, ue.proxy_uri), "the answer")
    with pytest.raises(MediaFailedError, match="not the one in the SDP"):
        await within(call.send_text("never"), "the refusal")
    await within(call.hang_up(), "the end")
    assert party.received == []
