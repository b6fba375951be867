"""BFCP and T.38 between the lab's own ends, with a core between them and nothing else, in the clear and protected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pcscf.cli.children import Child
from pcscf.lab import tls
from pcscf.lab.call import Call, Habits, Manners
from pcscf.lab.core import Core, CoreConfig
from pcscf.lab.medium import MediaFailedError
from pcscf.lab.net import Target, host_port
from pcscf.lab.party import Party
from pcscf.lab.tap import Address, NoTap
from pcscf.lab.ue import Account, SecurityHabits, Ue
from pcscf.lab.useragent import CallRefusedError
from pcscf.observe.trace import read_trace

DOMAIN = "ims.example"
ALICE, BOB = f"sip:alice@{DOMAIN}", f"sip:bob@{DOMAIN}"
PATIENCE = 30
IDENTITIES = {name: tls.self_signed(name) for name in ("alice", "bob", "somebody else")}


class Heard(NoTap):
    """Keeps events as (proto, direction, text)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def event(
        self, proto: str, direction: str, text: str, *,
        flow: str, local: Address, peer: Address, facts: Mapping[str, object],
    ) -> None:
        del flow, facts
        assert local[1]
        assert peer[1]
        self.events.append((proto, direction, text))

    def texts(self, proto: str, direction: str) -> list[str]:
        return [text for each, way, text in self.events if (each, way) == (proto, direction)]


@dataclass
class Site:
    core: Core
    party: Party
    ue: Ue
    heard: Heard   # at the UE

    def use(self, habits: Habits, **of_party: object) -> None:
        self.ue.habits = replace(habits, identity=IDENTITIES["alice"])
        self.party.habits = replace(habits, identity=IDENTITIES["bob"], floorctrl="s-only", **of_party)   # type: ignore[arg-type]

    async def call(self, caller: str) -> tuple[Call, Call]:
        """The call at both ends, caller's first."""
        if caller == "ue":
            return await self.ue.call(BOB, self.ue.proxy_uri), next(iter(self.party.calls.values()))
        return await self.party.invite(ALICE), next(iter(self.ue.calls.values()))


@pytest.fixture(params=["127.0.0.1", "::1"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    host = request.param
    core = Core(CoreConfig(DOMAIN, {"alice": "secret"}, {}, require_path=False), NoTap(), host=host)
    address = await core.start()
    party = Party(BOB, Target("udp", *address), NoTap(), host=host, manners=Manners(reply="got: {text}"))
    bob = await party.start()
    core.config.parties["bob"] = f"sip:bob@{host_port(bob)}"
    heard = Heard()
    ue = Ue(
        Account("alice", "secret", DOMAIN, Target("udp", *address)), Habits(), heard, host=host,
        security=SecurityHabits(mechanisms=()), manners=Manners(reply="got: {text}"),
    )
    await ue.start()
    await ue.register()
    async with asyncio.timeout(PATIENCE):
        yield Site(core, party, ue, heard)
    for agent in (ue, party, core):
        await agent.close()


SETUPS = {"bfcp": ["active", "passive", "actpass"], "t38": ["actpass"]}


@pytest.mark.parametrize("caller", ["ue", "party"])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "protected"])
@pytest.mark.parametrize(("medium", "setup"), [(medium, setup) for medium, setups in SETUPS.items() for setup in setups])
async def test_a_call_and_its_reply(site: Site, medium: str, setup: str, secure: bool, caller: str) -> None:
    choice = "active" if caller == "ue" else "passive"
    site.use(Habits(medium=medium, secure=secure, setup=setup, choice=choice))   # type: ignore[arg-type]
    ours, theirs = await site.call(caller)
    await ours.send_text("grüße")
    assert await ours.receive_text() == "got: grüße"
    assert [each.remote.secure for each in (ours, theirs)] == [secure, secure]
    if secure:
        names = ("alice", "bob") if caller == "ue" else ("bob", "alice")
        shown = [" ".join(IDENTITIES[name].fingerprint()) for name in names]
        assert ours.tls is not None
        assert theirs.tls is not None
        assert [theirs.tls.peer_fingerprint, ours.tls.peer_fingerprint] == shown
        assert ours.tls.version == ("DTLSv1.2" if medium == "t38" else "TLSv1.3")
    else:
        assert ours.tls is None
    await ours.hang_up()
    await theirs.ended.wait()
    assert theirs.ended_by == "peer"


async def test_the_answerer_is_tls_server_whoever_dials(site: Site) -> None:
    """RFC 4583 §8: the tap tells which way the ClientHello went."""
    for setup, caller, hello in [("active", "ue", "out"), ("passive", "ue", "out"), ("active", "party", "in"),
                                 ("passive", "party", "in")]:
        site.heard.events.clear()
        site.use(Habits(medium="bfcp", secure=True, setup=setup))   # type: ignore[arg-type]
        ours, _ = await site.call(caller)
        await ours.send_text("floor")
        assert [way for proto, way, _ in site.heard.events if proto == "TLS"] == [hello]
        await ours.hang_up()


