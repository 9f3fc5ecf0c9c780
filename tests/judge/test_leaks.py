"""Leaks are noticed soon, and caches that warm up are none."""

import pytest

from .leaks import GROWING, cache, leak, load, noticed

pytestmark = pytest.mark.usefixtures("untraced")
RUNS = 8


@pytest.mark.parametrize("rate", [8.0, 16.0, 32.0])
def test_a_fast_leak_is_noticed_within_ten_seconds(rate: float) -> None:
    assert max(noticed(leak(rate, 60.0), seed) for seed in range(RUNS)) <= 10.0
    assert min(noticed(leak(rate, 60.0), seed) for seed in range(RUNS)) > 0.0


@pytest.mark.parametrize("rate", [4.0, 8.0, 16.0])
def test_one_that_begins_later_is_noticed_within_ten_seconds_of_that(rate: float) -> None:
    assert all(60.0 < noticed(leak(rate, 60.0, since=60.0), seed) <= 70.0 for seed in range(RUNS))


@pytest.mark.parametrize("fills", ["evenly", "ever more slowly"])
def test_a_cache_as_large_as_the_old_one_is_no_leak(fills: str) -> None:
    assert {noticed(cache(fills, 60.0, 200.0, 200.0), seed) for seed in range(RUNS)} == {-1.0}


def test_a_cache_twice_as_large_is_no_leak() -> None:
    assert {noticed(cache("evenly", 60.0, 120.0, 60.0), seed) for seed in range(RUNS)} == {-1.0}


def test_the_judge_still_comes_to_what_is_written() -> None:
    """Where this fails, the guard has changed: `python tools/judge.py --memory` writes the page anew."""
    known = {one.name: one for one in load()}
    for growing in GROWING:
        seconds = noticed(growing, 0)
        assert (seconds >= 0.0) <= (known[growing.name].noticed > 0)
        assert seconds <= known[growing.name].seconds_most
