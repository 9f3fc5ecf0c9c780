"""A plan is shrunk to what its failure takes; the run is a pure function here, so what it takes is known."""

from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from hanse.sim.plan import (
    Clock,
    Cut,
    Delay,
    FullDisk,
    Incident,
    Kill,
    KillAt,
    Loss,
    LostFlush,
    Pause,
    Plan,
    PowerLoss,
    Repeat,
    Replace,
    SlowDisk,
)
from hanse.sim.profile import PROFILES, draw_plan
from hanse.sim.shrink import RUNS_MAX, SECONDS_MIN, milder, minimised, shrink

SEEDS = st.integers(0, 10_000)
BIG = tuple(Kill(at=float(at), seconds=4.0, machine="orders") for at in range(1, 31))
LOST = (LostFlush(at=1.0, seconds=8.0, machine="a"), Pause(at=4.0, seconds=0.05, machine="b"))


class Runs:
    """Answers whether a plan fails, and keeps what it was asked."""

    def __init__(self, fails: Callable[[Plan, bool], bool]) -> None:
        self.asked: list[tuple[Plan, bool]] = []
        self._fails = fails

    def __call__(self, plan: Plan, calm: bool) -> bool:
        self.asked.append((plan, calm))
        return self._fails(plan, calm)


def drawn(seed: int) -> Plan:
    return draw_plan(PROFILES["hostile"], seed, ["a", "b", "c"], ["p.q"], 40.0)


def begins(plan: Plan) -> set[float]:
    return {incident.at for incident in plan}


def test_what_fails_by_itself_needs_no_plan() -> None:
    runs = Runs(lambda plan, calm: True)
    shrunk = shrink(BIG, runs)
    assert (shrunk.plan, shrunk.calm_weather, shrunk.runs, shrunk.complete) == ((), True, 1, True)


def test_what_fails_for_the_weather_alone_needs_no_plan() -> None:
    shrunk = shrink(BIG, lambda plan, calm: not calm)
    assert (shrunk.plan, shrunk.calm_weather, shrunk.runs) == ((), False, 2)


def test_what_fails_in_calm_weather_too_is_shrunk_in_it() -> None:
    runs = Runs(lambda plan, calm: 7.0 in begins(plan))
    assert shrink(BIG, runs).calm_weather
    assert all(calm for plan, calm in runs.asked if plan)


def test_what_needs_its_weather_keeps_it() -> None:
    shrunk = shrink(BIG, lambda plan, calm: not calm and 7.0 in begins(plan))
    assert (begins(shrunk.plan), shrunk.calm_weather, shrunk.complete) == ({7.0}, False, True)


def test_calm_weather_is_tried_again_when_the_plan_is_small() -> None:
    """All thirty kills in calm weather hide what two of them show there."""
    shrunk = shrink(BIG, lambda plan, calm: 1 <= len(plan) <= 2 if calm else len(plan) >= 2)
    assert (len(shrunk.plan), shrunk.calm_weather, shrunk.complete) == (1, True, True)


def test_what_failed_in_calm_weather_is_tried_in_no_other() -> None:
    runs = Runs(lambda plan, calm: 7.0 in begins(plan))
    shrunk = shrink(BIG, runs, calm=True)
    assert (begins(shrunk.plan), shrunk.calm_weather) == ({7.0}, True)
    assert all(calm for _, calm in runs.asked)


@given(SEEDS, st.data())
def test_the_incidents_it_takes_are_found_and_no_others(seed: int, data: st.DataObject) -> None:
    plan = drawn(seed)
    needed = data.draw(st.sets(st.sampled_from(sorted(begins(plan))), min_size=1, max_size=4))
    shrunk = shrink(plan, lambda plan, calm: needed <= begins(plan), runs_max=5000)
    assert begins(shrunk.plan) == needed
    assert shrunk.complete
    assert shrunk.calm_weather


@given(SEEDS, st.data())
def test_the_result_fails_and_was_run(seed: int, data: st.DataObject) -> None:
    plan = drawn(seed)
    modulus = data.draw(st.integers(2, 7))
    wanted = len(plan) % modulus
    runs = Runs(lambda plan, calm: len(plan) % modulus == wanted)
    shrunk = shrink(plan, runs, data.draw(st.integers(0, 60)))
    assert len(shrunk.plan) % modulus == wanted
    assert (shrunk.plan, shrunk.calm_weather) in [*runs.asked, (plan, False)]


@given(SEEDS, st.integers(0, 80))
def test_no_more_runs_are_made_than_allowed_and_none_twice(seed: int, runs_max: int) -> None:
    runs = Runs(lambda plan, calm: sum(incident.seconds for incident in plan) > 1.0)
    shrunk = shrink(drawn(seed), runs, runs_max)
    assert shrunk.runs == len(runs.asked) == len(set(runs.asked)) <= runs_max


def test_where_runs_are_over_the_best_so_far_is_the_result() -> None:
    shrunk = shrink(BIG, lambda plan, calm: {3.0, 29.0} <= begins(plan), runs_max=8)
    assert not shrunk.complete
    assert {3.0, 29.0} <= begins(shrunk.plan)
    assert 2 < len(shrunk.plan) < len(BIG)


def test_a_plan_of_usual_size_takes_far_less_than_the_limit() -> None:
    shrunk = shrink(BIG, lambda plan, calm: {3.0, 29.0} <= begins(plan))
    assert (len(shrunk.plan), shrunk.complete) == (2, True)
    assert shrunk.runs < RUNS_MAX / 5


