"""What the controller knows of its gateways, as plain values: for people, programs and monitoring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pcscf.iq.association import Gateway


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """One gateway.

    state      absent, registered, leaving or lost
    sessions   contexts of our sessions; reserving: reservations under way; releasing: contexts whose Subtract is under way
    share      the part of new sessions that it gets, below 1 while it is overloaded
    transactions  requests of ours that it has not answered yet
    suspect    it left something unanswered, or was full or busy a moment ago: others come first
    realms, packages  None where they are not known
    counts     what became of reservations, and what it reported, since it is known
    """

    mid: str
    address: str
    state: str
    drained: bool
    suspect: bool
    weight: int
    share: float
    sessions: int
    reserving: int
    releasing: int
    transactions: int
    unanswered_audits: int
    realms: tuple[str, ...] | None
    packages: tuple[str, ...] | None
    counts: Mapping[str, int]

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def status_of(gateways: Iterable[Gateway], under_way: Mapping[str, int], now: float) -> list[GatewayStatus]:
    return [
        GatewayStatus(
            mid=each.mid,
            address=" ".join(map(str, each.peer)).strip(),
            state=each.state.name.lower(),
            drained=each.is_drained,
            suspect=each.is_suspect or each.busy_until > now,
            weight=each.weight,
            share=round(each.throttle.share(now), 3),
            sessions=len(each.contexts),
            reserving=each.reserving,
            releasing=len(each.releasing),
            transactions=under_way.get(each.mid, 0),
            unanswered_audits=each.unanswered,
            realms=_sorted(each.realms),
            packages=_sorted(each.packages),
            counts=dict(sorted(each.counts.items())),
        )
        for each in gateways
    ]


def _sorted(names: frozenset[str] | None) -> tuple[str, ...] | None:
    return tuple(sorted(names)) if names is not None else None
