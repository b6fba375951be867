"""A running gateway that was told the paths of both legs: frames are mapped, what is none ends the connection and is reported."""

from __future__ import annotations

import asyncio

import pytest

from pcscf.gateway.endpoint import TlsRole
from tests.live.test_gateway_relay import UE_PRINT, Listener, Peer, dial, listening, tls
from tests.support.gatewaybed import EVENTS, Bench, Local, bench, local_of, on_both_loops

UE_PATH, CORE_PATH = "msrps://127.0.0.1:9/ue;tcp", "msrp://127.0.0.1:7/core;tcp"


def add(realm: str, *, ours: str, peer: tuple[str, int], path: str, theirs: str, secure: bool = False) -> str:
    """An Add with both paths; `path` is ours, with `$:$` for the gateway's address."""
    transport = "TCP/TLS/MSRP" if secure else "TCP/MSRP"
    prints = ("a=fingerprint:sha-256 $\n", f"a=fingerprint:{UE_PRINT}\n") if secure else ("", "")
    local = f"\nv=0\nc=IN IP4 $\nm=message $ {transport} *\na=setup:{ours}\na=path:{path}\n{prints[0]}"
    opposite = {"active": "passive", "passive": "active"}[ours]
    remote = f"\nv=0\nc=IN IP4 {peer[0]}\nm=message {peer[1]} {transport} *\na=setup:{opposite}\na=path:{theirs}\n{prints[1]}"
    control = f'LocalControl{{Mode=SendReceive,ipdc/realm="{realm}"}}'
    return f"Add=ip/1/$/${{Media{{Stream=1{{{control},Local{{{local}}},Remote{{{remote}}}}}}},Events=7{{{EVENTS}}}}}"


async def reserve(gateway: Bench, ours: str, ue: tuple[str, int], core: Listener, *, secure: bool = True) -> list[Local]:
    """The access side takes the role `ours`, the core side connects."""
    reply = await gateway.ask("Context=${" + ",".join((
        add("access", ours=ours, peer=ue, path="msrps://$:$/core;tcp", theirs=UE_PATH, secure=secure),
        add("core", ours="active", peer=core.address, path="msrp://$:$/ue;tcp", theirs=CORE_PATH),
    )) + "}")  # fmt: skip
    assert reply.error is None
    [action] = reply.actions
    return [local_of(action.context, command) for command in action.commands]


def path_of(local: Local) -> str:
    return local.sdp.partition("a=path:")[2].split()[0]


def send(to: str, origin: str, body: str = "hello") -> bytes:
    paths = f"To-Path: {to}\r\nFrom-Path: {origin}\r\n"
    return f"MSRP abcd1234 SEND\r\n{paths}Message-ID: 1\r\n\r\n{body}\r\n-------abcd1234$\r\n".encode()


async def ends(gateway: Bench, core: Listener) -> tuple[Peer, Peer, str, str]:
    """UE over TLS, core in the clear, and what the gateway is called on either side."""
    access_side, core_side = await reserve(gateway, "passive", ("127.0.0.1", 9), core)
    ue = await dial(access_side.address, tls(TlsRole.CLIENT, access_side))
    await ue.handshake()
    return ue, await core.accept(), path_of(access_side), path_of(core_side)


@on_both_loops
async def test_frames_are_mapped_both_ways() -> None:
    async with bench() as gateway, listening() as core:
        ue, far, at_ue, at_core = await ends(gateway, core)
        assert at_ue.startswith("msrps://127.0.0.1:")
        assert "$" not in at_ue + at_core
        ue.send(send(at_ue, UE_PATH))
        wanted = send(CORE_PATH, at_core)
        assert await far.read(len(wanted)) == wanted
        far.send(send(at_core, CORE_PATH))
        wanted = send(UE_PATH, at_ue)
        assert await ue.read(len(wanted)) == wanted
        await ue.close()
        await far.close()


@pytest.mark.parametrize("bad", [b"GET / HTTP/1.1\r\n\r\n", b"", b"MSRP abcd1234 SEND\r\nFrom-Path: a\r\nTo-Path: b\r\n"])
@on_both_loops
async def test_what_is_no_frame_of_the_session_ends_it(bad: bytes) -> None:
    async with bench() as gateway, listening() as core:
        ue, far, at_ue, _ = await ends(gateway, core)
        ue.send(bad or send(at_ue.replace("/core;", "/other;"), UE_PATH))
        observed = await gateway.iq.notified()
        assert observed["g/cause"]["Generalcause"] == "FP"
        assert observed["g/cause"]["Failurecause"] == "not an MSRP frame of the session"
        assert observed["tlsbsc/BNCChange"]["Type"] == "Rel"
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await far.reader.readexactly(1)   # a reset, and nothing before it
        closed = await gateway.until("closed")
        assert "not an MSRP frame of the session (" in closed.text
        await ue.close()
        await far.close()


@on_both_loops
async def test_nothing_passes_before_all_paths_are_known() -> None:
    async with bench() as gateway, listening() as core:
        reply = await gateway.ask("Context=${" + ",".join((
            add("access", ours="passive", peer=("127.0.0.1", 9), path="msrps://$:$/core;tcp", theirs=UE_PATH, secure=True),
            add("core", ours="active", peer=core.address, path="msrp://$:$/ue;tcp", theirs=CORE_PATH).replace(
                f"a=path:{CORE_PATH}\n", ""),
        )) + "}")  # fmt: skip
        [action] = reply.actions
        access_side, core_side = [local_of(action.context, command) for command in action.commands]
        ue = await dial(access_side.address, tls(TlsRole.CLIENT, access_side))
        await ue.handshake()
        far = await core.accept()
        ue.send(send(path_of(access_side), UE_PATH))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await far.pump()
        host, port = core.address
        remote = f"\nv=0\nc=IN IP4 {host}\nm=message {port} TCP/MSRP *\na=setup:passive\na=path:{CORE_PATH}\n"
        await gateway.ask(
            f"Context={action.context}{{Modify={core_side.termination}{{Media{{Stream=1{{Remote{{{remote}}}}}}}}}}}")
        wanted = send(CORE_PATH, path_of(core_side))
        assert await far.read(len(wanted)) == wanted
        await ue.close()
        await far.close()


@on_both_loops
async def test_a_gateway_that_opened_both_connections_binds_both() -> None:
    async with bench() as gateway, listening() as core, listening() as near:
        access_side, core_side = await reserve(gateway, "active", near.address, core, secure=False)
        ue, far = await near.accept(), await core.accept()
        for peer, own, gateway_path in ((ue, UE_PATH, path_of(access_side)), (far, CORE_PATH, path_of(core_side))):
            async with asyncio.timeout(5):
                while b"$\r\n" not in peer.got:
                    assert await peer.pump()
            request, token = peer.got.decode(), peer.got.split(maxsplit=2)[1].decode()
            assert request == (
                f"MSRP {token} SEND\r\nTo-Path: {own}\r\nFrom-Path: {gateway_path}\r\nMessage-ID: {token}\r\n"
                f"Byte-Range: 1-0/0\r\n-------{token}$\r\n"
            )
            peer.got = b""
            peer.send(f"MSRP {token} 200 OK\r\nTo-Path: {gateway_path}\r\nFrom-Path: {own}\r\n-------{token}$\r\n".encode())
        ue.send(send(path_of(access_side), UE_PATH))
        wanted = send(CORE_PATH, path_of(core_side))
        assert await far.read(len(wanted)) == wanted, "and the responses went nowhere"
        await ue.close()
        await far.close()