def test_incidents_get_as_short_as_the_failure_allows() -> None:
    def long_enough(plan: Plan, calm: bool) -> bool:
        return any(incident.seconds >= 0.7 for incident in plan)

    shrunk = shrink((Pause(at=1.0, seconds=6.0, machine="a"),), long_enough)
    assert shrunk.plan == (Pause(at=1.0, seconds=0.75, machine="a"),)


def test_incidents_get_no_shorter_than_the_least() -> None:
    shrunk = shrink(BIG[:1], lambda plan, calm: bool(plan))
    assert [incident.seconds for incident in shrunk.plan] == [SECONDS_MIN]


def test_a_loss_of_power_becomes_a_kill_where_that_is_enough() -> None:
    shrunk = shrink((PowerLoss(at=2.0, seconds=1.0, machine="a"),), lambda plan, calm: bool(plan))
    assert shrunk.plan == (Kill(at=2.0, seconds=SECONDS_MIN, machine="a"),)


def test_what_is_made_milder_stays_in_order() -> None:
    """A flush that is lost until second 9 becomes a loss of power there, after the pause that it was before."""
    shrunk = shrink(LOST, lambda plan, calm: plan == LOST or (len(plan) == 2 and 9.0 in begins(plan)))
    assert [type(incident) for incident in shrunk.plan] == [Pause, Kill]


def test_an_incident_that_another_one_needed_goes_when_that_is_milder() -> None:
    """The kill fails alone once it is short; long, it takes a pause of the other machine to meet it."""
    kill, pause = Kill(at=1.0, seconds=4.0, machine="a"), Pause(at=2.0, seconds=1.0, machine="b")

    def fails(plan: Plan, calm: bool) -> bool:
        kills = [incident for incident in plan if isinstance(incident, Kill)]
        return any(kill.seconds < 3.0 or len(plan) > 1 for kill in kills)

    assert shrink((kill, pause), fails).plan == (Kill(at=1.0, seconds=SECONDS_MIN, machine="a"),)


def least(incident: Incident) -> Incident:
    """What is left of an incident that needs nothing but its machine."""
    while (easier := next(milder(incident), None)) is not None:
        incident = easier
    return incident


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        (SlowDisk(at=1, seconds=9, machine="a", factor=90.0), SlowDisk(at=1, seconds=0.05, machine="a", factor=2.0)),
        (Clock(at=1, seconds=9, machine="a", jump=-200.0), Clock(at=1, seconds=0.05, machine="a", jump=-1.0)),
        (Clock(at=1, seconds=9, machine="a", jump=200.0), Clock(at=1, seconds=0.05, machine="a", jump=1.0)),
        (
            Delay(at=1, seconds=9, machine="a", most=3.0, reorder=True),
            Delay(at=1, seconds=0.05, machine="a", most=0.01),
        ),
        (Loss(at=1, seconds=9, machine="a", share=0.4), Loss(at=1, seconds=0.05, machine="a", share=0.01)),
        (Repeat(at=1, seconds=9, machine="a", share=0.4), Repeat(at=1, seconds=0.05, machine="a", share=0.01)),
        (
            Cut(at=1, seconds=9, machines=("a", "b"), others=("c", "client")),
            Cut(at=1, seconds=0.05, machines=("b",), others=("client",)),
        ),
        (KillAt(at=1, seconds=9, machine="a", point="p"), KillAt(at=1, seconds=0.05, machine="a", point="p")),
        (FullDisk(at=1, seconds=9, machine="a"), FullDisk(at=1, seconds=0.05, machine="a")),
        (Replace(at=1, seconds=0.01, machine="a"), Replace(at=1, seconds=0.01, machine="a")),
    ],
)
def test_each_kind_has_its_mildest_form(incident: Incident, expected: Incident) -> None:
    assert least(incident) == expected


@pytest.mark.parametrize(("factor", "easier"), [(2.0, []), (3.0, [2.0]), (5.0, [2.0, 2.5]), (90.0, [2.0, 45.0])])
def test_an_amount_goes_to_its_least_or_to_half(factor: float, easier: list[float]) -> None:
    disk = SlowDisk(at=1.0, seconds=0.01, machine="a", factor=factor)
    assert [incident.factor for incident in milder(disk) if isinstance(incident, SlowDisk)] == easier


@given(SEEDS)
def test_making_milder_comes_to_an_end(seed: int) -> None:
    """By the slow way too: whichever of the milder forms is chosen, there are few before the mildest."""
    for incident in drawn(seed):
        steps, last = 0, [incident]
        while last:
            steps += 1
            last = list(milder(last[-1]))
        assert steps < 60


@given(st.integers(0, 40), st.data())
def test_items_that_are_needed_together_are_found(size: int, data: st.DataObject) -> None:
    needed = data.draw(st.sets(st.integers(0, size), max_size=6))
    assert minimised(range(size + 1), lambda some: needed <= {*some}) == tuple(sorted(needed))


@given(st.lists(st.integers(0, 20), max_size=20), st.integers(1, 5))
def test_of_what_is_left_nothing_can_be_left_out(items: list[int], share: int) -> None:
    def fails(some: tuple[int, ...]) -> bool:
        return sum(some) * share >= sum(items)

    left = minimised(items, fails)
    assert fails(left)
    assert not any(fails(left[:place] + left[place + 1 :]) for place in range(len(left)))
