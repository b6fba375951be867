"""How many of the new sessions a gateway gets while it has too much (H.248.10, H.248.11, errors 510, 511 and 526).

Sessions that exist are never touched. Of the new ones emergency sessions always pass, and those with priority suffer half as
much as the others (TS 23.334 §5.14).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

TEMPORARY: Final = frozenset({510, 511, 526})
"""Errors of a gateway that has too much to do now: insufficient resources, temporarily busy, insufficient bandwidth."""
CUT: Final = 0.5
"""What is left of the share after a sign of overload."""
CUT_PAUSE: Final = 1.0
"""Seconds in which further signs are those of the same overload."""
LEAST: Final = 1 / 16
"""The share never falls below: only what is tried tells that the overload is over."""
RECOVERY: Final = 1 / 16
"""By how much the share grows in a second without a sign."""


class Urgency(Enum):
    """How much a session matters. `priority` and `emergency` of its context say so to the gateway (RFC 3525 §6.1.1)."""

    NORMAL = "normal"
    PRIORITY = "priority"
    EMERGENCY = "emergency"

    __hash__ = object.__hash__


class Throttle:
    """The share of new sessions for one gateway. Times are monotonic seconds."""

    __slots__ = ("_at", "_credit", "_share", "_told")

    def __init__(self) -> None:
        self._share = 1.0  # at `_at`, when it was last cut
        self._at = 0.0
        self._told = 1.0
        self._credit = 0.0

    def share(self, now: float) -> float:
        """Above 0.0, and 1.0 for a gateway that takes whatever comes."""
        if self._share == self._told == 1.0:
            return 1.0
        grown = min(1.0, self._share + RECOVERY * (now - self._at))
        if grown == 1.0:
            self._share = 1.0
        return max(LEAST, grown * self._told)

    def overloaded(self, now: float) -> None:
        """A sign of overload: ocp/mg_overload, an error of TEMPORARY, or no answer in time."""
        if self._share == 1.0 or now - self._at >= CUT_PAUSE:
            grown = min(1.0, self._share + RECOVERY * (now - self._at))
            self._share, self._at = max(LEAST, grown * CUT), now
            self._credit = 1.0 - self._share  # the next one is tried: nothing else tells whether it is over

    def congested(self, reduction: int) -> None:
        """chp/mgcon: the gateway wants `reduction` per cent less, until it says otherwise; 0 ends it."""
        self._told = 1.0 - min(max(reduction, 0), 100) / 100

    def admits(self, urgency: Urgency, now: float) -> bool:
        """Whether a new session may go to this gateway now. Of many, the share does, evenly spread."""
        share = self.share(now)
        if share == 1.0 or urgency is Urgency.EMERGENCY:
            return True
        if urgency is Urgency.PRIORITY:
            share = (1.0 + share) / 2
        self._credit += share
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True
