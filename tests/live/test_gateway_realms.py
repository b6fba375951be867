"""Where media addresses come from, on real sockets: lists of addresses and ports, both families, turns, rest and shortage."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from pathlib import Path

import pytest

from pcscf.gateway import ports as media_ports
from pcscf.gateway.config import Realm
from pcscf.gateway.endpoint import TlsRole
from pcscf.h248.message import ErrorDescriptor
from tests.live.test_gateway_datagrams import ends, swap
from tests.live.test_gateway_relay import UE_PRINT, dial, listening, tls
from tests.support.gatewaybed import Bench, Local, add, add_datagrams, bench, on_both_loops
from tests.support.processes import require_ipv6

BOTH = (
    Realm("access", ("::1", "127.0.0.1"), ((42000, 44999),)),
    Realm("core", ("127.0.0.2", "127.0.0.1"), ((45000, 46999),)),
)


async def refused(gateway: Bench, body: str) -> ErrorDescriptor:
    reply = await gateway.ask(f"Context=${{{body}}}")
    [command] = reply.actions[0].commands
    assert command.error is not None
    return command.error


async def release(gateway: Bench, side: Local) -> None:
    await gateway.ask(f"Context={side.context}{{W-Subtract=*{{Audit{{}}}}}}")


@on_both_loops
async def test_a_ue_with_ipv6_talks_to_a_core_with_ipv4() -> None:
    require_ipv6("::1")
    async with bench(realms=BOTH) as gateway, listening() as core:
        near, far = await gateway.open(
            add("access", ours="passive", theirs="active", peer=("::1", 9), fingerprints=[UE_PRINT], secure=True, host="::1"),
            add("core", ours="active", theirs="passive", peer=core.address),
        )
        assert (near.host, far.host) == ("::1", "127.0.0.2")
        ue = await dial(near.address, tls(TlsRole.CLIENT, near))
        await ue.handshake()
        inside = await core.accept()
        assert inside.writer.get_extra_info("peername")[:2] == far.address
        ue.send(b"up")
        assert await inside.read(2) == b"up"
        inside.send(b"down")
        assert await ue.read(4) == b"down"
        await ue.close()
        await inside.close()


async def test_datagrams_between_the_families() -> None:
    require_ipv6("::1")
    async with bench(realms=BOTH) as gateway, ends(1, host="::1") as (ue,), ends(1) as (core,):
        near, far = await gateway.open(
            add_datagrams("access", peer=ue.address, host="::1"), add_datagrams("core", peer=core.address))
        await swap(ue, near, core, far)


async def test_the_family_is_what_the_controller_asks_for() -> None:
    require_ipv6("::1")
    async with bench(realms=BOTH) as gateway:
        [four] = await gateway.open(add("access", ours="passive"))
        [six] = await gateway.open(add("access", ours="passive", host="::1"))
        assert (four.host, six.host) == ("127.0.0.1", "::1")
        error = await refused(gateway, add("core", ours="passive", host="::1"))
        assert error.code == 449
        assert "c=no IPv6 address in realm core" in error.text


async def test_an_address_that_the_controller_names() -> None:
    async with bench(realms=BOTH) as gateway:
        asked = add("core", ours="passive").replace("c=IN IP4 $", "c=IN IP4 127.0.0.1")
        assert {(await gateway.open(asked))[0].host for _ in range(3)} == {"127.0.0.1"}
        assert (await refused(gateway, asked.replace("127.0.0.1", "127.0.0.9"))).code == 449


async def test_addresses_take_turns() -> None:
    async with bench(realms=BOTH) as gateway:
        made = [(await gateway.open(add("core", ours="passive")))[0] for _ in range(10)]
        assert Counter(one.host for one in made) == {"127.0.0.1": 5, "127.0.0.2": 5}
        assert len({one.address for one in made}) == 10


@pytest.mark.parametrize("wanted", ["TCP", "UDP"])
async def test_several_ranges_and_then_510(wanted: str) -> None:
    realms = (Realm("access", ("127.0.0.1",), ((42500, 42501), (42510, 42510))),)
    body = add("access", ours="passive") if wanted == "TCP" else add_datagrams("access")
    async with bench(realms=realms) as gateway:
        made = [(await gateway.open(body))[0] for _ in range(3)]
        assert {one.port for one in made} == {42500, 42501, 42510}
        before = _open_files()
        for _ in range(20):
            error = await refused(gateway, body)
            assert error.code == 510
            assert "no free port in realm access" in error.text
        assert _open_files() == before
        assert len(gateway.gateway.table.contexts) == 3
        for one in made:
            await release(gateway, one)
        assert len(gateway.gateway.relay.ports) == 0
        assert _open_files() < before


async def test_a_realm_that_shares_its_address_with_a_busier_one_has_its_own_ports() -> None:
    realms = (Realm("access", ("127.0.0.1",), ((42500, 42502),)), Realm("core", ("127.0.0.1",), ((42510, 42519),)))
    async with bench(realms=realms) as gateway:
        for _ in range(5):
            await gateway.open(add("core", ours="passive"))
        assert {(await gateway.open(add("access", ours="passive")))[0].port for _ in range(3)} == {42500, 42501, 42502}
        assert gateway.gateway.relay.ports.usage() == {"access": (3, 3), "core": (5, 10)}


async def test_a_pair_does_not_reach_beyond_its_range() -> None:
    async with bench(realms=(Realm("access", ("127.0.0.1",), ((42701, 42702),)),)) as gateway:
        assert (await refused(gateway, add_datagrams("access", transport="RTP/AVP"))).code == 510


async def test_a_released_port_rests() -> None:
    """Ports of a realm of four: the one that was just released comes last."""
    realms = (Realm("access", ("127.0.0.1",), ((42600, 42603),)),)
    async with bench(realms=realms) as gateway:
        first = [(await gateway.open(add("access", ours="passive")))[0] for _ in range(3)]
        await release(gateway, first[0])
        await release(gateway, first[1])
        second = [(await gateway.open(add("access", ours="passive")))[0].port for _ in range(3)]
        assert second == [42603, first[0].port, first[1].port]


async def test_after_its_rest_a_port_is_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_ports, "REST", 0.05)
    realms = (Realm("access", ("127.0.0.1",), ((42600, 42602),)),)
    async with bench(realms=realms) as gateway:
        [one] = await gateway.open(add("access", ours="passive"))
        await release(gateway, one)
        await asyncio.sleep(0.1)
        assert [(await gateway.open(add("access", ours="passive")))[0].port for _ in range(3)] == [42601, 42602, 42600]


async def test_a_pair_needs_both_ports() -> None:
    realms = (Realm("access", ("127.0.0.1",), ((42700, 42703),)),)
    async with bench(realms=realms) as gateway:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as busy:
            busy.bind(("127.0.0.1", 42701))
            [pair] = await gateway.open(add_datagrams("access", transport="RTP/AVP"))
            assert pair.port == 42702
            assert (await refused(gateway, add_datagrams("access", transport="RTP/AVP"))).code == 510
            [single] = await gateway.open(add_datagrams("access"))
            assert single.port == 42700
            await release(gateway, pair)
            await release(gateway, single)
        assert len(gateway.gateway.relay.ports) == 0


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
