"""The gateways as metrics: made when they are asked for, so that counting costs the calls nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pcscf.families import Values, counter, gauge
from pcscf.iq.status import GatewayStatus

STATES = ("absent", "registered", "leaving", "lost")


class GatewayMetrics(Collector):
    """To be registered with a registry. `look`: how the gateways are now."""

    def __init__(self, look: Callable[[], Sequence[GatewayStatus]]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        gateways = self._look()
        states: Values = {(each.mid, name): each.state == name for each in gateways for name in STATES}
        yield gauge("pcscf_iq_gateway_state", "1 for the state that the gateway is in.", states, "gateway", "state")
        outcomes: Values = {(each.mid, outcome): number for each in gateways for outcome, number in each.counts.items()}
        yield counter("pcscf_iq_outcomes", "What became of reservations, and what the gateway reported.",
                      outcomes, "gateway", "outcome")  # fmt: skip
        yield _gauge("sessions", "Sessions with a context there.", gateways, lambda each: each.sessions)
        yield _gauge("reserving", "Reservations under way.", gateways, lambda each: each.reserving)
        yield _gauge("releasing", "Contexts whose release is under way.", gateways, lambda each: each.releasing)
        yield _gauge("transactions", "Requests of ours that it has not answered yet.", gateways, lambda each: each.transactions)
        yield _gauge("weight", "The gateway's share beside the others.", gateways, lambda each: each.weight)
        yield _gauge("admitted_share", "The part of new sessions that it gets.", gateways, lambda each: each.share)
        yield _gauge("drained", "1 while an operator keeps new sessions away.", gateways, lambda each: each.drained)
        yield _gauge("unanswered_audits", "Audits in a row without an answer.", gateways, lambda each: each.unanswered_audits)


def exposition(look: Callable[[], Sequence[GatewayStatus]]) -> str:
    """In the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(GatewayMetrics(look))
    return generate_latest(registry).decode()


def _gauge(
    name: str, text: str, gateways: Sequence[GatewayStatus], value: Callable[[GatewayStatus], float]
) -> Metric:
    return gauge(f"pcscf_iq_gateway_{name}", text, {(each.mid,): value(each) for each in gateways}, "gateway")
