"""H.248 messages on a byte stream: a TPKT header before each (RFC 3525 Annex D.2, RFC 1006 §6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

VERSION: Final = 3
HEADER: Final = 4
MAX_PACKET: Final = 0xFFFF


class TpktError(Exception):
    """The stream holds something else than TPKT packets; where the next one begins cannot be known."""


def packet(message: bytes) -> bytes:
    """The message with its header in front. Raises ValueError: it is longer than a packet can be."""
    length = HEADER + len(message)
    if length > MAX_PACKET:
        raise ValueError(f"a message of {len(message)} octets does not fit in a packet")
    return bytes((VERSION, 0, length >> 8, length & 0xFF)) + message


class PacketReader:
    """Finds the messages in a stream, in whatever pieces it comes. What is not yet a whole packet is kept, 64 KiB at most."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed_untrusted(self, data: bytes) -> Iterator[bytes]:
        """The messages that are complete now. Raises TpktError; the stream is of no use then."""
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= HEADER:
                if buffer[at] != VERSION:
                    raise TpktError(f"version {buffer[at]} of TPKT")
                length = buffer[at + 2] << 8 | buffer[at + 3]
                if length < HEADER:
                    raise TpktError(f"a packet of {length} octets, less than its header")
                if len(buffer) - at < length:
                    return
                message = bytes(buffer[at + HEADER : at + length])
                at += length
                yield message
        finally:
            del buffer[:at]
