"""`pcscf gateway`: an IMS-AGW on its own, until a signal ends it. The embedded gateway is this same command as a child."""

from __future__ import annotations

import gc
import os
from contextlib import closing
from typing import Final

from pcscf.cli.options import ConfigFile, LogLevel, Overrides, TraceFile
from pcscf.cli.service import serve
from pcscf.config.gateway import GatewayFile
from pcscf.config.load import load_gateway
from pcscf.gateway.config import EMBEDDED_PARENT, GatewayConfig, GatewayLimits, GatewayTimers, Realm
from pcscf.gateway.server import run_gateway
from pcscf.observe.log import set_up
from pcscf.observe.trace import GATEWAY, TraceWriter

COLLECTIONS: Final = (10_000, 5, 100)
"""Thresholds of the cyclic collector. What a call leaves behind has no cycles; what is kept (contexts, stored replies) is much,
and looking through it all would stop the media for as long.
"""


def gateway(file: ConfigFile, overrides: Overrides = None, trace: TraceFile = None, log_level: LogLevel = None) -> None:
    """Run the media gateway described by FILE until SIGTERM or SIGINT."""
    level = [f"log_level={log_level}"] if log_level else []
    read = load_gateway(file, [*(overrides or []), *level])
    set_up(read.log_level)
    config = gateway_config(read, parent=int(os.environ.get(EMBEDDED_PARENT) or 0))
    _collect_seldom()
    if trace is None:
        serve(run_gateway(config))
        return
    with closing(TraceWriter(trace, GATEWAY)) as writer:
        serve(run_gateway(config, trace=writer.tap_gateway))


def _collect_seldom() -> None:
    """Leaves the program itself out of every collection from now on, and the rest out of most."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)


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
            tls_handshake=file.timers.tls_handshake,
            graceful_stop=file.timers.graceful_stop,
            adoption_grace=file.adoption_grace,
            registration_wait=file.registration.wait,
            registration_retry=file.registration.retry,
            registration_retry_max=file.registration.retry_max,
        ),
        limits=GatewayLimits(contexts=file.limits.contexts, write_buffer=file.limits.write_buffer),
    )
