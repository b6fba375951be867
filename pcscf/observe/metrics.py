"""A P-CSCF as metrics: made when they are asked for, from what was counted where it happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pcscf.families import by_name, counter, gauge
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
        yield gauge("pcscf_registrations", "Bindings of contacts.", by_name(registrations), "state")
        yield gauge("pcscf_registrations_protected", "Registered ones with media security.", {(): now.registrations["protected"]})
        yield gauge("pcscf_registrations_limit", "Bindings that there may be.", {(): now.registrations_limit})
        yield gauge("pcscf_sessions", "Sessions (half-calls).", by_name(now.sessions), "state")
        yield gauge("pcscf_sessions_limit", "Sessions that there may be that have not ended.", {(): now.sessions_limit})
        yield gauge("pcscf_dialogs", "Dialogs, of sessions and of subscriptions.", by_name(now.dialogs), "of")
        yield gauge("pcscf_sip_transactions", "SIP transactions under way.", by_name(now.transactions), "role")
        yield gauge("pcscf_connections", "TCP and TLS connections.", by_name(now.connections), "listener")
        yield gauge("pcscf_media_lines", "Media lines of confirmed sessions, and what protects them.",
                     {(each.medium, each.protection): each.number for each in now.media}, "medium", "protection")  # fmt: skip
        yield gauge("pcscf_embedded_gateway_running", "Whether the process of an embedded gateway runs.",
                     {(each.mid,): each.process is not None for each in now.children}, "gateway")  # fmt: skip
        yield counter("pcscf_sip_requests", "SIP requests, without repetitions.", _by_two(now.requests), "direction", "method")
        yield counter("pcscf_sip_responses", "SIP responses by class.", _by_two(now.responses), "direction", "class")
        yield counter("pcscf_sip_repeats", "SIP messages that came or were sent again.", by_name(now.repeats), "direction")
        yield counter("pcscf_sip_failures", "SIP transactions, messages and connections that failed.",
                      by_name(now.sip_failures), "cause")  # fmt: skip
        yield counter("pcscf_refused", "Requests that were answered here with an error.", by_name(now.refused), "status")
        yield counter("pcscf_released", "Sessions that were ended from here.", by_name(now.released), "status")
        yield counter("pcscf_decided", "Lines of offers and answers.", by_name(now.decided), "mode")
        yield counter("pcscf_events", "What else happened that is worth a line in the log.", by_name(now.events), "event")
        iq = {name.replace("_", "-"): number for name, number in now.iq._asdict().items()}
        yield counter("pcscf_iq_transactions", "H.248 transactions with all gateways.", by_name(iq), "what")


def _by_two(numbers: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, ...], float]:
    return {(first, second): number for first, inner in numbers.items() for second, number in inner.items()}
