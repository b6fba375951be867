"""The interoperability matrix says what the tests exchange, and what came out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.interop import HOLDS, PEERS, Matrix, read_matrix

ROOT = Path(__file__).parents[3]
PUBLISHED = ROOT / "docs/reference/interop.md"


def test_the_published_rows_are_those_of_the_tests(tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    asked = ["-q", "-m", "interop", "--collect-only", f"--interop-rows={rows}", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTEST_ADDOPTS": ""}
    subprocess.run([sys.executable, "-m", "pytest", *asked], cwd=ROOT, check=True, capture_output=True, env=environment)
    published = read_matrix(PUBLISHED)
    assert [[peer, what] for peer, what, _ in published] == json.loads(rows.read_text()), "make interop writes them anew"
    assert {verdict for *_, verdict in published} == {HOLDS}, "a published matrix is of a run with every peer, as root"


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [(["passed"], HOLDS), (["passed", "failed"], "**fails**"), (["passed", "skipped"], "not tried"), ([], "not tried")],
)
def test_a_verdict_is_what_came_out(outcomes: list[str], verdict: str, tmp_path: Path) -> None:
    matrix = Matrix({("sdp-transform", "this and that"): outcomes})
    matrix.write(tmp_path / "matrix.md")
    assert read_matrix(tmp_path / "matrix.md") == [("sdp-transform", "this and that", verdict)]


def test_peers_tell_their_versions() -> None:
    assert PEERS["sdp-transform"].version()[0].isdigit()
    assert PEERS["aiosipua"].version()[0].isdigit()
