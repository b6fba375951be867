"""Contexts that nobody owns, on either side: what must be given back is subtracted until that is confirmed, and what a gateway
has is compared with what our sessions have (TS 23.334 §8, Release and Audit).
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Final

from pcscf.h248.agenda import Alarm
from pcscf.h248.message import Action, ErrorDescriptor
from pcscf.iq import root
from pcscf.iq.asking import Asking
from pcscf.iq.association import Association, Gateway
from pcscf.iq.notifications import BearerReleased
from pcscf.iq.operations import RELEASE_PAUSE, RELEASE_PAUSE_MAX, Audit, Release, Released, RollCall
from pcscf.iq.replies import GONE, contexts_in
from pcscf.iq.templates import Requests

TOO_LARGE: Final = 533
"""The error of a gateway whose reply fits into no message."""
ROLL: Final = 50
"""Contexts in one request of a roll call."""


class Clearing:
    """settle: seconds after which every reservation that is under way now has been answered."""

    def __init__(self, association: Association, asking: Asking, requests: Requests, alarm: Alarm, *, settle: float) -> None:
        self._association = association
        self._asking = asking
        self._requests = requests
        self._alarm = alarm
        self._settle = settle
        self._subtract_later: list[tuple[float, str, int, float]] = []

    # --- release -----------------------------------------------------------------------------------------------------

    def release(self, gateway: Gateway, release: Release, operation: int, now: float) -> None:
        gateway.releasing.add(release.context)
        actions, hoped = self._requests.release(release.context)
        self._asking.ask(gateway, actions, release, operation, now, hoped)

    def released(self, gateway: Gateway, release: Release, error: ErrorDescriptor | None, now: float) -> None:
        """The reply: done, or to be tried again."""
        if error is None or error.code in GONE:
            gateway.releasing.discard(release.context)
        else:
            self.again(gateway, release, now)

    def again(self, gateway: Gateway, release: Release, now: float) -> None:
        """It was refused or not answered: ask later, unless the gateway was lost meanwhile and has the context no more."""
        if release.context in gateway.releasing:
            gateway.releasing.discard(release.context)
            pause = min(2 * release.pause, RELEASE_PAUSE_MAX)
            heappush(self._subtract_later, (self._alarm.by(now + release.pause), gateway.mid, release.context, pause))

    def subtract_unowned(
        self, gateway: Gateway, contexts: Iterable[int], now: float, pause: float = RELEASE_PAUSE
    ) -> None:
        """Give back those of `contexts` that no session owns and no release is under way for."""
        for context in contexts:
            if context not in gateway.contexts and context not in gateway.releasing:
                self.release(gateway, Release(context, pause), 0, now)

    # --- comparison --------------------------------------------------------------------------------------------------

    def compare(self, gateway: Gateway, now: float) -> None:
        """Find out which contexts of the gateway nobody owns, and which of ours it does not have."""
        if not gateway.is_compared:
            gateway.is_compared = True
            self._asking.ask(gateway, root.audit_contexts(), Audit(frozenset(gateway.contexts)), 0, now)

    def compared(
        self, gateway: Gateway, audit: Audit, actions: tuple[Action, ...], error: ErrorDescriptor | None, now: float
    ) -> None:
        """The reply to the audit of all contexts."""
        gateway.is_compared = False
        if error is not None and error.code not in GONE:
            if error.code == TOO_LARGE:
                self._call_roll(gateway, tuple(sorted(audit.owned)), now)
            return
        contexts = contexts_in(actions) if error is None else ()
        # A gateway that answers this question in a way of its own must not cost all its sessions: it is asked for each.
        self._call_roll(gateway, tuple(sorted(audit.owned.difference(contexts))), now)
        # The reply to a reservation may have been overtaken by this one: whoever owns it will have said so by then.
        for context in contexts:
            if context not in gateway.contexts and context not in gateway.releasing:
                heappush(self._subtract_later, (self._alarm.by(now + self._settle), gateway.mid, context, RELEASE_PAUSE))

    def called(
        self, gateway: Gateway, roll: RollCall, actions: tuple[Action, ...], error: ErrorDescriptor | None, now: float
    ) -> None:
        """The reply to a roll call, which ends at the first context that the gateway does not have (RFC 3525 §8.2.2)."""
        there = set(contexts_in([action for action in actions if _error_of(action) is None]))
        refused = error or next((found for action in actions if (found := _error_of(action)) is not None), None)
        rest = tuple([context for context in roll.wanted if context not in there])
        if rest and (refused is None or refused.code not in GONE):
            return  # it cannot be asked like this
        if error is not None and len(rest) > 1:
            self._call_roll(gateway, rest + roll.later, now, at_once=1)  # which of them it means is not said
            return
        if rest:
            self._is_missing(gateway, rest[0])
        self._call_roll(gateway, rest[1:] + roll.later, now)

    def _call_roll(self, gateway: Gateway, contexts: tuple[int, ...], now: float, at_once: int = ROLL) -> None:
        """Ask for our own contexts by name. What the gateway has besides, its hanging terminations tell (H.248.36)."""
        wanted = tuple([context for context in contexts if context in gateway.contexts])
        if wanted:
            self._asking.ask(gateway, root.audit_some(wanted[:at_once]), RollCall(wanted[:at_once], wanted[at_once:]), 0, now)

    def _is_missing(self, gateway: Gateway, context: int) -> None:
        if context in gateway.contexts:
            access, _ = gateway.contexts[context]
            gateway.counts["context missing"] += 1
            why = "the gateway does not have the context any more"
            self._asking.tell(Released(gateway.mid, BearerReleased(context, access, None, "", why)))

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def soonest(self) -> float:
        """When `handle_timer` has something to do."""
        return self._subtract_later[0][0] if self._subtract_later else float("inf")

    def handle_timer(self, now: float) -> None:
        while self._subtract_later and self._subtract_later[0][0] <= now:
            _, mid, context, pause = heappop(self._subtract_later)
            gateway = self._association.gateway(mid)
            if gateway is not None:
                self.subtract_unowned(gateway, (context,), now, pause)

    def forget(self, mid: str) -> None:
        """A gateway that is gone, or came anew, has nothing to give back."""
        self._subtract_later = [entry for entry in self._subtract_later if entry[1] != mid]
        heapify(self._subtract_later)


def _error_of(action: Action) -> ErrorDescriptor | None:
    return action.error or next((command.error for command in action.commands if command.error is not None), None)
