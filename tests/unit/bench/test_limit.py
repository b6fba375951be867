from __future__ import annotations

import pytest

from bench.limit import search


def probing(threshold: int) -> tuple[list[int], object]:
    tried: list[int] = []

    def is_clean(rate: int) -> bool:
        tried.append(rate)
        return rate <= threshold

    return tried, is_clean


@pytest.mark.parametrize("threshold", [1, 7, 99, 100, 101, 333, 1_024, 6_875, 15_999])
@pytest.mark.parametrize("first", [50, 100, 1_000])
def test_the_highest_clean_rate_is_found_closely_from_below(threshold: int, first: int) -> None:
    tried, is_clean = probing(threshold)
    low, high = search(is_clean, first, 16_000)   # type: ignore[arg-type]
    assert low <= threshold < high
    assert high - low <= max(1, low * 0.05)
    assert len(tried) == len(set(tried)) <= 20


def test_without_a_limit_the_search_ends_at_the_most_that_may_be_tried() -> None:
    tried, is_clean = probing(1_000_000)
    assert search(is_clean, 1_000, 16_000) == (16_000, 0)   # type: ignore[arg-type]
    assert tried == [1_000, 2_000, 4_000, 8_000, 16_000]


def test_nothing_is_clean() -> None:
    _, is_clean = probing(0)
    assert search(is_clean, 100, 16_000) == (0, 1)   # type: ignore[arg-type]
