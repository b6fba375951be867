from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcscf.config.tree import Place, Scalar, overlay, place_of, plain, read_tree
from pcscf.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("true", True),
        ("True", "True"),
        ("null", None),
        ("~", None),
        ("", None),
        ('""', ""),
        ("'5'", "5"),
        ("5", 5),
        ("-5", -5),
        ("0", 0),
        ("1_000", "1_000"),
        ("10:30", "10:30"),
        ("5.5", 5.5),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        ("2026-01-01", "2026-01-01"),
        ("12000-21999", "12000-21999"),
        ("0x10", "0x10"),
        ("9" * 30, float("9" * 30)),
    ],
)
def test_plain_words(text: str, value: Scalar) -> None:
    read = plain(read_tree(f"a: {text}\n".encode(), "f"))["a"]
    assert read == value
    assert type(read) is type(value)


def test_every_value_knows_its_line() -> None:
    tree = read_tree(b"a:\n  b:\n    - 1\n    - c: 2\n      d: 3\n", "f")
    assert place_of(tree, ("a",)) == Place("f", 1)
    assert place_of(tree, ("a", "b", 1, "d")) == Place("f", 5)
    assert place_of(tree, ("a", "b", 1, "x")) == Place("f", 4)
    assert place_of(tree, ("a", "tag", "b")) == Place("f", 2)


def test_an_overlay_leaves_the_tree_and_shared_parts_alone() -> None:
    tree = read_tree(b"a: &one {x: 1}\nb: *one\n", "f")
    changed = overlay(tree, "b.x=2")
    assert plain(tree) == {"a": {"x": 1}, "b": {"x": 1}}
    assert plain(changed) == {"a": {"x": 1}, "b": {"x": 2}}
    assert place_of(changed, ("b", "x")) == Place("--set b.x=2", 0)
    assert place_of(changed, ("b",)) == Place("f", 2)


def test_an_overlay_makes_what_is_not_there() -> None:
    tree = overlay(overlay(read_tree(b"a: {}\n", "f"), "b.c.0.d=x"), "b.c.1.d=y")
    assert plain(tree) == {"a": {}, "b": {"c": [{"d": "x"}, {"d": "y"}]}}


@given(st.binary(max_size=300) | st.text(alphabet="ab:-?&*!{}[]'\"|>#\n \t0.<", max_size=80).map(str.encode))
def test_any_octets_give_a_tree_or_a_config_error(data: bytes) -> None:
    try:
        value = plain(read_tree(data, "f"))
    except ConfigError as error:
        assert error.file == "f"
        assert error.what
    else:
        assert isinstance(value, dict)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_override_gives_a_tree_or_a_config_error(path: str, value: str) -> None:
    tree = read_tree(b"a: {b: [1, 2]}\n", "f")
    try:
        changed = overlay(tree, f"{path}={value}")
    except ConfigError as error:
        assert error.file.startswith("--set ")
        assert error.line == 0
    else:
        assert isinstance(plain(changed), dict)
