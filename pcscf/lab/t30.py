"""The frames by which two fax machines agree (ITU-T T.30 §5.3), as T.38 carries them: the first bit sent is the highest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from pcscf.errors import PcscfError

ADDRESS = 0xFF
FINAL, NOT_FINAL = 0xC8, 0xC0
MAX_FRAME_BYTES = 128


class T30Error(PcscfError):
    """Octets that are no T.30 frame."""


class Fcf(IntEnum):
    """Facsimile control fields; the highest bit, X, is the sender's where the frame is no DIS or DTC (T.30 §5.3.6.1)."""

    DIS = 0x01
    CFR = 0x21
    FTT = 0x22
    MCF = 0x31
    RTN = 0x32
    DCS = 0x41
    DCN = 0x5F
    EOM = 0x71
    MPS = 0x72
    EOP = 0x74
    DTC = 0x81


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame. fcf: without X; fif: the information field."""

    fcf: Fcf
    fif: bytes = b""

    def to_bytes(self, *, caller: bool) -> bytes:
        """X is set by the station that got a DIS, which is the caller."""
        x = 0x80 if caller and self.fcf is not Fcf.DIS else 0
        return bytes([ADDRESS, FINAL, self.fcf | x]) + self.fif


def parse_frame_untrusted(octets: bytes) -> Frame | None:
    """A frame, or None for one that we need not know, like a subscriber's number. Raises T30Error."""
    if not 3 <= len(octets) <= MAX_FRAME_BYTES or octets[0] != ADDRESS or octets[1] not in {FINAL, NOT_FINAL}:
        raise T30Error("not a T.30 frame")
    fcf = octets[2] if octets[2] == Fcf.DTC else octets[2] & 0x7F
    return Frame(Fcf(fcf), octets[3:]) if fcf in set(Fcf) else None


# Information fields (T.30 table 2). Octet 2: bit 9 has a page to be polled, bit 10 receives, bits 11 to 14 the modulation
# (V.27ter and V.29; V.29 at 9,600 bit/s). Octet 3: A4 width and length, and no time needed for a line.

CAPABILITIES = bytes([0x00, 0x70, 0x0E])
CHOICE = bytes([0x00, 0x60, 0x0E])
_TO_BE_POLLED = 0x80


def dis(*, has_page: bool) -> Frame:
    first, second, third = CAPABILITIES
    return Frame(Fcf.DIS, bytes([first, second | (_TO_BE_POLLED if has_page else 0), third]))


def has_page(dis_frame: Frame) -> bool:
    return len(dis_frame.fif) > 1 and bool(dis_frame.fif[1] & _TO_BE_POLLED)
