"""How a reservation finds its gateway: the best one first, the others when that refuses or does not answer, and patience where
none can serve.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from pcscf.errors import GatewayUnavailable, SipError
from pcscf.h248.agenda import Alarm
from pcscf.h248.message import ErrorDescriptor
from pcscf.iq.asking import Asking
from pcscf.iq.association import Association, Gateway
from pcscf.iq.operations import Asked, Limits, Reserve
from pcscf.iq.overload import TEMPORARY
from pcscf.iq.selection import candidates

BUSY_PAUSE: Final = 5.0
"""Seconds for which a gateway that was full, busy or late comes after all the others."""
UNKNOWN_VALUE: Final = 449
"""The error of a gateway that does not know a realm; its text repeats the value (TS 29.334 §5.17.1)."""
_NEVER: Final = float("inf")


class Placing:
    """limits: how long a gateway gets while another could be asked, and how long a session waits for one that can serve."""

    def __init__(self, association: Association, asking: Asking, limits: Limits, alarm: Alarm) -> None:
        self._association = association
        self._asking = asking
        self._limits = limits
        self._alarm = alarm
        # All attempts wait equally long, and so do all operations without a gateway: both are in order of time.
        self._attempts: deque[tuple[float, int]] = deque()
        self._waiting: dict[int, tuple[float, Reserve]] = {}

    def reserve(self, operation: int, wish: Reserve, why_not: SipError | None, now: float) -> None:
        """Ask the best gateway that was not asked yet, or wait for one that can serve. `why_not`: what the one before said."""
        refusal = self._place(operation, wish, now)
        if refusal is None:
            return
        if self._limits.patience and not wish.tried and not candidates(self._association, wish.needs, wish.urgency, now):
            self._waiting[operation] = (self._alarm.by(now + self._limits.patience), wish)
            self._asking.park(operation)
        else:
            self._asking.fail(operation, why_not or refusal)

    def place_waiting(self, now: float) -> None:
        """A gateway has come, or can do more than before."""
        for operation, (until, wish) in list(self._waiting.items()):
            del self._waiting[operation]
            if self._place(operation, wish, now) is not None:
                self._waiting[operation] = (until, wish)

    def abandon(self, operation: int) -> None:
        self._waiting.pop(operation, None)

    def was_unanswered(self, asked: Asked, now: float) -> None:
        """A gateway let the time of a request pass."""
        gateway = asked.gateway
        gateway.counts["unanswered"] += 1
        self._association.suspect(gateway, now)
        if isinstance(asked.purpose, Reserve):
            gateway.busy_until = now + BUSY_PAUSE
            gateway.throttle.overloaded(now)

    @staticmethod
    def was_refused(gateway: Gateway, wish: Reserve, error: ErrorDescriptor | None, failure: SipError, now: float) -> None:
        """What a refused reservation tells about the gateway, for those that come next."""
        code = error.code if error is not None and 400 <= error.code < 600 else 0
        gateway.counts[f"refused {code}" if code else "unreadable reply"] += 1
        if code in TEMPORARY and gateway.busy_until > now:  # one alone may be chance
            gateway.throttle.overloaded(now)
        if isinstance(failure, GatewayUnavailable):
            gateway.busy_until = now + BUSY_PAUSE
        if error is not None and code == UNKNOWN_VALUE:
            said = error.text.lower().replace('"', "")
            gateway.without_realms |= {realm for realm in wish.needs.realms if said.endswith(f"={realm}")}

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def soonest(self) -> float:
        """When `handle_timer` has something to do."""
        while self._attempts and self._asking.under_way(self._attempts[0][1]) is None:
            self._attempts.popleft()
        attempt = self._attempts[0][0] if self._attempts else _NEVER
        if not self._waiting:
            return attempt
        return min(attempt, next(until for until, _ in self._waiting.values()))

    def handle_timer(self, now: float) -> None:
        while self._attempts and self._attempts[0][0] <= now:
            self._attempt_over(self._attempts.popleft()[1], now)
        for operation, (until, _) in list(self._waiting.items()):
            if until > now:
                break
            del self._waiting[operation]
            self._asking.fail(operation, self._nobody())

    def _attempt_over(self, transaction: int, now: float) -> None:
        """Another gateway is asked; what the first still makes is subtracted when its reply comes."""
        asked = self._asking.under_way(transaction)
        if asked is None or not asked.operation or not isinstance(asked.purpose, Reserve):
            return
        self.was_unanswered(asked, now)
        if self._place(asked.operation, asked.purpose, now) is None:
            asked.operation = 0

    def _place(self, operation: int, wish: Reserve, now: float) -> SipError | None:
        """Ask the best gateway that was not asked yet; None, or why there is none."""
        found = candidates(self._association, wish.needs, wish.urgency, now)
        for gateway in found:
            if gateway.mid not in wish.tried and gateway.throttle.admits(wish.urgency, now):
                wish.tried.add(gateway.mid)
                transaction = self._asking.ask(gateway, wish.actions, wish, operation, now)
                if len(found) > 1:
                    self._attempts.append((self._alarm.by(now + self._limits.attempt), transaction))
                return None
        return GatewayUnavailable("the gateways have too much to do") if found else self._nobody()

    def _nobody(self) -> GatewayUnavailable:
        if any(each.is_associated for each in self._association):
            return GatewayUnavailable("no gateway that takes sessions has the realms and packages that this one needs")
        return GatewayUnavailable("no gateway is registered")
