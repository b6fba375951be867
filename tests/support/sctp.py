"""Tests that need SCTP in the kernel: `@pytest.mark.sctp`.

Where this machine's kernel has none, those that were chosen run together under User Mode Linux, in one boot, by a pytest of their
own, and each is here what became of it there. `--reports=FILE` is how that one tells: a line of JSON for each report.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pcscf.config.iq import kernel_has_sctp
from tests.support import uml
from tests.support.peers import require_peer

BOOT = 60.0
EACH = 30.0
"""Seconds for the kernel to come up and for a test to end there, at most."""

Reports = dict[str, list[pytest.TestReport]]
_REPORTS = pytest.StashKey[Reports]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("sctp").addoption("--reports", type=Path, metavar="FILE", help="write every report there, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sctp: needs SCTP in the kernel; User Mode Linux lends it where this one has none")
    if config.getoption("reports") is not None:
        config.pluginmanager.register(_Writer(config))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not kernel_has_sctp():
        items[:] = [Elsewhere.of(item) if item.get_closest_marker("sctp") is not None else item for item in items]


class _Writer:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._file: Path = config.getoption("reports")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with self._file.open("a") as file:
            file.write(json.dumps(told) + "\n")


class FailedElsewhere(Exception):
    """`told`: as pytest told it there."""

    def __init__(self, told: Any) -> None:
        super().__init__(told)
        self.told = told


class Elsewhere(pytest.Item):
    """Stands for a test that runs under another kernel, none of whose fixtures is made here."""

    def __init__(self, *, test: pytest.Item, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._test = test
        self.own_markers = test.own_markers
        self.user_properties = test.user_properties
        self.add_marker(pytest.mark.timeout(0))   # the first one waits for all

    @classmethod
    def of(cls, test: pytest.Item) -> Elsewhere:
        made: Elsewhere = cls.from_parent(test.parent, name=test.name, test=test)
        return made

    def reportinfo(self) -> Any:
        return self._test.reportinfo()

    def setup(self) -> None:
        require_peer("linux.uml", "modprobe")

    def runtest(self) -> None:
        stash = self.session.stash
        if _REPORTS not in stash:
            stash[_REPORTS] = _run_all(self.config, [each for each in self.session.items if isinstance(each, Elsewhere)])
        reports = stash[_REPORTS].get(self.nodeid)
        if not reports:
            raise FailedElsewhere("it did not run under User Mode Linux")
        for report in reports:
            if report.failed:
                raise FailedElsewhere(report.longrepr)
            if report.skipped:
                *_, reason = report.longrepr   # file, line and reason
                pytest.skip(str(reason).removeprefix("Skipped: "))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return excinfo.value.told if isinstance(excinfo.value, FailedElsewhere) else super().repr_failure(excinfo, style)


def _run_all(config: pytest.Config, items: Sequence[pytest.Item]) -> Reports:
    """What became of each. What goes wrong with the other kernel is a failure of all of them."""
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
        failed = pytest.TestReport(item.nodeid, item.location, {item.name: 1}, "failed", f"User Mode Linux: {why}", "call")
        found.setdefault(item.nodeid, []).append(failed)
    return found
