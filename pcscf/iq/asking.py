"""What gateways are asked, and the operations that wait for it: each ends with an event, at its deadline at the latest."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final

from pcscf.errors import SipError
from pcscf.h248.message import Action
from pcscf.h248.transaction import TransactionMachine
from pcscf.iq.association import Gateway
from pcscf.iq.operations import Asked, Configure, Done, Event, Failed, Purpose, Reserve

REGISTRATION_PAUSE: Final = 0.05
"""Seconds before a request is repeated that overtook the reply to a registration; doubles REGISTRATION_REPEATS times."""
REGISTRATION_REPEATS: Final = 5
_NEVER: Final = float("inf")


class Asking:
    """The requests under way at `machine`. deadline: seconds that an operation may take. `events`: for the caller to take."""

    def __init__(self, machine: TransactionMachine, deadline: float) -> None:
        self.events: list[Event] = []
        self._machine = machine
        self._deadline = deadline
        self._asked: dict[int, Asked] = {}
        self._transaction_of: dict[int, int] = {}
        self._deadlines: deque[tuple[float, int]] = deque()  # all operations have the same time: in order
        self._repeats: list[tuple[float, int]] = []
        self._last_operation = 0

    # --- operations --------------------------------------------------------------------------------------------------

    def begin(self) -> int:
        """A new operation. Its deadline runs from its first request on."""
        self._last_operation += 1
        return self._last_operation

    def abandon(self, operation: int) -> None:
        """Nobody waits any more. The request goes on, so that its reply tells what there is to subtract."""
        transaction = self._transaction_of.pop(operation, None)
        if transaction is not None:
            self._asked[transaction].operation = 0

    def park(self, operation: int) -> None:
        """Nothing is under way for the operation now; its deadline begins anew with its next request."""
        self._transaction_of.pop(operation, None)

    def done(self, done: Done) -> None:
        self._transaction_of.pop(done.operation, None)
        if done.operation:
            self.events.append(done)

    def fail(self, operation: int, error: SipError) -> None:
        self._transaction_of.pop(operation, None)
        if operation:
            self.events.append(Failed(operation, error))

    def tell(self, event: Event) -> None:
        self.events.append(event)

    # --- requests ----------------------------------------------------------------------------------------------------

    def ask(self, gateway: Gateway, actions: tuple[Action, ...], purpose: Purpose, operation: int, now: float) -> int:
        """Send a request, for an operation or for none (0); the transaction."""
        transaction = self._machine.request(gateway.peer, actions, now)
        self._asked[transaction] = Asked(gateway, actions, purpose, operation)
        if isinstance(purpose, Reserve):
            gateway.reserving += 1
        if operation:
            if operation not in self._transaction_of:
                self._deadlines.append((now + self._deadline, operation))
            self._transaction_of[operation] = transaction
        return transaction

    def by_gateway(self) -> Counter[str]:
        """How many requests are under way, by mId."""
        return Counter(asked.gateway.mid for asked in self._asked.values())

    def under_way(self, transaction: int) -> Asked | None:
        return self._asked.get(transaction)

    def ended(self, transaction: int) -> Asked | None:
        """The request is answered, or will not be."""
        asked = self._asked.pop(transaction, None)
        if asked is not None and isinstance(asked.purpose, Reserve):
            asked.gateway.reserving -= 1
        return asked

    def take_all_of(self, mid: str) -> list[Asked]:
        """The requests to a gateway that will not answer them any more."""
        transactions = [each for each, asked in self._asked.items() if asked.gateway.mid == mid]
        taken = []
        for transaction in transactions:
            self._machine.abandon(transaction)
            asked = self.ended(transaction)
            if asked is not None:
                taken.append(asked)
        return taken

    def follow(self, gateway: Gateway, now: float) -> None:
        """What is under way goes on where the gateway is now: over its new connection, say."""
        for transaction, asked in self._asked.items():
            if asked.gateway is gateway:
                self._machine.redirect(transaction, gateway.peer, now)

    def repeat_later(self, transaction: int, asked: Asked, now: float) -> bool:
        """A datagram overtook the reply to the registration. The request stays under way; False: it has been repeated enough."""
        if asked.repeats >= REGISTRATION_REPEATS:
            return False
        heappush(self._repeats, (now + REGISTRATION_PAUSE * 2.0**asked.repeats, transaction))
        asked.repeats += 1
        return True

    def _ask_again(self, transaction: int, now: float) -> None:
        asked = self._asked.get(transaction)
        if asked is None:
            return
        if isinstance(asked.purpose, Reserve | Configure) and not asked.operation:
            self.ended(transaction)
            return
        del self._asked[transaction]
        again = self._machine.request(asked.gateway.peer, asked.actions, now)
        self._asked[again] = asked
        if asked.operation:
            self._transaction_of[asked.operation] = again

    # --- time --------------------------------------------------------------------------------------------------------

    @property
    def soonest(self) -> float:
        """When `overdue` or `handle_timer` has something to do."""
        while self._deadlines and self._deadlines[0][1] not in self._transaction_of:
            self._deadlines.popleft()
        deadline = self._deadlines[0][0] if self._deadlines else _NEVER
        return min(deadline, self._repeats[0][0]) if self._repeats else deadline

    def overdue(self, now: float) -> Iterator[tuple[int, Asked]]:
        """The operations whose time is over, each with what it waits for; from here on nobody does."""
        while self._deadlines and self._deadlines[0][0] <= now:
            operation = self._deadlines.popleft()[1]
            transaction = self._transaction_of.get(operation)
            if transaction is not None:
                asked = self._asked[transaction]
                asked.operation = 0
                yield operation, asked

    def handle_timer(self, now: float) -> None:
        while self._repeats and self._repeats[0][0] <= now:
            self._ask_again(heappop(self._repeats)[1], now)
