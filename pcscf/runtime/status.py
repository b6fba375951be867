"""The snapshot of a running P-CSCF: what its parts hold now, and what they counted."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from pcscf.config.model import Config
from pcscf.mediasec.associations import DTLS
from pcscf.mediasec.model import LIVE, PROTECTED, LinePlan, Mode
from pcscf.observe.http import Page, Pages, json_page, metrics_page
from pcscf.observe.metrics import exposition, resources
from pcscf.observe.status import Child, Lines, PcscfStatus, as_text
from pcscf.procedures.binding import Binding
from pcscf.procedures.ports import Store
from pcscf.procedures.session import Session, State
from pcscf.runtime.embedded import EmbeddedGateway
from pcscf.runtime.iq import Gateways
from pcscf.runtime.net import Net
from pcscf.runtime.records import Records
from pcscf.sip.counts import SipCounts
from pcscf.sip.layer import TransactionLayer

BATCH: Final = 256
"""Registrations or sessions that are looked at in one go."""
CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx", "6xx")

T = TypeVar("T")


def pages(look: Callable[[], Awaitable[PcscfStatus]]) -> Pages:
    """What is served over HTTP."""

    async def for_people() -> Page:
        text = "".join(f"{line}\n" for line in as_text((await look()).plain()))
        return Page("text/plain; charset=utf-8", text.encode())

    async def as_json() -> Page:
        return json_page((await look()).plain())

    async def as_metrics() -> Page:
        return metrics_page(exposition(await look()))

    return {"/": for_people, "/status": as_json, "/metrics": as_metrics}


class Watcher:
    """Looks when it is asked: what can be counted by looking costs the calls nothing. It goes through all registrations and
    sessions, some at a time, while calls go on.
    """

    def __init__(
        self, config: Config, *, store: Store, layer: TransactionLayer, net: Net, gateways: Gateways, records: Records,
        children: Sequence[EmbeddedGateway],
    ) -> None:
        self._config = config
        self._store = store
        self._layer = layer
        self._net = net
        self._gateways = gateways
        self._records = records
        self._children = children
        self._started = time.time()

    async def look(self) -> PcscfStatus:
        """As it is now."""
        layer, records, limits = self._layer, self._records, self._config.limits
        registrations = Registrations(asyncio.get_running_loop().time())
        async for each in batched(self._store.bindings()):
            registrations.add(each)
        sessions = Sessions()
        async for some in batched(self._store.sessions()):
            sessions.add(some)
        connections = self._net.connections()
        return PcscfStatus(
            name=self._config.name,
            process=os.getpid(),
            started=self._started,
            registrations=registrations.numbers(),
            registrations_limit=limits.registrations,
            sessions={state.value: sessions.states[state] for state in State},
            sessions_limit=limits.sessions,
            dialogs={"sessions": sessions.dialogs, "subscriptions": registrations.dialogs},
            transactions={"client": layer.clients, "server": len(layer) - layer.clients},
            connections={name: connections[name] for name, each in self._config.listeners.items() if each.transport != "udp"},
            media=tuple(Lines(*kind, number) for kind, number in sorted(sessions.lines.items())),
            gateways=tuple(self._gateways.status()),
            children=tuple(Child(each.mid, each.pid, each.http) for each in self._children),
            requests={
                "received": dict(layer.counts.requests_received), "sent": dict(layer.counts.requests_sent)},
            responses=_responses(layer.counts),
            repeats={"received": layer.counts.repeats_received, "sent": layer.counts.repeats_sent},
            sip_failures={
                **layer.counts.failures(), "connection-limit": self._net.admission.turned_away,
                "tls-handshake": self._net.admission.failed_handshakes},
            refused=dict(sorted(records.refused.items())),
            released=dict(sorted(records.released.items())),
            decided=dict(sorted(records.decided.items())),
            events=dict(sorted(records.events.items())),
            iq=self._gateways.counts,
            resources=resources(),
        )  # fmt: skip


class Registrations:
    """registered, pending, and registered with media security; `dialogs` of subscriptions. `now`: monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._now = now
        self.registered = self.protected = self.pending = self.dialogs = 0

    def add(self, bindings: Iterable[Binding]) -> None:
        for each in bindings:
            self.dialogs += len(each.dialogs)
            if each.is_registered(self._now):
                self.registered += 1
                self.protected += not each.agreed.ue.isdisjoint(each.agreed.net)
            elif each.is_worth_keeping(self._now):
                self.pending += 1

    def numbers(self) -> dict[str, int]:
        return {"registered": self.registered, "protected": self.protected, "pending": self.pending}


class Sessions:
    """By state; dialogs of those that have not ended; lines of confirmed ones that are open, by medium and protection."""

    def __init__(self) -> None:
        self.states: Counter[State] = Counter()
        self.dialogs = 0
        self.lines: Counter[tuple[str, str]] = Counter()

    def add(self, sessions: Iterable[Session]) -> None:
        for each in sessions:
            self.states[each.state] += 1
            if each.state is State.ENDED:
                continue
            self.dialogs += len(each.dialogs)
            plan = each.standing.get(each.accepted) if each.state is State.CONFIRMED else None
            for line in plan.lines if plan is not None else ():
                if line.mode in LIVE:
                    self.lines[line.medium or line.kind, protection(line)] += 1


async def batched(everything: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """Some at a time, and in between whatever else is due."""
    for first in range(0, len(everything), BATCH):
        yield everything[first:first + BATCH]
        await asyncio.sleep(0)


def protection(line: LinePlan) -> str:
    """What protects the media of an open line between UE and us: "tls" or "dtls" to the edge, "end-to-end", or "none"."""
    if line.mode in PROTECTED:
        return "dtls" if line.access is not None and line.access.transport == DTLS else "tls"
    return "end-to-end" if line.mode is Mode.PASS else "none"


def _responses(counts: SipCounts) -> Mapping[str, Mapping[str, int]]:
    by_direction = {"received": counts.responses_received, "sent": counts.responses_sent}
    return {name: dict(zip(CLASSES, numbers[1:], strict=True)) for name, numbers in by_direction.items()}
