"""The gateways as metrics: made when they are asked for, so that counting costs the calls nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pcscf.iq.status import GatewayStatus

STATES = ("absent", "registered", "leaving", "lost")


class GatewayMetrics(Collector):
    """To be registered with a registry. `look`: how the gateways are now."""

    def __init__(self, look: Callable[[], Sequence[GatewayStatus]]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        gateways = self._look()
        state = GaugeMetricFamily(
            "pcscf_iq_gateway_state", "1 for the state that the gateway is in.", labels=("gateway", "state"))
        outcomes = CounterMetricFamily(
            "pcscf_iq_outcomes", "What became of reservations, and what the gateway reported.", labels=("gateway", "outcome"))
        for each in gateways:
            for name in STATES:
                state.add_metric((each.mid, name), float(each.state == name))
            for outcome, number in each.counts.items():
                outcomes.add_metric((each.mid, outcome), number)
        yield state
        yield outcomes
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
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"pcscf_iq_gateway_{name}", text, labels=("gateway",))
    for each in gateways:
        family.add_metric((each.mid,), value(each))
    return family
