from __future__ import annotations

from pcscf.gateway.policing import Contract, Policer


def test_the_sustained_rate_and_its_burst() -> None:
    policer = Policer(Contract(1000, 3000, None), 10.0)
    assert [policer.admits(1000, 10.0) for _ in range(4)] == [True, True, True, False]
    assert not policer.admits(1000, 10.9)
    assert policer.admits(1000, 11.0)
    assert not policer.admits(1, 11.0)


def test_a_long_silence_saves_no_more_than_the_burst() -> None:
    policer = Policer(Contract(1000, 3000, None), 0.0)
    assert sum(policer.admits(1000, 1e6) for _ in range(10)) == 3


def test_the_peak_rate_limits_what_the_burst_would_allow() -> None:
    policer = Policer(Contract(10_000, 100_000, 20_000), 0.0)
    assert [policer.admits(1000, 0.0) for _ in range(3)] == [True, True, False]
    assert policer.admits(1000, 0.05)


def test_the_delay_variation_says_how_much_of_the_peak_rate_may_come_at_once() -> None:
    policer = Policer(Contract(None, 0, 20_000, 0.25), 0.0)
    assert [policer.admits(1000, 0.0) for _ in range(6)] == [True] * 5 + [False]
    assert policer.admits(1000, 0.05)
    assert not policer.admits(1000, 0.05)


def test_without_any_tolerance_packets_come_one_by_one() -> None:
    policer = Policer(Contract(None, 0, 20_000, 0.0), 0.0)
    assert [policer.admits(1500, now) for now in (0.0, 0.0, 0.074, 0.075)] == [True, False, False, True]


def test_what_was_refused_costs_nothing() -> None:
    policer = Policer(Contract(1000, 2000, None), 0.0)
    assert not policer.admits(2001, 0.0)
    assert policer.admits(2000, 0.0)


def test_one_packet_always_fits() -> None:
    assert Policer(Contract(100, 10, None), 0.0).admits(1500, 0.0)


def test_a_debt_is_paid_in_time() -> None:
    policer = Policer(Contract(1000, 2000, None), 0.0)
    assert policer.debit(2000, 0.0) == 0
    assert policer.debit(500, 0.0) == 0.5
    assert policer.debit(1, 1.0) == 0
    assert policer.debit(3500, 1.0) == 3.001
