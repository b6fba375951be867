"""What a capture gets: the octets of media without TLS and DTLS, for an operator who asked for them (`--pcap`).

What runs under TLS or DTLS towards a UE is not told, neither as it was nor decrypted: it stands there as the partner sends it on.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from pcscf.gateway.endpoint import PlainEndpoint
from pcscf.gateway.model import Address

Direction: TypeAlias = Literal["in", "out"]


class Capture(Protocol):
    """Where it is written. local: our end, remote: the peer's."""

    def stream(self, direction: Direction, data: bytes, local: Address, remote: Address) -> None:
        """The next octets of a TCP connection."""

    def datagram(self, direction: Direction, data: bytes, local: Address, remote: Address) -> None:
        """One UDP datagram."""


class CapturedEndpoint(PlainEndpoint):
    """Plain TCP whose octets are told as they come and go."""

    __slots__ = ("_capture", "_local", "_remote")

    def __init__(self, capture: Capture, local: Address, remote: Address) -> None:
        super().__init__()
        self._capture = capture
        self._local = local
        self._remote = remote

    def receive_data(self, data: bytes | memoryview) -> None:
        octets = bytes(data)
        self._capture.stream("in", octets, self._local, self._remote)
        super().receive_data(octets)

    def send(self, data: bytes) -> None:
        self._capture.stream("out", data, self._local, self._remote)
        super().send(data)
