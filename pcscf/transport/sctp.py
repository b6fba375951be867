"""Iq over SCTP (TS 29.334 §5.12, H.248.4): a message of H.248 is a user message, in order on stream 0.

One-to-one sockets (RFC 6458 §4) of Linux, on asyncio's loop or uvloop. How many addresses an association has on either side is
left to the kernel: ours are those that the socket is bound to.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import Final

from pcscf.h248.agenda import MAX_PACKET
from pcscf.h248.peer import AssociationPeer
from pcscf.transport.connection import CLOSED_HERE, CLOSED_THERE, NOT_READ, WRITE_BUFFER, Connection, Owner
from pcscf.transport.dialling import connect

IPPROTO_SCTP: Final = 132
H248: Final = 7
"""The payload protocol identifier of H.248 (IANA), in either encoding."""
PROTOCOLS: Final = frozenset({H248, 0, H248 << 24})
"""Payload protocol identifiers that are listened to. 0 says nothing of it (RFC 9260 §3.3.1); the last one is what H248 becomes
where a sender forgets the network's order of octets, which no kernel minds."""
MAX_MESSAGE: Final = MAX_PACKET
"""Octets of a message: the bound that `h248` has for what it sends."""
RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""Octets that may wait in the kernel, as far as it allows so many: what finds no room has to be sent again, a second later."""
TURN: Final = 32
"""Pieces that are read before others on the loop have their turn."""
MAX_RETRANSMISSIONS: Final = 4
"""Of an association. With the kernel's timers it is over some 30 s after the first message that meets only silence."""
PATH_RETRANSMISSIONS: Final = 2
"""Of one path, so that another one is tried before the association ends."""

# linux/sctp.h; the level of all of them is IPPROTO_SCTP
_ASSOCINFO, _NODELAY, _PEER_ADDR_PARAMS, _RECVRCVINFO, _DEFAULT_SNDINFO = 1, 3, 9, 32, 34
_RCVINFO: Final = 3   # type of a control message
_SCTP_ASSOCPARAMS: Final = struct.Struct("=iHHIII")   # id, asocmaxrxt, destinations, peer's and own window, cookie_life
_SCTP_PADDRPARAMS: Final = struct.Struct("=i128sIHIIIIBx")   # id, address, hbinterval, pathmaxrxt, mtu, sackdelay, flags, …
_SCTP_SNDINFO: Final = struct.Struct("=HH4sIi")   # sid, flags, ppid, context, id
_SCTP_RCVINFO: Final = struct.Struct("=HHHxx4sIIIi")   # sid, ssn, flags, ppid, tsn, cumtsn, context, id
_CONTROL: Final = socket.CMSG_SPACE(_SCTP_RCVINFO.size)
_ABORT: Final = struct.pack("ii", 1, 0)


class Sctp:
    """Makes associations. A kernel without SCTP shows as OSError (EPROTONOSUPPORT) of whatever would make a socket."""

    def renew(self) -> None:
        """There are no files."""

    def peer(self, host: str, port: int) -> AssociationPeer:
        return AssociationPeer(host, port)

    def listen(self, bind: tuple[str, int], backlog: int) -> socket.socket:
        listening = _new_socket(bind[0])
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(bind)
            listening.listen(backlog)
        except OSError:
            listening.close()
            raise
        return listening

    async def accept(self, accepted: socket.socket, owner: Owner) -> None:
        """What was set on the listening socket holds for the accepted one."""
        host, port = accepted.getpeername()[:2]
        Association(owner, accepted, AssociationPeer(host, port)).begin()

    async def dial(self, there: tuple[str, int], here: str, owner: Owner) -> None:
        own = _new_socket(here)
        try:
            own.bind((here, 0))
            await connect(own, there)
        except BaseException:
            own.close()
            raise
        Association(owner, own, AssociationPeer(*there)).begin()


