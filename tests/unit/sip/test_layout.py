"""Layouts: found once, shared, and the same whichever way one came to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcscf.errors import MalformedMessage
from pcscf.sip import layout
from pcscf.sip.layout import Layout, layout_of

KEYS = st.lists(st.sampled_from(["via", "route", "from", "to", "x-a"]), max_size=8)


def test_messages_of_one_kind_share_their_layout() -> None:
    assert layout_of(("Via", "f", "T ")) is layout_of(("Via", "f", "T "))
    assert layout_of(("Via", "f", "T ")).keys == ("via", "from", "to")


def test_a_field_that_may_stand_once_is_told() -> None:
    assert layout_of(("Via", "Via", "To")).repeated == ""
    assert layout_of(("t", "Via", "To")).repeated == "to"


def test_what_is_not_a_name_has_no_layout() -> None:
    with pytest.raises(MalformedMessage):
        layout_of(("Via", "no name"))


def test_what_the_network_can_make_us_keep_is_bounded() -> None:
    for number in range(layout._MAX_KNOWN_LAYOUTS + 10):
        layout_of((f"X-Flood-{number}",))
    assert len(layout._known) <= layout._MAX_KNOWN_LAYOUTS
    long = ("Via",) * (layout._MAX_KNOWN_LINES + 1)
    assert layout_of(long) is not layout_of(long)
    one = layout_of(("Via",))
    for count in range(2 * layout._MAX_STEPS):
        assert one.with_count("route", count).keys == ("via", *["route"] * count)
    assert len(one._steps) <= layout._MAX_STEPS


@given(KEYS, st.data())
def test_steps_are_what_is_done_to_the_lines(keys: list[str], data: st.DataObject) -> None:
    first = Layout(keys)
    for _ in range(2):   # found, and found again
        place = data.draw(st.integers(0, len(keys)))
        assert first.with_line(place, "to").keys == (*keys[:place], "to", *keys[place:])
        gone = tuple(sorted(data.draw(st.sets(st.integers(0, max(0, len(keys) - 1)), max_size=len(keys)))))
        assert first.without(gone).keys == tuple(key for index, key in enumerate(keys) if index not in gone)
        assert first.places_of(frozenset({"via", "to"})) == tuple(
            index for index, key in enumerate(keys) if key in {"via", "to"})
        count = data.draw(st.integers(0, 3))
        counted = first.with_count("route", count).keys
        assert [key for key in counted if key != "route"] == [key for key in keys if key != "route"]
        assert counted.count("route") == count
        if count:
            where = keys.index("route") if "route" in keys else len(keys)
            assert counted[where : where + count] == ("route",) * count
