"""The interoperability matrix: which program was spoken with, about what, and how that ended in this very run.

A test says what it exchanges with whom: `@pytest.mark.interop("openssl", "TLS {version}, right certificate")`. Names in braces
are its parameters; tests with the same words share a row. `--interop-matrix=FILE` writes the rows that ran, with their
verdicts; `--collect-only --interop-rows=FILE` writes them without one.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.peers import find_program

HOLDS = "holds"

HEAD = """\
# What it was tried with

Every row is an exchange of this version with a program that nobody here wrote, on one machine, over loopback. `make interop`
runs the tests behind the rows and writes this file: the versions are what the programs said, the verdicts are what came out.
`make test` runs the same tests, and checks that the rows are the ones that stand here.

| Peer | Version | What was exchanged | Verdict |
|---|---|---|---|
"""


class Peer(NamedTuple):
    """A program: its name for readers, and how it tells its version."""

    name: str
    version: Callable[[], str]


def _asked(pattern: str, *command: str) -> Callable[[], str]:
    def ask() -> str:
        try:
            program = find_program(command[0]) or command[0]
            done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return "not installed"
        found = re.search(pattern, done.stdout + done.stderr)
        return found.group(1) if found else "unknown"

    return ask


def _package(name: str) -> Callable[[], str]:
    def ask() -> str:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return "not installed"

    return ask


_MEGACO = 'ok = application:load(megaco), {ok, V} = application:get_key(megaco, vsn), io:format("vsn ~s~n", [V]), halt().'

PEERS = {
    "kamailio": Peer("Kamailio", _asked(r"kamailio (\d\S*)", "kamailio", "-v")),
    "sipp": Peer("SIPp", _asked(r"SIPp v([0-9.]*[0-9])", "sipp", "-v")),
    "sipp+kamailio": Peer("SIPp with Kamailio", lambda: f"{PEERS['sipp'].version()}, {PEERS['kamailio'].version()}"),
    "aiosipua": Peer("aiosipua", _package("aiosipua")),
    "megaco": Peer("Erlang/OTP megaco", _asked(r"vsn (\S+)", "erl", "-noshell", "-eval", _MEGACO)),
    "openssl": Peer("OpenSSL", _asked(r"OpenSSL (\S+)", "openssl", "version")),
    "libre": Peer("libre", _asked(r"(\d[\d.]*\d)", "dpkg-query", "-W", "-f=${Version}", "libre0")),
    "spandsp": Peer("spandsp", _asked(r"(\d[\d.]*\d)", "dpkg-query", "-W", "-f=${Version}", "libspandsp2")),
    "tshark": Peer("tshark", _asked(r"TShark[^0-9]*([0-9.]*[0-9])", "tshark", "-v")),
    "sdp-transform": Peer("sdp-transform", _package("sdp-transform")),
}

Row = tuple[str, str]   # key of PEERS, what was exchanged

WORDS = {"-tls1": "TLS 1.0", "-tls1_1": "TLS 1.1", "-tls1_2": "TLS 1.2", "-tls1_3": "TLS 1.3"}
"""How parameters read that programs spell for themselves."""


@dataclass
class Matrix:
    """What was collected, and what came of it. Outcomes are those of pytest, several for a row that several tests share."""

    outcomes: dict[Row, list[str]] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """Peers in the order of PEERS, their rows in the order of the tests."""
        order = list(PEERS)
        return sorted(self.outcomes, key=lambda row: order.index(row[0]))

    def verdict(self, row: Row) -> str:
        outcomes = self.outcomes[row]
        if "failed" in outcomes:
            return "**fails**"
        if "skipped" in outcomes or not outcomes:
            return "not tried"
        return HOLDS

    def write(self, path: Path) -> None:
        versions = {key: PEERS[key].version() for key in dict.fromkeys(key for key, _ in self.rows())}
        lines = [f"| {PEERS[key].name} | {versions[key]} | {what} | {self.verdict((key, what))} |\n" for key, what in self.rows()]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEAD + "".join(lines))


MATRIX = pytest.StashKey[Matrix]()


def read_matrix(path: Path) -> list[tuple[str, str, str]]:
    """Peer, what was exchanged and verdict of each row of a written file."""
    _, *rows = [line[2:-2].split(" | ") for line in path.read_text().splitlines() if line.startswith("| ")]
    return [(peer, what, verdict) for peer, _, what, verdict in rows]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("interop")
    group.addoption("--interop-matrix", type=Path, metavar="FILE", help="write the interoperability matrix of this run")
    group.addoption("--interop-rows", type=Path, metavar="FILE", help="write peer and subject of each row, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "interop(peer, what): an exchange with an independent program, a row of the matrix")
    config.stash[MATRIX] = Matrix()


def pytest_collection_modifyitems(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    matrix = config.stash[MATRIX]
    for item in items:
        for row in _rows_of(item):
            matrix.outcomes.setdefault(row, [])
            item.user_properties.append(("interop", row))


def _rows_of(item: pytest.Item) -> Iterable[Row]:
    callspec = getattr(item, "callspec", None)
    parameters = {name: WORDS.get(str(value), value) for name, value in callspec.params.items()} if callspec is not None else {}
    for mark in item.iter_markers("interop"):
        peer, what = mark.args
        if peer not in PEERS:
            raise pytest.UsageError(f"{item.nodeid}: {peer!r} is no peer of tests/support/interop.py")
        yield peer, what.format(**parameters)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterable[None]:
    report = yield
    told = report.outcome != "passed" or report.when == "call"
    for name, row in item.user_properties if told else ():
        if name == "interop":
            item.config.stash[MATRIX].outcomes[row].append(report.outcome)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    rows, path = config.getoption("interop_rows"), config.getoption("interop_matrix")
    if rows is not None:
        rows.write_text(json.dumps([[PEERS[key].name, what] for key, what in config.stash[MATRIX].rows()]))
    if path is not None:
        config.stash[MATRIX].write(path)
