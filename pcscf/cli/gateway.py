"""`pcscf gateway`: an IMS-AGW on its own, until a signal ends it. The embedded gateway is this same command as a child."""

from __future__ import annotations

import os
from contextlib import ExitStack, closing

from pcscf.cli.options import ConfigFile, LogLevel, Overrides, PcapFile, TraceFile
from pcscf.cli.service import serve
from pcscf.config.gateway import GatewayFile
from pcscf.config.load import load_gateway
from pcscf.gateway.config import EMBEDDED_PARENT, GatewayConfig, GatewayLimits, GatewayTimers, Realm
from pcscf.gateway.server import run_gateway
from pcscf.observe.log import set_up
from pcscf.observe.pcap import PcapWriter
from pcscf.observe.trace import GATEWAY, TraceWriter


def gateway(
    file: ConfigFile, overrides: Overrides = None, trace: TraceFile = None, pcap: PcapFile = None, log_level: LogLevel = None,
) -> None:
    """Run the media gateway described by FILE until SIGTERM or SIGINT."""
    level = [f"log_level={log_level}"] if log_level else []
    read = load_gateway(file, [*(overrides or []), *level])
    set_up(read.log_level)
    config = gateway_config(read, parent=int(os.environ.get(EMBEDDED_PARENT) or 0))
    with ExitStack() as open_files:
        tracing = open_files.enter_context(closing(TraceWriter(trace, GATEWAY))).tap_gateway if trace is not None else None
        capturing = open_files.enter_context(closing(PcapWriter(pcap))) if pcap is not None else None
        serve(run_gateway(config, trace=tracing, capture=capturing))


def gateway_config(file: GatewayFile, *, parent: int = 0) -> GatewayConfig:
    """What the gateway must be told, from its file. `parent`: process id of the P-CSCF that embeds it, 0 for none."""
    return GatewayConfig(
        mid=file.own_mid,
        controllers=tuple((each.host, each.port) for each in file.controllers),
        realms=tuple(Realm(name, each.addresses, (each.ports.first, each.ports.last)) for name, each in file.realms.items()),
        bind=(file.iq.address, file.iq.port),
        profile=file.profile,
        minimum_hash=file.min_hash,
        parent=parent,
        timers=GatewayTimers(
            tcp_connect=file.timers.tcp_connect,
            tcp_accept=file.timers.tcp_accept,
            tls_handshake=file.timers.tls_handshake,
            tls_yield=file.timers.tls_yield,
            graceful_stop=file.timers.graceful_stop,
            adoption_grace=file.adoption_grace,
            registration_wait=file.registration.wait,
            registration_retry=file.registration.retry,
            registration_retry_max=file.registration.retry_max,
        ),
        limits=GatewayLimits(contexts=file.limits.contexts, write_buffer=file.limits.write_buffer),
    )
