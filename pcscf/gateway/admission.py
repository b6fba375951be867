"""How many handshakes may be under way, and how many may begin in a second: running streams come first. Pure.

What is not admitted yet waits outside: a SYN in the kernel's backlog, a ClientHello over DTLS in its sender, which repeats it.
"""

from __future__ import annotations

from typing import Final

RETRY: Final = 0.05
"""Seconds after which somebody who was not admitted is looked at again."""


class Admission:
    """`half_open`: handshakes at the same time; rate: beginnings per second, a second's worth of them at once.

    waited: how often somebody was not admitted.
    """

    def __init__(self, half_open: int, rate: int, now: float) -> None:
        self.waited = 0
        self.under_way = 0
        self._half_open = half_open
        self._rate = rate
        self._left = float(rate)
        self._at = now

    def begin(self, now: float) -> bool:
        """Whether a handshake may begin now; then it counts until `end`."""
        if not self.has_room(now):
            self.waited += 1
            return False
        self._left -= 1
        self.under_way += 1
        return True

    def has_room(self, now: float) -> bool:
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        return self.under_way < self._half_open and self._left >= 1

    def end(self) -> None:
        """One is over, however it went."""
        self.under_way -= 1


class Handshake:
    """That of one leg: it counts from `begin` to `end`, however often either is called."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._counts = False

    def begin(self, now: float) -> bool:
        """Whether it may begin now, or has begun."""
        self._counts = self._counts or self._admission.begin(now)
        return self._counts

    def end(self) -> None:
        if self._counts:
            self._counts = False
            self._admission.end()
