"""When TCP and TLS begin at a running gateway: by itself, or at a signal of a controller that was told first (TR 29.828 §4.3.3).

`Est` is armed on the access side wherever the controller is to be told; openssl is the far end.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.live.test_gateway_openssl import STRANGER, UE, UE_PRINT, files, openssl, s_server
from tests.live.test_gateway_relay import listening
from tests.support.gatewaybed import FAST, Bench, Local, add, bench, modify
from tests.support.peers import require_peer

BOTH = "g/cause,tcpbcc/BNCChange,tlsbsc/BNCChange{Type=Rel}"
ASKED = ["tcpbcc/BNCChange", "tcpbcc/BNCChange{Type=Est},tcpbcc/BNCChange{Type=Rel}", "tcp/bncchg{Type=EST}"]
UP = {"Stream": "1", "Type": "Est"}


@pytest.fixture(autouse=True)
def present() -> None:
    require_peer("openssl")


async def towards(gateway: Bench, port: int, events: str = BOTH, signals: str = "") -> tuple[Local, Local]:
    """The gateway opens to the UE's port; the core side waits."""
    near, far = await gateway.open(
        add("access", ours="active", theirs="passive", peer=("127.0.0.1", port), fingerprints=[UE_PRINT], secure=True,
            events=events, signals=signals),
        add("core", ours="passive", theirs="active"),
    )  # fmt: skip
    return near, far


async def trigger(gateway: Bench, near: Local, signal: str = "tlsbsc/EstBNC{Stream=1}") -> None:
    reply = await gateway.ask(f"Context={near.context}{{{modify(near.termination, signals=signal)}}}")
    assert reply.error is None
    [command] = reply.actions[0].commands
    assert command.error is None


@pytest.mark.interop("openssl", "gateway as TLS client at the signal of its controller, once it has told that TCP is up")
@pytest.mark.parametrize("events", ASKED)
async def test_tls_waits_for_the_signal_of_the_controller(events: str, tmp_path: Path) -> None:
    async with bench() as gateway, s_server(tmp_path, UE) as (run, port):
        near, far = await towards(gateway, port, f"g/cause,{events},tlsbsc/BNCChange{{Type=Rel}}")
        reader, writer = await asyncio.open_connection(*far.address)
        notified = await gateway.iq.notified()
        assert UP in notified.values()
        assert notified[""] == {"termination": near.termination, "request": "7"}
        await asyncio.sleep(0.1)
        assert b"handshake" not in run.printed
        assert gateway.kinds() == ["tcp-accepted", "tcp-connected"]
        await trigger(gateway, near)
        writer.write(b"from the core\n")
        await run.until(b"from the core\n")
        run.say(b"from the ue\n")
        async with asyncio.timeout(5):
            assert await reader.readline() == b"from the ue\n"
        assert gateway.kinds() == ["tcp-accepted", "tcp-connected", "tls-established"], "one connection, no second one"
        assert gateway.iq.requests.empty()
        await trigger(gateway, near)   # said again, it changes nothing
        writer.write(b"still here\n")
        await run.until(b"still here\n")
        writer.close()


@pytest.mark.interop("openssl", "gateway as TLS server where the controller is told that TCP is up: no signal is needed")
async def test_a_client_hello_needs_no_signal(tmp_path: Path) -> None:
    async with bench() as gateway, listening() as core:
        near, _ = await gateway.open(
            add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True, events=BOTH),
            add("core", ours="active", theirs="passive", peer=core.address),
        )
        async with openssl("s_client", "-connect", f"127.0.0.1:{near.port}", *files(UE, tmp_path)) as run:
            assert (await gateway.iq.notified())["tcpbcc/BNCChange"] == UP
            far = await core.accept()
            run.say(b"from the ue\n")
            assert await far.read(12) == b"from the ue\n"
            await trigger(gateway, near)   # too late: the peer is the client
            far.send(b"from the core\n")
            await run.until(b"from the core\n")
            await far.close()


async def test_the_signal_may_come_before_tcp_is_up(tmp_path: Path) -> None:
    """Then TLS begins by itself, and what is armed is told all the same."""
    async with bench() as gateway, s_server(tmp_path, UE) as (run, port):
        _, far = await towards(gateway, port, "tcpbcc/BNCChange,tlsbsc/BNCChange", "tlsbsc/EstBNC")
        _, writer = await asyncio.open_connection(*far.address)
        assert (await gateway.iq.notified())["tcpbcc/BNCChange"] == UP
        assert (await gateway.iq.notified())["tlsbsc/BNCChange"] == UP
        writer.write(b"from the core\n")
        await run.until(b"from the core\n")
        writer.close()


@pytest.mark.parametrize("events", ["tcpbcc/BNCChange{Type=Rel}", "tcpbcc/ConnRel", "tcpbcc/BNCChange{Stream=2}", "g/cause"])
async def test_nobody_is_told_who_did_not_ask(events: str, tmp_path: Path) -> None:
    async with bench() as gateway, s_server(tmp_path, UE) as (run, port):
        _, far = await towards(gateway, port, events, "tlsbsc/EstBNC")
        _, writer = await asyncio.open_connection(*far.address)
        writer.write(b"from the core\n")
        await run.until(b"from the core\n")
        await gateway.until("tls-established")
        assert gateway.iq.requests.qsize() == 1, "the registration"
        writer.close()


async def test_a_signal_that_never_comes_ends_as_a_handshake_would(tmp_path: Path) -> None:
    async with bench() as gateway, s_server(tmp_path, UE) as (_, port):
        near, far = await towards(gateway, port)
        _, writer = await asyncio.open_connection(*far.address)
        assert (await gateway.iq.notified())["tcpbcc/BNCChange"] == UP
        began = asyncio.get_running_loop().time()
        notified = await gateway.iq.notified()
        assert asyncio.get_running_loop().time() - began >= FAST.tls_handshake * 0.5
        assert notified["tlsbsc/BNCChange"] == {"Stream": "1", "Type": "Rel"}
        assert notified["g/cause"]["Failurecause"] == "TLS handshake timeout"
        assert (await gateway.until("tls-failed")).termination == near.termination
        writer.close()


async def test_the_wrong_certificate_is_refused_after_the_signal_too(tmp_path: Path) -> None:
    async with bench() as gateway, s_server(tmp_path, STRANGER) as (run, port):
        near, far = await towards(gateway, port)
        _, writer = await asyncio.open_connection(*far.address)
        writer.write(b"never\n")
        await gateway.iq.notified()
        await trigger(gateway, near)
        notified = await gateway.iq.notified()
        assert notified["g/cause"]["Failurecause"] == "TLS certificate fingerprint mismatch"
        assert b"never" not in run.printed
        writer.close()


async def test_a_signal_for_a_server_that_shook_hands_makes_another_connection(tmp_path: Path) -> None:
    """The controller asks for the report only once TCP is up: what stands has a server, and a client needs a new one."""
    async with bench() as gateway, listening() as core:
        near, _ = await gateway.open(
            add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True),
            add("core", ours="active", theirs="passive", peer=core.address),
        )
        async with openssl("s_client", "-connect", f"127.0.0.1:{near.port}", *files(UE, tmp_path)) as run:
            await gateway.until("tls-established")
            await gateway.ask(f"Context={near.context}{{Modify={near.termination}{{Events=8{{tcpbcc/BNCChange}}}}}}")
            await trigger(gateway, near)
            await run.end()
        assert "closed" in gateway.kinds()
        await (await core.accept()).close()
