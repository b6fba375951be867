"""What waits, and therefore cannot be stored: a mailbox per half-call, and the INVITE that each early one is answering.

A mailbox makes the procedures of one half-call take turns. It is held while a record is read, changed and saved, gateway waits
included; it is free during far-end waits, or PRACK, UPDATE and CANCEL would wait behind their own INVITE.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from pcscf.procedures.ports import Exchange, Ports
from pcscf.sip.transaction import ServerTransaction


@dataclass(slots=True)
class Invitation:
    """The INVITE of an early session: `server` towards the caller, `exchange` towards the callee (None until it was sent on).

    was_cancelled is set outside the mailbox, the moment a CANCEL comes in, and looked at after every wait.
    """

    server: ServerTransaction
    exchange: Exchange | None = None
    was_cancelled: bool = False


class Mailbox:
    """One turn at the mailbox of a half-call; use as `async with`. Those who wait are served in the order they came."""

    __slots__ = ("_held", "_token")

    def __init__(self, held: dict[str, deque[asyncio.Future[None]]], token: str) -> None:
        self._held = held
        self._token = token

    async def __aenter__(self) -> None:
        waiting = self._held.get(self._token)
        if waiting is None:
            self._held[self._token] = deque()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                if turn in waiting:   # whoever passes the turn on takes out what was cancelled
                    waiting.remove(turn)
            else:
                self._pass_on()   # our turn had come
            raise

    async def __aexit__(self, *_: object) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        waiting = self._held[self._token]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._held[self._token]


class Calls:
    """The half-calls under way. `start` runs a coroutine beside the present one; its errors are recorded, never lost."""

    def __init__(self, ports: Ports, start: Callable[[Coroutine[object, object, None]], None]) -> None:
        self.ports = ports
        self.start = start
        self.invitations: dict[str, Invitation] = {}
        self._held: dict[str, deque[asyncio.Future[None]]] = {}   # the mailboxes that somebody has, with those who wait

    def mailbox(self, token: str) -> Mailbox:
        """The mailbox of one half-call."""
        return Mailbox(self._held, token)