def _new_socket(host: str) -> socket.socket:
    """For an address of ours. Raises OSError."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP)
    try:
        made.setblocking(False)
        if made.family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        made.setsockopt(IPPROTO_SCTP, _NODELAY, 1)
        made.setsockopt(IPPROTO_SCTP, _RECVRCVINFO, 1)
        made.setsockopt(IPPROTO_SCTP, _DEFAULT_SNDINFO, _SCTP_SNDINFO.pack(0, 0, H248.to_bytes(4, "big"), 0, 0))
        made.setsockopt(IPPROTO_SCTP, _ASSOCINFO, _SCTP_ASSOCPARAMS.pack(0, MAX_RETRANSMISSIONS, 0, 0, 0, 0))
        path = _SCTP_PADDRPARAMS.pack(0, b"", 0, PATH_RETRANSMISSIONS, 0, 0, 0, 0, 0)
        made.setsockopt(IPPROTO_SCTP, _PEER_ADDR_PARAMS, path)
    except OSError:
        made.close()
        raise
    return made


class Association(Connection):
    """One that stands. A message that comes in pieces (partial delivery, RFC 6458 §8.1.21) is put together up to MAX_MESSAGE."""

    def __init__(self, owner: Owner, own: socket.socket, peer: AssociationPeer) -> None:
        super().__init__(owner)
        self._loop = asyncio.get_running_loop()
        self._socket = own
        self._peer = peer
        self._address: tuple[str, int] = own.getsockname()[:2]
        self._is_over = False
        self._is_finishing = False
        self._pieces = bytearray()
        self._of = (0, 0)   # stream and sequence number of the message that they are of
        self._unsent: deque[bytes] = deque()
        self._unsent_octets = 0

    @property
    def peer(self) -> AssociationPeer:
        return self._peer

    @property
    def address(self) -> tuple[str, int]:
        return self._address

    def begin(self) -> None:
        """Ask the owner, and read."""
        refused = self._owner.opened(self)
        if refused:
            self.end(refused)
        elif not self._is_over:
            self._loop.add_reader(self._socket, self._readable)

    def send(self, message: bytes) -> None:
        if self._is_over or self._is_finishing:
            return
        if self._unsent or not self._goes_out(message):
            if not self._unsent:
                self._loop.add_writer(self._socket, self._writable)
            self._unsent.append(message)
            self._unsent_octets += len(message)
            if self._unsent_octets > WRITE_BUFFER:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)   # not even what the kernel holds goes out
                self.end(NOT_READ)

    def end(self, why: str) -> None:
        """The kernel goes on with what it has, such as an error that tells why, within the bounds of retransmission."""
        if not self._is_over:
            self._over(why)

    def finish(self) -> None:
        """Nothing is heard any more; the kernel goes on until the other end has what was sent."""
        if self._is_over or self._is_finishing:
            return
        self._is_finishing = True
        if not self._unsent:
            self._over(CLOSED_HERE)
        else:
            self._loop.remove_reader(self._socket)

    # --- what the loop calls

    def _readable(self) -> None:
        for _ in range(TURN):
            try:
                piece, control, flags, _ = self._socket.recvmsg(MAX_MESSAGE + 1, _CONTROL)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._over(f"{CLOSED_THERE}: {error.strerror}")
                return
            if not piece:
                self._over(CLOSED_THERE)
                return
            self._take_untrusted(piece, control, is_last=bool(flags & socket.MSG_EOR))
            if self._is_over or self._is_finishing:
                return

    def _writable(self) -> None:
        while self._unsent:
            if not self._goes_out(self._unsent[0]):
                return
            if self._is_over:
                return
            self._unsent_octets -= len(self._unsent.popleft())
        self._loop.remove_writer(self._socket)
        if self._is_finishing:
            self._over(CLOSED_HERE)

    # --- within

    def _take_untrusted(self, piece: bytes, control: list[tuple[int, int, bytes]], *, is_last: bool) -> None:
        stream, sequence, protocol = _told(control)
        if protocol not in PROTOCOLS:
            self.end(f"a payload of protocol {protocol}, not H.248 ({H248})")
        elif self._pieces and self._of != (stream, sequence):
            self.end("a message whose end did not come")
        elif len(self._pieces) + len(piece) > MAX_MESSAGE:
            self.end(f"a message of more than {MAX_MESSAGE} octets")
        elif not is_last:
            self._of = (stream, sequence)
            self._pieces += piece
        elif self._pieces:
            whole = bytes(self._pieces + piece)
            self._pieces.clear()
            self.heard_untrusted(whole)
        else:
            self.heard_untrusted(piece)

    def _goes_out(self, message: bytes) -> bool:
        """Whether that is done with: a message goes whole or not at all."""
        try:
            self._socket.send(message)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._over(f"{CLOSED_THERE}: {error.strerror}")
        return True

    def _over(self, why: str) -> None:
        self._is_over = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._unsent.clear()
        self._loop.call_soon(self._owner.closed, self, why)


def _told(control: list[tuple[int, int, bytes]]) -> tuple[int, int, int]:
    """Stream, sequence number in it and payload protocol identifier, which the kernel tells with every piece."""
    for level, kind, told in control:
        if (level, kind) == (IPPROTO_SCTP, _RCVINFO):
            stream, sequence, _, protocol, *_ = _SCTP_RCVINFO.unpack(told)
            return stream, sequence, int.from_bytes(protocol, "big")
    return 0, 0, 0