@pytest.mark.parametrize("medium", ["bfcp", "t38"])
@pytest.mark.parametrize("liar", ["ue", "party"])
async def test_a_certificate_that_the_sdp_does_not_name_ends_it(site: Site, medium: str, liar: str) -> None:
    site.use(Habits(medium=medium, secure=True, setup="active" if medium == "bfcp" else "actpass"))   # type: ignore[arg-type]
    agent, name = (site.ue, "alice") if liar == "ue" else (site.party, "bob")
    agent.habits = replace(agent.habits, identity=IDENTITIES["somebody else"], announced=IDENTITIES[name])
    ours, theirs = await site.call("ue")
    deceived = theirs if liar == "ue" else ours
    with pytest.raises(MediaFailedError, match="not the one in the SDP"):
        await deceived.session()
    assert deceived.tls is None
    await ours.hang_up()
    assert site.party.received == []
    if liar == "party":
        assert not any(each in {"TLS", "DTLS", "BFCP", "T.38"} for each, _, _ in site.heard.events)


async def test_protection_without_a_certificate_is_refused(site: Site) -> None:
    for medium in ("bfcp", "t38"):
        site.use(Habits(medium=medium, secure=True))   # type: ignore[arg-type]
        site.party.habits = Habits(medium=medium)   # type: ignore[arg-type]
        with pytest.raises(CallRefusedError, match="488"):
            await site.ue.call(BOB, site.ue.proxy_uri)


async def test_another_medium_is_refused(site: Site) -> None:
    site.use(Habits(medium="bfcp"))
    site.party.habits = Habits(medium="t38")
    with pytest.raises(CallRefusedError) as refused:
        await site.ue.call(BOB, site.ue.proxy_uri)
    assert refused.value.status == 488
    assert "no T.38 line" in refused.value.warning


async def test_what_a_fax_says(site: Site) -> None:
    site.use(Habits(medium="t38"))
    ours, _ = await site.call("ue")
    await ours.send_text("a page")
    await ours.receive_text()
    assert site.heard.texts("T.38", "out") == ["DCS", "1800 octets", "6 octets", "EOM", "DTC", "CFR", "MCF"]
    asked = [text for text in site.heard.texts("T.38", "in") if text != "DIS"]
    assert asked == ["CFR", "MCF", "DCS", "1800 octets", "11 octets", "EOM"]
    await ours.hang_up()
    assert site.heard.texts("T.38", "out")[-1] == "DCN"


async def test_what_a_floor_request_says(site: Site) -> None:
    site.use(Habits(medium="bfcp"))
    ours, _ = await site.call("ue")
    await ours.send_text("please")
    await ours.receive_text()
    assert site.heard.texts("BFCP", "out") == ["Hello", "FloorRequest", "FloorRelease"]
    said = site.heard.texts("BFCP", "in")
    assert [text for text in said if not text.startswith("FloorStatus")] == [
        "HelloAck", "FloorRequestStatus Pending", "FloorRequestStatus Granted", "FloorRequestStatus Released"]
    assert len(said) == 5, "and a FloorStatus with the words of the server"
    await ours.hang_up()


@pytest.mark.parametrize("medium", ["bfcp", "t38"])
async def test_the_commands_as_processes(medium: str, tmp_path: Path) -> None:
    """Two UEs over a core: protected from end to end, each told of by its own lines and its own trace."""
    children: list[Child] = []

    async def start(name: str, kind: str, *arguments: str) -> Child:
        command = ["pcscf", "lab", kind, *arguments, "--trace", str(tmp_path / f"{name}.jsonl")]
        children.append(await Child.start(kind, command, tmp_path / f"{name}.log"))
        return children[-1]

    try:
        core = await start("core", "core", "--port", "0", "--user", "alice:secret", "--user", "carol:secret", "--no-need-path")
        proxy = ["--proxy", f"sip:{(await core.expect('ready', PATIENCE))['address']};transport=tcp", "--mechanism", "none"]
        carol = await start(
            "carol", "ue", "--user", "carol", *proxy, "--medium", medium, "--answer", "1", "--reply", "got: {text}")
        await carol.expect("registered", PATIENCE)
        alice = await start(
            "alice", "ue", *proxy, "--medium", medium, "--call", f"sip:carol@{DOMAIN}", "--say", "one", "--replies", "1")
        assert await alice.finish(PATIENCE) == await carol.finish(PATIENCE) == 0
    finally:
        for child in reversed(children):
            await child.stop()
    assert [event["event"] for event in alice.events] == ["registered", "answered", "media", "sent", "received", "ended"]
    assert alice.told("received", text="got: one")
    ours, theirs = (next(event for event in each.events if event["event"] == "media") for each in (alice, carol))
    assert (ours["tls"]["fingerprint"], theirs["tls"]["fingerprint"]) == (theirs["own_fingerprint"], ours["own_fingerprint"])
    protos = [{event.proto for event in read_trace(tmp_path / f"{name}.jsonl")} for name in ("alice", "carol")]
    assert protos == [{"SIP", *({"bfcp": {"TLS", "BFCP"}, "t38": {"DTLS", "T.38"}}[medium])}] * 2
