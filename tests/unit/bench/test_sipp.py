from __future__ import annotations

from dataclasses import replace

import pytest

from bench.load import cost
from bench.process import Failure
from bench.sipp import Load, Outcome, outcome, read_statistics

STATISTICS = """StartTime;TotalCallCreated;SuccessfulCall(P);SuccessfulCall(C);FailedCall(P);FailedCall(C);Retransmissions(C);
2026-01-01 10:00:00;500;500;498;0;0;0;
2026-01-01 10:00:01;1000;500;998;1;2;7;
"""
CLEAN = Outcome(wanted=1000, created=1000, successful=1000, failed=0, retransmissions=0, seconds=10.1, planned=10.0)


def test_the_last_line_of_the_statistics_counts_and_of_it_the_cumulative_columns() -> None:
    read = outcome(read_statistics(STATISTICS), 1000, 2.0, 2.5)
    assert read == Outcome(1000, 1000, 998, 2, 7, 2.5, 2.0)


def test_statistics_without_a_line_are_no_measurement() -> None:
    with pytest.raises(Failure, match="no statistics"):
        read_statistics(STATISTICS.splitlines()[0])


def test_a_run_in_which_all_calls_succeed_on_time_is_clean() -> None:
    assert CLEAN.is_clean


def test_one_call_in_a_thousand_may_fail_and_not_two() -> None:
    assert replace(CLEAN, successful=999, failed=1).is_clean
    assert replace(CLEAN, successful=998, failed=2).fault == "2 of 1000 calls failed"


@pytest.mark.parametrize(("changed", "fault"), [
    ({"created": 999, "successful": 999}, "999 of 1000 calls were created"),
    ({"successful": 990}, "10 of 1000 calls were not finished"),
    ({"seconds": 13.1}, "it took 13.1 s instead of 10.0 s"),
])
def test_what_makes_a_run_not_clean(changed: dict[str, float], fault: str) -> None:
    assert replace(CLEAN, **changed).fault == fault   # type: ignore[arg-type]


def test_a_run_that_created_nothing_is_not_clean_although_nothing_failed() -> None:
    assert replace(CLEAN, created=0, successful=0, seconds=0.1).fault == "0 of 1000 calls were created"


def test_the_length_of_a_load_includes_the_hold() -> None:
    assert Load("call", rate=100, count=500, hold=200).planned == pytest.approx(5.2)


def test_cpu_is_divided_by_the_calls_that_were_created() -> None:
    made = cost(replace(CLEAN, seconds=10.0), {"pcscf": 2.0, "gateway": 0.5})
    assert made.micros == {"pcscf": 2000.0, "gateway": 500.0}
    assert made.busy == {"pcscf": 0.2, "gateway": 0.05}
