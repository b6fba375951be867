from __future__ import annotations

import pytest

from pcscf.h248.tpkt import MAX_PACKET, PacketReader, TpktError, packet

MESSAGES = [b"!/2 agw PN=7{}", b"", b"x" * (MAX_PACKET - 4), b"!/2 agw PN=8{}"]


def test_a_packet_is_version_reserved_and_length_with_the_header() -> None:
    assert packet(b"!/2 a PN=7{}") == b"\x03\x00\x00\x10!/2 a PN=7{}"
    with pytest.raises(ValueError, match="65532 octets"):
        packet(b"x" * (MAX_PACKET - 3))


@pytest.mark.parametrize("size", [1, 3, 4, 5, 1000, 1 << 20])
def test_messages_come_whole_in_whatever_pieces_the_stream_comes(size: int) -> None:
    stream = b"".join(map(packet, MESSAGES))
    reader = PacketReader()
    found = [message for at in range(0, len(stream), size) for message in reader.feed_untrusted(stream[at : at + size])]
    assert found == MESSAGES


def test_what_is_not_complete_waits() -> None:
    reader = PacketReader()
    assert list(reader.feed_untrusted(packet(b"whole") + b"\x03\x00\x00")) == [b"whole"]
    assert list(reader.feed_untrusted(b"\x05!")) == [b"!"]


@pytest.mark.parametrize("stream", [b"\x16\x03\x01\x02\x00", b"!/2 agw", b"\x03\x00\x00\x03", b"\x02\x00\x00\x08xxxx"])
def test_what_is_no_packet_is_an_error(stream: bytes) -> None:
    reader = PacketReader()
    found = reader.feed_untrusted(packet(b"good") + stream)
    assert next(found) == b"good"
    with pytest.raises(TpktError):
        next(found)
