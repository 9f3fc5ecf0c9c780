from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from hanse.control.guards import FAILED_MIN, Guarded
from hanse.control.judge import heard, judge, judging
from hanse.control.leak import LEAK_POINTS, Memory
from hanse.control.window import Both, Condition, Outcomes, Window

MIB = 2.0**20


def both(new: int, failed: int, old: int = 0, old_failed: int = 0) -> dict[str, Both]:
    return {"/": Both(new={"b1": Outcomes(new, failed)}, old={"a1": Outcomes(old, old_failed)} if old else {})}


def after(windows: Iterable[Window]) -> Guarded:
    known = Guarded()
    for one in windows:
        known = known.after(one)
    return known


def told(known: Guarded) -> list[tuple[str, bool]]:
    return [(one.name, one.certain) for one in known.signals()]


def growing(rate: float, seconds: int = 120, old_rate: float = 0.0, most: float = 1_000 * MIB) -> Guarded:
    return after(
        Window(
            float(at),
            new=Condition(memory={"b1": 100 * MIB + rate * at}, memory_max=most),
            old=Condition(memory={"a1": 100 * MIB + old_rate * at, "a2": 100 * MIB + old_rate * at}),
        )
        for at in range(seconds)
    )


def test_nothing_speaks_against_a_release_that_nothing_is_known_of() -> None:
    assert Guarded().signals() == ()


@pytest.mark.parametrize(
    ("condition", "name", "certain"),
    [
        (Condition(crashing=("b1",)), "crash loop", True),
        (Condition(killed=("b1", "b2")), "out of memory", True),
        (Condition(unready={"b1": 3.0}), "readiness", False),
        (Condition(unready={"b1": 10.0}), "readiness", True),
        (Condition(contract_broken=1), "contract", True),
        (Condition(lag=0.5), "event loop", False),
    ],
)
def test_what_befalls_an_instance_is_told(condition: Condition, name: str, *, certain: bool) -> None:
    assert told(after([Window(1.0, new=condition)])) == [(name, certain)]


def test_what_is_certain_rolls_back_and_what_is_not_keeps_from_going_on() -> None:
    sure = heard(judging(), Window(1.0, new=Condition(crashing=("b1",), lag=0.5)))
    assert (judge(sure).decision, judge(sure).reason) == ("roll_back", "b1 crashes again and again")
    unsure = heard(judging(), Window(1.0, new=Condition(unready={"b1": 3.0})))
    assert (judge(unsure).decision, judge(unsure).reason) == ("wait", "b1 was ready, and has not been for 3 s")


def test_all_requests_of_a_route_failing_is_told() -> None:
    few = after(Window(float(at), both(1, 1, 19)) for at in range(FAILED_MIN - 1))
    assert told(few) == []
    assert told(few.after(Window(99.0, both(1, 1, 19)))) == [("all failed", True)]


def test_one_that_does_not_fail_begins_the_row_anew() -> None:
    known = after([Window(1.0, both(19, 19, 100)), Window(2.0, both(2, 1, 100)), Window(3.0, both(19, 19, 100))])
    assert told(known) == []


def test_an_outage_of_both_is_held_against_nobody() -> None:
    assert told(after([Window(1.0, both(50, 50, 500, 400))])) == []
    elsewhere = {"/b": Both(old={"a1": Outcomes(9)})}
    assert told(after([Window(1.0, both(50, 50) | elsewhere)])) == []


def test_where_the_old_release_is_asked_nothing_any_more_a_row_of_failures_is_enough() -> None:
    assert told(after([Window(1.0, both(50, 50))])) == [("all failed", True)]


def test_a_row_goes_on_while_its_route_is_not_asked() -> None:
    known = after([Window(1.0, both(10, 10, 90)), Window(2.0), Window(3.0, both(10, 10, 90))])
    assert told(known) == [("all failed", True)]


