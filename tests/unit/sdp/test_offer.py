"""Offer and answer: the tables of RFC 4145 §4.1."""

from __future__ import annotations

import pytest

from pcscf.sdp.offer import OPPOSITE, PASSIVE_ANSWER, SETUP_ANSWERS, SETUP_COMPLEMENT


@pytest.mark.parametrize("offered", ["active", "passive", "actpass", "holdconn"])
def test_every_answer_that_we_give_or_assume_is_legal(offered: str) -> None:
    assert SETUP_COMPLEMENT[offered] in SETUP_ANSWERS[offered]
    assert PASSIVE_ANSWER[offered] in SETUP_ANSWERS[offered]


def test_opposites() -> None:
    assert all(OPPOSITE[OPPOSITE[setup]] == setup for setup in OPPOSITE)
