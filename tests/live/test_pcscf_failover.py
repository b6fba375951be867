"""Two P-CSCFs and one gateway, each a process (RFC 3525 §11.5): the first is killed, stands still, or hands its gateway over."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pcscf.lab.agent import token
from pcscf.lab.call import Call, Manners
from pcscf.lab.medium import MediaFailedError
from pcscf.lab.net import Target
from pcscf.lab.useragent import CallRefusedError
from tests.live.test_pcscf_gateways import NO_CHILD, operator
from tests.support.fleet import HERE, OwnGateway, control, free_port, known, own_gateways, registered, sessions, states
from tests.support.processes import LOOK, Pcscf, Stage, converse, pcscf, stage, until, within

REPLY = "Got it: {text}"
IMPATIENT = {"t_max": 1.5, "long": 3, "retransmit": 0.1}
"""Over UDP a controller that is silent is asked for so long, and once more as Disconnected, before the next one gets its turn."""


@pytest.fixture
async def around() -> AsyncIterator[Stage]:
    async with stage() as made:
        yield made


class Pair(NamedTuple):
    """`settings` are those of `here`, for its operator."""

    gateway: OwnGateway
    here: Pcscf
    there: Pcscf
    settings: tuple[str, ...]


def settings_of(gateway: OwnGateway, transport: str, port: int) -> tuple[str, ...]:
    return (
        NO_CHILD, known(gateway.known()), f"gateways.iq.transport={transport}", f"gateways.iq.port={port}",
        "gateways.heartbeat={interval: 0.5, lost_after: 2, silence: 1}", "gateways.supervision.compare=2")


@asynccontextmanager
async def pair(folder: Path, around: Stage, transport: str = "udp") -> AsyncIterator[Pair]:
    """The gateway serves `here`, and knows `there` as its second controller."""
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    ports = free_port(kind), free_port(kind)
    controllers = [(HERE, port) for port in ports]
    async with own_gateways(folder, ["one"], *controllers, iq={"one": {"transport": transport, "timers": IMPATIENT}}) as (one,):
        here, there = (settings_of(one, transport, port) for port in ports)
        async with pcscf(folder / "here", around.core.address, *here) as first:
            await registered(first, one)
            async with pcscf(folder / "there", around.core.address, *there) as second:
                yield Pair(one, first, second, here)


async def unknown(to: Target, request: str) -> int:
    """The status that a UE of nobody gets for a request over UDP."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setblocking(False)
        own.bind((HERE, 0))
        await loop.sock_connect(own, (to.host, to.port))
        via = f"Via: SIP/2.0/UDP {HERE}:{own.getsockname()[1]};branch=z9hG4bK{token()}"
        await loop.sock_sendall(own, request.replace("Via: ", via).replace("\n", "\r\n").encode())
        answer = await within(loop.sock_recv(own, 4096), "an answer")
    return int(answer.split()[1])


def in_dialog(call: Call, method: str) -> str:
    """A request in a dialog that another P-CSCF knew, as the UE would send it: with that one's Record-Route."""
    routes = "".join(f"Route: {route}\n" for route in call.dialog.routes)
    return (
        f"{method} {call.dialog.remote_target} SIP/2.0\nVia: \nMax-Forwards: 70\n{routes}From: {call.dialog.local}\n"
        f"To: {call.dialog.remote}\nCall-ID: {call.dialog.call_id}\nCSeq: 7 {method}\nContent-Length: 0\n\n")


