"""Several gateways as processes behind a real P-CSCF: selection, death, drain, leave, hand-off, and a P-CSCF that starts anew."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pcscf.config.load import POLICIES
from pcscf.lab.call import Manners
from pcscf.lab.useragent import CallRefusedError
from tests.support.fleet import HERE, control, free_port, known, own_gateways, registered, sessions, states
from tests.support.processes import Stage, converse, pcscf, stage, until, within

REPLY = "Got it: {text}"
NO_CHILD = "gateways.embedded=false"


@pytest.fixture
async def around() -> AsyncIterator[Stage]:
    async with stage() as made:
        yield made


async def test_one_of_two_dies_and_only_its_sessions_end(tmp_path: Path, around: Stage) -> None:
    iq = free_port()
    async with own_gateways(tmp_path, ["one", "two"], (HERE, iq)) as (one, two):
        settings = (NO_CHILD, known(one.known(), two.known(weight=2)), f"gateways.iq.port={iq}", "gateways.attempt=0.5",
                    "gateways.heartbeat.interval=0.5", "gateways.heartbeat.lost_after=2")
        async with pcscf(tmp_path / "run", around.core.address, *settings) as running:
            await registered(running, one, two)
            party = await around.new_party(Manners(reply=REPLY))
            ue = await around.new_ue(running.listeners["gm-tls"])
            calls = [await converse(ue, party, f"call {number}") for number in range(6)]
            await sessions(running, one=2, two=4)

            await two.kill()
            spared = await converse(ue, party, "at once")   # within the time of an attempt, and before the loss is noticed
            await until(lambda: len(party.ended) == 4, lambda: running.log[-3000:])
            await asyncio.sleep(0.2)
            ended = [call for call in calls if call.ended.is_set()]
            assert len(ended) == 4
            assert all("cause=503" in call.reason for call in ended)
            assert (await states(running))["two"]["state"] == "lost"
            going_on = [call for call in (*calls, spared) if not call.ended.is_set()]
            assert len(going_on) == 3
            for call in going_on:
                await within(call.send_text("still here"), "the response to a message")

            await two.start()
            await registered(running, one, two)
            back = await converse(ue, party, "and back")
            await sessions(running, one=3, two=1)
            for call in (*going_on, back):
                await within(call.hang_up(), "the answer to BYE")
            await sessions(running, one=0, two=0)


async def test_a_stop_does_not_mind_who_listens_at_its_socket(tmp_path: Path, around: Stage) -> None:
    async with pcscf(tmp_path / "run", around.core.address) as running:
        path = next((running.folder / "run").glob("*/control-*.sock"))
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            assert await running.stop() == 0
            assert await within(reader.read(), "the end of the connection") == b""
        finally:
            writer.close()
        running.assert_log_is_clean()


async def operator(folder: Path, settings: tuple[str, ...], *arguments: str) -> tuple[int | None, str]:
    """`pcscf gateways` as a person types it; its exit status, and what it says."""
    command, *rest = arguments
    overrides = [word for each in settings for word in ("--set", each)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pcscf", "gateways", command, str(POLICIES / "lab.yaml"), *rest, *overrides),
        env={"XDG_RUNTIME_DIR": str(folder / "run"), "PATH": ""}, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT)
    out, _ = await within(process.communicate(), "the end of `pcscf gateways`")
    return process.returncode, out.decode()


async def test_an_operator_drains_a_gateway_and_another_leaves_by_itself(tmp_path: Path, around: Stage) -> None:
    iq = free_port()
    async with own_gateways(tmp_path, ["one", "two"], (HERE, iq)) as (one, two):
        settings = (NO_CHILD, known(one.known(), two.known()), f"gateways.iq.port={iq}")
        async with pcscf(tmp_path / "run", around.core.address, *settings) as running:
            await registered(running, one, two)
            party = await around.new_party(Manners(reply=REPLY))
            ue = await around.new_ue(running.listeners["gm-tls"])
            first = [await converse(ue, party, f"call {number}") for number in range(2)]
            await sessions(running, one=1, two=1)

            status, said = await operator(running.folder, settings, "drain", "one")
            assert status == 0, said
            assert "one   registered, drained" in said
            second = [await converse(ue, party, f"call {number}") for number in range(2)]
            await sessions(running, one=1, two=3)
            status, said = await operator(running.folder, settings, "resume", "one")
            assert status == 0, said
            await two.stop()   # its sessions end with it; that of the other goes on
            await until(lambda: len(party.ended) == 3, lambda: running.log[-3000:])
            third = await converse(ue, party, "moved")
            await sessions(running, one=2)
            assert (await states(running))["two"]["state"] == "absent"

            status, said = await operator(running.folder, settings, "status", "--json")
            told = {each["mid"]: each for each in json.loads(said)}
            assert told["one"]["counts"]["reserved"] == 2
            assert "dtlsbsc" in told["one"]["packages"]
            assert told["one"]["realms"] == ["access", "core"]
            status, said = await operator(running.folder, settings, "status", "--metrics")
            samples = {
                (sample.name, *sample.labels.values()): sample.value
                for family in text_string_to_metric_families(said) for sample in family.samples}
            assert samples["pcscf_iq_gateway_sessions", "one"] == 2
            assert samples["pcscf_iq_gateway_state", "two", "absent"] == 1
            assert samples["pcscf_iq_outcomes_total", "one", "reserved"] == 2
            status, said = await operator(running.folder, settings, "drain", "three")
            assert status == 1
            assert "no gateway three has ever come" in said
            status, said = await operator(running.folder, settings, "hand-off", "one", "nowhere")
            assert status == 1
            assert "'nowhere' is not the mId of a controller" in said
            assert "error" in await control(running, do="explode")
            assert "error" in await control(running, gateway=["one"])
            for call in (*first, *second, third):
                if not call.ended.is_set():
                    await within(call.hang_up(), "the answer to BYE")
            await sessions(running, one=0)
        status, said = await operator(running.folder, settings, "status")
        assert status == 1
        assert "no P-CSCF with this configuration answers" in said


async def test_a_stop_hands_the_gateways_to_another_controller(tmp_path: Path, around: Stage) -> None:
    here, there = free_port(), free_port()
    async with own_gateways(tmp_path, ["one"], (HERE, here), (HERE, there)) as (one,):
        common = (NO_CHILD, known(one.known()))
        first = (*common, f"gateways.iq.port={here}", f"gateways.successor='{HERE}:{there}'")
        async with pcscf(tmp_path / "here", around.core.address, *first) as running, AsyncExitStack() as later:
            await registered(running, one)
            other = await later.enter_async_context(
                pcscf(tmp_path / "there", around.core.address, *common, f"gateways.iq.port={there}"))
            party = await around.new_party(Manners(reply=REPLY))
            ue = await around.new_ue(running.listeners["gm-tls"])
            call = await converse(ue, party, "before")
            assert await running.stop() == 0
            await within(call.ended.wait(), "BYE at the UE")
            assert "cause=480" in call.reason
            await registered(other, one)
            assert one.process is not None
            assert one.process.returncode is None
            moved = await around.new_ue(other.listeners["gm-tls"], name="carol")
            call = await converse(moved, party, "after")
            await sessions(other, one=1)

            # The operator gives it back: nobody is there, and so it comes back by itself.
            await within(call.hang_up(), "the answer to BYE")
            answer = await control(other, do="register", gateway="one")
            assert "error" not in answer
            await registered(other, one)


async def test_a_pcscf_that_starts_anew_finds_its_gateway_and_clears_it(tmp_path: Path, around: Stage) -> None:
    iq = free_port()
    async with own_gateways(tmp_path, ["one"], (HERE, iq)) as (one,):
        settings = (NO_CHILD, known(one.known()), f"gateways.iq.port={iq}", "timers.iq_reply=2")
        async with pcscf(tmp_path / "first", around.core.address, *settings) as running:
            await registered(running, one)
            party = await around.new_party(Manners(reply=REPLY))
            ue = await around.new_ue(running.listeners["gm-udp"])
            await converse(ue, party, "before")
            running.process.kill()
            assert await running.finish() == -signal.SIGKILL
        assert one.process is not None
        async with pcscf(tmp_path / "second", around.core.address, *settings) as running:
            await registered(running, one)   # it was told, and did not have to find out
            await until(
                lambda: "Subtract" in (running.folder / "trace.jsonl").read_text(), lambda: running.log[-3000:])
            ue = await around.new_ue(running.listeners["gm-udp"], name="carol")
            call = await converse(ue, party, "after")
            await within(call.hang_up(), "the answer to BYE")
            await sessions(running, one=0)
        assert one.starts == 1
        assert one.process.returncode is None


async def test_without_any_gateway_a_session_waits_or_is_refused(tmp_path: Path, around: Stage) -> None:
    iq = free_port()
    async with own_gateways(tmp_path, ["one"], (HERE, iq)) as (one,):
        settings = (NO_CHILD, known(one.known()), f"gateways.iq.port={iq}", "gateways.patience=1")
        async with pcscf(tmp_path / "run", around.core.address, *settings) as running:
            await registered(running, one)
            party = await around.new_party(Manners(reply=REPLY))
            ue = await around.new_ue(running.listeners["gm-tls"])
            await one.stop()
            with pytest.raises(CallRefusedError, match="503"):
                await within(ue.call(party.uri, ue.proxy_uri), "the refusal")
            calling = asyncio.create_task(converse(ue, party, "patience"))
            await asyncio.sleep(0.2)
            await one.start()
            try:
                call = await calling
            except CallRefusedError:   # it took longer than the patience, on a busy machine
                await registered(running, one)
                call = await converse(ue, party, "patience")
            await within(call.hang_up(), "the answer to BYE")
            await sessions(running, one=0)
