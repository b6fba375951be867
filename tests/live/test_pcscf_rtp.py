"""RTP through the real process and its gateway: what the ends send over UDP arrives, octet by octet, and from nobody else.

The UE's media are at 127.0.0.2, those of the far end at 127.0.0.3; the gateway and all SIP are at 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from pcscf.lab.call import Dialog
from pcscf.lab.net import Link
from pcscf.lab.ue import Ue
from tests.live.test_gateway_openssl import UE, UE_PRINT, files, openssl
from tests.support.bfcpends import BfcpUe, Server
from tests.support.peers import require_peer
from tests.support.processes import Pcscf, Stage, has_ipv6, pcscf, require_ipv6, stage, within

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_UE, AT_FAR, STRANGER, HOME = "127.0.0.2", "127.0.0.3", "127.0.0.9", "10.0.0.7"


def rtp(number: int, size: int = 160) -> bytes:
    """An RTP packet (RFC 3550 §5.1) whose payload nobody can read, as that of SRTP."""
    return struct.pack(">BBHII", 0x80, 0, number, 160 * number, 0xC0FFEE) + os.urandom(size)


def rtcp(kind: int = 200) -> bytes:
    """An RTCP packet (RFC 3550 §6.4.1) with a tag behind it, as SRTCP has."""
    return struct.pack(">BBHI", 0x80, kind, 6, 0xC0FFEE) + os.urandom(34)


class Phone:
    """RTP and RTCP of one end: two neighbouring UDP ports."""

    def __init__(self, host: str) -> None:
        for port in range(50_000, 52_000, 2):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(2)]
            try:
                for offset, one in enumerate(self.sockets):
                    one.bind((host, port + offset))
                    one.setblocking(False)
            except OSError:
                self.close()
                continue
            break
        self.host, self.port = host, port

    def send(self, datagram: bytes, to: int, *, rtcp: int = 0) -> None:
        """To a port of the gateway, from our port of RTP or (1) of RTCP."""
        self.sockets[rtcp].sendto(datagram, ("::1" if ":" in self.host else "127.0.0.1", to))

    async def hear(self, *, rtcp: int = 0) -> bytes:
        loop = asyncio.get_running_loop()
        return bytes(await within(loop.sock_recv(self.sockets[rtcp], 65_536), "a datagram"))

    def is_quiet(self) -> bool:
        for one in self.sockets:
            try:
                one.recv(65_536, socket.MSG_PEEK)
            except BlockingIOError:
                continue
            return False
        return True

    def close(self) -> None:
        for one in self.sockets:
            one.close()


class Site(NamedTuple):
    pcscf: Pcscf
    stage: Stage


class Call(NamedTuple):
    ue: BfcpUe
    far: Server
    at_ue: Dialog
    at_far: Dialog
    to_ue: str
    to_far: str

    @property
    def ports(self) -> tuple[int, int]:
        """Of the gateway: towards the UE, towards the far end."""
        return port_in(self.to_ue), port_in(self.to_far)


class HomeUe(BfcpUe):
    """A UE that knows its address behind the NAT alone."""

    def contact(self, link: Link) -> str:
        return Ue.contact(self, link).replace("127.0.0.1", HOME)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    both = ["gateways.embedded.media.access.addresses=[127.0.0.1, '::1']"] if has_ipv6() else []
    async with stage() as around, pcscf(tmp_path_factory.mktemp("rtp"), around.core.address, *both) as running:
        yield Site(running, around)


@pytest_asyncio.fixture(loop_scope="module")
async def phone() -> AsyncIterator[Callable[[str], Phone]]:
    made: list[Phone] = []

    def make(host: str) -> Phone:
        made.append(Phone(host))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def clean(site: Site) -> AsyncIterator[None]:
    """Every test leaves its far ends, and no context at the gateway."""
    yield
    await site.stage.leave()
    await site.pcscf.nothing_left()


def sdp(host: str, *lines: str, version: int = 1) -> str:
    family = "IP6" if ":" in host else "IP4"
    return "\r\n".join(["v=0", f"o=- 7 {version} IN IP4 127.0.0.1", "s=-", f"c=IN {family} {host}", "t=0 0", *lines, ""])


def port_in(body: str) -> int:
    return int(next(line for line in body.splitlines() if line.startswith("m=")).split()[1])


async def ends(site: Site, kind: type[BfcpUe] = BfcpUe) -> tuple[BfcpUe, Server]:
    far = await site.stage.new_party(kind=Server)
    ue = await site.stage.new_ue(site.pcscf.listeners["gm-tls"], kind=kind)
    assert isinstance(far, Server)
    assert isinstance(ue, BfcpUe)
    return ue, far


async def call(site: Site, from_ue: str, from_far: str, *, kind: type[BfcpUe] = BfcpUe) -> Call:
    """The UE calls."""
    ue, far = await ends(site, kind)
    inviting = await ue.begin(far.uri, ue.proxy_uri, from_ue)
    invite, link = await far.expect("INVITE")
    at_far = far.accept(invite, link, from_far)
    at_ue, answer = await ue.finish(inviting)
    return Call(ue, far, at_ue, at_far, answer.decode(), invite.body.decode())


async def is_free(port: int) -> None:
    """Waits until the gateway has left both ports."""
    async with asyncio.timeout(10):
        while True:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
                try:
                    one.bind(("127.0.0.1", port))
                    two.bind(("127.0.0.1", port + 1))
                except OSError:
                    await asyncio.sleep(0.02)
                    continue
                return


@pytest.mark.parametrize("proto", ["RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF"])
async def test_both_ways(site: Site, phone: Callable[[str], Phone], proto: str) -> None:
    ue, far = phone(AT_UE), phone(AT_FAR)
    made = await call(site, sdp(AT_UE, f"m=audio {ue.port} {proto} 0"), sdp(AT_FAR, f"m=audio {far.port} {proto} 0"))
    near, beyond = made.ports
    assert (near % 2, beyond % 2) == (0, 0)
    assert AT_UE not in made.to_far
    assert AT_FAR not in made.to_ue
    for number in range(20):
        there, back = rtp(number), rtp(number + 1000, 40)
        ue.send(there, near)
        far.send(back, beyond)
        assert (await far.hear(), await ue.hear()) == (there, back)
    for kind in (200, 201, 205):
        there, back = rtcp(kind), rtcp(kind)
        ue.send(there, near + 1, rtcp=1)
        far.send(back, beyond + 1, rtcp=1)
        assert (await far.hear(rtcp=1), await ue.hear(rtcp=1)) == (there, back)
    await made.ue.hang_up(made.at_ue)
    await is_free(near)
    await is_free(beyond)


async def test_from_ipv6_to_ipv4(site: Site, phone: Callable[[str], Phone]) -> None:
    require_ipv6("::1")
    ue, far = phone("::1"), phone(AT_FAR)
    made = await call(site, sdp("::1", f"m=audio {ue.port} RTP/AVP 0"), sdp(AT_FAR, f"m=audio {far.port} RTP/AVP 0"))
    near, beyond = made.ports
    assert "c=IN IP6 ::1" in made.to_ue
    assert "c=IN IP4 127.0.0.1" in made.to_far
    for rtcp_too in (0, 1):
        ue.send(there := rtp(1), near + rtcp_too, rtcp=rtcp_too)
        far.send(back := rtp(2), beyond + rtcp_too, rtcp=rtcp_too)
        assert (await far.hear(rtcp=rtcp_too), await ue.hear(rtcp=rtcp_too)) == (there, back)
    await made.ue.hang_up(made.at_ue)


async def test_to_the_ue(site: Site, phone: Callable[[str], Phone]) -> None:
    ue, far = phone(AT_UE), phone(AT_FAR)
    at_ue, server = await ends(site)
    inviting = await server.begin(at_ue.uri, server.core_uri, sdp(AT_FAR, f"m=audio {far.port} RTP/AVP 0"))
    invite, link = await at_ue.expect("INVITE")
    at_ue.accept(invite, link, sdp(AT_UE, f"m=audio {ue.port} RTP/AVP 0"))
    dialog, answer = await server.finish(inviting)
    near, beyond = port_in(invite.body.decode()), port_in(answer.decode())
    ue.send(there := rtp(1), near)
    far.send(back := rtp(2), beyond)
    assert (await far.hear(), await ue.hear()) == (there, back)
    await server.hang_up(dialog)


async def test_rtp_and_rtcp_on_one_port(site: Site, phone: Callable[[str], Phone]) -> None:
    """RFC 5761, with each end on a single socket."""
    ue, far = phone(AT_UE), phone(AT_FAR)
    made = await call(
        site, sdp(AT_UE, f"m=audio {ue.port} RTP/AVP 0", "a=rtcp-mux", f"a=rtcp:{ue.port + 1}"),
        sdp(AT_FAR, f"m=audio {far.port} RTP/AVP 0", "a=rtcp-mux"))
    near, beyond = made.ports
    assert f"a=rtcp:{beyond + 1}" in made.to_far
    assert "a=rtcp-mux" in made.to_ue
    for datagram in (rtp(1), rtcp(), rtp(2), rtcp(201)):
        ue.send(datagram, near)
        assert await far.hear() == datagram
        far.send(datagram, beyond)
        assert await ue.hear() == datagram
    await made.ue.hang_up(made.at_ue)


async def test_rtcp_on_a_port_of_its_own_choice(site: Site, phone: Callable[[str], Phone]) -> None:
    """RFC 3605: the gateway sends there, and hears it from there."""
    ue, reports, far = phone(AT_UE), phone("127.0.0.4"), phone(AT_FAR)
    made = await call(
        site, sdp(AT_UE, f"m=audio {ue.port} RTP/AVP 0", f"a=rtcp:{reports.port} IN IP4 127.0.0.4"),
        sdp(AT_FAR, f"m=audio {far.port} RTP/AVP 0"))
    near, beyond = made.ports
    far.send(datagram := rtcp(), beyond + 1, rtcp=1)
    assert await reports.hear() == datagram
    reports.send(datagram := rtcp(201), near + 1)
    assert await far.hear(rtcp=1) == datagram
    await made.ue.hang_up(made.at_ue)


async def test_early_media(site: Site, phone: Callable[[str], Phone]) -> None:
    """An announcement before the call is answered."""
    ue, far = phone(AT_UE), phone(AT_FAR)
    at_ue, server = await ends(site)
    inviting = await at_ue.begin(server.uri, at_ue.proxy_uri, sdp(AT_UE, f"m=audio {ue.port} RTP/AVP 0"))
    invite, link = await server.expect("INVITE")
    early = server.progress(invite, sdp(AT_FAR, f"m=audio {far.port} RTP/AVP 0"), link)
    far.send(datagram := rtp(1), port_in(invite.body.decode()))
    assert await ue.hear() == datagram
    at_far = server.accept(invite, link, sdp(AT_FAR, f"m=audio {far.port} RTP/AVP 0"), tag=early)
    _, answer = await at_ue.finish(inviting)
    ue.send(datagram := rtp(2), port_in(answer.decode()))
    assert await far.hear() == datagram
    await server.hang_up(at_far)


async def test_a_ue_that_moves(site: Site, phone: Callable[[str], Phone]) -> None:
    ue, moved, far = phone(AT_UE), phone("127.0.0.4"), phone(AT_FAR)
    answer = sdp(AT_FAR, f"m=audio {far.port} RTP/AVP 0")
    made = await call(site, sdp(AT_UE, f"m=audio {ue.port} RTP/AVP 0"), answer)
    near, beyond = made.ports
    ue.send(first := rtp(1), near)
    assert await far.hear() == first
    inviting = await made.ue.re_invite(made.at_ue, sdp(moved.host, f"m=audio {moved.port} RTP/AVP 0", version=2))
    invite, link = await made.far.expect("INVITE")
    assert invite.body.decode() == made.to_far   # the far end need not know
    made.far.accept(invite, link, answer)
    assert port_in((await made.ue.acknowledge(made.at_ue, inviting)).decode()) == near
    far.send(back := rtp(2), beyond)
    assert await moved.hear() == back
    ue.send(rtp(3), near)
    moved.send(there := rtp(4), near)
    assert await far.hear() == there   # and not what came from where it was
    assert ue.is_quiet()
    await made.ue.hang_up(made.at_ue)


@pytest.mark.parametrize("lines", [("RTP/AVP 0", ""), ("RTP/AVP 0", "a=rtcp-mux"), ("udptl t38", "")])
async def test_a_ue_behind_a_nat(site: Site, phone: Callable[[str], Phone], lines: tuple[str, str]) -> None:
    """Its SDP names an address that nobody can reach. The first datagram from where it signals shows where it is.

    A datagram of a stranger, sent before, counts for nothing.
    """
    proto, attribute = lines
    media = "image" if "udptl" in proto else "audio"
    router, stranger, far = phone("127.0.0.1"), phone(STRANGER), phone(AT_FAR)
    shown = [f"m={media} 4000 {proto}", *([attribute] if attribute else [])]
    told = [f"m={media} {far.port} {proto}", *([attribute] if attribute else [])]
    made = await call(site, sdp(HOME, *shown), sdp(AT_FAR, *told), kind=HomeUe)
    near, beyond = made.ports
    stranger.send(rtp(66), near)
    router.send(there := rtp(1), near)
    assert await far.hear() == there
    far.send(back := rtp(2), beyond)
    assert await router.hear() == back
    stranger.send(rtp(67), near)
    phone("127.0.0.1").send(rtp(68), near)   # another port of the same address: it was not the first
    router.send(there := rtp(3), near)
    assert await far.hear() == there
    if proto.startswith("RTP") and not attribute:
        router.send(report := rtcp(), near + 1, rtcp=1)
        assert await far.hear(rtcp=1) == report
        far.send(report := rtcp(201), beyond + 1, rtcp=1)
        assert await router.hear(rtcp=1) == report
    assert stranger.is_quiet()
    await made.ue.hang_up(made.at_ue)


async def test_strangers_are_not_heard(site: Site, phone: Callable[[str], Phone]) -> None:
    ue, far, stranger = phone(AT_UE), phone(AT_FAR), phone(STRANGER)
    made = await call(site, sdp(AT_UE, f"m=audio {ue.port} RTP/AVP 0"), sdp(AT_FAR, f"m=audio {far.port} RTP/AVP 0"))
    near, beyond = made.ports
    for port in (near, near + 1, beyond, beyond + 1):
        stranger.send(rtp(66), port)
    ue.send(there := rtp(1), near)
    far.send(back := rtp(2), beyond)
    assert (await far.hear(), await ue.hear()) == (there, back)
    assert (ue.is_quiet(), far.is_quiet(), stranger.is_quiet()) == (True, True, True)
    await made.ue.hang_up(made.at_ue)


@pytest.mark.interop("openssl", "DTLS-SRTP between two of its ends, through the gateway that cannot read it")
async def test_the_ends_make_their_own_keys(site: Site, tmp_path: Path, phone: Callable[[str], Phone]) -> None:
    """RFC 5764: the handshake of the ends passes as it is; the gateway has no part in it."""
    require_peer("openssl")
    free, other = phone(AT_UE), phone(AT_FAR)
    client, server = free.port, other.port
    free.close()
    other.close()
    attributes = ["a=rtcp-mux", f"a=fingerprint:{UE_PRINT}"]
    made = await call(
        site, sdp(AT_UE, f"m=audio {client} UDP/TLS/RTP/SAVPF 0", "a=setup:active", *attributes),
        sdp(AT_FAR, f"m=audio {server} UDP/TLS/RTP/SAVPF 0", "a=setup:passive", *attributes))
    assert f"a=fingerprint:{UE_PRINT}" in made.to_far
    assert "a=setup:active" in made.to_far
    profile = ("-use_srtp", "SRTP_AES128_CM_SHA1_80")
    near, _ = made.ports
    async with openssl(
        "s_server", "-dtls1_2", "-accept", f"{AT_FAR}:{server}", *files(UE, tmp_path), *profile, "-naccept", "1",
    ) as there:
        await there.until(b"ACCEPT")
        async with openssl(
            "s_client", "-dtls1_2", "-connect", f"127.0.0.1:{near}", "-bind", f"{AT_UE}:{client}", *profile,
        ) as here:
            await here.until(b"SRTP_AES128_CM_SHA1_80")
            here.say(b"from end to end\n")
            await there.until(b"from end to end")
    await made.ue.hang_up(made.at_ue)

