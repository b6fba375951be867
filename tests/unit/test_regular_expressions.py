"""Every regular expression of the package must mean the same to all Pythons that it may run on."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser

import pytest

import pcscf

FILES = sorted(Path(pcscf.__file__).parent.rglob("*.py"))
MODULES = sorted(each.name for each in pkgutil.walk_packages(pcscf.__path__, "pcscf.") if not each.name.endswith("__main__"))
POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[0-9,{}]*\})\+")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FILES[0].parent)))
def test_no_group_is_repeated_possessively(file: Path) -> None:
    """CPython before 3.11.5 loses its place in one whose body matches in part; Debian 12 has 3.11.2. Write (?>(?:…)*) instead."""
    lines = file.read_text().splitlines()
    assert [line for line in lines if POSSESSIVE_GROUP.search(line)] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_group_captures_within_an_atomic_one(module: str) -> None:
    """PyPy 7.3 forgets what it has captured. Write (?:…) where each text can be read in one way only."""
    patterns = [value for value in vars(importlib.import_module(module)).values() if isinstance(value, re.Pattern)]
    assert [each.pattern for each in patterns if _captures(parser.parse(each.pattern, each.flags & ~re.UNICODE))] == []


def _captures(node: object, *, atomic: bool = False) -> bool:
    """Whether there is a group that captures within an atomic one, in what `re` makes of a pattern: pairs and lists, nested."""
    if isinstance(node, (parser.SubPattern, list)):
        return any(_captures(each, atomic=atomic) for each in node)
    if not isinstance(node, tuple):
        return False
    if node and node[0] in (constants.ATOMIC_GROUP, constants.POSSESSIVE_REPEAT):
        return _captures(node[1], atomic=True)
    if atomic and node and node[0] is constants.SUBPATTERN and node[1][0] is not None:
        return True
    return any(_captures(each, atomic=atomic) for each in node)


def test_what_is_looked_for_would_be_found() -> None:
    assert _captures(parser.parse(r"a(?>(?:b(?:c|(d)))?)"))
    assert _captures(parser.parse(r"(?:(?>x(?P<name>a)*))"))
    assert not _captures(parser.parse(r"((?>ab*)|(c))*(?>(?:d)?)"))
