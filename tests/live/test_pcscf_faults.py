"""Processes that die or are stopped in the middle of a session, and a P-CSCF without any gateway."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pcscf.lab.call import Manners
from pcscf.lab.useragent import CallRefusedError
from tests.support.processes import Heard, Stage, converse, pcscf, stage, until, within

REPLY = "Got it: {text}"


@pytest.fixture
async def around() -> AsyncIterator[Stage]:
    async with stage() as made:
        yield made


async def test_the_gateway_is_killed(tmp_path: Path, around: Stage) -> None:
    """Both parties are told at once, the next session waits for the gateway that takes the place of the old one, and works."""
    settings = ("gateways.embedded.restart_after=1.5", "gateways.patience=20")
    async with pcscf(tmp_path / "run", around.core.address, *settings) as running:
        party = await around.new_party(Manners(reply=REPLY))
        ue = await around.new_ue(running.listeners["gm-tls"])
        call = await converse(ue, party, "before")
        killed = running.gateway()
        killed.kill()
        await within(call.ended.wait(), "BYE at the UE")
        await until(lambda: bool(party.ended), lambda: running.log[-2000:])
        for each in (call, party.ended[0]):
            assert each.ended_by == "peer"
            assert "cause=503" in each.reason
        assert running.log.count("gateway started") == 1, "nobody waited for the next one to tell"

        again = await converse(ue, party, "after")
        assert running.gateway() != killed
        await within(again.hang_up(), "the answer to BYE")
        await running.nothing_left()


async def test_the_gateway_is_killed_while_it_rings(tmp_path: Path, around: Stage) -> None:
    async with pcscf(tmp_path / "run", around.core.address) as running:
        at_party = Heard()
        party = await around.new_party(Manners(ring=True, delay=300.0), tap=at_party)
        ue = await around.new_ue(running.listeners["gm-tls"])
        calling = asyncio.create_task(ue.call(party.uri, ue.proxy_uri))
        await until(lambda: at_party.count("INVITE") > 0)
        running.gateway().kill()
        with pytest.raises(CallRefusedError, match="503"):
            await within(calling, "the refusal at the UE")
        await until(lambda: at_party.count("CANCEL") > 0, lambda: at_party.messages)
        await until(running.has_gateway)
        await running.nothing_left()


async def test_the_parent_of_the_gateway_is_killed(tmp_path: Path, around: Stage) -> None:
    """The gateway carries its session on for the grace period, then ends by itself."""
    grace = "gateways.embedded.grace=3.0"
    async with pcscf(tmp_path / "run", around.core.address, grace) as running:
        party = await around.new_party(Manners(reply=REPLY))
        ue = await around.new_ue(running.listeners["gm-udp"])
        call = await converse(ue, party, "before")
        gateway = running.gateway()
        running.process.kill()
        assert await running.finish() == -signal.SIGKILL
        await within(call.send_text("nobody steers"), "the response to a message")
        assert await within(call.receive_text(), "the reply") == "Got it: nobody steers"
        assert gateway.is_alive()
        await until(lambda: not gateway.is_alive())


async def test_a_clean_stop(tmp_path: Path, around: Stage) -> None:
    """Both parties get BYE, an early session is refused, the gateway ends, nothing stays behind."""
    async with pcscf(tmp_path / "run", around.core.address) as running:
        party = await around.new_party(Manners(reply=REPLY))
        at_dora = Heard()
        dora = await around.new_party(Manners(ring=True, delay=300.0), name="dora", tap=at_dora)
        calls = [
            await converse(await around.new_ue(running.listeners[listener], name=name), party, f"by {name}")
            for name, listener in (("alice", "gm-tls"), ("carol", "gm-udp"))
        ]
        eve = await around.new_ue(running.listeners["gm-tcp"], name="eve")
        ringing = asyncio.create_task(eve.call(dora.uri, eve.proxy_uri))
        await until(lambda: at_dora.count("INVITE") > 0)
        gateway = running.gateway()

        assert await running.stop() == 0
        assert not gateway.is_alive()
        assert running.contexts() == {}
        assert [path for path in (running.folder / "run").rglob("*") if path.is_file()] == []
        for call in calls:
            await within(call.ended.wait(), "BYE at the UE")
        await until(lambda: len(party.ended) == len(calls))
        for each in (*calls, *party.ended):
            assert each.ended_by == "peer"
            assert "cause=480" in each.reason
        with pytest.raises(CallRefusedError, match="480"):
            await within(ringing, "the refusal of the call that rang")
        await until(lambda: at_dora.count("CANCEL") > 0)


async def test_a_stop_whose_parties_do_not_answer(tmp_path: Path, around: Stage) -> None:
    """BYE stays unanswered: the stop does not wait longer than its deadline."""
    async with pcscf(tmp_path / "run", around.core.address, "timers.shutdown=0.5") as running:
        party = await around.new_party(Manners(reply=REPLY))
        ue = await around.new_ue(running.listeners["gm-udp"])
        await converse(ue, party, "soon gone")
        gateway = running.gateway()
        await around.leave()
        await around.core.close()
        assert await running.stop() == 0
        assert "stopped-with-work-left" in running.log
        assert not gateway.is_alive()


async def test_no_gateway(tmp_path: Path, around: Stage) -> None:
    """Registrations work, a protected session is refused for now, and leaves nothing behind."""
    settings = ("gateways.embedded=false", "gateways.allow=[192.0.2.1]")
    async with pcscf(tmp_path / "run", around.core.address, *settings) as running:
        heard, at_party = Heard(), Heard()
        party = await around.new_party(tap=at_party)
        ue = await around.new_ue(running.listeners["gm-tls"], tap=heard)
        before = running.descriptors()
        for _ in range(3):
            with pytest.raises(CallRefusedError, match="503"):
                await within(ue.call(party.uri, ue.proxy_uri), "the refusal")
        assert int(heard.first(503).get("Retry-After")) > 0
        assert at_party.messages == []
        assert not running.has_gateway()
        assert running.descriptors() == before
        await ue.deregister()


async def test_a_session_without_media_is_released(tmp_path: Path, around: Stage) -> None:
    """The gateway watches a session for silence, tells once, and both parties are told why; one with media goes on."""
    settings = ("gateways.supervision.media_inactivity={msrp: 2}",)
    async with pcscf(tmp_path / "run", around.core.address, *settings) as running:
        party = await around.new_party(Manners(reply=REPLY))
        talking = await around.new_ue(running.listeners["gm-tls"], name="alice")
        silent = await around.new_ue(running.listeners["gm-tls"], name="carol")
        call = await converse(talking, party, "not silent")
        falls_silent = await converse(silent, party, "the last word")
        while not falls_silent.ended.is_set():
            await within(call.send_text("still talking"), "the response to a message")
            await within(call.receive_text(), "the reply")
            await asyncio.sleep(0.3)
        assert falls_silent.ended_by == "peer"
        assert "cause=408" in falls_silent.reason
        assert not call.ended.is_set()
        await within(call.hang_up(), "the answer to BYE")
        await running.nothing_left()
