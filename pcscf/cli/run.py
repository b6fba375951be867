"""`pcscf run`: the P-CSCF with its embedded gateway, until a signal ends it."""

from __future__ import annotations

from pcscf.cli.options import ConfigFile, LogLevel, Overrides, PcapFile, TraceFile
from pcscf.cli.report import show_warnings
from pcscf.cli.service import serve
from pcscf.config.load import check_config
from pcscf.observe.log import set_up


def run(
    file: ConfigFile, overrides: Overrides = None, trace: TraceFile = None, pcap: PcapFile = None, log_level: LogLevel = None,
) -> None:
    """Run the P-CSCF described by FILE until SIGTERM or SIGINT."""
    level = [f"log.level={log_level}"] if log_level else []
    config, warnings = check_config(file, [*(overrides or []), *level])
    show_warnings(warnings)
    set_up(config.log.level, config.log.format)
    from pcscf.runtime.app import run as run_pcscf
    from pcscf.runtime.taps import TapFiles

    serve(run_pcscf(config, TapFiles(trace=trace or config.trace.file, pcap=pcap)))
