"""What waits, and therefore cannot be stored: a mailbox per half-call, and the INVITE that each early one is answering.

A mailbox makes the procedures of one half-call take turns. It is held while a record is read, changed and saved, gateway waits
included; it is free during far-end waits, or PRACK, UPDATE and CANCEL would wait behind their own INVITE.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from weakref import WeakValueDictionary

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


class Calls:
    """The half-calls under way. `start` runs a coroutine beside the present one; its errors are recorded, never lost."""

    def __init__(self, ports: Ports, start: Callable[[Coroutine[object, object, None]], None]) -> None:
        self.ports = ports
        self.start = start
        self.invitations: dict[str, Invitation] = {}
        self._mailboxes: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def mailbox(self, token: str) -> asyncio.Lock:
        """The mailbox of one half-call; use as `async with`."""
        lock = self._mailboxes.get(token)
        if lock is None:
            lock = self._mailboxes[token] = asyncio.Lock()
        return lock
