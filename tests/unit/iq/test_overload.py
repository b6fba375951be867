"""How many new sessions an overloaded gateway gets."""

from __future__ import annotations

import pytest

from pcscf.iq.overload import CUT, LEAST, RECOVERY, Throttle, Urgency


def admitted(throttle: Throttle, urgency: Urgency, now: float, of: int = 160) -> int:
    return sum(throttle.admits(urgency, now) for _ in range(of))


def test_a_gateway_that_says_nothing_gets_everything() -> None:
    throttle = Throttle()
    assert throttle.share(0.0) == 1.0
    assert admitted(throttle, Urgency.NORMAL, 0.0) == 160


def test_a_sign_of_overload_halves_the_share_and_time_restores_it() -> None:
    throttle = Throttle()
    throttle.overloaded(10.0)
    assert throttle.share(10.0) == CUT
    throttle.overloaded(10.9)  # the same overload, told by another session
    assert throttle.share(10.0) == CUT
    assert throttle.share(14.0) == CUT + 4 * RECOVERY
    assert throttle.share(18.0) == 1.0
    throttle.overloaded(19.0)
    assert throttle.share(19.0) == CUT


def test_the_share_never_falls_to_nothing() -> None:
    throttle = Throttle()
    for second in range(100):
        throttle.overloaded(float(second))
        assert throttle.share(float(second)) >= LEAST
    throttle.congested(100)
    assert throttle.share(100.0) == LEAST
    assert admitted(throttle, Urgency.NORMAL, 100.0) == 10


def test_congestion_lasts_until_the_gateway_ends_it() -> None:
    throttle = Throttle()
    throttle.congested(25)
    assert throttle.share(0.0) == throttle.share(1e6) == 0.75
    assert admitted(throttle, Urgency.NORMAL, 1e6) == 120
    throttle.congested(0)
    assert throttle.share(1e6) == 1.0


@pytest.mark.parametrize(("urgency", "of_160"), [(Urgency.NORMAL, 80), (Urgency.PRIORITY, 120), (Urgency.EMERGENCY, 160)])
def test_emergency_sessions_are_refused_last(urgency: Urgency, of_160: int) -> None:
    throttle = Throttle()
    throttle.congested(50)
    assert admitted(throttle, urgency, 0.0) == of_160
