"""What crossed our sockets as a capture file (pcap, LINKTYPE_RAW): whole messages, bodies included.

TLS is gone: what a TLS connection carried stands there in the clear. TCP, UDP and SCTP are made here, so a stream has no
handshake, loses nothing, and ends without FIN; of an association there are the DATA chunks alone. Addresses are the ones that
peers see. Where one process is both ends of a connection, what one end sent is there again as what the other one received, with
the same sequence numbers, as on a loopback device.
"""

from __future__ import annotations

import os
import struct
import sys
import time
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final, Literal

from pcscf.errors import ConfigError
from pcscf.h248.peer import AssociationPeer, ConnectionPeer, Peer
from pcscf.h248.tpkt import packet
from pcscf.sip.flow import Flow
from pcscf.transport.sctp import H248, IPPROTO_SCTP

Direction = Literal["in", "out"]
Address = tuple[str, int]
Ip = IPv4Address | IPv6Address

SNAPLEN: Final = 65535
MAX_DATAGRAM: Final = 65_507
"""Octets of a UDP datagram over IPv4; what is larger crosses no wire."""
SEGMENT: Final = 32 * 1024
"""Octets of a stream in one TCP segment, or of a message in one SCTP chunk, at most."""
STREAMS: Final = 65536
"""Streams whose sequence numbers are remembered; the one that was silent longest starts anew."""

_LINKTYPE_RAW: Final = 101
_FILE_HEADER: Final = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAPLEN, _LINKTYPE_RAW)
_TCP, _UDP = 6, 17
_PUSH_ACK: Final = 0x18
_WINDOW: Final = 65535
_FIRST: Final = 1   # sequence number of the first octet, as after a SYN, and of the first chunk
_TAG: Final = 1   # verification tag of every association
_DATA, _BEGINNING, _ENDING = 0, 2, 1
_CASTAGNOLI: Final = 0x82F63B78


class PcapWriter:
    """Appends packets to a file that several processes may share: one write per packet.

    A disk that fails ends the capture, not the process; `lost` counts packets that were not written.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError where the file cannot be opened, ConfigError where it is something else than such a capture."""
        self.lost = 0
        self._sent: OrderedDict[tuple[Address, Address], list[int]] = OrderedDict()
        """By (local, remote): the next number out and in, and of an association those of its stream."""
        self._file = _open(path)

    def tap_sip(self, direction: str, wire: bytes, flow: Flow) -> None:
        """A SIP message at its socket; of a TLS connection what it carried."""
        write = self.datagram if flow.transport == "udp" else self.stream
        write("in" if direction == "in" else "out", wire, flow.local, flow.remote)

    def tap_iq(self, direction: Direction, wire: bytes, local: Address, peer: Peer) -> None:
        """A message of Iq at its transport: a datagram, a packet on a connection, of TLS what it carried, or a user message."""
        if isinstance(peer, AssociationPeer):
            self.message(direction, wire, local, peer)
        elif isinstance(peer, ConnectionPeer):
            self.stream(direction, packet(wire), local, peer)
        else:
            self.datagram(direction, wire, local, peer)

    def datagram(self, direction: Direction, data: bytes, local: Address, remote: Address) -> None:
        """One UDP datagram between our address and a peer's."""
        if len(data) > MAX_DATAGRAM:
            return
        source, target = _ends(direction, local, remote)
        header = struct.pack("!HHHH", *_ports(direction, local, remote), 8 + len(data), 0)
        self._write(source, target, _UDP, header, 6, data)

    def stream(self, direction: Direction, data: bytes, local: Address, remote: Address) -> None:
        """The next octets of a TCP connection, as many segments as they need."""
        source, target = _ends(direction, local, remote)
        ports = _ports(direction, local, remote)
        numbers = self._numbers(local, remote)
        mine, theirs = (0, 1) if direction == "out" else (1, 0)
        for part in _parts(data):
            header = struct.pack("!HHIIBBHHH", *ports, numbers[mine], numbers[theirs], 5 << 4, _PUSH_ACK, _WINDOW, 0, 0)
            numbers[mine] = (numbers[mine] + len(part)) & 0xFFFFFFFF
            self._write(source, target, _TCP, header, 16, part)

    def message(self, direction: Direction, data: bytes, local: Address, remote: Address) -> None:
        """The next message of H.248 on an SCTP association, on stream 0; a packet for each chunk that it needs (RFC 9260)."""
        source, target = _ends(direction, local, remote)
        ports = _ports(direction, local, remote)
        numbers = self._numbers(local, remote)
        mine = 0 if direction == "out" else 1
        for start in range(0, len(data), SEGMENT):
            part = data[start : start + SEGMENT]
            flags = (start == 0) * _BEGINNING | (start + SEGMENT >= len(data)) * _ENDING
            chunk = struct.pack("!BBHIHHI", _DATA, flags, 16 + len(part), numbers[mine], 0, numbers[2 + mine], H248) + part
            packet = struct.pack("!HHII", *ports, _TAG, 0) + chunk + bytes(-len(part) % 4)
            self._record(source, target, IPPROTO_SCTP, packet[:8] + struct.pack("<I", _crc32c(packet)) + packet[12:])
            numbers[mine] = (numbers[mine] + 1) & 0xFFFFFFFF
        numbers[2 + mine] = (numbers[2 + mine] + 1) & 0xFFFF

    def close(self) -> None:
        os.close(self._file)

    def _numbers(self, local: Address, remote: Address) -> list[int]:
        numbers = self._sent.setdefault((local, remote), [_FIRST, _FIRST, 0, 0])
        self._sent.move_to_end((local, remote))
        if len(self._sent) > STREAMS:
            self._sent.popitem(last=False)
        return numbers

    def _write(self, source: Ip, target: Ip, protocol: int, header: bytes, checksum_at: int, data: bytes) -> None:
        length = len(header) + len(data)
        pseudo = source.packed + target.packed + struct.pack("!II", length, protocol)
        checksum = _checksum(pseudo + header + data) or 0xFFFF   # in UDP zero stands for "none" (RFC 768)
        header = header[:checksum_at] + struct.pack("!H", checksum) + header[checksum_at + 2:]
        self._record(source, target, protocol, header + data)

    def _record(self, source: Ip, target: Ip, protocol: int, payload: bytes) -> None:
        packet = _ip_header(source, target, protocol, len(payload)) + payload
        now = time.time()
        kept = packet[:SNAPLEN]
        record = struct.pack("<IIII", int(now), int(now % 1 * 1_000_000), len(kept), len(packet)) + kept
        try:
            if os.write(self._file, record) != len(record):
                self.lost += 1
        except OSError:
            self.lost += 1


