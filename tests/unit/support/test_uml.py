from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import uml
from tests.support.peers import require_peer


@pytest.fixture(autouse=True)
def _kernel() -> None:
    require_peer("linux.uml", "modprobe")
    if uml.find_kernel() is None:   # where this kernel has SCTP nobody needs it
        pytest.skip("no User Mode Linux")


def test_output_and_status_come_back(tmp_path: Path) -> None:
    command = ["sh", "-c", "pwd; cat /proc/net/dev | grep -c :; touch /run/written && exit 3"]
    ended = uml.run(command, tmp_path / "run", directory=tmp_path, patience=60)
    assert ended == (3, f"{tmp_path}\n1\n"), "with the loopback device alone"
    assert not Path("/run/written").exists()


def test_a_kernel_that_does_not_end_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(uml.UmlError, match="not at its end after 8 s: here"):
        uml.run(["sh", "-c", "echo here; sleep 100"], tmp_path / "run", directory=tmp_path, patience=8)
    named = f"uml_dir={tmp_path}".encode()
    left = [each for each in Path("/proc").glob("[0-9]*/cmdline") if named in _read(each)]
    assert left == [], "its processes are gone"


def test_a_kernel_that_does_not_come_up_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(uml.UmlError, match="the command did not begin"):
        uml.run(["true"], tmp_path / "run", directory=tmp_path / "nowhere", patience=60)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
