"""A P-CSCF as metrics: made when they are asked for, from what was counted where it happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pcscf.observe.gateways import GatewayMetrics
from pcscf.observe.status import PcscfStatus, Resources


def exposition(status: PcscfStatus) -> bytes:
    """In the text format of Prometheus, with the gateways and the process itself."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(status))
    registry.register(GatewayMetrics(lambda: status.gateways))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def resources() -> Resources:
    """Of this process; zeros where the system has no /proc."""
    found = {sample.name: sample.value for metric in ProcessCollector(registry=None).collect() for sample in metric.samples}
    return Resources(
        cpu=round(found.get("process_cpu_seconds_total", 0.0), 2), memory=int(found.get("process_resident_memory_bytes", 0)),
        files=int(found.get("process_open_fds", 0)), files_limit=int(found.get("process_max_fds", 0)))


class _Snapshot(Collector):
    def __init__(self, status: PcscfStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        now = self._status
        registrations = {name: now.registrations[name] for name in ("registered", "pending")}
        yield _gauge("registrations", "Bindings of contacts.", _by(registrations), "state")
        yield _gauge("registrations_protected", "Registered ones with media security.", {(): now.registrations["protected"]})
        yield _gauge("registrations_limit", "Bindings that there may be.", {(): now.registrations_limit})
        yield _gauge("sessions", "Sessions (half-calls).", _by(now.sessions), "state")
        yield _gauge("sessions_limit", "Sessions that there may be that have not ended.", {(): now.sessions_limit})
        yield _gauge("dialogs", "Dialogs, of sessions and of subscriptions.", _by(now.dialogs), "of")
        yield _gauge("sip_transactions", "SIP transactions under way.", _by(now.transactions), "role")
        yield _gauge("connections", "TCP and TLS connections.", _by(now.connections), "listener")
        yield _gauge("media_lines", "Media lines of confirmed sessions, and what protects them.",
                     {(each.medium, each.protection): each.number for each in now.media}, "medium", "protection")  # fmt: skip
        yield _gauge("embedded_gateway_running", "Whether the process of an embedded gateway runs.",
                     {(each.mid,): each.process is not None for each in now.children}, "gateway")  # fmt: skip
        yield _counter("sip_requests", "SIP requests, without repetitions.", _by_two(now.requests), "direction", "method")
        yield _counter("sip_responses", "SIP responses by class.", _by_two(now.responses), "direction", "class")
        yield _counter("sip_repeats", "SIP messages that came or were sent again.", _by(now.repeats), "direction")
        yield _counter("sip_failures", "SIP transactions, messages and connections that failed.", _by(now.sip_failures), "cause")
        yield _counter("refused", "Requests that were answered here with an error.", _by(now.refused), "status")
        yield _counter("released", "Sessions that were ended from here.", _by(now.released), "status")
        yield _counter("decided", "Lines of offers and answers.", _by(now.decided), "mode")
        yield _counter("events", "What else happened that is worth a line in the log.", _by(now.events), "event")
        iq = {name.replace("_", "-"): number for name, number in now.iq._asdict().items()}
        yield _counter("iq_transactions", "H.248 transactions with all gateways.", _by(iq), "what")


def _by(numbers: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(name,): number for name, number in numbers.items()}


def _by_two(numbers: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, ...], float]:
    return {(first, second): number for first, inner in numbers.items() for second, number in inner.items()}


def _gauge(name: str, text: str, values: Mapping[tuple[str, ...], float], *labels: str) -> Metric:
    return _filled(GaugeMetricFamily(f"pcscf_{name}", text, labels=labels), values)


def _counter(name: str, text: str, values: Mapping[tuple[str, ...], float], *labels: str) -> Metric:
    return _filled(CounterMetricFamily(f"pcscf_{name}", text, labels=labels), values)


def _filled(family: Any, values: Mapping[tuple[str, ...], float]) -> Metric:
    for labels, value in values.items():
        family.add_metric(labels, value)
    metric: Metric = family
    return metric
