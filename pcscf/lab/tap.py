"""What the lab tells about its traffic. Who listens (a trace file, a test) fits `Tap` by shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from pcscf.sip.message import Message

Direction = Literal["in", "out"]
Proto = Literal["TLS", "DTLS", "MSRP", "BFCP", "T.38"]
Address = tuple[str, int]


class Tap(Protocol):
    """Called at the socket, for every message, retransmissions included."""

    def sip(self, direction: Direction, message: Message, wire: bytes, *, local: Address, peer: Address) -> None: ...

    def event(
        self, proto: Proto, direction: Direction, text: str, *,
        flow: str, local: Address, peer: Address, facts: Mapping[str, object],
    ) -> None:
        """`flow` is the Call-ID; `text` one line for a person."""


class NoTap:
    """Nobody listens."""

    def sip(self, direction: Direction, message: Message, wire: bytes, *, local: Address, peer: Address) -> None:
        return

    def event(
        self, proto: Proto, direction: Direction, text: str, *,
        flow: str, local: Address, peer: Address, facts: Mapping[str, object],
    ) -> None:
        return
