"""One connection of Iq, for the one entity at its other end, whatever carries it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Protocol

from pcscf.h248.decode import sender_untrusted
from pcscf.h248.peer import ConnectionPeer
from pcscf.transport.certificates import PeerCertificate

WRITE_BUFFER: Final = 1 << 20
"""Octets that wait for a peer that does not read, before its connection is ended."""
CLOSED_THERE: Final = "the other end closed the connection"
CLOSED_HERE: Final = "the connection was ended here"
NOT_READ: Final = "the other end does not read"


class Owner(Protocol):
    """Who keeps connections."""

    def opened(self, connection: Connection) -> str:
        """A connection stands. "", or why it may not."""

    def speaks_for(self, certificate: PeerCertificate, mid: str) -> bool:
        """Whether the owner of this certificate may send messages with this mId."""

    def heard(self, connection: Connection, message: bytes) -> None:
        """One whole message."""

    def closed(self, connection: Connection, why: str) -> None:
        """It is over."""


class Connection(ABC):
    """`certificate`: what the other end showed; None where nothing is shown.

    The mId of the first message is that of the connection; another one ends it, and over TLS one that is not in the certificate.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.certificate: PeerCertificate | None = None
        self.mid = ""

    @property
    @abstractmethod
    def peer(self) -> ConnectionPeer:
        """By which the connection is known. Only once it stands."""

    @property
    @abstractmethod
    def address(self) -> tuple[str, int]:
        """Our own end."""

    @abstractmethod
    def send(self, message: bytes) -> None:
        """One message; it is lost where the connection is over."""

    @abstractmethod
    def end(self, why: str) -> None:
        """At once; what the kernel has not taken yet is lost."""

    @abstractmethod
    def finish(self) -> None:
        """As soon as what was sent is out of the house."""

    def heard_untrusted(self, message: bytes) -> None:
        """One whole message came. What has no mId that can be read is answered with an error, as it is everywhere."""
        mid = sender_untrusted(message)
        if mid is not None and mid.lower() != self.mid:
            if self.mid:
                self.end(f"a message of {mid} on the connection of {self.mid}")
                return
            if self.certificate is not None and not self._owner.speaks_for(self.certificate, mid):
                self.end(f"a message of {mid}, for which the certificate does not speak")
                return
            self.mid = mid.lower()
        self._owner.heard(self, message)
