"""Strategies, written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from hanse.control.edge_table import WHOLE
from hanse.control.plan import Plan, ab, blue_green, canary, mirror, resized, rolling
from hanse.kernel.faults import Misconfigured

COUNTS = st.integers(1, 100)
SHARES = st.lists(st.integers(1, 99), min_size=1, max_size=8, unique=True).map(sorted)


@given(instances=COUNTS, shares=SHARES)
def test_every_plan_ends_with_all_requests_and_never_runs_too_few(instances: int, shares: list[int]) -> None:
    plans: list[Plan] = [
        rolling(instances),
        blue_green(instances),
        canary(instances, shares),
        ab(instances, shares[0]),
        mirror(instances, shares[0]),
    ]
    for plan in plans:
        last = plan.steps[-1]
        assert (last.share, last.new) == (WHOLE, instances)
        given = [step.share for step in plan.steps]
        assert given == sorted(set(given))
        for step in plan.steps:
            assert step.new + step.old >= instances
            assert step.new * WHOLE >= step.share * instances - WHOLE / 2, "fewer instances than its share needs"


def test_a_canary_gets_more_instances_with_its_share() -> None:
    assert [step.new for step in canary(8, (1, 5, 25, 50)).steps] == [1, 1, 2, 4, 8]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: canary(2, (5, 5)), "expected percents that grow"),
        (lambda: canary(2, (50, 5)), "got 50,5"),
        (lambda: canary(2, (0, 5)), "above 0"),
        (lambda: canary(2, (5, 101)), "to 100"),
        (lambda: canary(2, ()), "steps"),
        (lambda: canary(2, every=-1.0), "every: expected seconds from 0"),
        (lambda: canary(2, bake=float("inf")), "bake"),
        (lambda: rolling(0), "expected 1 to 100"),
        (lambda: rolling(101), "got 101"),
        (lambda: ab(2, 100), "between 0 and 100"),
        (lambda: mirror(2, 0), "from above 0 to 100"),
    ],
)
def test_numbers_that_make_no_plan_are_refused(make: object, says: str) -> None:
    assert callable(make)
    with pytest.raises(Misconfigured, match=says):
        make()


@given(
    before=st.integers(1, 100),
    after=st.integers(1, 100),
    plan=st.sampled_from(
        [
            lambda number: rolling(number, every=3.0, bake=5.0),
            lambda number: blue_green(number, bake=10.0),
            lambda number: canary(number, (1, 7, 50), every=10.0, requests=20, mirrored=60.0),
            lambda number: ab(number, 30),
            lambda number: mirror(number, 7, seconds=10.0),
        ]
    ),
)
def test_a_plan_of_another_size_is_as_if_it_had_been_of_that_size(
    before: int, after: int, plan: Callable[[int], Plan]
) -> None:
    """But for one that replaces an instance with each step, which keeps the steps that it has."""
    first = plan(before)
    assert resized(first, before) == first
    there = resized(first, after)
    if first.strategy != "rolling":
        assert there == plan(after)
    for step in there.steps:
        assert step.new + step.old >= after
        assert max(step.new, step.old) <= after
        assert step.old > 0 or step.share == WHOLE
