"""Two fax machines of the lab on one wire that loses datagrams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pcscf.lab import fax_session
from pcscf.lab.fax_session import FaxSession
from pcscf.lab.medium import NotTakenError, SessionClosedError
from pcscf.lab.t30 import Fcf, Frame, T30Error, dis, has_page, parse_frame_untrusted
from pcscf.lab.t38 import Data, FieldType, parse_ifp_untrusted, parse_udptl_untrusted
from pcscf.lab.tap import NoTap

PATIENCE = 30
LIMIT = 150

Verdict = Callable[[int, bytes], bool]   # number of the datagram from 0, datagram: whether it arrives


@dataclass
class Wire:
    """One end of a pair of queues."""

    incoming: asyncio.Queue[bytes]
    outgoing: asyncio.Queue[bytes]
    arrives: Verdict
    local: tuple[str, int] = ("192.0.2.1", 1)
    peer: tuple[str, int] = ("192.0.2.2", 2)
    sent: list[bytes] = field(default_factory=list)

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        if self.arrives(len(self.sent) - 1, data):
            self.outgoing.put_nowait(data)

    async def receive(self) -> bytes:
        return await self.incoming.get()

    def close(self) -> None:
        return


@dataclass
class Pair:
    caller: FaxSession
    called: FaxSession
    wires: tuple[Wire, Wire]

    async def close(self) -> None:
        await self.caller.close()
        await self.called.close()


def pair(caller_arrives: Verdict, called_arrives: Verdict) -> Pair:
    there: asyncio.Queue[bytes] = asyncio.Queue()
    back: asyncio.Queue[bytes] = asyncio.Queue()
    wires = Wire(back, there, caller_arrives), Wire(there, back, called_arrives)
    caller, called = (
        FaxSession(wire, caller=wire is wires[0], limit=LIMIT, tap=NoTap(), flow="call") for wire in wires)
    return Pair(caller, called, wires)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits of T.30 shortened: how long they are is not what is tried here."""
    for name, seconds in {"T2": 1.0, "T4": 0.5, "PACE": 0.0}.items():
        monkeypatch.setattr(fax_session, name, seconds)


def everything(number: int, datagram: bytes) -> bool:
    return True


def all_but_every(period: int) -> Verdict:
    return lambda number, datagram: number % period != period - 1


PAGE = "".join(f"line {number} of a page, mit Umlauten: äöü\n" for number in range(200))


@pytest.mark.parametrize(("arrives", "recovered"), [(everything, False), (all_but_every(3), True), (all_but_every(2), True)])
async def test_pages_cross_unharmed_in_both_directions(arrives: Verdict, recovered: bool) -> None:
    fax = pair(arrives, arrives)
    async with asyncio.timeout(PATIENCE):
        await fax.caller.greet()
        for page in (PAGE, "", "x"):
            await fax.caller.send_text(page)
            assert await fax.called.receive_text() == page
        reply = asyncio.create_task(fax.called.send_text(PAGE[::-1]))
        assert await fax.caller.receive_text() == PAGE[::-1]
        await reply
    assert fax.caller.counted.lost == fax.called.counted.lost == 0
    assert bool(fax.called.counted.recovered) is recovered
    assert all(len(datagram) <= LIMIT for wire in fax.wires for datagram in wire.sent)
    await fax.close()


async def test_a_page_that_lost_octets_is_sent_again() -> None:
    """A gap longer than the redundancy within the page: RTN, and once more."""
    pages = 0

    def gap(number: int, datagram: bytes) -> bool:
        nonlocal pages
        packet = parse_ifp_untrusted(parse_udptl_untrusted(datagram).primary)
        pages += isinstance(packet, Data) and packet.fields[0].type is FieldType.T4_NON_ECM_DATA and any(packet.fields[0].data)
        return not 10 <= pages < 20

    fax = pair(gap, everything)
    async with asyncio.timeout(PATIENCE):
        await fax.caller.greet()
        await fax.caller.send_text(PAGE)
        assert await fax.called.receive_text() == PAGE
    assert fax.called.counted.lost == 8, "ten were dropped, and two came back with the next one"
    await fax.close()


async def test_a_page_that_never_arrives_whole_is_refused() -> None:
    def gap(number: int, datagram: bytes) -> bool:
        packet = parse_ifp_untrusted(parse_udptl_untrusted(datagram).primary)
        return not (isinstance(packet, Data) and packet.fields[0].data.startswith(b"bad"))

    fax = pair(gap, everything)
    async with asyncio.timeout(PATIENCE):
        await fax.caller.greet()
        with pytest.raises(NotTakenError, match="whole"):
            await fax.caller.send_text(("bad " * 10) * 10)
    await fax.close()


async def test_a_lost_confirmation_is_asked_for_again() -> None:
    asked: list[int] = []

    def deaf(number: int, datagram: bytes) -> bool:
        packet = parse_ifp_untrusted(parse_udptl_untrusted(datagram).primary)
        if isinstance(packet, Data) and packet.fields[0].data[2:3] == bytes([Fcf.MCF]) and not asked:
            asked.append(number)
        return not asked or number > asked[0] + 12

    fax = pair(everything, deaf)
    async with asyncio.timeout(PATIENCE):
        await fax.caller.greet()
        await fax.caller.send_text("once")
        assert await fax.called.receive_text() == "once"
        await fax.caller.send_text("twice")
        assert await fax.called.receive_text() == "twice"
    assert asked
    await fax.close()


async def test_who_hangs_up_ends_it_for_both() -> None:
    fax = pair(everything, everything)
    async with asyncio.timeout(PATIENCE):
        await fax.caller.greet()
        await fax.caller.close()
        with pytest.raises(SessionClosedError, match="disconnected"):
            await fax.called.receive_text()
        with pytest.raises(SessionClosedError, match="disconnected"):
            await fax.called.send_text("too late")
        with pytest.raises(SessionClosedError, match="closed by us"):
            await fax.caller.receive_text()
    await fax.close()


async def test_noise_is_no_fax() -> None:
    fax = pair(everything, everything)
    async with asyncio.timeout(PATIENCE):
        await fax.caller.greet()
        for noise in (b"", b"\xff" * 40, b"\x00\x00\x01\xd2\x00\x00"):
            fax.wires[0].outgoing.put_nowait(noise)
        await fax.caller.send_text("all the same")
        assert await fax.called.receive_text() == "all the same"
    assert fax.called.counted.broken == 2
    await fax.close()


def test_frames() -> None:
    """X belongs to the caller, and never to a DIS or a DTC, whose highest bit is their own."""
    assert Frame(Fcf.DCS, b"\x00\x60\x0e").to_bytes(caller=True).hex() == "ffc8c100600e"
    assert Frame(Fcf.MCF).to_bytes(caller=False).hex() == "ffc831"
    assert Frame(Fcf.DTC).to_bytes(caller=True).hex() == "ffc881"
    for frame in (Frame(Fcf.DTC), Frame(Fcf.EOM), dis(has_page=True), Frame(Fcf.CFR)):
        assert parse_frame_untrusted(frame.to_bytes(caller=True)) == frame
        assert parse_frame_untrusted(frame.to_bytes(caller=False)) == frame
    assert has_page(dis(has_page=True))
    assert not has_page(dis(has_page=False))
    assert parse_frame_untrusted(bytes.fromhex("ffc042")) is None, "TSI: we need not know who calls"
    for noise in (b"", b"\xff\xc8", b"\xfe\xc8\x01", b"\xff\x00\x01", b"\xff\xc8" + bytes(200)):
        with pytest.raises(T30Error):
            parse_frame_untrusted(noise)