def _open(path: Path) -> int:
    """A descriptor that appends to a new capture, or to one of ours."""
    made = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    found = os.read(made, len(_FILE_HEADER))
    if not found:
        os.write(made, _FILE_HEADER)
    elif found != _FILE_HEADER:
        os.close(made)
        raise ConfigError(f"{path} is no capture of pcscf", hint="name a new file, or remove this one")
    return made


def _parts(data: bytes) -> Iterator[bytes]:
    return (data[start : start + SEGMENT] for start in range(0, len(data), SEGMENT))


def _ends(direction: Direction, local: Address, remote: Address) -> tuple[Ip, Ip]:
    """Source and target in the family of the peer. What is no address of that family becomes the unspecified one."""
    unspecified = ip_address("::" if ":" in remote[0] else "0.0.0.0")  # noqa: S104 - written into a file, not bound
    ours, theirs = (_address(host, unspecified) for host, _ in (local, remote))
    return (ours, theirs) if direction == "out" else (theirs, ours)


def _address(host: str, otherwise: Ip) -> Ip:
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return otherwise
    return found if found.version == otherwise.version else otherwise


def _ports(direction: Direction, local: Address, remote: Address) -> tuple[int, int]:
    return (local[1], remote[1]) if direction == "out" else (remote[1], local[1])


def _ip_header(source: Ip, target: Ip, protocol: int, length: int) -> bytes:
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28, length, protocol, 64) + source.packed + target.packed
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, protocol, 0) + source.packed + target.packed
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:]


def _checksum(octets: bytes) -> int:
    """RFC 1071."""
    words = array("H", octets + b"\0" * (len(octets) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int.from_bytes((~total & 0xFFFF).to_bytes(2, sys.byteorder), "big")


def _crc32c(octets: bytes) -> int:
    """RFC 9260 Appendix A."""
    remainder, table = 0xFFFFFFFF, _remainders()
    for octet in octets:
        remainder = remainder >> 8 ^ table[(remainder ^ octet) & 0xFF]
    return remainder ^ 0xFFFFFFFF


@cache
def _remainders() -> tuple[int, ...]:
    """Of every octet, by the polynomial of Castagnoli."""
    found = []
    for octet in range(256):
        remainder = octet
        for _ in range(8):
            remainder = remainder >> 1 ^ (remainder & 1) * _CASTAGNOLI
        found.append(remainder)
    return tuple(found)
