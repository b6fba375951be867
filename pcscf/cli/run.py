"""`pcscf run`: the P-CSCF with its embedded gateway, until a signal ends it."""

from __future__ import annotations

from pcscf.cli.options import ConfigFile, LogLevel, Overrides, PcapFile, TraceFile
from pcscf.cli.report import show_warnings
from pcscf.cli.service import serve
from pcscf.config.load import check_config, load_config
from pcscf.observe.log import set_up


def run(
    file: ConfigFile, overrides: Overrides = None, trace: TraceFile = None, pcap: PcapFile = None, log_level: LogLevel = None,
) -> None:
    """Run the P-CSCF described by FILE until SIGTERM or SIGINT. SIGHUP: policies and certificates are read again."""
    level = [f"log.level={log_level}"] if log_level else []
    given = [*(overrides or []), *level]
    config, warnings = check_config(file, given)
    show_warnings(warnings)
    set_up(config.log.level, config.log.format)
    from pcscf.runtime.app import run as run_pcscf
    from pcscf.runtime.taps import TapFiles

    serve(run_pcscf(config, lambda: load_config(file, given), TapFiles(trace=trace or config.trace.file, pcap=pcap)))
