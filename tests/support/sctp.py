"""Tests that need SCTP in the kernel: `@pytest.mark.sctp`.

Where this machine's kernel has none, those that were chosen run together under User Mode Linux, in one boot, by a pytest of their
own; what it reports is told here, test by test, as if they had run here. `--reports=FILE` is how it reports: a line of JSON each.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pcscf.config.iq import kernel_has_sctp
from tests.support import uml
from tests.support.interop import MATRIX
from tests.support.peers import is_left_out, require_peer

BOOT = 60.0
EACH = 30.0
"""Seconds for the kernel to come up and for a test to pass there, at most."""

Reports = dict[str, list[pytest.TestReport]]
_REPORTS = pytest.StashKey[Reports]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("sctp").addoption("--reports", type=Path, metavar="FILE", help="write every report there, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sctp: needs SCTP in the kernel; User Mode Linux lends it where this one has none")
    if config.getoption("reports") is not None:
        config.pluginmanager.register(_Writer(config))


class _Writer:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._file: Path = config.getoption("reports")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with self._file.open("a") as file:
            file.write(json.dumps(told) + "\n")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Whatever runs here needs what it is about here."""
    if _is_elsewhere(item):
        require_peer("linux.uml", "modprobe")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    if not _is_elsewhere(item) or is_left_out("linux.uml", "modprobe"):
        return None
    hook, stash = item.ihook, item.session.stash
    if _REPORTS not in stash:
        chosen = [each for each in item.session.items if _is_elsewhere(each)]
        stash[_REPORTS] = _run_elsewhere(item.config, chosen)
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in stash[_REPORTS].get(item.nodeid) or [_failed(item, "it did not run under User Mode Linux")]:
        for row in _rows(item) if report.outcome != "passed" or report.when == "call" else ():
            item.config.stash[MATRIX].outcomes[row].append(report.outcome)
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _is_elsewhere(item: pytest.Item) -> bool:
    return item.get_closest_marker("sctp") is not None and not kernel_has_sctp()


def _rows(item: pytest.Item) -> Iterator[Any]:
    return (row for name, row in item.user_properties if name == "interop")


def _run_elsewhere(config: pytest.Config, items: list[pytest.Item]) -> Reports:
    """Each item's reports. What goes wrong with the other kernel is a failure of all of them."""
    with tempfile.TemporaryDirectory(prefix="uml-") as made:
        folder = Path(made)
        told = folder / "reports"
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp=/run/pytest",
            f"--rootdir={config.rootpath}", f"--reports={told}", *(item.nodeid for item in items),
        ]
        why = ""
        try:
            patience = BOOT + EACH * len(items)
            ended = uml.run(command, folder / "kernel", directory=config.rootpath, patience=patience)
            if ended.status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
                why = ended.output
        except uml.UmlError as error:
            why = str(error)
        found: Reports = {}
        for line in told.read_text().splitlines() if told.exists() else ():
            report = config.hook.pytest_report_from_serializable(config=config, data=json.loads(line))
            found.setdefault(report.nodeid, []).append(report)
    for item in items if why else ():
        found.setdefault(item.nodeid, []).append(_failed(item, f"User Mode Linux: {why}"))
    return found


def _failed(item: pytest.Item, why: str) -> pytest.TestReport:
    return pytest.TestReport(item.nodeid, item.location, {item.name: 1}, "failed", why, "call")
