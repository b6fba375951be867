"""tshark reads Iq over TCP and SCTP: on the loopback device, and as we write it into a capture."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from random import Random

import pytest

from pcscf.gateway.config import GatewayConfig, Realm
from pcscf.gateway.server import Gateway
from pcscf.h248.codec import decode_untrusted
from pcscf.h248.peer import AssociationPeer, Peer
from pcscf.observe.pcap import PcapWriter
from pcscf.runtime.iq import Gateways, IqConfig
from pcscf.transport.model import Kind
from tests.support.gatewaybed import FAST
from tests.support.peers import require_peer
from tests.support.tshark import dissect, loopback, malformed
from tests.unit.iq.plans import answered_by_core, from_ue

HERE = "127.0.0.1"
MID = "[127.0.0.1]:2945"


async def session(capture: Path, kind: Kind) -> tuple[int, int]:
    """A whole association with one session; the port of the controller, and how many messages there were."""
    writer = PcapWriter(capture)
    messages = 0

    def tap(direction: str, wire: bytes, peer: Peer) -> None:
        nonlocal messages
        messages += 1
        decode_untrusted(wire)
        writer.tap_iq("in" if direction == "in" else "out", wire, gateways.address, peer)

    gateways = Gateways(
        IqConfig((HERE, 0), lambda *_: True, kinds=(kind,)), random=Random(7), clock=asyncio.get_running_loop().time,
        on_bearer_released=lambda *_: None, on_contexts_lost=lambda *_: None, tap=tap,
    )  # fmt: skip
    await gateways.start()
    port = gateways.address[1]
    realm = ((42000, 46999),)
    realms = (Realm("access", (HERE,), realm), Realm("core", (HERE,), realm))
    gateway = Gateway(GatewayConfig(MID, (gateways.address,), realms, transport=kind, timers=FAST))
    await gateway.start()
    await gateways.wait_registered(5)
    plan = from_ue()
    media = await gateways.reserve(plan)
    media = await gateways.configure(media, answered_by_core(plan))
    await gateways.release(media)
    await gateway.stop()
    await asyncio.sleep(0.1)
    await gateways.stop()
    writer.close()
    return port, messages


def holds(capture: Path, port: int, messages: int, *, checksums: bool) -> None:
    """Every message is a TPKT packet with Megaco in it, and nothing is wrong with any.

    tshark names its reader of Megaco over TCP, and within each TPKT packet the one of the message: one more than messages.
    """
    frames = [frame for frame in dissect(capture, [f"tcp.port=={port},megaco"], checksums=checksums) if port in frame.ports]
    assert list(malformed(frames)) == []
    counts = [frame.layers.count("megaco") - 1 for frame in frames if "megaco" in frame.layers]
    assert all(counts), "each packet has its TPKT header"
    assert sum(counts) == messages


def holds_over_sctp(capture: Path, port: int, messages: int, *, checksums: bool) -> None:
    """Every DATA chunk says that it is H.248, and tshark, which is told nothing of the port, finds Megaco in each."""
    frames = [frame for frame in dissect(capture, checksums=checksums) if port in frame.ports]
    assert list(malformed(frames)) == []
    told = [(frame.payloads, frame.layers.count("megaco")) for frame in frames if frame.payloads]
    assert {payload for payloads, _ in told for payload in payloads} == {"7"}
    assert [len(payloads) for payloads, _ in told] == [found for _, found in told]
    assert sum(found for _, found in told) == messages


@pytest.mark.interop("tshark", "Iq over TCP, as written by --pcap: TPKT and Megaco in every packet, nothing malformed")
async def test_the_capture(tmp_path: Path) -> None:
    require_peer("tshark")
    port, messages = await session(tmp_path / "iq.pcap", "tcp")
    assert messages >= 8
    holds(tmp_path / "iq.pcap", port, messages, checksums=True)


@pytest.mark.sctp
@pytest.mark.interop("tshark", "Iq over SCTP, as written by --pcap: payload protocol 7, Megaco and checksum in every packet")
async def test_the_capture_over_sctp(tmp_path: Path) -> None:
    require_peer("tshark")
    port, messages = await session(tmp_path / "iq.pcap", "sctp")
    assert messages >= 8
    holds_over_sctp(tmp_path / "iq.pcap", port, messages, checksums=True)


def test_a_long_message_in_a_capture(tmp_path: Path) -> None:
    """tshark puts its chunks together again."""
    require_peer("tshark")
    writer = PcapWriter(tmp_path / "iq.pcap")
    peer = AssociationPeer(HERE, 40001)
    audit = b"!/2 [127.0.0.1]:2944\nT=7{C=-{AV=root{AT{}}}}".ljust(65_531)
    writer.tap_iq("out", audit, (HERE, 40002), peer)
    writer.tap_iq("in", audit, (HERE, 40002), peer)
    writer.close()
    frames = dissect(tmp_path / "iq.pcap")
    assert list(malformed(frames)) == []
    assert [(frame.payloads, "megaco" in frame.layers) for frame in frames] == [(("7",), False), (("7",), True)] * 2


@pytest.mark.interop("tshark", "Iq over TCP, on the loopback device: TPKT and Megaco in every packet, nothing malformed")
async def test_the_device(tmp_path: Path) -> None:
    port, messages = await on_the_device(tmp_path, "tcp")
    holds(tmp_path / "live.pcapng", port, messages, checksums=False)


@pytest.mark.sctp
@pytest.mark.interop("tshark", "Iq over SCTP, on the loopback device: payload protocol 7 and Megaco in every DATA chunk")
async def test_the_device_over_sctp(tmp_path: Path) -> None:
    port, messages = await on_the_device(tmp_path, "sctp")
    holds_over_sctp(tmp_path / "live.pcapng", port, messages, checksums=False)


async def on_the_device(tmp_path: Path, kind: Kind) -> tuple[int, int]:
    """A session under the eyes of dumpcap, which writes live.pcapng."""
    require_peer("tshark", "dumpcap")
    live = tmp_path / "live.pcapng"
    if os.geteuid() != 0:
        pytest.skip("only root may capture")
    try:
        async with loopback(live):
            return await session(tmp_path / "iq.pcap", kind)
    except PermissionError as error:
        pytest.skip(f"no capture of the loopback device: {error}")
