from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pcscf.errors import ConfigError
from pcscf.h248.peer import AssociationPeer
from pcscf.observe import pcap
from pcscf.observe.pcap import SEGMENT, PcapWriter
from pcscf.sip.flow import Flow

US, PEER = ("192.0.2.1", 5060), ("192.0.2.2", 40000)


class Packet(NamedTuple):
    source: bytes
    target: bytes
    protocol: int
    ports: tuple[int, int]
    numbers: tuple[int, int]   # of TCP: sequence and acknowledgement
    data: bytes


def packets(path: Path) -> list[Packet]:
    return list(_packets(path.read_bytes()))


def _packets(content: bytes) -> Iterator[Packet]:
    """Of IPv4 alone, with the lengths as they stand in the headers."""
    assert content[:4] == bytes.fromhex("d4c3b2a1")
    position = 24
    while position < len(content):
        _, micro, kept, length = struct.unpack_from("<IIII", content, position)
        assert micro < 1_000_000
        assert kept == length
        packet = content[position + 16 : position + 16 + kept]
        position += 16 + kept
        assert struct.unpack_from("!H", packet, 2)[0] == kept
        protocol, body = packet[9], packet[20:]
        ports = struct.unpack_from("!HH", body)
        numbers = struct.unpack_from("!II", body, 4) if protocol == 6 else (0, 0)
        yield Packet(packet[12:16], packet[16:20], protocol, ports, numbers, body[20 if protocol == 6 else 8:])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "made.pcap"


def test_a_datagram_each_way(file: Path) -> None:
    writer = PcapWriter(file)
    writer.datagram("in", b"question", US, PEER)
    writer.datagram("out", b"answer", US, PEER)
    writer.close()
    one, two = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
    assert packets(file) == [
        Packet(two, one, 17, (40000, 5060), (0, 0), b"question"),
        Packet(one, two, 17, (5060, 40000), (0, 0), b"answer"),
    ]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_stream_counts_what_both_sides_said(file: Path) -> None:
    writer = PcapWriter(file)
    for direction, data in (("in", b"abc"), ("in", b"de"), ("out", b"xyz"), ("in", b"f")):
        writer.stream("in" if direction == "in" else "out", data, US, PEER)
    writer.close()
    assert [(packet.data, packet.numbers) for packet in packets(file)] == [
        (b"abc", (1, 1)), (b"de", (4, 1)), (b"xyz", (1, 6)), (b"f", (6, 4)),
    ]


def test_a_long_stream_is_cut_into_segments(file: Path) -> None:
    data = bytes(range(256)) * (SEGMENT // 256) + b"rest"
    writer = PcapWriter(file)
    writer.stream("out", data, US, PEER)
    writer.close()
    found = packets(file)
    assert b"".join(packet.data for packet in found) == data
    assert [packet.numbers[0] for packet in found] == [1, 1 + SEGMENT]


def test_both_ends_in_one_process_are_two_views_of_one_stream(file: Path) -> None:
    writer = PcapWriter(file)
    writer.stream("out", b"abc", US, PEER)
    writer.stream("in", b"abc", PEER, US)
    writer.close()
    first, second = packets(file)
    assert first == second


def test_connections_of_every_kind_but_udp_are_streams(file: Path) -> None:
    writer = PcapWriter(file)
    for transport in ("udp", "tcp", "tls"):
        writer.tap_sip("in", b"OPTIONS", Flow(transport, "gm", US, PEER, 1))
    writer.close()
    assert [packet.protocol for packet in packets(file)] == [17, 6, 6]


@pytest.mark.parametrize("ours", ["pcscf.ims.example", "2001:db8::1", ""])
def test_an_address_of_ours_that_cannot_stand_there_is_unspecified(ours: str, file: Path) -> None:
    writer = PcapWriter(file)
    writer.datagram("out", b"", (ours, 5060), PEER)
    writer.close()
    assert packets(file)[0].source == bytes(4)


def test_messages_on_an_association_are_chunks_that_count(file: Path) -> None:
    """RFC 9260 §3.3.1: flags, TSN, stream 0 with its sequence numbers, payload protocol 7, and padding."""
    peer = AssociationPeer("192.0.2.2", 40000)
    writer = PcapWriter(file)
    writer.tap_iq("in", b"!/2 a PN=1{}x", US, peer)
    writer.tap_iq("out", b"!/2 b PN=1{}", US, peer)
    writer.tap_iq("in", b"y" * (SEGMENT + 1), US, peer)
    writer.close()
    found = packets(file)
    assert [packet.protocol for packet in found] == [132] * 4
    assert [packet.ports[0] for packet in found] == [40000, 5060, 40000, 40000]
    # What is behind ports and tag, which the common reader takes for those of UDP: checksum, then the chunk.
    chunks = [struct.unpack_from("!BBHIHHI", packet.data, 4) for packet in found]
    assert chunks == [
        (0, 3, 16 + 13, 1, 0, 0, 7), (0, 3, 16 + 12, 1, 0, 0, 7), (0, 2, 16 + SEGMENT, 2, 0, 1, 7), (0, 1, 16 + 1, 3, 0, 1, 7),
    ]
    assert [packet.data[20:] for packet in found] == [
        b"!/2 a PN=1{}x\0\0\0", b"!/2 b PN=1{}", b"y" * SEGMENT, b"y\0\0\0",
    ]


def test_the_checksum_of_sctp() -> None:
    assert pcap._crc32c(b"123456789") == 0xE3069283
    assert pcap._crc32c(bytes(32)) == 0x8A9136AA   # RFC 3720 §B.4


def test_what_no_datagram_holds_is_no_packet(file: Path) -> None:
    writer = PcapWriter(file)
    for size in (pcap.MAX_DATAGRAM, pcap.MAX_DATAGRAM + 1):
        writer.datagram("out", bytes(size), US, PEER)
    writer.datagram("in", b"from somewhere", US, ("a name", 9))
    writer.close()
    assert [len(packet.data) for packet in packets(file)] == [pcap.MAX_DATAGRAM, 14]


def test_sequence_numbers_begin_again_after_the_last_one(file: Path) -> None:
    writer = PcapWriter(file)
    writer._numbers(US, PEER)[1] = 0xFFFFFFFE
    writer.stream("in", b"abcd", US, PEER)
    writer.stream("in", b"e", US, PEER)
    writer.close()
    assert [packet.numbers[0] for packet in packets(file)] == [0xFFFFFFFE, 2]


def test_streams_are_remembered_within_a_bound(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcap, "STREAMS", 2)
    writer = PcapWriter(file)
    for port in (1, 2, 1, 3, 1, 2):
        writer.stream("in", b"x", US, ("192.0.2.2", port))
    writer.close()
    assert [(packet.ports[0], packet.numbers[0]) for packet in packets(file)] == [(1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (2, 1)]


def test_several_writers_share_a_file(file: Path) -> None:
    writers = [PcapWriter(file) for _ in range(2)]
    for number, writer in enumerate(writers):
        writer.datagram("out", b"%d" % number, US, PEER)
    for writer in writers:
        writer.close()
    assert [packet.data for packet in packets(file)] == [b"0", b"1"]


def test_another_file_is_left_alone(file: Path) -> None:
    file.write_bytes(b"somebody's letter")
    with pytest.raises(ConfigError, match="no capture of pcscf"):
        PcapWriter(file)
    assert file.read_bytes() == b"somebody's letter"


def test_a_disk_that_fails_ends_the_capture_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = PcapWriter(file)
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", full)
        writer.datagram("out", b"lost", US, PEER)
    writer.close()
    assert writer.lost == 1
    assert packets(file) == []