def test_answers_that_break_the_contract_in_the_old_release_too_are_nothing_new() -> None:
    known = after([Window(1.0, new=Condition(contract_broken=3), old=Condition(contract_broken=1))])
    assert told(known) == []


def test_dead_letters_are_told_once_they_are_no_chance() -> None:
    """At a fifth of the messages, five in a row are the new release's once in 3,000 times, and six once in 15,000."""
    windows = [Window(float(at), both(10, 1, 40), new=Condition(dead_letters=1)) for at in range(6)]
    assert told(after(windows[:5])) == []
    assert told(after(windows)) == [("dead letters", True)]
    assert told(after([*windows, Window(9.0, old=Condition(dead_letters=1))])) == []


def test_dead_letters_alone_are_nobodys_where_nobody_knows_who_was_asked() -> None:
    assert told(after([Window(1.0, new=Condition(dead_letters=5))])) == []


def test_an_event_loop_that_stays_late_is_certain_after_a_while() -> None:
    late = after(Window(float(at), new=Condition(lag=0.5), old=Condition(lag=0.1)) for at in range(1, 17))
    assert told(late) == [("event loop", True)]
    assert told(late.after(Window(17.0, new=Condition(lag=0.01)))) == []
    assert told(late.after(Window(17.0, new=Condition(lag=0.5), old=Condition(lag=0.5)))) == []


def test_memory_that_grows_without_end_is_a_leak() -> None:
    known = growing(1 * MIB)
    assert told(known) == [("memory", True), ("more memory", False)]
    assert "b1 needs 1.00 MiB more each second, and has used up all it may have in 13 min" in known.signals()[0].says


def test_without_a_limit_a_leak_is_what_doubles_soon() -> None:
    assert "needs twice as much in 4 min" in growing(1 * MIB, most=0.0).signals()[0].says
    assert told(growing(0.05 * MIB, most=0.0)) == []


def test_what_is_not_a_leak() -> None:
    assert told(growing(1 * MIB, seconds=30)) == [], "it was not seen for long enough"
    assert told(growing(0.1 * MIB)) == [], "it would take hours"
    assert told(growing(1 * MIB, old_rate=1 * MIB)) == [], "the old release does the same"
    assert told(growing(0.0)) == []


def test_memory_that_fills_and_then_stays_is_a_cache() -> None:
    windows = (
        Window(float(at), new=Condition(memory={"b1": min(100 + 8 * at, 500) * MIB}, memory_max=1_000 * MIB))
        for at in range(150)
    )
    assert told(after(windows)) == []


def test_an_instance_that_has_started_anew_begins_anew() -> None:
    known = growing(1 * MIB)
    assert told(known.after(Window(500.0, new=Condition(memory={"b2": 1.0})))) == []


def test_a_collection_that_comes_now_and_then_does_not_hide_a_leak() -> None:
    windows = (
        Window(float(at), new=Condition(memory={"b1": (100 + at + 30 * (at % 10 == 0)) * MIB}, memory_max=1_000 * MIB))
        for at in range(120)
    )
    assert told(after(windows)) == [("memory", True)]


@given(st.lists(st.floats(0.0, 1e12), min_size=1, max_size=300))
def test_memory_is_remembered_in_few_points(used: list[float]) -> None:
    memory = Memory()
    for at, one in enumerate(used):
        memory = memory.after(float(at), one)
    assert len(memory.points) <= LEAK_POINTS
    assert memory.slope >= 0.0


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 99), st.integers(0, 3)), max_size=20))
def test_guards_are_stored_and_read_again_as_they_were(seen: list[tuple[int, int, int, int]]) -> None:
    known = after(
        Window(
            float(at), both(new, min(new, failed), old), new=Condition(dead_letters=letters, memory={"b1": old * 1.0})
        )
        for at, (new, failed, old, letters) in enumerate(seen)
    )
    assert msgspec.json.decode(msgspec.json.encode(known), type=Guarded) == known