async def closed(call: Call) -> None:
    with pytest.raises(MediaFailedError):
        await within(call.receive_text(), "the end of the media")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_killed_pcscf_loses_its_gateway_to_the_next(tmp_path: Path, around: Stage, transport: str) -> None:
    async with pair(tmp_path, around, transport) as (gateway, here, there, _):
        party = await around.new_party(Manners(reply=REPLY))
        ue = await around.new_ue(here.listeners["gm-tls"])
        call = await converse(ue, party, "before")
        await sessions(here, one=1)
        os.kill(here.pid, signal.SIGKILL)
        assert await here.finish() == -signal.SIGKILL
        await within(call.send_text("not yet"), "the response to a message")
        assert await within(call.receive_text(), "the reply to a message") == "Got it: not yet"

        await until(lambda: "gateway resumed" in there.log, lambda: there.log[-3000:])
        await registered(there, gateway)
        await closed(call)   # its context is nobody's: subtracted by the one that has the gateway now
        assert (await states(there))["one"]["sessions"] == 0
        assert gateway.starts == 1
        assert gateway.process is not None
        assert gateway.process.returncode is None

        # The UE finds the other P-CSCF, which does not know it: not for a call, and not for the end of the one that it had.
        listener = there.listeners["gm-udp"]
        assert await unknown(listener, in_dialog(call, "BYE")) == 403
        moved = await around.new_ue(there.listeners["gm-tls"])
        goodbye = moved.send_request(call.dialog.request("BYE"), await moved.link_to(moved.proxy_uri))
        assert (await within(goodbye.final_response(), "the answer to BYE")).status == 481
        again = await converse(moved, party, "after")
        assert again.tls.peer_fingerprint == call.tls.peer_fingerprint   # the same gateway, which did not start anew
        await sessions(there, one=1)
        await within(again.hang_up(), "the answer to BYE")
        await sessions(there, one=0)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_the_one_that_comes_back_leaves_the_gateway_with_the_other(tmp_path: Path, around: Stage, transport: str) -> None:
    """Its sessions are the other's now. An operator gives it back, and nobody has to start anew."""
    async with pair(tmp_path, around, transport) as (gateway, here, there, settings):
        os.kill(here.pid, signal.SIGKILL)
        await here.finish()
        await registered(there, gateway)
        party = await around.new_party(Manners(reply=REPLY))
        ue = await around.new_ue(there.listeners["gm-tls"])
        call = await converse(ue, party, "at the second")
        async with pcscf(tmp_path / "back", around.core.address, *settings) as back:
            early = await around.new_ue(back.listeners["gm-tls"], name="carol")
            with pytest.raises(CallRefusedError, match="503"):
                await within(early.call(party.uri, early.proxy_uri), "the refusal")
            await within(call.send_text("undisturbed"), "the response to a message")
            await sessions(there, one=1)
            await within(call.hang_up(), "the answer to BYE")

            port = next(each for each in settings if each.startswith("gateways.iq.port=")).partition("=")[2]
            answer = await control(there, do="hand-off", gateway="one", to=f"[{HERE}]:{port}")
            assert "error" not in answer, answer
            await registered(back, gateway)
            again = await converse(early, party, "at the first again")
            await within(again.hang_up(), "the answer to BYE")
        assert gateway.starts == 1


async def test_a_pcscf_that_was_away_learns_that_its_gateway_is_anothers(tmp_path: Path, around: Stage) -> None:
    """It stood still, and goes on in the belief that the gateway is its own: its sessions end with BYE both ways, none hangs."""
    async with pair(tmp_path, around) as (gateway, here, there, _):
        party = await around.new_party(Manners(reply=REPLY))
        ue = await around.new_ue(here.listeners["gm-tls"])
        call = await converse(ue, party, "before")
        os.kill(here.pid, signal.SIGSTOP)
        try:
            await until(lambda: "gateway resumed" in there.log, lambda: there.log[-3000:])
            await registered(there, gateway)
            moved = await around.new_ue(there.listeners["gm-tls"], name="carol")
            other = await converse(moved, party, "at the second")
        finally:
            os.kill(here.pid, signal.SIGCONT)
        await within(call.ended.wait(), "BYE at the UE")
        assert "cause=503" in call.reason
        await until(lambda: len(party.ended) == 1, lambda: here.log[-3000:])
        assert (await states(here))["one"]["state"] in ("lost", "absent")
        with pytest.raises(CallRefusedError, match="503"):
            await within(ue.call(party.uri, ue.proxy_uri), "the refusal")
        await within(other.send_text("undisturbed"), "the response to a message")
        await within(other.hang_up(), "the answer to BYE")
        await sessions(there, one=0)


async def test_an_operator_hands_the_gateway_over_and_what_remains_is_released(tmp_path: Path, around: Stage) -> None:
    async with pair(tmp_path, around) as (gateway, here, there, settings):
        party = await around.new_party(Manners(reply=REPLY))
        ue = await around.new_ue(here.listeners["gm-tls"])
        short, long = [await converse(ue, party, f"call {number}") for number in range(2)]
        target = f"[{HERE}]:{there_port(gateway)}"
        handing = asyncio.create_task(operator(here.folder, settings, "hand-off", "one", target, "--wait", "3"))
        while not (await states(here))["one"]["drained"]:
            await asyncio.sleep(LOOK)
        with pytest.raises(CallRefusedError, match="503"):   # drained while it waits
            await within(ue.call(party.uri, ue.proxy_uri), "the refusal")
        await within(short.hang_up(), "the answer to BYE")
        assert not long.ended.is_set()
        code, told = await handing
        assert code == 0, told
        await within(long.ended.wait(), "BYE at the UE")
        assert "cause=503" in long.reason
        await until(lambda: len(party.ended) == 2, lambda: here.log[-3000:])
        assert (await states(here))["one"]["state"] == "absent"
        await registered(there, gateway)
        moved = await around.new_ue(there.listeners["gm-tls"])
        again = await converse(moved, party, "after")
        await within(again.hang_up(), "the answer to BYE")
        await sessions(there, one=0)


def there_port(gateway: OwnGateway) -> int:
    return gateway.controllers[1][1]
