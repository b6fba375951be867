"""T.38 on the wire: IFP packets in aligned PER and the UDPTL packets that carry them (ITU-T T.38 §7, §9, annex A).

Nothing here does I/O. Version 0 of the ASN.1, the one that every T.38 end speaks: a field's type takes three bits, without
the extension bit of later versions, and a field without data leaves the next one in the middle of the octet.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from pcscf.errors import PcscfError

MAX_FIELDS = 64
MAX_SECONDARIES = 64
SEQUENCE = 1 << 16


class T38Error(PcscfError):
    """A datagram that is no UDPTL packet, or an IFP packet that cannot be read."""


class Indicator(IntEnum):
    """t30-indicator: what the line does."""

    NO_SIGNAL = 0
    CNG = 1
    CED = 2
    V21_PREAMBLE = 3
    V27_2400_TRAINING = 4
    V27_4800_TRAINING = 5
    V29_7200_TRAINING = 6
    V29_9600_TRAINING = 7
    V17_7200_SHORT_TRAINING = 8
    V17_7200_LONG_TRAINING = 9
    V17_9600_SHORT_TRAINING = 10
    V17_9600_LONG_TRAINING = 11
    V17_12000_SHORT_TRAINING = 12
    V17_12000_LONG_TRAINING = 13
    V17_14400_SHORT_TRAINING = 14
    V17_14400_LONG_TRAINING = 15


class Modulation(IntEnum):
    """t30-data: how the data would be modulated on a line."""

    V21 = 0
    V27_2400 = 1
    V27_4800 = 2
    V29_7200 = 3
    V29_9600 = 4
    V17_7200 = 5
    V17_9600 = 6
    V17_12000 = 7
    V17_14400 = 8


class FieldType(IntEnum):
    """What a field holds; the names end as the standard's do: FCS right or wrong, and whether the signal ends."""

    HDLC_DATA = 0
    HDLC_SIG_END = 1
    HDLC_FCS_OK = 2
    HDLC_FCS_BAD = 3
    HDLC_FCS_OK_SIG_END = 4
    HDLC_FCS_BAD_SIG_END = 5
    T4_NON_ECM_DATA = 6
    T4_NON_ECM_SIG_END = 7


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a Data-Field; `data` of 1 to 65,535 octets, b"" = absent. HDLC octets: first bit sent = highest bit."""

    type: FieldType
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Data:
    """An IFP packet of type t30-data."""

    modulation: Modulation
    fields: tuple[Field, ...]


Ifp = Indicator | Data


def encode_ifp(packet: Ifp) -> bytes:
    """Bits of the first octet: data-field present, the choice, its extension bit, four bits of value, one of padding."""
    if isinstance(packet, Indicator):
        return bytes([packet << 1])
    bits = _BitWriter()
    bits.put(0b110, 3)
    bits.put(packet.modulation, 4)
    bits.align()
    bits.octets(_length(len(packet.fields)))
    for field in packet.fields:
        bits.put(bool(field.data), 1)
        bits.put(field.type, 3)
        if field.data:
            bits.align()
            bits.octets(struct.pack("!H", len(field.data) - 1) + field.data)
    return bits.finish()


def parse_ifp_untrusted(data: bytes) -> Ifp:
    """One IFP packet. Raises T38Error."""
    bits = _BitReader(data)
    with_fields, is_data, extended = bits.take(1), bits.take(1), bits.take(1)
    if extended:
        raise T38Error("a value of a later version of T.38")
    value = bits.take(4)
    if not is_data:
        if with_fields:
            raise T38Error("an indicator with fields")
        bits.expect_end()
        return Indicator(value)
    if value > max(Modulation):
        raise T38Error(f"no modulation has the number {value}")
    if not with_fields:
        return _whole(bits, Data(Modulation(value), ()))
    bits.align()
    count = bits.length()
    if count > MAX_FIELDS:
        raise T38Error("too many fields")
    return _whole(bits, Data(Modulation(value), tuple(_read_field(bits) for _ in range(count))))


def _whole(bits: _BitReader, data: Data) -> Data:
    bits.expect_end()
    return data


def _read_field(bits: _BitReader) -> Field:
    present, kind = bits.take(1), FieldType(bits.take(3))
    if not present:
        return Field(kind)
    bits.align()
    length = int.from_bytes(bits.octets(2)) + 1
    if length == SEQUENCE:
        raise T38Error("a field of 65,536 octets")
    return Field(kind, bits.octets(length))


@dataclass(frozen=True, slots=True)
class Udptl:
    """A UDPTL packet: IFP packets as octets. secondaries: earlier ones, the latest first; fec: such packets are passed over."""

    sequence: int
    primary: bytes
    secondaries: tuple[bytes, ...] = ()
    fec: bool = False

    def to_bytes(self) -> bytes:
        """With redundancy, never with FEC, of which we only know how to read past it."""
        return (
            struct.pack("!H", self.sequence) + _open_type(self.primary) + b"\x00" + _length(len(self.secondaries))
            + b"".join(map(_open_type, self.secondaries))
        )


def parse_udptl_untrusted(datagram: bytes) -> Udptl:
    """One datagram. Raises T38Error."""
    bits = _BitReader(datagram)
    sequence = int.from_bytes(bits.octets(2))
    primary = bits.octets(bits.length())
    fec = bool(bits.take(1))
    bits.align()
    if fec:
        _pass_over_fec(bits)
        bits.expect_end()
        return Udptl(sequence, primary, fec=True)
    count = bits.length()
    if count > MAX_SECONDARIES:
        raise T38Error("too many secondary packets")
    secondaries = tuple(bits.octets(bits.length()) for _ in range(count))
    bits.expect_end()
    return Udptl(sequence, primary, secondaries)


def _pass_over_fec(bits: _BitReader) -> None:
    """fec-npackets, an unconstrained INTEGER, then fec-data, a SEQUENCE OF OCTET STRING."""
    bits.octets(bits.length())
    count = bits.length()
    if count > MAX_SECONDARIES:
        raise T38Error("too many FEC packets")
    for _ in range(count):
        bits.octets(bits.length())


class Sequencer:
    """What of the sender's IFP packets can be had, in order: lost datagrams are made good from later ones.

    recovered: packets that came as secondaries alone; lost: those that never came; broken: datagrams that are no UDPTL.
    """

    def __init__(self) -> None:
        self.recovered = 0
        self.lost = 0
        self.broken = 0
        self._expected = 0

    def take_untrusted(self, datagram: bytes) -> list[bytes]:
        """New IFP packets, in the order of the sender; none for a datagram that came late, twice, or broken."""
        try:
            packet = parse_udptl_untrusted(datagram)
        except T38Error:
            self.broken += 1
            return []
        gap = (packet.sequence - self._expected) % SEQUENCE
        if gap >= SEQUENCE // 2:
            return []
        self._expected = (packet.sequence + 1) % SEQUENCE
        found = [each for each in reversed(packet.secondaries[:gap]) if each]
        self.recovered += len(found)
        self.lost += gap - len(found)
        return [*found, packet.primary]


def redundant(sequence: int, primary: bytes, earlier: Iterable[bytes], limit: int) -> Udptl:
    """A packet with as many earlier ones, given latest first, as a datagram of `limit` octets has room for."""
    packet = Udptl(sequence, primary)
    for each in earlier:
        more = Udptl(sequence, primary, (*packet.secondaries, each))
        if len(more.to_bytes()) > limit:
            break
        packet = more
    return packet


def _length(count: int) -> bytes:
    """A length determinant (X.691 §11.9), without fragmentation."""
    if count >= 1 << 14:
        raise ValueError(f"{count} needs fragmentation")
    return bytes([count]) if count < 128 else struct.pack("!H", 0x8000 | count)


def _open_type(octets: bytes) -> bytes:
    return _length(len(octets)) + octets


class _BitWriter:
    def __init__(self) -> None:
        self._done = bytearray()
        self._open = 0
        self._used = 0

    def put(self, value: int, width: int) -> None:
        for shift in reversed(range(width)):
            self._open = self._open << 1 | value >> shift & 1
            self._used += 1
            if self._used == 8:
                self._done.append(self._open)
                self._open = self._used = 0

    def align(self) -> None:
        self.put(0, -self._used % 8)

    def octets(self, octets: bytes) -> None:
        self.align()
        self._done += octets

    def finish(self) -> bytes:
        self.align()
        return bytes(self._done)


class _BitReader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0   # in bits

    def take(self, width: int) -> int:
        value = 0
        for _ in range(width):
            octet, bit = divmod(self._position, 8)
            if octet >= len(self._data):
                raise T38Error("cut short")
            value = value << 1 | self._data[octet] >> 7 - bit & 1
            self._position += 1
        return value

    def align(self) -> None:
        self._position += -self._position % 8

    def octets(self, count: int) -> bytes:
        self.align()
        start = self._position // 8
        if start + count > len(self._data):
            raise T38Error("cut short")
        self._position += 8 * count
        return self._data[start:start + count]

    def length(self) -> int:
        first = self.octets(1)[0]
        if first < 128:
            return first
        if first & 0x40:
            raise T38Error("a fragmented length")
        return (first & 0x3F) << 8 | self.octets(1)[0]

    def expect_end(self) -> None:
        self.align()
        if self._position != 8 * len(self._data):
            raise T38Error("octets after the end")
