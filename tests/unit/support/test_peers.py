from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "support/peers.sh"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A search path on which an unprivileged person has none of the peers."""
    person = tmp_path / "id"
    person.write_text("#!/bin/sh\necho 1000\n")
    person.chmod(0o755)
    return tmp_path


def peers(path: Path, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        ["/bin/sh", str(SCRIPT)], env={"PATH": str(path), **environment}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_left_out_on_request(bare: Path) -> None:
    status, told = peers(bare, PEERS="skip")
    assert status == 0
    assert "left out (PEERS=skip)" in told


def test_a_build_server_leaves_none_out(bare: Path) -> None:
    status, told = peers(bare, PEERS="skip", CI="1")
    assert status == 1
    assert "not for CI" in told


def test_without_privileges_the_missing_are_counted_and_named(bare: Path) -> None:
    status, told = peers(bare)
    names = told.partition("missing: ")[2].partition("\n")[0].split()
    assert status == 0
    assert f"peers: {len(names)} missing: " in told
    assert {"tshark", "openssl", "erlang-base", "sip-tester"} <= set(names)
    assert f"sudo apt-get install {' '.join(names)}" in told


def test_on_a_build_server_a_missing_peer_is_a_failure(bare: Path) -> None:
    status, told = peers(bare, CI="true")
    assert status == 1
    assert "a CI run needs all of them" in told
