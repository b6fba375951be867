"""The page about the profile of Iq says what the table of names has, all of it and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pcscf.h248 import packages
from pcscf.h248.profile import NEEDS, Standing, written

PAGE = Path(__file__).parents[3] / "docs/topics/iq-profile.md"


def test_the_page_has_the_tables_of_today() -> None:
    text = PAGE.read_text()
    assert written(text) == text, "python -m pcscf.h248.profile docs/topics/iq-profile.md"


def test_every_name_meets_a_need() -> None:
    named = {name.partition(" ")[0] for need in NEEDS for name in need.names}
    assert {name for name in named if "/" in name} == set(packages.ITEMS)
    assert {packages.package_of(f"{name.partition('/')[0]}/x") for name in named} == {each.name for each in packages.PACKAGES}
    assert all(packages.canonical(name) == name for name in named if "/" in name)


def test_a_need_without_a_package_is_plain_or_ours() -> None:
    assert all(need.names or need.standing in {Standing.PLAIN, Standing.OURS} for need in NEEDS)
    assert all(not need.names for need in NEEDS if need.standing is Standing.PLAIN)


def test_it_writes_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("\n".join(f"<!-- {name} -->\n<!-- /{name} -->" for name in ("needs", "missing", "packages")) + "\n")
    subprocess.run([sys.executable, "-m", "pcscf.h248.profile", page], check=True)
    assert written(page.read_text()) == page.read_text()
    assert f"`{packages.REALM}` | confirmed" in page.read_text()


def test_a_page_without_its_marks_is_told() -> None:
    with pytest.raises(ValueError, match="substring"):
        written("no marks")
