"""Where a message came from and where one goes. Plain data: sockets belong to the runtime."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Flow(NamedTuple):
    """One UDP 4-tuple or one connection (RFC 5626 §3.1).

    transport: "udp", "tcp" or "tls". listener: name of the local socket it belongs to. connection: 0 for datagrams.
    """

    transport: str
    listener: str
    local: tuple[str, int]
    remote: tuple[str, int]
    connection: int


class Hop(NamedTuple):
    """A next hop to which no flow exists yet. host: an IP address or a name to resolve (IPv6 without brackets)."""

    transport: str
    realm: str
    host: str
    port: int


Destination: TypeAlias = Flow | Hop


def is_reliable(destination: Destination) -> bool:
    """Whether the transport itself retransmits (RFC 3261 §17: timers A, E, G are not started, D, I, J, K are zero)."""
    return destination.transport != "udp"
