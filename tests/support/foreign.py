"""BFCP and T.38 codecs that nobody here wrote, as shared libraries: libre's and spandsp's."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path

LIBRE, SPANDSP, SCTP = "libre.so.0", "libspandsp.so.2", "libsctp.so.1"


def find_library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


class _Mbuf(ctypes.Structure):
    _fields_ = (("buf", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t), ("end", ctypes.c_size_t))


class Libre:
    """`re_bfcp.h` of libre 1.1."""

    def __init__(self) -> None:
        self._lib = lib = ctypes.CDLL(LIBRE)
        lib.mbuf_alloc.restype = ctypes.POINTER(_Mbuf)
        lib.mem_deref.argtypes = [ctypes.c_void_p]

    def describe(self, octets: bytes) -> str:
        """How libre prints a message. Raises ValueError with its errno where it cannot decode it whole."""
        lib = self._lib
        buffer, message = lib.mbuf_alloc(len(octets)), ctypes.c_void_p()
        try:
            lib.mbuf_write_mem(buffer, octets, ctypes.c_size_t(len(octets)))
            buffer.contents.pos = 0
            if error := lib.bfcp_msg_decode(ctypes.byref(message), buffer):
                raise ValueError(f"errno {error}")
            text = ctypes.create_string_buffer(16_384)
            lib.re_snprintf(text, ctypes.c_size_t(len(text)), b"%H", lib.bfcp_msg_print, message)
            if buffer.contents.pos != buffer.contents.end:
                raise ValueError("octets left over")
            return text.value.decode()
        finally:
            lib.mem_deref(message)
            lib.mem_deref(buffer)

    def encode(self, primitive: int, conference: int, transaction: int, user: int, *attributes: tuple[int, object]) -> bytes:
        """A message of version 1; attributes as (type, pointer to what libre's encoder wants), none of them a group."""
        lib = self._lib
        buffer = lib.mbuf_alloc(512)
        try:
            words: list[object] = []
            for kind, value in attributes:
                words += [ctypes.c_int(kind), ctypes.c_uint(0), value]
            if error := lib.bfcp_msg_encode(
                buffer, ctypes.c_uint8(1), ctypes.c_bool(False), ctypes.c_int(primitive), ctypes.c_uint32(conference),
                ctypes.c_uint16(transaction), ctypes.c_uint16(user), ctypes.c_uint(len(attributes)), *words,
            ):
                raise ValueError(f"errno {error}")
            return ctypes.string_at(buffer.contents.buf, buffer.contents.end)
        finally:
            lib.mem_deref(buffer)


_INDICATOR = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
_DATA = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_uint8), ctypes.c_int)
_MISSING = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
_PACKET = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint8), ctypes.c_int, ctypes.c_int)


class _Field(ctypes.Structure):
    """t38_data_field_t"""

    _fields_ = (("field_type", ctypes.c_int), ("field", ctypes.c_char_p), ("field_len", ctypes.c_int))


