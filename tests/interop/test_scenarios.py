"""The scenarios against SIPp, which nobody here wrote: all hold over UDP and TCP, and a scenario can fail, too."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pcscf.cli.scenario.library import Entry, load_scenarios
from tests.support.peers import require_peer

PATIENCE = 100.0   # seconds for a scenario: reached only when it hangs
ENTRIES = load_scenarios()


AT_ONCE = 4
"""Scenarios that run beside each other: most of their time is waiting."""


@dataclass(frozen=True)
class Ran:
    """`folder`: with junit.xml, and below `keep` what the scenario left."""

    folder: Path
    process: subprocess.CompletedProcess[str]

    @property
    def text(self) -> str:
        return self.process.stdout + self.process.stderr


def run(folder: Path, *arguments: str) -> Ran:
    words = [*arguments, "--junit", str(folder / "junit.xml"), "--keep", str(folder / "keep")]
    return Ran(folder, subprocess.run(
        [sys.executable, "-m", "pcscf", "scenario", "run", *words], capture_output=True, text=True, timeout=PATIENCE,
        stdin=subprocess.DEVNULL, check=False))


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ran]]]:
    """What every selected test of this module waits for, by its name."""
    require_peer("sipp")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started: dict[str, Future[Ran]] = {}
        for item in request.session.items:
            if isinstance(item, pytest.Function) and item.module is request.module and hasattr(item, "callspec"):
                prepare = as_it_is if "transport" in item.callspec.params else otherwise
                arguments = {key: value for key, value in item.callspec.params.items() if key != "falls"}
                started[item.name] = pool.submit(prepare, tmp_path_factory.mktemp("scenario"), **arguments)
        yield started
        for each in started.values():
            each.cancel()


def as_it_is(folder: Path, name: str, transport: str) -> Ran:
    return run(folder, name, "--transport", transport, "--calls", "30", "--rate", "10")


def otherwise(folder: Path, name: str, file: str, old: str, new: str) -> Ran:
    (entry,) = load_scenarios([name])
    return run(folder, name, "--scenarios", str(changed(entry, folder, file, old, new)))


def changed(entry: Entry, folder: Path, file: str, old: str, new: str) -> Path:
    """A copy of a scenario with one thing in it changed; the folder that it stands in."""
    copy = folder / "scenarios" / entry.folder.name
    shutil.copytree(entry.folder, copy)
    text = (copy / file).read_text()
    assert old in text
    (copy / file).write_text(text.replace(old, new))
    return copy.parent


def failures(junit: Path) -> list[str]:
    return [case.get("name", "") for case in ElementTree.parse(junit).iter("testcase") if case.find("failure") is not None]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("name", [entry.name for entry in ENTRIES])
def test_it_holds(name: str, transport: str, runs: dict[str, Future[Ran]], request: pytest.FixtureRequest) -> None:
    ran = runs[request.node.name].result()
    assert ran.process.returncode == 0, ran.text
    (suite,) = ElementTree.parse(ran.folder / "junit.xml").getroot()
    assert (suite.get("name"), suite.get("failures"), suite.get("errors")) == (f"{name}.{transport}", "0", "0")
    (entry,) = load_scenarios([name])
    assert (ran.folder / "keep" / f"{entry.folder.name}-{transport}" / "pcscf.jsonl").stat().st_size > 0


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "falls"),
    [
        # The P-CSCF behaves otherwise: without its policy the downgrade passes, and SIPp as UE, as core and the claims tell.
        ("downgrade-refused", "scenario.yaml", "downgrade=refuse", "downgrade=count", "The UE is told 488"),
        # A UE that asks for nothing gets nothing: the claim about protection falls.
        ("msrp-originating", "uac.xml", "Security-Client: msrp-tls;mediasec", "X-Nothing: 0", "SIPp as ue"),
        # The core sees another thing than is claimed.
        ("caller-bye", "scenario.yaml", "receives: BYE, times: 1", "receives: BYE, times: 2", "BYE came to the core"),
        # A registrar that answers nonsense.
        ("register-mediasec", "uas.xml", "401 Unauthorized", "403 Forbidden", "The 401 announces msrp-tls"),
        # A core that says more than it should be told is noticed by SIPp itself.
        ("cancel", "uas.xml", 'request="CANCEL"', 'request="BYE"', "SIPp as core"),
        # A UE that does not ask keeps its DTLS to itself.
        ("fax-originating", "uac.xml", "a=3ge2ae:requested", "a=label:1", "The core is offered plain udptl"),
        # One that answers in the clear gives up protection, and the call is refused.
        ("fax-terminating", "uas.xml", "6100 UDP/TLS/UDPTL", "6100 udptl", "The core is answered with plain udptl"),
        # A far end that does not listen either.
        ("hold", "uas.xml", "a=recvonly", "a=inactive", "The UE is answered that it is the only one who sends"),
        # One that wants no floor control.
        ("add-a-medium", "uas.xml", "m=application 40300", "m=application 0", "The UE is answered with TLS on both lines"),
        # The same far end rings and takes the call.
        ("fork-early-answer", "uas.xml", "tag=desk", "tag=pocket", "The early answer of the first far end"),
        # The second answer is the first one again: nobody comes too late.
        ("fork-two-answers", "uas.xml", "tag=pocket[call_number]", "tag=desk[call_number]", "The one that came too late"),
        # A UE that declines the line in its 200.
        ("voice-to-fax", "uac.xml", "m=image 6100", "m=image 0", "The core is answered with plain udptl"),
        # One that refuses otherwise.
        ("fax-refused", "uac.xml", "488 Not Acceptable Here", "500 No", "The core was told that it was refused"),
    ],
)
def test_it_can_fail(
    name: str, file: str, old: str, new: str, falls: str, runs: dict[str, Future[Ran]], request: pytest.FixtureRequest
) -> None:
    ran = runs[request.node.name].result()
    assert ran.process.returncode == 1, ran.text
    assert any(each.startswith(falls) for each in failures(ran.folder / "junit.xml")), ran.text


async def test_a_signal_ends_everything_that_was_started(tmp_path: Path) -> None:
    """Processes are known by the folder in their command line, which is this test's alone."""
    require_peer("sipp")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pcscf", "scenario", "run", "no-answer", "--keep", str(tmp_path / "keep")),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + PATIENCE
        while len(children(tmp_path)) < 4:   # two SIPp, P-CSCF, gateway
            assert process.returncode is None
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 130
        assert children(tmp_path) == []
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        for pid in children(tmp_path):
            os.kill(pid, signal.SIGKILL)


def children(folder: Path) -> list[int]:
    """Processes, but the one that runs the scenario, whose command line names `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"scenario" not in words and any(str(folder).encode() in word for word in words):
                found.append(int(entry.name))
    return found
