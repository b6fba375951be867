"""How TCP connections come about (TS 23.334 §6.2.18, H.248.89): proxy, merge, package-less and triggered, at once and later."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from pcscf.gateway.endpoint import TlsRole
from tests.live.test_gateway_datagrams import told
from tests.live.test_gateway_relay import STRANGER, UE_PRINT, Listener, Peer, dial, listening, tls
from tests.support.gatewaybed import EVENTS, Bench, Local, add, bench, modify, on_both_loops, sdp


async def conversed(one: Peer, other: Peer) -> None:
    one.send(b"there")
    assert await other.read(5) == b"there"
    other.send(b"back")
    assert await one.read(4) == b"back"


async def is_dialled(listener: Listener, wait: float = 0.2) -> bool:
    await asyncio.sleep(wait)
    return not listener.arrived.empty()


async def closed(*peers: Peer) -> None:
    for peer in peers:
        await peer.close()


@on_both_loops
async def test_proxy_two_connections_with_an_address_of_their_own() -> None:
    async with bench() as gateway, listening() as core:
        near, far = await gateway.open(
            add("access", ours="passive", theirs="active"), add("core", ours="active", theirs="passive", peer=core.address))
        ue = await dial(near.address)
        inside = await core.accept()
        assert inside.writer.get_extra_info("peername")[:2] == far.address
        await conversed(ue, inside)
        await closed(ue, inside)


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("first", ["ue", "core"])
@on_both_loops
async def test_merge_both_ends_open_and_the_gateway_joins_them(first: str, secure: bool) -> None:
    """Both ends are TCP-active, as behind two NATs: passive on both legs, whoever comes first."""
    async with bench() as gateway:
        near, far = await gateway.open(
            add("access", ours="passive", theirs="active", secure=secure, fingerprints=[UE_PRINT] if secure else ()),
            add("core", ours="passive", theirs="active"))
        ends: dict[str, Peer] = {}
        for who in ("ue", "core") if first == "ue" else ("core", "ue"):
            side, protected = (near, secure) if who == "ue" else (far, False)
            ends[who] = await dial(side.address, tls(TlsRole.CLIENT, side) if protected else None)
            if who == "core":
                ends[who].send(b"already here")   # waits in the gateway until the other end is there and verified
            elif secure:
                await ends[who].handshake()
        assert await ends["ue"].read(12) == b"already here"
        await conversed(ends["ue"], ends["core"])
        await closed(*ends.values())


@on_both_loops
async def test_a_leg_that_waits_ends_with_the_other_side() -> None:
    """Nobody is let in on one side of a session whose other side has met a stranger."""
    async with bench() as gateway:
        near, far = await gateway.open(
            add("access", ours="passive", theirs="active", secure=True, fingerprints=[str(STRANGER.fingerprint("sha-256"))]),
            add("core", ours="passive", theirs="active"))
        ue = await dial(near.address, tls(TlsRole.CLIENT, near))
        with contextlib.suppress(AssertionError, OSError):
            await ue.handshake()
        await gateway.until("tls-failed")
        with pytest.raises(ConnectionRefusedError):
            await dial(far.address)
        await ue.close()


@on_both_loops
async def test_the_gateway_opens_both() -> None:
    """Both ends wait: nobody else would begin, so both are dialled at once."""
    async with bench() as gateway, listening() as ue_side, listening() as core:
        await gateway.open(
            add("access", ours="active", theirs="passive", peer=ue_side.address),
            add("core", ours="active", theirs="passive", peer=core.address))
        ue, inside = await ue_side.accept(), await core.accept()
        await conversed(ue, inside)
        await closed(ue, inside)


@pytest.mark.parametrize("direction", ["from the ue", "from the core"])
@on_both_loops
async def test_interlinked_establishment(direction: str) -> None:
    """A connection that comes in on one leg makes the gateway open the one on the other, in either direction (H.248.92)."""
    async with bench() as gateway, listening() as behind:
        sides = ("access", "core") if direction == "from the ue" else ("core", "access")
        first, _ = await gateway.open(
            add(sides[0], ours="passive", theirs="active"), add(sides[1], ours="active", theirs="passive", peer=behind.address))
        assert not await is_dialled(behind)
        one = await dial(first.address)
        other = await behind.accept()
        await conversed(one, other)
        await closed(one, other)


@pytest.mark.parametrize("control", ["seplink/x=ON", "seplink/any=OFF"])
async def test_items_of_interlinkage_are_kept_and_read_back(control: str) -> None:
    async with bench() as gateway:
        [side] = await gateway.open(add("access", ours="passive", theirs="active", control=f",{control}"))
        reply = await gateway.ask(f"Context={side.context}{{AuditValue={side.termination}{{Audit{{Media}}}}}}")
        assert control.partition("=")[0] in str(reply)


# What makes the gateway connect: a=setup of Local, a=setup of Remote, signals.
@pytest.mark.parametrize(
    ("ours", "theirs", "signals", "dials"),
    [
        ("active", "passive", "", False),                   # package-less: waits for its partner
        ("active", "passive", "tcpbcc/EstBNC", True),       # triggered: at once
        ("actpass", "passive", "tcpbcc/EstBNC", True),
        ("passive", "active", "", False),
        ("holdconn", "holdconn", "", False),
    ],
)
@on_both_loops
async def test_who_connects_at_once(ours: str, theirs: str, signals: str, dials: bool) -> None:
    async with bench() as gateway, listening() as core:
        await gateway.open(
            add("access", ours="passive", theirs="active"),
            add("core", ours=ours, theirs=theirs, peer=core.address, signals=signals))
        assert await is_dialled(core) is dials
        if dials:
            await closed(await core.accept())


@on_both_loops
async def test_a_trigger_for_one_of_several_streams() -> None:
    async with bench() as gateway, listening() as one, listening() as other:
        body = two_streams("core", (one, other), signals="tcpbcc/EstBNC{Stream=2}")
        await gateway.open(body)
        second = await other.accept()
        assert one.arrived.empty()
        await closed(second)


@on_both_loops
async def test_a_delayed_start_by_the_answer() -> None:
    """Reserved with the offer, when nobody knows the far end: dialled when the answer says where it is."""
    async with bench() as gateway, listening() as core:
        near, far = await gateway.open(
            add("access", ours="passive", theirs="active"), add("core", ours="active", mode="Inactive"))
        ue = await dial(near.address)
        await gateway.until("tcp-accepted")
        assert not await is_dialled(core)
        answer = sdp(setup="passive", address=core.address)
        await told(gateway, far, modify(far.termination, remote=answer, mode="SendReceive"))
        inside = await core.accept()
        await conversed(ue, inside)
        await closed(ue, inside)


@on_both_loops
async def test_a_delayed_start_after_holdconn() -> None:
    """RFC 4145 §4: no connection for the time being, and one when a later exchange says who opens it."""
    async with bench() as gateway, listening() as core:
        near, far = await gateway.open(
            add("access", ours="passive", theirs="active"), add("core", ours="holdconn", theirs="holdconn", peer=core.address))
        ue = await dial(near.address)
        assert not await is_dialled(core)
        ours = sdp(setup="active", address=far.address)
        theirs = sdp(setup="passive", address=core.address)
        media = f"Media{{Stream=1{{Local{{{ours}}},Remote{{{theirs}}}}}}}"
        await told(gateway, far, f"Modify={far.termination}{{{media}}}")
        inside = await core.accept()
        await conversed(ue, inside)
        await closed(ue, inside)


@on_both_loops
async def test_tls_asked_for_before_tcp_is_up_begins_when_it_is() -> None:
    """EstBNC of the TLS package comes with the reservation, the address with the answer."""
    async with bench() as gateway, listening() as ue_side:
        [near] = await gateway.open(
            add("access", ours="active", secure=True, mode="Inactive", signals="tcpbcc/EstBNC,tlsbsc/EstBNC"))
        answer = sdp(setup="passive", secure=True, address=ue_side.address, fingerprints=[UE_PRINT])
        await told(gateway, near, modify(near.termination, remote=answer, mode="SendReceive"))
        ue = await ue_side.accept(tls(TlsRole.SERVER, near))
        await ue.handshake()
        await closed(ue)


def two_streams(realm: str, peers: tuple[Listener, Listener] | None = None, *, signals: str = "") -> str:
    """An Add with streams 1 and 2: passive, or active towards these."""
    streams = []
    for number in (1, 2):
        ours = sdp(setup="active" if peers else "passive")
        theirs = sdp(setup="passive" if peers else "active", address=peers[number - 1].address if peers else ("127.0.0.1", 9))
        control = f'LocalControl{{Mode=SendReceive,ipdc/realm="{realm}"}}'
        streams.append(f"Stream={number}{{{control},Local{{{ours}}},Remote{{{theirs}}}}}")
    more = f",Signals{{{signals}}}" if signals else ""
    return f"Add=ip/1/$/${{Media{{{','.join(streams)}}},Events=7{{{EVENTS}}}{more}}}"


@on_both_loops
async def test_several_streams_in_a_context() -> None:
    """Each stream of one termination meets that of the same number on the other; one that fails leaves the other alone."""
    async with bench() as gateway, listening() as one, listening() as other:
        reply = await gateway.ask(f"Context=${{{two_streams('access')},{two_streams('core', (one, other))}}}")
        [action] = reply.actions
        [media] = [each for each in action.commands[0].descriptors if hasattr(each, "streams")]
        ports = {stream.id: Local(action.context, action.commands[0].termination, stream.local or "") for stream in media.streams}
        ues = {number: await dial(local.address) for number, local in ports.items()}
        insides = {1: await one.accept(), 2: await other.accept()}
        for number in (1, 2):
            await conversed(ues[number], insides[number])
        ues[1].reset()
        notified = await gateway.iq.notified()
        assert notified["tcpbcc/BNCChange"]["Stream"] == "1"
        await conversed(ues[2], insides[2])
        gone = f"Modify={ports[1].termination}{{Media{{Stream=2{{Local{{}}}}}}}}"
        await told(gateway, ports[1], gone)     # an empty Local ends the stream
        assert await ues[2].read_to_end() == b""
        await closed(ues[2], *insides.values())


async def test_a_third_termination_is_refused_and_the_two_go_on() -> None:
    """Two terminations per context, as docs/topics/gateway.md says and why."""
    async with bench() as gateway, listening() as core:
        near, _ = await gateway.open(
            add("access", ours="passive", theirs="active"), add("core", ours="active", theirs="passive", peer=core.address))
        taken = len(gateway.gateway.relay.ports)
        reply = await gateway.ask(f"Context={near.context}{{{add('core', ours='passive')}}}")
        error = reply.actions[0].commands[0].error
        assert error is not None
        assert (error.code, error.text) == (434, "Max number of Terminations in a Context exceeded")
        assert len(gateway.gateway.relay.ports) == taken
        reply = await gateway.ask("Context=${" + ",".join(add("access", ours="passive") for _ in range(3)) + "}")
        assert [command.error.code if command.error else None for command in reply.actions[0].commands] == [None, None, 434]
        assert await _terminations(gateway, reply.actions[0].context) == 2   # what succeeded stays (RFC 3525 §8)
        ue = await dial(near.address)
        inside = await core.accept()
        await conversed(ue, inside)
        await closed(ue, inside)


async def _terminations(gateway: Bench, context: int) -> int:
    reply = await gateway.ask(f"Context={context}{{AuditValue=*{{Audit{{}}}}}}")
    return len(reply.actions[0].commands)
