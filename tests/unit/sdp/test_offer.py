"""Offer and answer: the tables of RFC 4145 §4.1, and which line answers which."""

from __future__ import annotations

import pytest

from pcscf.sdp.lines import parse_sdp_untrusted
from pcscf.sdp.offer import OPPOSITE, PASSIVE_ANSWER, SETUP_ANSWERS, SETUP_COMPLEMENT, pair


@pytest.mark.parametrize("offered", ["active", "passive", "actpass", "holdconn"])
def test_every_answer_that_we_give_or_assume_is_legal(offered: str) -> None:
    assert SETUP_COMPLEMENT[offered] in SETUP_ANSWERS[offered]
    assert PASSIVE_ANSWER[offered] in SETUP_ANSWERS[offered]


def test_opposites() -> None:
    assert all(OPPOSITE[OPPOSITE[setup]] == setup for setup in OPPOSITE)


@pytest.mark.parametrize(("offered", "answered"), [(2, 2), (3, 1), (1, 3), (0, 1), (1, 0)])
def test_pair(offered: int, answered: int) -> None:
    def description(count: int) -> bytes:
        return b"v=0\r\n" + b"".join(b"m=audio %d RTP/AVP 0\r\n" % (port + 5000) for port in range(count))

    offer, answer = parse_sdp_untrusted(description(offered)), parse_sdp_untrusted(description(answered))
    paired = pair(offer, answer)
    assert len(paired) == offered
    assert [section.port if section else None for section in paired] == [
        5000 + index if index < answered else None for index in range(offered)
    ]