class Spandsp:
    """`t38_core` of spandsp 0.0.6. heard: ("indicator", n) and ("data", modulation, field type, octets); sent: IFP packets."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []
        self.sent: list[bytes] = []
        self._handlers = (
            _INDICATOR(lambda _s, _u, which: self._hear("indicator", which)),
            _DATA(lambda _s, _u, kind, field, octets, length: self._hear("data", kind, field, bytes(octets[:length]))),
            _MISSING(lambda _s, _u, got, expected: self._hear("missing", got, expected)),
            _PACKET(self._send),
        )
        self._lib = lib = _spandsp()
        indicator, data, missing, packet = self._handlers
        self._core = lib.t38_core_init(None, indicator, data, missing, None, packet, None)
        lib.t38_set_t38_version(self._core, 0)

    def _hear(self, *what: object) -> int:
        self.heard.append(what)
        return 0

    def _send(self, _core: int, _user: int, octets: Sequence[int], length: int, _count: int) -> int:
        self.sent.append(bytes(octets[:length]))
        return 0

    def take(self, octets: bytes, sequence: int) -> int:
        """0, or -1 where it finds something wrong."""
        return int(self._lib.t38_core_rx_ifp_packet(self._core, octets, len(octets), ctypes.c_uint16(sequence)))

    def send_indicator(self, indicator: int) -> None:
        self._lib.t38_core_send_indicator(self._core, indicator)

    def send_data(self, modulation: int, fields: Sequence[tuple[int, bytes]]) -> None:
        made = (_Field * len(fields))(*(_Field(kind, octets, len(octets)) for kind, octets in fields))
        assert self._lib.t38_core_send_data_multi_field(self._core, modulation, made, len(fields), 0) >= 0

    def close(self) -> None:
        self._lib.t38_core_free(self._core)


@cache
def _spandsp() -> ctypes.CDLL:
    lib = ctypes.CDLL(SPANDSP)
    lib.t38_core_init.restype = ctypes.c_void_p
    lib.t38_core_init.argtypes = [ctypes.c_void_p, _INDICATOR, _DATA, _MISSING, ctypes.c_void_p, _PACKET, ctypes.c_void_p]
    lib.t38_set_t38_version.argtypes = [ctypes.c_void_p, ctypes.c_int]
    lib.t38_core_rx_ifp_packet.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint16]
    lib.t38_core_send_indicator.argtypes = [ctypes.c_void_p, ctypes.c_int]
    lib.t38_core_send_data_multi_field.argtypes = [
        ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Field), ctypes.c_int, ctypes.c_int]
    lib.t38_core_free.argtypes = [ctypes.c_void_p]
    return lib


_COMPLETED = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
_SAMPLES_PER_SECOND = 8_000


class FaxMachine:
    """spandsp's `t38_terminal`: a whole fax machine. outgoing: IFP packets to be sent; completed: its code, 0 = well."""

    def __init__(self, *, caller: bool, receives: Path | None = None, sends: Path | None = None) -> None:
        self.outgoing: list[bytes] = []
        self.completed: int | None = None
        self._lib = lib = _spandsp()
        lib.t38_terminal_init.restype = ctypes.c_void_p
        lib.t38_terminal_init.argtypes = [ctypes.c_void_p, ctypes.c_int, _PACKET, ctypes.c_void_p]
        for get in (lib.t38_terminal_get_t30_state, lib.t38_terminal_get_t38_core_state):
            get.restype, get.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        lib.t38_terminal_send_timeout.argtypes = [ctypes.c_void_p, ctypes.c_int]
        lib.t38_terminal_free.argtypes = [ctypes.c_void_p]
        lib.t30_set_ecm_capability.argtypes = [ctypes.c_void_p, ctypes.c_int]
        lib.t30_set_phase_e_handler.argtypes = [ctypes.c_void_p, _COMPLETED, ctypes.c_void_p]
        lib.t30_set_rx_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        lib.t30_set_tx_file.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
        self._handlers = _PACKET(self._send), _COMPLETED(self._complete)
        self._machine = lib.t38_terminal_init(None, int(caller), self._handlers[0], None)
        self._core = lib.t38_terminal_get_t38_core_state(self._machine)
        lib.t38_set_t38_version(self._core, 0)
        t30 = lib.t38_terminal_get_t30_state(self._machine)
        lib.t30_set_ecm_capability(t30, 0)
        lib.t30_set_phase_e_handler(t30, self._handlers[1], None)
        if receives is not None:
            lib.t30_set_rx_file(t30, str(receives).encode(), -1)
        if sends is not None:
            lib.t30_set_tx_file(t30, str(sends).encode(), -1, -1)

    def _send(self, _core: int, _user: int, octets: Sequence[int], length: int, _count: int) -> int:
        self.outgoing.append(bytes(octets[:length]))
        return 0

    def _complete(self, _t30: int, _user: int, code: int) -> None:
        self.completed = code

    def take(self, octets: bytes, sequence: int) -> int:
        return int(self._lib.t38_core_rx_ifp_packet(self._core, octets, len(octets), ctypes.c_uint16(sequence)))

    def wait(self, seconds: float) -> None:
        """Its clock goes on by so much: it has no other."""
        self._lib.t38_terminal_send_timeout(self._machine, int(seconds * _SAMPLES_PER_SECOND))

    def close(self) -> None:
        self._lib.t38_terminal_free(self._machine)
