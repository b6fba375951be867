"""How a gateway is: a snapshot for people, programs and monitoring. Numbers and names of causes, nothing that is secret."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pcscf.families import by_name, counter, gauge
from pcscf.gateway.statistics import KINDS, Count, Kind

if TYPE_CHECKING:
    from pcscf.gateway.server import Gateway


@dataclass(frozen=True, slots=True)
class Status:
    """mid: the gateway's name on Iq; controller: "ADDRESS PORT" of the one that it is registered with, "" for none.

    started: seconds since the epoch; process: its id. contexts, terminations: those that stand now, and how many contexts
    there may be. streams, connected: by transport, those that are planned, and those that are up with a verified peer.
    ports: per realm, how many are taken and how many there are. certificates: by kind of key (ec, rsa), when what new streams
    show expires, seconds since the epoch.
    half_open: handshakes that are under way.
    From here on since the start: contexts_opened; handshakes_waited: how often one was not admitted at once; connections by
    transport, handshakes by version, failures by cause; passed: see `statistics.Count`, by transport.
    """

    mid: str
    controller: str
    started: float
    process: int
    contexts: int
    contexts_limit: int
    terminations: int
    streams: Mapping[Kind, int]
    connected: Mapping[Kind, int]
    ports: Mapping[str, tuple[int, int]]
    certificates: Mapping[str, float]
    half_open: int
    contexts_opened: int
    handshakes_waited: int
    connections: Mapping[Kind, int]
    handshakes: Mapping[str, int]
    failures: Mapping[str, int]
    passed: Mapping[Kind, Count]

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def status_of(gateway: Gateway) -> Status:
    """As it is now. It looks at every leg, so it is not for every message."""
    relay, table = gateway.relay, gateway.table
    streams: Counter[Kind] = Counter()
    connected: Counter[Kind] = Counter()
    for leg in relay.legs:
        streams[leg.plan.kind] += 1
        connected[leg.plan.kind] += leg.established
    statistics = relay.statistics
    return Status(
        mid=gateway.config.mid,
        controller=" ".join(map(str, gateway.controller or ())),
        started=gateway.started,
        process=gateway.process,
        contexts=len(table.contexts),
        contexts_limit=gateway.config.limits.contexts,
        terminations=sum(len(context.terminations) for context in table.contexts.values()),
        streams=_of_all(streams),
        connected=_of_all(connected),
        ports=relay.ports.usage(),
        certificates={one.kind: one.certificate.not_valid_after_utc.timestamp()
                      for one in gateway.certificates.current.identities},
        half_open=relay.admission.under_way,
        contexts_opened=statistics.contexts,
        handshakes_waited=relay.admission.waited,
        connections=_of_all(statistics.connections),
        handshakes=dict(statistics.handshakes),
        failures={cause.name.lower().replace("_", "-"): number for cause, number in statistics.failures.items()},
        passed=relay.passed(),
    )


def exposition(status: Status) -> bytes:
    """In the text format of Prometheus."""
    registry = CollectorRegistry()
    registry.register(_Snapshot(status))
    return generate_latest(registry)


class _Snapshot(Collector):
    """Metrics are made when they are asked for: counting costs the media nothing."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        now = self._status
        yield gauge("pcscf_gateway_registered", "Whether a controller has taken the registration.", {(): bool(now.controller)})
        yield gauge("pcscf_gateway_start_time_seconds", "When the gateway was started, since the epoch.", {(): now.started})
        yield gauge("pcscf_gateway_contexts", "Contexts that stand.", {(): now.contexts})
        yield gauge("pcscf_gateway_contexts_limit", "Contexts that may stand at the same time.", {(): now.contexts_limit})
        yield gauge("pcscf_gateway_terminations", "Terminations that stand.", {(): now.terminations})
        yield gauge("pcscf_gateway_streams", "Streams of terminations.", by_name(now.streams), "transport")
        yield gauge("pcscf_gateway_connected", "Streams that are up with a verified peer.", by_name(now.connected), "transport")
        yield gauge("pcscf_gateway_half_open", "Handshakes that are under way.", {(): now.half_open})
        yield counter("pcscf_gateway_handshakes_waited", "Handshakes that were not admitted at once.",
                      {(): now.handshakes_waited})  # fmt: skip
        yield gauge("pcscf_gateway_ports", "Media ports of a realm.", {
            (realm, state): number for realm, (taken, total) in now.ports.items()
            for state, number in (("taken", taken), ("free", total - taken))}, "realm", "state")
        yield gauge("pcscf_gateway_certificate_expiry_timestamp_seconds", "When what new streams show expires, since the epoch.",
                     by_name(now.certificates), "key")  # fmt: skip
        yield counter("pcscf_gateway_contexts_opened", "Contexts opened.", {(): now.contexts_opened})
        yield counter("pcscf_gateway_connections", "Connections and associations that came up.",
                      by_name(now.connections), "transport")  # fmt: skip
        yield counter("pcscf_gateway_handshakes", "TLS and DTLS handshakes completed.", by_name(now.handshakes), "version")
        yield counter("pcscf_gateway_failures", "Connections that failed.", by_name(now.failures), "cause")
        passed = now.passed.items()
        yield counter("pcscf_gateway_octets", "Octets of applications.", {
            (kind, direction): number for kind, count in passed
            for direction, number in (("received", count.received), ("sent", count.sent))}, "transport", "direction")
        yield counter("pcscf_gateway_datagrams", "Datagrams.", {
            (kind, direction): number for kind, count in passed if kind in ("udp", "dtls")
            for direction, number in (("received", count.datagrams_received), ("sent", count.datagrams_sent))},
            "transport", "direction")  # fmt: skip
        yield counter("pcscf_gateway_dropped", "Datagrams that did not go on.", {
            (kind,): count.dropped for kind, count in passed if kind in ("udp", "dtls")}, "transport")
        yield counter("pcscf_gateway_policed", "Datagrams beyond the agreed rate; on TCP, how often reading waited.", {
            (kind,): count.policed for kind, count in passed}, "transport")


def _of_all(found: Mapping[Kind, int]) -> dict[Kind, int]:
    return {kind: found.get(kind, 0) for kind in KINDS}
