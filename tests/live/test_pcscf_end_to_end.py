"""TLS from end to end through the real gateway, which cannot read it: neither what it carries nor what it captures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from pcscf.lab import tls
from pcscf.lab.call import Habits, Manners
from pcscf.lab.medium import MediaFailedError
from pcscf.lab.party import Party
from pcscf.lab.ue import Ue
from pcscf.observe.trace import GATEWAY, read_trace
from tests.support.processes import Heard, Pcscf, Stage, pcscf, stage, until, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALICE, BOB = tls.self_signed("alice"), tls.self_signed("bob")
SECRET = "nobody between us reads this"
GATEWAY_TLS = {"tls-established", "tls-failed"}


class Site(NamedTuple):
    pcscf: Pcscf
    stage: Stage
    capture: Path
    anchored: bool


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["anchored", "not anchored"])
async def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("between")
    capture = folder / "pcscf.pcap"
    anchored = request.param == "anchored"
    async with stage() as around, pcscf(
        folder / "site", around.core.address, f"policies=[{{media: {{default: {{anchor_pass: {str(anchored).lower()}}}}}}}]",
        options=("--pcap", str(capture)),
    ) as running:
        yield Site(running, around, capture, anchored)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def clean(site: Site) -> AsyncIterator[None]:
    yield
    await site.stage.leave()
    await site.pcscf.nothing_left()


async def ends(site: Site, medium: str, setup: str, choice: str, heard: dict[str, Heard]) -> tuple[Ue, Party]:
    """Both ask for nothing at the edge: each has a certificate for the other."""
    habits = Habits(medium=medium, secure=True, setup=setup, choice=choice)   # type: ignore[arg-type]
    party = await site.stage.new_party(Manners(reply="got: {text}"), tap=heard.setdefault("party", Heard()))
    party.habits = replace(habits, identity=BOB, floorctrl="s-only")
    ue = await site.stage.new_ue(site.pcscf.listeners["gm-tls"], tap=heard.setdefault("ue", Heard()))
    ue.habits, ue.manners = replace(habits, identity=ALICE), party.manners
    return ue, party


@pytest.mark.parametrize("caller", ["ue", "party"])
@pytest.mark.parametrize(("setup", "choice"), [("active", "passive"), ("actpass", "active")])
@pytest.mark.parametrize("medium", ["msrp", "bfcp"])
async def test_each_end_meets_the_other_one_itself(site: Site, medium: str, setup: str, choice: str, caller: str) -> None:
    heard: dict[str, Heard] = {}
    ue, party = await ends(site, medium, setup, choice, heard)
    ours = await within(ue.call(party.uri, ue.proxy_uri) if caller == "ue" else party.invite(ue.uri), "the answer")
    await within(ours.send_text(SECRET), "the peer to have it")
    assert await within(ours.receive_text(), "the reply") == f"got: {SECRET}"
    [theirs] = (party if caller == "ue" else ue).calls.values()
    at_ue, at_party = (ours, theirs) if caller == "ue" else (theirs, ours)
    assert at_ue.tls is not None
    assert at_party.tls is not None
    assert at_ue.tls.peer_fingerprint == " ".join(BOB.fingerprint())
    assert at_party.tls.peer_fingerprint == " ".join(ALICE.fingerprint())

    offer = heard["party" if caller == "ue" else "ue"].first("INVITE").body.decode()
    mine = (ALICE if caller == "ue" else BOB).fingerprint()[1]
    assert "TCP/TLS/" in offer
    assert offer.upper().count("A=FINGERPRINT") == 1
    assert mine in offer
    assert "3ge2ae" not in offer

    reports = [each for each in read_trace(site.pcscf.trace) if each.node == GATEWAY]
    assert not {each.facts.get("kind") for each in reports} & GATEWAY_TLS, "the gateway ended TLS"
    assert bool(site.pcscf.contexts()) is site.anchored
    assert (site.pcscf.gateway().media_sockets() >= 2) is site.anchored
    await within(ours.hang_up(), "the end")


async def test_nothing_that_was_said_is_in_trace_or_capture(site: Site) -> None:
    ue, party = await ends(site, "msrp", "active", "passive", {})
    call = await within(ue.call(party.uri, ue.proxy_uri), "the answer")
    before = site.capture.stat().st_size
    await within(call.send_text(SECRET), "the peer to have it")
    if site.anchored:
        await until(lambda: site.capture.stat().st_size > before + len(SECRET))   # its records, as the gateway carries them
    await within(call.hang_up(), "the end")
    captured = site.capture.read_bytes()
    assert b"INVITE sip:" in captured
    assert (b"\x17\x03\x03" in captured) is site.anchored, "records of TLS application data"
    for said in (SECRET.encode(), b"To-Path", b"Message-ID"):
        assert said not in captured
        assert said not in site.pcscf.trace.read_bytes()
        assert said not in site.pcscf.log.encode()


async def test_without_the_right_certificate_the_ends_part(site: Site) -> None:
    """It is for the ends to find out: nobody else could."""
    ue, party = await ends(site, "msrp", "active", "passive", {})
    party.habits = replace(party.habits, announced=tls.self_signed("somebody else"))
    call = await within(ue.call(party.uri, ue.proxy_uri), "the answer")
    with pytest.raises(MediaFailedError, match="not the one in the SDP"):
        await within(call.send_text("never"), "the refusal")
    await within(call.hang_up(), "the end")
    assert party.received == []
