"""Where an H.248 entity is: its transport address, and whether a connection leads there."""

from __future__ import annotations

from typing import TypeAlias

Peer: TypeAlias = tuple[str, int]
"""Host and port of the other end. A plain one is reached by datagrams (RFC 3525 Annex D.1)."""


class ConnectionPeer(tuple[str, int]):
    """The other end of a connection (RFC 3525 Annex D.2). It never equals the sender of datagrams at the same host and port.

    >>> ConnectionPeer("192.0.2.1", 2944) == ("192.0.2.1", 2944)
    False
    """

    __slots__ = ()

    def __new__(cls, host: str, port: int) -> ConnectionPeer:
        return super().__new__(cls, (host, port))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return ~tuple.__hash__(self)


class AssociationPeer(ConnectionPeer):
    """The other end of an SCTP association (H.248.4)."""

    __slots__ = ()
