"""What the gateway counts: per leg while it lives, and over its whole life."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pcscf.gateway.cause import Cause

Kind: TypeAlias = Literal["tcp", "tls", "udp", "dtls"]
KINDS: tuple[Kind, ...] = ("tcp", "tls", "udp", "dtls")


@dataclass(slots=True)
class Count:
    """Of one leg. Octets are those of the application, before TLS and DTLS.

    received: octets from the peer that went on to the other side; sent: octets that went to the peer.
    datagrams_received, datagrams_sent: the same in datagrams, on UDP.
    dropped: datagrams from the peer that did not go on, because of gate, source, size or a peer that is not verified.
    policed: datagrams among them that exceeded the agreed rate (tman); on TCP, how often reading waited for it.
    """

    received: int = 0
    sent: int = 0
    datagrams_received: int = 0
    datagrams_sent: int = 0
    dropped: int = 0
    policed: int = 0

    def add(self, other: Count) -> None:
        self.received += other.received
        self.sent += other.sent
        self.datagrams_received += other.datagrams_received
        self.datagrams_sent += other.datagrams_sent
        self.dropped += other.dropped
        self.policed += other.policed


@dataclass(slots=True)
class Statistics:
    """Since the gateway was started; nothing here ever shrinks.

    contexts: those that were opened. connections: those that came up and whose peer was verified, and handshakes, TLS and
    DTLS among them by version. failures: by why. ended: what the legs that are gone have counted.
    """

    contexts: int = 0
    connections: Counter[Kind] = field(default_factory=Counter)
    handshakes: Counter[str] = field(default_factory=Counter)
    failures: Counter[Cause] = field(default_factory=Counter)
    ended: dict[Kind, Count] = field(default_factory=lambda: {kind: Count() for kind in KINDS})

    def passed(self, living: Iterable[tuple[Kind, Count]]) -> dict[Kind, Count]:
        """What has passed in all, with what the living legs have counted so far."""
        found = {kind: Count() for kind in KINDS}
        for kind, count in [*self.ended.items(), *living]:
            found[kind].add(count)
        return found
