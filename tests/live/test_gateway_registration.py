"""How the gateway finds a controller, keeps it, loses it, and takes leave."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from pcscf.errors import ConfigError
from pcscf.gateway.config import GatewayConfig, Realm
from pcscf.gateway.server import Gateway, run_gateway
from pcscf.h248.message import Packages, Services, TransactionRequest
from pcscf.h248.transaction import H248Timers
from tests.support.gatewaybed import FAST, Controller, add, bench, controller

IMPATIENT = H248Timers(repeat=0.02, repeat_max=0.05, t_max=0.15, provisional=0.5)
REALMS = (Realm("access", ("127.0.0.1",), ((42000, 46999),)),)


def config(*controllers: Controller, parent: int = 0, host: str = "127.0.0.1") -> GatewayConfig:
    return GatewayConfig(
        mid="[127.0.0.1]:1", controllers=tuple(one.address for one in controllers), realms=REALMS, timers=FAST, h248=IMPATIENT,
        parent=parent, bind=(host, 0),
    )  # fmt: skip


@asynccontextmanager
async def running(settings: GatewayConfig) -> AsyncIterator[Gateway]:
    gateway = Gateway(settings)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()
        await asyncio.sleep(0)


@asynccontextmanager
async def controllers(count: int, host: str = "127.0.0.1") -> AsyncIterator[list[Controller]]:
    made = [await controller(host) for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            one.close()
        await asyncio.sleep(0)


async def registered(gateway: Gateway) -> None:
    async with asyncio.timeout(5):
        await gateway.registered.wait()


def services(request: TransactionRequest) -> Services | None:
    """What a ServiceChange on ROOT says; None for any other request."""
    [action] = request.actions
    [command] = action.commands
    [found] = command.descriptors
    return found if isinstance(found, Services) and command.termination == "ROOT" else None


async def next_services(iq: Controller) -> Services:
    while True:
        said = services((await iq.request())[0])
        if said is not None:
            return said


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_the_first_message_is_a_restart_that_any_controller_can_read(host: str) -> None:
    async with controllers(1, host) as [iq], running(config(iq, host=host)) as gateway:
        request, version = await iq.request()
        assert version == 1
        said = services(request)
        assert said is not None
        assert (said.method, said.reason, said.profile, said.version) == ("Restart", "901 Cold Boot", "iqprofile/1", 2)
        assert len(said.timestamp) == 17
        await registered(gateway)
        assert gateway.controller == iq.address


async def test_the_next_controller_is_tried_when_one_is_silent() -> None:
    async with controllers(2) as [silent, iq]:
        silent.answers_requests = False
        async with running(config(silent, iq)) as gateway:
            await registered(gateway)
            assert gateway.controller == iq.address


async def test_registration_goes_on_until_somebody_answers() -> None:
    async with controllers(1) as [iq]:
        iq.answers_requests = False
        async with running(config(iq)) as gateway:
            await asyncio.sleep(0.5)
            assert gateway.controller is None
            iq.answers_requests = True
            await registered(gateway)


async def test_a_refused_registration_is_tried_elsewhere() -> None:
    async with controllers(2) as [refusing, iq]:
        refusing.answer = lambda request: f"Reply={request.id}{{Error=502{{}}}}"
        async with running(config(refusing, iq)) as gateway:
            await registered(gateway)
            assert gateway.controller == iq.address


async def test_mgc_id_to_try_in_the_reply_is_followed() -> None:
    async with controllers(2) as [first, second]:
        first.answer = lambda request: (
            f"Reply={request.id}{{Context=-{{ServiceChange=ROOT{{Services{{MgcIdToTry={second.mid}}}}}}}}}"
        )
        async with running(config(first)) as gateway:
            await registered(gateway)
            assert gateway.controller == second.address


async def test_406_after_a_lost_reply_is_answered_with_the_proposed_version() -> None:
    async with controllers(1) as [iq]:
        headers: list[int] = []

        def answer(request: TransactionRequest) -> str:
            if not headers:
                headers.append(1)
                return "Error=406{}"
            iq.answer = None
            return f"Reply={request.id}{{Context=-{{ServiceChange=ROOT{{Services{{Version=2}}}}}}}}"

        iq.answer = answer
        async with running(config(iq)) as gateway:
            await registered(gateway)
            versions = [version for _, version in (await iq.request(), await iq.request())]
            assert versions == [1, 2]


async def test_before_registration_commands_are_refused_with_505() -> None:
    async with controllers(2) as [iq, stranger]:
        iq.answers_requests = False
        async with running(config(iq)) as gateway:
            reply = await iq.ask("Context=-{AuditValue=ROOT{Audit{}}}", to=gateway.address)
            assert reply.error is not None
            assert reply.error.code == 505
            reply = await stranger.ask("Context=-{AuditValue=ROOT{Audit{}}}", to=gateway.address)
            assert reply.error is not None
            assert reply.error.code == 402


async def test_heartbeat_and_packages() -> None:
    async with bench() as gateway:
        reply = await gateway.ask("Context=-{AuditValue=ROOT{Audit{}}}")
        assert reply.actions[0].commands[0].descriptors == ()
        reply = await gateway.ask("Context=-{AuditValue=ROOT{Audit{Packages}}}")
        [packages] = reply.actions[0].commands[0].descriptors
        assert isinstance(packages, Packages)
        assert ("tcpbcc", 1) in packages.packages


async def arm_inactivity(gateway: Gateway, iq: Controller) -> None:
    await iq.ask("Context=-{Modify=ROOT{Events=1{it/ito{mit=10}}}}", to=gateway.address)


async def test_a_silent_controller_is_asked_and_then_given_up() -> None:
    async with controllers(2) as [iq, other], running(config(iq, other)) as gateway:
        await registered(gateway)
        await iq.request()
        await arm_inactivity(gateway, iq)
        assert "it/ito" in await iq.notified()
        assert gateway.controller == iq.address
        iq.answers_requests = False
        said = await next_services(other)
        assert (said.method, said.reason) == ("Failover", "909 MGC Impending Failure")
        await registered(gateway)
        assert gateway.controller == other.address


async def test_the_same_controller_back_after_a_gap_gets_disconnected() -> None:
    async with controllers(1) as [iq], running(config(iq)) as gateway:
        await registered(gateway)
        await iq.request()
        reply = await iq.ask(f"Context=${{{add('access', ours='passive')}}}", to=gateway.address)
        assert reply.actions[0].commands[0].error is None
        await arm_inactivity(gateway, iq)
        iq.answers_requests = False
        async with asyncio.timeout(5):
            while gateway.controller is not None:
                await asyncio.sleep(0.01)
        iq.answers_requests = True
        said = await next_services(iq)
        assert (said.method, said.reason) == ("Disconnected", "900 Service Restored")
        await registered(gateway)
        assert len(gateway.table.contexts) == 1


async def test_hand_off() -> None:
    async with controllers(2) as [iq, other], running(config(iq)) as gateway:
        await registered(gateway)
        services = f'Services{{Method=HandOff,Reason="903 MGC Directed Change",MgcIdToTry={other.mid}}}'
        reply = await iq.ask(f"Context=-{{ServiceChange=ROOT{{{services}}}}}", to=gateway.address)
        assert reply.actions[0].commands[0].error is None
        said = await next_services(other)
        assert (said.method, said.reason) == ("HandOff", "903 MGC Directed Change")
        await registered(gateway)
        assert gateway.controller == other.address


async def test_another_controller_that_starts_does_not_take_it() -> None:
    async with controllers(2) as [iq, other], running(config(iq, other)) as gateway:
        await registered(gateway)
        for method, reason in (("Restart", "901 Cold Boot"), ("Forced", "905 Out of service"), ("HandOff", "903 MGC Directed")):
            services = f'Services{{Method={method},Reason="{reason}",MgcIdToTry={other.mid}}}'
            reply = await other.ask(f"Context=-{{ServiceChange=ROOT{{{services}}}}}", to=gateway.address)
            assert reply.error is not None
            assert reply.error.code == 402
        assert gateway.controller == iq.address


async def test_a_restarted_controller_adopts_the_gateway_with_its_contexts() -> None:
    async with controllers(1) as [iq], running(config(iq)) as gateway:
        await registered(gateway)
        await iq.request()
        await iq.ask(f"Context=${{{add('access', ours='passive')}}}", to=gateway.address)
        await iq.ask('Context=-{ServiceChange=ROOT{Services{Method=Restart,Reason="901 Cold Boot"}}}', to=gateway.address)
        assert (await next_services(iq)).method == "Disconnected"
        await registered(gateway)
        assert len(gateway.table.contexts) == 1


async def test_a_controller_out_of_service_takes_the_contexts_with_it() -> None:
    async with controllers(1) as [iq], running(config(iq)) as gateway:
        await registered(gateway)
        await iq.request()
        await iq.ask(f"Context=${{{add('access', ours='passive')}}}", to=gateway.address)
        await iq.ask('Context=-{ServiceChange=ROOT{Services{Method=Forced,Reason="905 Out of service"}}}', to=gateway.address)
        assert (await next_services(iq)).method == "Restart"
        assert gateway.table.contexts == {}


async def test_hanging_termination_is_notified() -> None:
    async with bench() as gateway:
        [local] = await gateway.open(add("access", ours="passive", events="hangterm/thb{timerx=1}"))
        notified = await gateway.iq.notified()
        assert notified["hangterm/thb"] == {}
        assert notified[""]["termination"] == local.termination


async def test_a_duplicate_is_executed_once() -> None:
    async with bench() as gateway:
        adding = f"Context=${{{add('access', ours='passive')}}}"
        first = await gateway.ask(adding)
        gateway.iq._next -= 1
        second = await gateway.ask(adding)
        assert first == second
        assert len(gateway.gateway.table.contexts) == 1


async def test_a_clean_stop_says_forced() -> None:
    async with controllers(1) as [iq]:
        gateway = Gateway(config(iq))
        await gateway.start()
        await registered(gateway)
        await iq.request()
        await gateway.stop()
        said = await next_services(iq)
        assert (said.method, said.reason) == ("Forced", "905 Termination taken out of service")
        assert gateway.finished.is_set()


async def test_a_graceful_stop_waits_for_the_calls() -> None:
    async with bench() as bed:
        [local] = await bed.open(add("access", ours="passive"))
        await bed.iq.request()
        stopping = asyncio.ensure_future(bed.gateway.stop(drain=5.0))
        said = await next_services(bed.iq)
        assert (said.method, said.delay) == ("Graceful", 5)
        assert not stopping.done()
        await bed.ask(f"Context={local.context}{{W-Subtract=*}}")
        assert (await next_services(bed.iq)).method == "Forced"
        await stopping


async def test_run_gateway_takes_leave_when_cancelled() -> None:
    async with controllers(1) as [iq]:
        task = asyncio.ensure_future(run_gateway(config(iq)))
        assert (await next_services(iq)).method == "Restart"
        await asyncio.sleep(0.05)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert (await next_services(iq)).method == "Forced"


@asynccontextmanager
async def parent() -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that stands for the one that embeds the gateway."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_an_orphan_ends_when_nobody_adopts_it() -> None:
    async with controllers(1) as [iq], parent() as process:
        task = asyncio.ensure_future(run_gateway(config(iq, parent=process.pid)))
        assert (await next_services(iq)).method == "Restart"
        iq.answers_requests = False
        process.kill()
        await process.wait()
        async with asyncio.timeout(5):
            await task


async def test_an_orphan_that_is_adopted_stays_with_its_contexts() -> None:
    async with controllers(1) as [iq], parent() as process, running(config(iq, parent=process.pid)) as gateway:
        await registered(gateway)
        await iq.request()
        await iq.ask(f"Context=${{{add('access', ours='passive')}}}", to=gateway.address)
        process.kill()
        await process.wait()
        assert (await next_services(iq)).method == "Disconnected"
        await registered(gateway)
        await asyncio.sleep(2 * FAST.adoption_grace)
        assert not gateway.finished.is_set()
        assert len(gateway.table.contexts) == 1


async def test_a_gateway_needs_a_controller_and_a_realm() -> None:
    async with controllers(1) as [iq]:
        with pytest.raises(ConfigError):
            Gateway(replace(config(iq), controllers=()))
        with pytest.raises(ConfigError):
            Gateway(replace(config(iq), realms=()))




async def test_limits_that_are_set_on_root_hold_from_then_on() -> None:
    async with bench() as site:
        reply = await site.ask("Context=-{Modify=ROOT{Media{TerminationState{root/MGCOriginatedPendingLimit=none}}}}")
        assert [command.error and command.error.code for command in reply.actions[0].commands] == [449]
        limit = "Media{TerminationState{root/MGCOriginatedPendingLimit=1}}"
        reply = await site.ask(f"Context=-{{Modify=ROOT{{{limit},Events=1{{it/ito{{mit=5}}}}}}}}")
        assert reply.actions[0].commands[0].error is None
        site.iq.answer = lambda request: f"Pending={request.id}{{}}Pending={request.id}{{}}"
        async with asyncio.timeout(5):
            while site.gateway.registered.is_set():   # its question stays pending once too often: it looks for a controller anew
                await asyncio.sleep(0.01)
