"""The session timer that a 2xx names (RFC 4028)."""

from __future__ import annotations

import pytest

from pcscf.procedures.timer import GRACE, has_expired, observe_timer
from pcscf.sip.message import Response, response_to
from tests.unit.procedures.desk import request, session


def answer(status: int, *fields: tuple[str, str], method: str = "INVITE", lines: tuple[str, ...] = ()) -> tuple[object, Response]:
    asked = request(*lines, method=method)
    response = response_to(asked, status, to_tag="b")
    for name, value in fields:
        response.add(name, value)
    return asked, response


@pytest.mark.parametrize(("value", "expires"), [
    ("1800;refresher=uac", 1810.0), (" 1800 ; refresher=uas", 1810.0), ("90", 100.0), ("1", 100.0), ("4294967295", 4294967305.0),
    ("9999999999", 4294967305.0), ("-5", 0.0), ("soon", 0.0), ("", 0.0), ("12345678901", 0.0), ("\u0661\u0668\u0660\u0660", 0.0),
])
def test_what_a_2xx_says(value: str, expires: float) -> None:
    mine = session()
    asked, response = answer(200, ("Session-Expires", value))
    observe_timer(mine, asked, response, 10.0)   # type: ignore[arg-type]
    assert mine.expires == expires


def test_the_compact_form() -> None:
    mine = session()
    asked, response = answer(200, ("x", "600"))
    observe_timer(mine, asked, response, 0.0)   # type: ignore[arg-type]
    assert mine.expires == 600.0


@pytest.mark.parametrize(("status", "method"), [(180, "INVITE"), (422, "UPDATE"), (200, "INFO"), (200, "BYE")])
def test_what_says_nothing_of_it(status: int, method: str) -> None:
    mine = session()
    mine.expires = 500.0
    asked, response = answer(status, ("Session-Expires", "90"), method=method)
    observe_timer(mine, asked, response, 0.0)   # type: ignore[arg-type]
    assert mine.expires == 500.0


def test_the_grace() -> None:
    mine = session()
    assert not has_expired(mine, 1e9)
    mine.expires = 100.0
    assert not has_expired(mine, 100.0 + GRACE)
    assert has_expired(mine, 100.1 + GRACE)
