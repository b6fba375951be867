"""tshark reads a whole demo: the capture that `pcscf run --pcap` writes, and the loopback device while it runs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio

from pcscf.observe.pcap import SEGMENT, PcapWriter
from pcscf.observe.trace import TraceEvent, read_trace
from tests.support.peers import require_peer
from tests.support.processes import PATIENCE
from tests.support.tshark import Frame, dissect, loopback, malformed

DEMO_PATIENCE = 3 * PATIENCE
METHODS = {"REGISTER", "INVITE", "ACK", "BYE"}


class Demo(NamedTuple):
    """What a run left: `live` is the capture of the device, or why there is none."""

    folder: Path
    live: Path | str

    @property
    def capture(self) -> Path:
        return self.folder / "pcscf.pcap"

    def events(self, node: str, proto: str) -> list[TraceEvent]:
        return [event for event in read_trace(self.folder / f"{node}.jsonl") if event.proto == proto]

    def decode_as(self) -> list[str]:
        """How ports are to be read that mean nothing by themselves."""
        iq = {_port(event.peer) for event in self.events("pcscf", "Iq")}
        media = [("bob", "MSRP"), ("peggy", "BFCP"), ("judy", "TLS"), ("walter", "TLS")]   # the last two: from end to end
        ports = {(_port(event.local), proto.lower()) for node, proto in media for event in self.events(node, proto)}
        return [*(f"udp.port=={port},megaco" for port in iq), *(f"tcp.port=={port},{proto}" for port, proto in ports)]

    def media_ports(self, node: str, proto: str) -> frozenset[int]:
        """Both ends of the media that a far end told of."""
        return frozenset(_port(address) for event in self.events(node, proto) for address in (event.local, event.peer))

    def ports(self) -> set[int]:
        """Every port that took part."""
        nodes = [path.stem for path in self.folder.glob("*.jsonl")]
        return {
            _port(address) for node in nodes for event in read_trace(self.folder / f"{node}.jsonl")
            for address in (event.local, event.peer) if ":" in address
        }


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    require_peer("tshark", "dumpcap")
    folder = tmp_path_factory.mktemp("demo")
    live: Path | str = folder / "live.pcapng"
    assert isinstance(live, Path)
    if os.geteuid() == 0:
        try:
            async with loopback(live):
                await _play(folder)
            return Demo(folder, live)
        except PermissionError as error:
            live = str(error)
    else:
        live = "only root may capture"
    await _play(folder)
    return Demo(folder, live)


async def _play(folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pcscf", "demo", "--json", "--keep", folder, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEMO_PATIENCE):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert json.loads(told)["ok"], told.decode()[:4000]


def _methods(frames: list[Frame]) -> set[str]:
    return {frame.sip for frame in frames if frame.sip.isalpha()}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.interop("tshark", "capture of a whole demo: SIP, Iq, MSRP, BFCP, T.38, TLS and DTLS dissected, nothing malformed")
async def test_the_capture_of_a_whole_demo(demo: Demo) -> None:
    frames = dissect(demo.capture, demo.decode_as())
    assert list(malformed(frames)) == []
    assert demo.capture.stat().st_mode & 0o777 == 0o600
    layers = Counter(layer for frame in frames for layer in set(frame.layers))
    assert layers["sip"] == len(demo.events("pcscf", "SIP")), "every message that the trace has"
    assert layers["megaco"] == len(demo.events("pcscf", "Iq"))
    assert _methods(frames) >= METHODS
    assert {frame.msrp for frame in frames} >= {"SEND"}
    assert all("data" not in frame.layers for frame in frames), "tshark knows what each frame is"
    assert layers["tls"], "what the ends protect themselves is there as records"
    fax = [frame for frame in frames if "t38" in frame.layers]
    assert {frame.ports for frame in fax} == {demo.media_ports("trent", "T.38")}, "in the clear, towards the core alone"
    assert any("t30" in frame.layers for frame in fax)
    unread = {demo.media_ports(node, "DTLS") for node in ("victor", "wendy")}
    assert {frame.ports for frame in frames if "dtls" in frame.layers} == unread
    sybil, = {_port(event.local) for event in demo.events("sybil", "T.38")}
    assert not _of(frames, {sybil}), "of what DTLS carries to a UE, nothing"
    segments = [frame for frame in frames if "tcp" in frame.layers]
    known = {"tcp", "sip", "msrp", "bfcp", "tls"}
    assert known >= {frame.layers[2:4][-1] for frame in segments if "retransmission" not in frame.notes}
    assert not any(word in frame.notes for frame in segments for word in ("not captured", "Out-Of-Order", "unseen"))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.interop("tshark", "loopback device during a demo: TLS, DTLS towards UEs, MSRP, T.38 to the core; nothing malformed")
async def test_the_device_during_a_whole_demo(demo: Demo) -> None:
    if isinstance(demo.live, str):
        pytest.skip(f"no capture of the loopback device: {demo.live}")
    ports, iq = demo.ports(), {_port(event.peer) for event in demo.events("pcscf", "Iq")}
    captured = dissect(demo.live, demo.decode_as(), checksums=False)
    frames = [frame for frame in captured if frame.ports and (frame.ports <= ports or frame.ports & iq)]   # of this demo alone
    assert list(malformed(frames)) == []
    access = {_port(event.local) for event in demo.events("pcscf", "TLS")}
    assert access
    secure, clear = _of(frames, access), [frame for frame in frames if not frame.ports & access]
    assert any("1" in frame.tls for frame in secure), "ClientHello"
    assert not any("msrp" in frame.layers for frame in secure)
    faxing = _of(frames, {_port(event.local) for event in demo.events("pcscf", "DTLS")})
    assert {frame.layers[-1] for frame in faxing} >= {"dtls"}
    assert all("dtls" in frame.layers for frame in faxing)
    assert any("t38" in frame.layers for frame in clear)
    assert any(frame.msrp == "SEND" for frame in clear)
    assert sum("megaco" in frame.layers for frame in clear) >= len(demo.events("pcscf", "Iq"))
    assert _methods(clear) >= METHODS


def _of(frames: list[Frame], ports: set[int]) -> list[Frame]:
    return [frame for frame in frames if frame.ports & ports]


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
@pytest.mark.interop("tshark", "made packets over IPv4 and IPv6: addresses, lengths, checksums and sequence numbers agree")
def test_made_packets(host: str, tmp_path: Path) -> None:
    require_peer("tshark")
    local, remote = (host, 5060), (host[:-1] + "2", 40000)
    message = b"OPTIONS sip:a@b SIP/2.0\r\nCall-ID: 1\r\nContent-Length: %d\r\n\r\n"
    writer = PcapWriter(tmp_path / "made.pcap")
    writer.datagram("in", message % 0, local, remote)
    writer.datagram("out", b"SIP/2.0 200 OK\r\nCall-ID: odd\r\nContent-Length: 0\r\n\r\n", local, remote)
    writer.stream("in", message % (2 * SEGMENT) + b"x" * 2 * SEGMENT, local, remote)
    writer.stream("out", b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", local, remote)
    writer.stream("in", message % 1 + b"y", local, remote)
    writer.close()
    frames = dissect(tmp_path / "made.pcap")
    assert list(malformed(frames)) == []
    assert [frame.sip for frame in frames] == ["OPTIONS", "200", "", "", "OPTIONS", "200", "OPTIONS"]
    assert all(frame.ports == {5060, 40000} for frame in frames)
    assert not any("TCP" in frame.notes or "segment" in frame.notes for frame in frames), list(_notes(frames))


def _notes(frames: list[Frame]) -> Iterator[str]:
    return (frame.notes for frame in frames if frame.notes)
