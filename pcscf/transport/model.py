"""What controller and gateway need of a transport, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from pcscf.h248.peer import Peer

Kind: TypeAlias = Literal["udp", "tcp", "tls", "sctp"]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: who vouches for peers, what we show and its key (None: in the same file).

    pins: SHA-256 fingerprints, 64 hexadecimal digits with or without colons, by mId: such a peer must show that certificate.
    """

    ca: Path
    certificate: Path
    key: Path | None = None
    pins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upward:
    """What a transport tells.

    message  one whole message, and who sent it
    lost     there is no connection to this peer any more, or none could be made, and why; what was sent may not have arrived
    """

    message: Callable[[bytes, Peer], None]
    lost: Callable[[Peer, str], None]


class Transport(Protocol):
    """Carries whole messages. What cannot be sent is lost, and a connection that ends is told: only `renew` raises."""

    @property
    def address(self) -> tuple[str, int]:
        """Where it is bound."""

    def renew(self) -> None:
        """Read the files of TLS again, for connections from now on; those that stand keep what they have.

        Raises ConfigError for files that cannot be used, and nothing changed. May be called from a thread: it waits for disks.
        """

    def peer(self, host: str, port: int) -> Peer:
        """How whoever is reached at this address is called here."""

    def send(self, message: bytes, peer: Peer) -> None:
        """One message."""

    def disconnect(self, peer: Peer) -> None:
        """End the connection to a peer that does not answer; `lost` is not told. A dialler makes another for the next message."""

    def close(self) -> None:
        """End all of it; nothing is told any more."""
