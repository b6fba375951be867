"""`pcscf gateway`: an IMS-AGW on its own, until a signal ends it. The embedded gateway is this same command as a child."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from typing import Any

import structlog
import typer
import typer.core

from pcscf.cli.gateway_status import status
from pcscf.cli.options import ConfigFile, LogLevel, Overrides, PcapFile, TraceFile
from pcscf.cli.process import keep_memory, raise_open_files
from pcscf.cli.service import serve
from pcscf.config.gateway import GatewayFile, GatewayHttp
from pcscf.config.load import load_gateway
from pcscf.config.workers import as_written, workers_of
from pcscf.errors import ConfigError
from pcscf.gateway.config import EMBEDDED_PARENT, CertificateSettings, GatewayConfig, GatewayLimits, GatewayTimers, Realm
from pcscf.gateway.server import Gateway, run_gateway
from pcscf.gateway.status import exposition, status_of
from pcscf.observe.http import HttpServer, Page, Pages, json_page, metrics_page
from pcscf.observe.log import set_up
from pcscf.observe.pcap import PcapWriter
from pcscf.observe.trace import GATEWAY, TraceWriter
from pcscf.runtime.timers import h248_timers
from pcscf.runtime.tls import iq_files
from pcscf.runtime.workers import run_workers

log = structlog.get_logger()


class FileOrCommand(typer.core.TyperGroup):
    """What is no command is the FILE of `run`, the usual one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=FileOrCommand, no_args_is_help=True)
app.command("status")(status)


@app.command("run")
def run(
    file: ConfigFile, overrides: Overrides = None, trace: TraceFile = None, pcap: PcapFile = None, log_level: LogLevel = None,
) -> None:
    """Run the media gateway described by FILE until SIGTERM or SIGINT. `pcscf gateway FILE` is the same."""
    level = [f"log_level={log_level}"] if log_level else []
    read = load_gateway(file, [*(overrides or []), *level])
    set_up(read.log_level)
    if read.workers > 1:
        shared = [each for name, path in (("--trace", trace), ("--pcap", pcap)) if path is not None
                  for each in (name, str(path.absolute()))]  # fmt: skip
        serve(run_workers([as_written(each) for each in workers_of(read)], shared))
        return
    config = gateway_config(read, parent=int(os.environ.get(EMBEDDED_PARENT) or 0))
    raise_open_files(read.limits.contexts)
    keep_memory()
    with ExitStack() as open_files:
        tracing = open_files.enter_context(closing(TraceWriter(trace, GATEWAY))).tap_gateway if trace is not None else None
        capturing = open_files.enter_context(closing(PcapWriter(pcap))) if pcap is not None else None

        serve(run_gateway(config, trace=tracing, capture=capturing, beside=lambda gateway: _served(gateway, read.http)))


@asynccontextmanager
async def _served(gateway: Gateway, http: GatewayHttp) -> AsyncIterator[None]:
    """What those who operate a gateway have of it while it runs: its status, and SIGHUP."""
    with _renewing(gateway):
        if not http.port:
            yield
            return
        with closing(await _serve_status(gateway, http)):
            yield


@contextmanager
def _renewing(gateway: Gateway) -> Iterator[None]:
    """SIGHUP asks for new certificates, or for those that the files hold now."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def renew() -> None:
        try:
            await gateway.renew_certificates()
        except ConfigError as error:
            log.warning("certificates not renewed", file=error.file, why=error.what, hint=error.hint)
        else:
            log.info("certificates renewed")

    def asked() -> None:
        task = loop.create_task(renew())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop.add_signal_handler(signal.SIGHUP, asked)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        for task in tasks:
            task.cancel()


async def _serve_status(gateway: Gateway, http: GatewayHttp) -> HttpServer:
    """Media do not wait for those who watch them: an address that is taken is a warning."""
    server = HttpServer(status_pages(gateway))
    try:
        await server.start(http.address, http.port)
    except OSError as error:
        log.warning("status is not served", address=http.address, port=http.port, why=error.strerror,
                    hint="choose another http.port, or 0 for none")
    return server


def status_pages(gateway: Gateway) -> Pages:
    """What is served of a gateway over HTTP."""

    async def as_json() -> Page:
        return json_page(status_of(gateway).plain())

    async def as_metrics() -> Page:
        return metrics_page(exposition(status_of(gateway)))

    return {"/status": as_json, "/metrics": as_metrics}


def gateway_config(file: GatewayFile, *, parent: int = 0) -> GatewayConfig:
    """What the gateway must be told, from its file. `parent`: process id of the P-CSCF that embeds it, 0 for none."""
    return GatewayConfig(
        mid=file.own_mid,
        controllers=tuple((each.host, each.port) for each in file.controllers),
        realms=tuple(
            Realm(name, each.addresses, tuple((ports.first, ports.last) for ports in each.ports))
            for name, each in file.realms.items()),
        bind=(file.iq.address, file.iq.port),
        transport=file.iq.transport,
        tls=iq_files(file.iq.tls),
        h248=h248_timers(file.iq.timers),
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
        certificates=CertificateSettings(
            files=tuple((each.certificate, each.key or each.certificate) for each in file.certificates.files),
            renew_after=file.certificates.renew_after,
            per_stream=file.certificates.per_stream,
        ),
        limits=GatewayLimits(
            contexts=file.limits.contexts,
            write_buffer=file.limits.write_buffer,
            buffered=file.limits.buffered,
            half_open=file.limits.half_open,
            handshake_rate=file.limits.handshake_rate,
        ),
    )
