from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import structlog

from pcscf.cli import main as command_line
from pcscf.cli.main import COMMANDS, main
from pcscf.config.load import POLICIES
from pcscf.config.model import Config
from pcscf.errors import ConfigError, GatewayUnavailable
from pcscf.runtime.taps import TapFiles

LAB = str(POLICIES / "lab.yaml")


def status(*arguments: str) -> int:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    return int(raised.value.code or 0)


@pytest.fixture(autouse=True)
def _logging() -> Any:
    yield
    structlog.reset_defaults()


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, TapFiles]]:
    """Stands for the runtime: remembers what it was asked to run."""
    asked: list[tuple[Config, TapFiles]] = []

    async def run(config: Config, reread: Callable[[], Config], files: TapFiles) -> None:
        assert reread() == config
        asked.append((config, files))

    module = ModuleType("pcscf.runtime.app")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pcscf.runtime.app", module)
    return asked


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("--help") == 0
    told = capsys.readouterr().out
    assert all(name in told for name in COMMANDS)


def test_help_imports_no_command() -> None:
    program = (
        "import sys\nfrom pcscf.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([each for each in sys.modules if each.startswith(('pcscf.config', 'pcscf.runtime', 'pcscf.gateway'))])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.endswith("[]\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("version") == 0
    assert capsys.readouterr().out.startswith("pcscf ")


def test_an_unknown_command_is_a_mistake() -> None:
    assert status("nonsense") == 2


def test_check_tells_what_the_file_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("check", LAB) == 0
    told = capsys.readouterr()
    assert "OK: pcscf.ims.example" in told.out
    assert "127.0.0.1:5061" in told.out
    assert "next hop 127.0.0.1:5080" in told.out
    assert "a lab certificate is for trials" in told.err


def test_check_tells_every_error_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("check", LAB, "--set", "listeners.gm-udp.prot=1", "--set", "timers.invite=3") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "--set listeners.gm-udp.prot=1: listeners.gm-udp.prot: unknown key" in told.err
    assert "    did you mean `port`?\n" in told.err
    assert "timers.invite: must be more than 180" in told.err
    assert "Traceback" not in told.err


def test_check_names_policies(capsys: pytest.CaptureFixture[str]) -> None:
    assert status("check", LAB, "--set", "policies=[{match: {access: [tcp, tls]}}, {}]") == 0
    told = capsys.readouterr().out
    assert "policy 0: access tcp, tls\npolicy 1: everything\n" in told


def test_run_hands_the_configuration_on(runtime: list[tuple[Config, TapFiles]], tmp_path: Path) -> None:
    trace, pcap = tmp_path / "trace.log", tmp_path / "all.pcap"
    options = ["--set", "timers.iq_reply=2", "--trace", str(trace), "--pcap", str(pcap), "--log-level", "warning"]
    assert status("run", LAB, *options) == 0
    [(config, files)] = runtime
    assert (config.timers.iq_reply, config.log.level) == (2, "warning")
    assert files == TapFiles(trace, pcap)
    assert files.arguments == ["--trace", str(trace), "--pcap", str(pcap)]


def test_run_traces_where_the_file_says(runtime: list[tuple[Config, TapFiles]]) -> None:
    assert status("run", LAB, "--set", "trace.file=here.log") == 0
    assert [files for _, files in runtime] == [TapFiles(POLICIES / "here.log")]


def test_run_refuses_a_wrong_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert status("run", str(tmp_path / "nowhere.yaml")) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (
            ConfigError("is wrong", file="site.yaml", line=3, hint="write it right"),
            2,
            "site.yaml:3: is wrong\n    write",
        ),
        (GatewayUnavailable("no gateway"), 1, "no gateway"),
        (OSError(errno.EADDRINUSE, "Address already in use"), 2, "address already in use"),
        (PermissionError(errno.EACCES, "Permission denied", "/trace"), 2, "/trace: permission denied"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_sentences(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, told: str
) -> None:
    def fail(_wanted: str | None) -> Any:
        raise error

    monkeypatch.setattr(command_line, "application", fail)
    assert status("run") == code
    assert told in capsys.readouterr().err


def test_an_error_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_wanted: str | None) -> Any:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(command_line, "application", fail)
    with pytest.raises(OSError, match="Bad file"):
        main(["run"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_cleanly(number: signal.Signals) -> None:
    program = (
        "import asyncio\nfrom pcscf.cli.service import serve\n"
        "async def work():\n"
        "    try:\n        print('up', flush=True)\n        await asyncio.sleep(60)\n"
        "    finally:\n        await asyncio.sleep(0.01)\n        print('down', flush=True)\n"
        "serve(work())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    os.kill(process.pid, number)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "down\n", "")
