"""The media side of the gateway: carries out what the context table planned, and knows which leg stands for what.

How a leg does it is its own affair: `leg` for TCP, `datagram` for UDP, `ports` for where both come from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeAlias

from pcscf.gateway.admission import Admission
from pcscf.gateway.capture import Capture
from pcscf.gateway.cause import Cause
from pcscf.gateway.config import GatewayConfig
from pcscf.gateway.connection import READ_SIZE, Connection
from pcscf.gateway.datagram import DatagramLeg
from pcscf.gateway.leg import Leg
from pcscf.gateway.model import Close, Configure, Effect, Layer, LegKey, LegPlan
from pcscf.gateway.ports import MediaPorts
from pcscf.gateway.statistics import Count, Kind, Statistics
from pcscf.gateway.trace import GatewayTraceEvent, Trace, TraceKind, spell

Report = Callable[[LegKey, Cause], None]
ReportUp = Callable[[LegKey, Layer], None]


class Relay:
    """Carries out what the context table planned.

    report: called when a leg's connection failed or ended by itself. established: when TCP, TLS or DTLS of a leg is up.
    """

    def __init__(
        self, config: GatewayConfig, *, report: Report, established: ReportUp, trace: Trace | None, capture: Capture | None
    ) -> None:
        self.config = config
        self.report = report
        self.established = established
        self.capture = capture
        self.statistics = Statistics()
        self.loop = asyncio.get_running_loop()
        self.ports = MediaPorts(config.realms, self.loop)
        self.buffer = memoryview(bytearray(READ_SIZE))
        limits = config.limits
        self.admission = Admission(limits.half_open, limits.handshake_rate, self.loop.time())
        self._congested: dict[Connection, None] = {}
        self._most_congested = max(1, limits.buffered // (limits.write_buffer + READ_SIZE))
        self._trace = trace
        self._contexts: dict[int, dict[LegKey, AnyLeg]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # --- what has passed (pcscf.gateway.model.Traffic) ----------------------------------------------------------------

    def idle_since(self, leg: LegKey, direction: str) -> float:
        found = self._leg(leg)
        return found.idle_since(direction) if found is not None else self.loop.time()

    def count(self, leg: LegKey) -> Count:
        found = self._leg(leg)
        return found.count if found is not None else Count()

    def passed(self) -> dict[Kind, Count]:
        """What has passed since the start."""
        return self.statistics.passed((leg.plan.kind, leg.count) for leg in self.legs)

    # --- effects -----------------------------------------------------------------------------------------------------

    def apply(self, effects: Iterable[Effect]) -> None:
        """All plans are taken over before anything is driven: whether to dial depends on both legs of a context."""
        touched: list[AnyLeg] = []
        for effect in effects:
            if isinstance(effect, Close):
                number = effect.leg.context
                legs = self._contexts.get(number, {})
                leg = legs.pop(effect.leg, None)
                if leg is not None:
                    leg.close()
                    self.statistics.ended[leg.plan.kind].add(leg.count)
                self.ports.release(effect.local)
                if not legs:
                    self._contexts.pop(number, None)
            elif isinstance(effect, Configure):
                legs = self._contexts.get(effect.leg.context) or self._opened(effect.leg.context)
                leg = legs.get(effect.leg)
                if leg is None:
                    made = DatagramLeg if effect.plan.datagram else Leg
                    leg = legs[effect.leg] = made(self, effect.leg, effect.plan)
                else:
                    leg.replan(effect.plan)
                touched.append(leg)
        for leg in touched:
            leg.drive()
            partner = self.partner_of(leg.plan)
            if leg.plan.aware and partner is not None and partner not in touched:
                partner.drive()   # its frames are mapped to the paths of this leg

    def congested(self, connection: Connection, is_so: bool) -> None:
        """Memory for slow peers is bounded. Where it is used up, the one that has been slow for longest makes room."""
        if not is_so:
            self._congested.pop(connection, None)
            return
        self._congested[connection] = None
        if len(self._congested) > self._most_congested:
            slowest = next(iter(self._congested))
            del self._congested[slowest]
            # Not from within the write that made this one slow.
            self.loop.call_soon(slowest.give_up, Cause.SLOW_PEER)

    def _opened(self, number: int) -> dict[LegKey, AnyLeg]:
        self.statistics.contexts += 1
        made = self._contexts[number] = {}
        return made

    @property
    def legs(self) -> list[AnyLeg]:
        """Those of all contexts."""
        return [leg for legs in self._contexts.values() for leg in legs.values()]

    def partner_of(self, plan: LegPlan) -> Leg | None:
        """The other side of a connection; None where there is none, or one that speaks UDP."""
        found = self._leg(plan.partner) if plan.partner is not None else None
        return found if isinstance(found, Leg) else None

    def datagram_partner_of(self, plan: LegPlan) -> DatagramLeg | None:
        """The same for UDP."""
        found = self._leg(plan.partner) if plan.partner is not None else None
        return found if isinstance(found, DatagramLeg) else None

    def _leg(self, key: LegKey) -> AnyLeg | None:
        legs = self._contexts.get(key.context)
        return legs.get(key) if legs is not None else None

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def close(self) -> None:
        """Releases everything, as if every context had been subtracted."""
        for leg in self.legs:
            leg.close()
        self._contexts.clear()
        self.ports.close()

    @property
    def traces(self) -> bool:
        """Whether what is noted goes anywhere."""
        return self._trace is not None

    def note(self, kind: TraceKind, leg: AnyLeg, text: str, facts: Mapping[str, str]) -> None:
        if self._trace is not None:
            shown = leg.plan.credentials if leg.plan.kind == "tls" else None
            own = shown.fingerprints("sha-256", datagram=False) if shown is not None else ()
            transport = "UDP" if leg.plan.datagram else ""
            ours = {"local": spell(leg.plan.local), "own": " ".join(map(str, own)), "transport": transport}
            known = {name: value for name, value in {**ours, **facts}.items() if value}
            self._trace(GatewayTraceEvent(time.time(), kind, leg.key.context, leg.key.termination, text, known))


AnyLeg: TypeAlias = Leg | DatagramLeg
