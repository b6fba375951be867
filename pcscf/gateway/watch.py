"""What the gateway watches on its own: terminations that nobody speaks of (H.248.36) and media that stopped (H.248.40)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

from pcscf.gateway.items import canonical, parameter
from pcscf.gateway.model import LegKey, Termination, Traffic
from pcscf.h248 import packages
from pcscf.h248.message import Event

_PERIODS: Final = {
    packages.HANGING_TERMINATION: (packages.HANGING_TIMER, 3600.0),
    packages.MEDIA_STOPPED: (packages.MEDIA_STOPPED_TIME, 60.0),
}
"""The parameter that holds the seconds, and their number where the controller gave none."""


SWEEP: Final = 1024
"""Deadlines, at least, before those of ended terminations are looked for."""


@dataclass(frozen=True, slots=True)
class Expired:
    """An armed event that must be notified: on which termination, and as the controller spelt it."""

    context: int
    termination: Termination
    event: Event


class Watch:
    """Deadlines of all armed hangterm/thb and adid/ipstop events. A deadline is looked at again only when it is due.

    Terminations end long before an hour of silence: what they leave behind is swept out once it is more than half of all.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._watched: dict[str, tuple[int, Termination]] = {}
        self._due: list[tuple[float, int, str, Event]] = []
        self._serial = 0
        self._sweep_at = SWEEP

    def __len__(self) -> int:
        """Deadlines that are kept, those of ended terminations included."""
        return len(self._due)

    def start(self, termination: Termination, context: int, now: float) -> None:
        """Arms what the termination's Events descriptor asks for; what was armed before for it lapses."""
        known = self._watched.get(termination.id)
        self._watched[termination.id] = (context, termination)
        if known is not None and known[1].events is termination.events:
            return
        for event in termination.events.events:
            period = _period(event)
            if period is not None:
                self._push(now + period, termination.id, event)

    def stop(self, termination: str) -> None:
        self._watched.pop(termination, None)

    def next_timer(self) -> float | None:
        return self._due[0][0] if self._due else None

    def handle_timer(self, now: float) -> list[Expired]:
        expired: list[Expired] = []
        while self._due and self._due[0][0] <= now:
            due, _, name, event = heapq.heappop(self._due)
            found = self._watched.get(name)
            period = _period(event)
            if found is None or period is None or all(event is not armed for armed in found[1].events.events):
                continue
            context, termination = found
            quiet_until = self._quiet_since(context, termination, event) + period
            if quiet_until > now:
                self._push(quiet_until, name, event)
                continue
            expired.append(Expired(context, termination, event))
            if canonical(event.name) == packages.HANGING_TERMINATION:
                termination.touched = now
            self._push(max(due, now) + period, name, event)
        return expired

    def _quiet_since(self, context: int, termination: Termination, event: Event) -> float:
        if canonical(event.name) == packages.HANGING_TERMINATION:
            return termination.touched
        direction = (parameter(event.parameters, packages.MEDIA_STOPPED_DIRECTION) or "BOTH").upper()
        legs = (LegKey(context, termination.id, stream) for stream in termination.streams)
        return max((self._traffic.idle_since(leg, direction) for leg in legs), default=termination.touched)

    def _push(self, due: float, name: str, event: Event) -> None:
        if len(self._due) >= self._sweep_at:
            self._due = [entry for entry in self._due if entry[2] in self._watched]
            heapq.heapify(self._due)
            self._sweep_at = max(SWEEP, 2 * len(self._due))
        self._serial += 1
        heapq.heappush(self._due, (due, self._serial, name, event))


def _period(event: Event) -> float | None:
    """Seconds of quiet after which the event happens; None for events that are not watched here."""
    found = _PERIODS.get(canonical(event.name))
    if found is None:
        return None
    text = parameter(event.parameters, found[0])
    return float(text) if text else found[1]
