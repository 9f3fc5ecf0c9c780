"""Runs that are made again elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

from hanse.sim.failure import Failure
from hanse.sim.origin import Origin, load
from hanse.sim.repeat import Seen, repeat
from hanse.sim.run import run_once
from hanse.sim.simulation import Simulation
from hanse.sim.sweep import Options, sweep
from hanse.sim.token import Token
from hanse.sim.worker import Order

SMALL = Path(__file__).with_name("small_worlds.py")


def origin(name: str) -> Origin:
    return Origin(str(SMALL), "small_worlds", name)


def small(name: str) -> Simulation:
    return load(origin(name), sys.path)


def seen(name: str, token: str) -> Seen:
    return Seen(Order(token), run_once(small(name), Token.parse(token)).hash)


def told(failures: list[Failure]) -> str:
    (failure,) = failures
    (violation,) = failure.violations
    assert violation.check == "differs"
    assert failure.is_apart
    return violation.detail


def test_a_run_that_strings_decide_is_found_with_its_first_effect_that_differs() -> None:
    detail = told(repeat(small("wavers"), origin("wavers"), [seen("wavers", "calm-1")]))
    assert "it did something else in a process with PYTHONHASHSEED=" in detail
    assert "client send: call book.write" in detail
    assert "bytes differ from" in detail


def test_a_set_of_texts_that_is_sent_is_told_with_what_to_do() -> None:
    detail = told(repeat(small("tags"), origin("tags"), [seen("tags", "calm-1")]))
    assert "client send: call tagged.write" in detail
    assert "the same bytes in another order, as of a set of texts: make it a sorted tuple" in detail


def test_a_sorted_tuple_of_texts_is_the_same_in_each_process() -> None:
    assert repeat(small("tags_sorted"), origin("tags_sorted"), [seen("tags_sorted", "calm-1")]) == []


def test_a_run_that_goes_on_from_the_one_before_is_found_in_one_process() -> None:
    detail = told(repeat(small("remembers"), None, [seen("remembers", "calm-1")]))
    assert "it did something else when it was run again, after" in detail


def test_a_run_that_only_earlier_runs_made_different_is_told_so() -> None:
    wrong = Seen(Order("calm-1"), "0" * 32)
    detail = told(repeat(small("holds"), origin("holds"), [wrong]))
    assert "run by itself it does the same here" in detail
    assert "module state" in detail


def test_a_run_that_kills_the_other_process_is_told() -> None:
    (failure,) = repeat(small("dies"), origin("dies"), [Seen(Order("calm-2"), "0" * 32)])
    assert failure.violations[0].check == "worker"


def test_runs_that_do_the_same_are_no_failures() -> None:
    assert repeat(small("loses"), origin("loses"), [seen("loses", "hostile-1"), seen("loses", "hostile-3")]) == []


def test_where_things_lie_in_memory_is_no_part_of_what_happened() -> None:
    one, two = (run_once(small("shows_an_address"), Token.parse("calm-0")) for _ in range(2))
    assert one.violations[0].detail == "ValueError: no luck with <object object at 0x...>"
    assert one.hash == two.hash


def test_a_sweep_repeats_some_of_the_runs_that_held() -> None:
    held, wavering = sweep(small("holds"), Options(jobs=2)), sweep(small("wavers"), Options(repeated=0.5))
    assert (held.repeated, held.ok) == (1, True)
    assert (wavering.repeated, wavering.ok) == (3, False)
    assert {failure.violations[0].check for failure in wavering.failures} == {"differs"}
