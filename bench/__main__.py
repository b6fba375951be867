"""`python -m bench [PART …]`: what the P-CSCF and its gateway cost, beside others, as Markdown or JSON."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.datagrams import datagrams
from bench.inmemory import inmemory
from bench.limit import limit
from bench.machine import describe
from bench.pcscf import ROOT, Pins
from bench.process import Failure, allow_open_files
from bench.profile import profile
from bench.relay import relay
from bench.report import Report, Table, as_json, as_markdown, placed
from bench.run import Run
from bench.sip_load import calls, registers
from bench.steady import steady
from bench.ues import memory, ues

PARTS: Mapping[str, Callable[[Run], list[Table]]] = {
    "inmemory": inmemory,
    "calls": calls,
    "registers": registers,
    "gateway": relay,
    "datagrams": datagrams,
    "ues": ues,
    "memory": memory,
    "steady": steady,
    "limit": limit,
    "profile": profile,
}
ON_REQUEST = frozenset({"profile"})


def measure(run: Run, parts: list[str]) -> Report:
    """The parts one after the other. One that cannot be made stands in the report, with the reason; so does an early end."""
    tables: list[Table] = []
    for part in parts:
        started = time.monotonic()
        try:
            tables += PARTS[part](run)
        except (Failure, OSError) as failure:
            tables.append(Table(part, (), (), [f"**not measured**: {str(failure) or type(failure).__name__}"]))
        except (KeyboardInterrupt, SystemExit):
            tables.append(Table(part, (), (), ["**not measured**: the run was ended here, later parts are left out"]))
            break
        print(f"bench: {part}, {time.monotonic() - started:.0f} s", file=sys.stderr)
    return Report(describe(run), tables)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all but profile)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the report into this page, between its marks")
    parser.add_argument("--quick", action="store_true", help="shorter and fewer loads: figures are rougher")
    parser.add_argument("--checkout", type=Path, default=ROOT, metavar="DIR", help="measure the P-CSCF of another checkout")
    parser.add_argument("--rates", type=_numbers, metavar="N,…", help="calls per second")
    parser.add_argument("--seconds", type=float, help="length of one load")
    parser.add_argument("--repeats", type=int, help="loads per figure, of which the median is shown")
    parser.add_argument("--pins", type=_numbers, default=(0, 1, 1), metavar="N,N,N", help="CPU of program, load, gateway")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override the P-CSCF's configuration")
    parser.add_argument("--folder", type=Path, help="keep logs and samples here")
    given = parser.parse_args()
    allow_open_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended"))   # so that what was started is ended too
    unknown = [part for part in given.parts if part not in PARTS]
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="bench") as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(
            folder=folder.resolve(), pins=Pins(*given.pins), checkout=given.checkout.resolve(), is_quick=given.quick,
            rates=given.rates or (100, 300, 700, 1000), seconds=given.seconds or (3.0 if given.quick else 5.0),
            repeats=given.repeats or (1 if given.quick else 3), settings=tuple(given.set),
        )
        report = measure(run, given.parts or [part for part in PARTS if part not in ON_REQUEST])
    print(as_markdown(report))
    if given.json:
        given.json.write_text(as_json(report))
    if given.write:
        page = given.write.read_text() if given.write.exists() else "# Bench\n"
        given.write.write_text(placed(page, as_markdown(report)))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


if __name__ == "__main__":
    main()
