"""What a new release takes of the machine, beside the old one and against a limit."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from hanse.control.appetite import CPU_LASTS_SECONDS, MEMORY_LASTS_SECONDS
from hanse.control.guards import RESTART_SECONDS, RESTARTS, Guarded
from hanse.control.window import Both, Condition, Outcomes, Window

MIB = 2.0**20
ASKED = {"/": Both(new={"b1": Outcomes(10)}, old={"a1": Outcomes(10)})}


def told(windows: Iterable[Window]) -> list[tuple[str, bool]]:
    known = Guarded()
    for one in windows:
        known = known.after(one)
    assert msgspec.json.decode(msgspec.json.encode(known), type=Guarded) == known
    return [(one.name, one.certain) for one in known.signals()]


def lasting(new: Condition, old: Condition, seconds: float, routes: dict[str, Both] | None = None) -> Iterable[Window]:
    return (Window(float(at), ASKED if routes is None else routes, new, old) for at in range(1, int(seconds) + 2))


def test_more_memory_than_is_allowed_rolls_back_at_once() -> None:
    greedy = Condition(memory={"b1": 101 * MIB, "b2": 1.0}, memory_max=100 * MIB)
    assert told([Window(1.0, new=greedy)]) == [("memory", True)]
    assert told([Window(1.0, new=Condition(memory={"b1": 99 * MIB}, memory_max=100 * MIB))]) == []


def test_twice_the_memory_of_the_old_release_goes_no_further_once_it_lasts() -> None:
    new, old = Condition(memory={"b1": 300 * MIB}), Condition(memory={"a1": 100 * MIB, "a2": 120 * MIB})
    assert told(lasting(new, old, MEMORY_LASTS_SECONDS - 1)) == []
    assert told(lasting(new, old, MEMORY_LASTS_SECONDS)) == [("more memory", False)]


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ({"b1": 60 * MIB}, {"a1": 20 * MIB}),  # three times as much as little is little
        ({"b1": 190 * MIB}, {"a1": 100 * MIB}),
        ({"b1": 300 * MIB}, {"a1": 20 * MIB, "a2": 290 * MIB}),  # one of the old ones has as much
        ({"b1": 300 * MIB}, {}),  # nobody to compare it with
    ],
)
def test_what_is_not_by_far_more_memory(new: dict[str, float], old: dict[str, float]) -> None:
    assert told(lasting(Condition(memory=new), Condition(memory=old), 60)) == []


def test_what_was_more_only_for_a_moment_is_forgotten() -> None:
    much, little = (Condition(memory={"b1": used * MIB}) for used in (300.0, 100.0))
    old = Condition(memory={"a1": 100 * MIB})
    windows = [Window(float(at), new=little if at % 5 == 0 else much, old=old) for at in range(1, 60)]
    assert told(windows) == []


def test_more_of_processors_than_is_allowed_rolls_back_once_it_lasts() -> None:
    new = Condition(cpu={"b1": 0.9}, cpu_max=0.5)
    assert told(lasting(new, Condition(), CPU_LASTS_SECONDS - 1)) == []
    assert told(lasting(new, Condition(), CPU_LASTS_SECONDS)) == [("processors", True)]


def test_three_times_as_busy_as_the_old_release_goes_no_further() -> None:
    new, old = Condition(cpu={"b1": 0.95}), Condition(cpu={"a1": 0.2})
    assert told(lasting(new, old, CPU_LASTS_SECONDS)) == [("more processors", False)]
    assert told(lasting(Condition(cpu={"b1": 0.4}), Condition(cpu={"a1": 0.01}), 60)) == []


def test_who_is_asked_more_may_take_more_of_processors() -> None:
    new, old = Condition(cpu={"b1": 0.95}), Condition(cpu={"a1": 0.2, "a2": 0.2})
    busier = {"/": Both(new={"b1": Outcomes(100)}, old={"a1": Outcomes(20), "a2": Outcomes(20)})}
    assert told(lasting(new, old, 60, busier)) == []
    alone = {"/": Both(new={"b1": Outcomes(100)})}
    assert told(lasting(new, old, 60, alone)) == [], "the old one is asked nothing, and says nothing"
    assert told(lasting(new, old, 60, {})) == [("more processors", False)], "nobody is asked anything, and one is busy"


def test_ends_that_nobody_asked_for_are_no_chance_after_a_few() -> None:
    ends = [Window(float(at), new=Condition(restarts=1)) for at in range(1, RESTARTS + 1)]
    assert told(ends[:1]) == [("restarts", False)]
    assert told([*ends[:1], Window(1.0 + RESTART_SECONDS)]) == [], "once, and long ago"
    assert told(ends) == [("restarts", True)]
    assert told([*ends, Window(99.0)]) == [("restarts", True)]


def test_ends_of_both_are_held_against_nobody() -> None:
    both = [Window(float(at), new=Condition(restarts=1), old=Condition(restarts=1)) for at in range(1, 9)]
    assert told([*both, Window(999.0)]) == []
