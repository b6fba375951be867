"""What the gateway counts: per context while it lives, and over its whole life."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """octets: application bytes forwarded; handshakes: TLS and DTLS sessions established; failures: by `Cause` name.

    datagrams: those forwarded over UDP; dropped: those that were not, because of gate, source, size or a peer that is
    not verified.
    """

    connections: int = 0
    handshakes: int = 0
    octets: int = 0
    datagrams: int = 0
    dropped: int = 0
    failures: dict[str, int] = field(default_factory=dict)

    def add_failure(self, cause: str) -> None:
        self.failures[cause] = self.failures.get(cause, 0) + 1


@dataclass(slots=True)
class Statistics:
    """`contexts` holds the living ones; `total` never shrinks."""

    total: Counters = field(default_factory=Counters)
    contexts_opened: int = 0
    contexts: dict[int, Counters] = field(default_factory=dict)

    def of(self, context: int) -> Counters:
        """The counters of a living context."""
        counters = self.contexts.get(context)
        if counters is None:
            self.contexts_opened += 1
            counters = self.contexts[context] = Counters()
        return counters

    def forget(self, context: int) -> None:
        self.contexts.pop(context, None)
