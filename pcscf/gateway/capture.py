"""What a capture gets: the octets of media connections without TLS, for an operator who asked for them (`--pcap`).

What runs under TLS towards a UE is not told, neither as it was nor decrypted: it stands there as the partner sends it on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from pcscf.gateway.endpoint import PlainEndpoint
from pcscf.gateway.model import Address

Capture: TypeAlias = Callable[[Literal["in", "out"], bytes, Address, Address], None]
"""(direction, octets, our end of the connection, the peer's)."""


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
        self._capture("in", octets, self._local, self._remote)
        super().receive_data(octets)

    def send(self, data: bytes) -> None:
        self._capture("out", data, self._local, self._remote)
        super().send(data)
