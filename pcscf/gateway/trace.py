"""What the gateway tells an observer about its media side. Never keys, never application bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

TraceKind: TypeAlias = Literal[
    "tcp-accepted", "tcp-refused", "tcp-connected", "tcp-failed", "tls-established", "tls-failed", "udp-latched", "closed"
]


@dataclass(frozen=True, slots=True)
class GatewayTraceEvent:
    """time: wall clock, seconds since the epoch; text: one sentence for a person.

    facts, where they apply: "version", "cipher", "fingerprint" (the peer's), "expected" (what Remote gave), "own"
    (ours), "alert", "local" and "remote" ("address port"), "transport" ("UDP" where it is not TCP), "cause", "octets".
    """

    time: float
    kind: TraceKind
    context: int
    termination: str
    text: str
    facts: Mapping[str, str] = field(default_factory=dict)


Trace: TypeAlias = Callable[[GatewayTraceEvent], None]


def spell(address: tuple[str, int] | tuple[str, int, int, int] | None) -> str:
    """ "address port"; "" for none."""
    return f"{address[0]} {address[1]}" if address is not None else ""
