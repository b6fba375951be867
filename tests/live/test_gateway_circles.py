"""Ends that name the gateway's own ports as theirs: what one of them has sent would go round between its sockets for ever.

Two UEs behind one gateway meet there all the same: their contexts are joined on one side, and each has an end on the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.live.test_gateway_openssl import UE, UE_PRINT, client, files, openssl
from tests.live.test_gateway_relay import Peer, dial
from tests.support.gatewaybed import Bench, Local, add, bench, modify, on_both_loops, sdp
from tests.support.peers import require_peer

ADDRESSES = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
LOOP = "the connection would lead back to the gateway itself"


async def change(gateway: Bench, local: Local, remote: str) -> None:
    reply = await gateway.ask(f"Context={local.context}{{{modify(local.termination, remote=remote)}}}")
    assert reply.error is None
    assert reply.actions[0].commands[0].error is None


async def refused(gateway: Bench, local: Local) -> None:
    """The controller is told, as of any connection that could not be made."""
    notified = await gateway.iq.notified()
    assert notified[""]["termination"] == local.termination
    assert notified["tcpbcc/BNCChange"] == {"Stream": "1", "Type": "Rel"}
    assert notified["g/cause"] == {"Stream": "1", "Generalcause": "FP", "Failurecause": LOOP}


@ADDRESSES
@on_both_loops
async def test_a_termination_that_shall_connect_to_itself(host: str) -> None:
    async with bench(host=host) as gateway:
        near, far = await gateway.open(
            add("access", ours="active", host=host), add("core", ours="passive", theirs="active", host=host))
        core = await dial(far.address)
        core.send(b"round and round")
        await change(gateway, near, sdp(setup="passive", address=near.address, host=host))
        await refused(gateway, near)
        await gone(core)


@ADDRESSES
@on_both_loops
async def test_the_unspecified_address_is_no_way_to_itself(host: str) -> None:
    """The kernel would take it for the address that the socket is bound to."""
    async with bench(host=host) as gateway:
        near, _ = await gateway.open(
            add("access", ours="active", host=host, signals="tcpbcc/EstBNC"),
            add("core", ours="passive", theirs="active", host=host))
        nowhere = ("::" if ":" in host else "0.0.0.0", near.port)
        await change(gateway, near, sdp(setup="passive", address=nowhere, host=host))
        await asyncio.sleep(0.1)
        assert gateway.kinds() == []


@ADDRESSES
@on_both_loops
async def test_a_termination_that_shall_connect_to_the_other_one(host: str) -> None:
    async with bench(host=host) as gateway:
        near, far = await gateway.open(
            add("access", ours="active", host=host, signals="tcpbcc/EstBNC"),
            add("core", ours="passive", theirs="active", host=host))
        await change(gateway, near, sdp(setup="passive", address=far.address, host=host))
        await refused(gateway, near)
        assert gateway.gateway.relay.passed().get("tcp") is None or gateway.gateway.relay.passed()["tcp"].received == 0


async def gone(peer: Peer) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert await peer.read_to_end() == b""
    await peer.close()


async def joined(gateway: Bench) -> tuple[Local, Local, Peer, Peer]:
    """Two contexts whose core sides meet, each with a UE that has opened to its access side."""
    first, first_core = await gateway.open(
        add("access", ours="passive", theirs="active"), add("core", ours="passive", theirs="active"))
    second, _ = await gateway.open(
        add("access", ours="passive", theirs="active"),
        add("core", ours="active", theirs="passive", peer=first_core.address, signals="tcpbcc/EstBNC"))
    return first, second, await dial(first.address), await dial(second.address)


@on_both_loops
async def test_two_ues_behind_one_gateway_meet() -> None:
    async with bench() as gateway:
        _, _, one, other = await joined(gateway)
        one.send(b"x" * 200_000)
        assert await other.read(200_000) == b"x" * 200_000
        other.send(b"back")
        assert await one.read(4) == b"back"
        await one.close()
        await other.close()


@on_both_loops
async def test_two_ends_in_league_do_not_close_a_circle() -> None:
    """One has sent what the other did not read; then both claim to be where the other's context is."""
    async with bench() as gateway:
        first, second, one, other = await joined(gateway)
        one.send(b"x" * 3_000_000)   # more than any buffer between the two
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await one.writer.drain()
        await change(gateway, second, sdp(setup="active", address=first.address))
        opens = sdp(setup="passive", address=second.address)
        local = sdp(setup="active", address=first.address)
        body = f"Media{{Stream=1{{Local{{{local}}},Remote{{{opens}}}}}}},Signals{{tcpbcc/EstBNC}}"
        await gateway.ask(f"Context={first.context}{{Modify={first.termination}{{{body}}}}}")
        await asyncio.sleep(0.5)
        before = gateway.gateway.relay.passed()["tcp"].received
        await asyncio.sleep(0.5)
        assert gateway.gateway.relay.passed()["tcp"].received == before, "it goes round"
        await one.close()
        await other.close()


@pytest.mark.interop("openssl", "two contexts of one gateway joined on their core sides: TLS with both UEs, data both ways")
async def test_two_protected_ues_behind_one_gateway_meet(tmp_path: Path) -> None:
    require_peer("openssl")
    async with bench() as gateway:
        protected = add("access", ours="passive", theirs="active", fingerprints=[UE_PRINT], secure=True)
        first, first_core = await gateway.open(protected, add("core", ours="passive", theirs="active"))
        second, _ = await gateway.open(protected, add("core", ours="active", theirs="passive", peer=first_core.address))
        async with openssl(*client(first, *files(UE, tmp_path))) as one, openssl(*client(second, *files(UE, tmp_path))) as other:
            one.say(b"from the one\n")
            await other.until(b"from the one\n")
            other.say(b"from the other\n")
            await one.until(b"from the other\n")


async def test_the_gateways_own_certificate_opens_no_circle_either() -> None:
    """Ends in league know it: each context would take the other one for its UE, and TLS would come to a session."""
    async with bench() as gateway:
        reserved = add("access", ours="passive", secure=True)
        first, first_core = await gateway.open(reserved, add("core", ours="passive", theirs="active"))
        second, second_core = await gateway.open(
            reserved, add("core", ours="active", theirs="passive", peer=first_core.address, signals="tcpbcc/EstBNC"))
        print_of = first.fingerprint
        await change(gateway, first, sdp(setup="active", secure=True, address=second.address, fingerprints=[print_of]))
        local = sdp(setup="active", secure=True, address=second.address, fingerprints=[print_of])
        remote = sdp(setup="passive", secure=True, address=first.address, fingerprints=[print_of])
        body = f"Media{{Stream=1{{Local{{{local}}},Remote{{{remote}}}}}}},Signals{{tcpbcc/EstBNC,tlsbsc/EstBNC}}"
        await gateway.ask(f"Context={second.context}{{Modify={second.termination}{{{body}}}}}")
        notified = [await gateway.iq.notified() for _ in range(2)]
        assert {each[""]["termination"] for each in notified} <= {
            first.termination, second.termination, first_core.termination, second_core.termination}
        assert LOOP in {each["g/cause"]["Failurecause"] for each in notified if "g/cause" in each}
        assert "tls-established" not in gateway.kinds()
