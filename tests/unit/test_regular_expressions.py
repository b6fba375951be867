"""Every regular expression of the package must mean the same to all Pythons that it may run on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pcscf

FILES = sorted(Path(pcscf.__file__).parent.rglob("*.py"))
POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[0-9,{}]*\})\+")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FILES[0].parent)))
def test_no_group_is_repeated_possessively(file: Path) -> None:
    """CPython before 3.11.5 loses its place in one whose body matches in part; Debian 12 has 3.11.2. Write (?>(?:…)*) instead."""
    lines = file.read_text().splitlines()
    assert [line for line in lines if POSSESSIVE_GROUP.search(line)] == []
