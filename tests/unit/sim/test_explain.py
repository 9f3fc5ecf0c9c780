"""From a run that failed to what that takes, and in words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import pytest

from hanse.sim.check import Violation
from hanse.sim.explain import Diagnosis, explain
from hanse.sim.export import exported
from hanse.sim.failure import Failure
from hanse.sim.origin import Origin, load
from hanse.sim.plan import Kill, KillAt
from hanse.sim.report import report
from hanse.sim.run import run_once
from hanse.sim.simulation import Simulation
from hanse.sim.sweep import Options, sweep
from hanse.sim.token import Token

SMALL = Path(__file__).with_name("small_worlds.py")


def origin(name: str) -> Origin:
    return Origin(str(SMALL), "small_worlds", name)


def small(name: str) -> Simulation:
    return load(origin(name), sys.path)


def first_failure(name: str, *, shuffle: bool = False) -> Failure:
    return sweep(small(name), Options(stop=True, shuffle=shuffle)).failures[0]


@pytest.fixture(scope="module")
def lost() -> Diagnosis:
    return explain(small("loses"), first_failure("loses"))


def test_what_fails_no_more_is_told_as_not_determined() -> None:
    failure = Failure("hostile-1-x0", (Violation("nothing lost", "all of it", 3.0),))
    diagnosis = explain(small("loses"), failure)
    assert (diagnosis.smallest, diagnosis.passing, diagnosis.least) == (None, None, failure)
    text = report(diagnosis, "loses", "w.py:loses")
    assert "Run again, it did not fail the same way:" in text
    assert "not decided by its seed alone" in text


def test_what_takes_other_processes_is_not_run_again() -> None:
    failure = Failure("calm-2", (Violation("worker", "the process ended with exit code 3", 0.0),))
    diagnosis = explain(small("dies"), failure)
    assert diagnosis == Diagnosis(failure, 0, None)
    assert report(diagnosis, "dies", "w.py:dies").splitlines()[-1] == "  hanse sim w.py:dies --replay calm-2"


def test_a_race_is_shrunk_to_the_crash_that_it_takes(lost: Diagnosis) -> None:
    assert lost.smallest is not None
    assert lost.shrunk is not None
    assert lost.incidents > 3
    (crash,) = lost.smallest.plan
    assert isinstance(crash, Kill | KillAt)
    assert lost.shrunk.complete
    again = run_once(small("loses"), Token.parse(lost.smallest.token))
    assert (again.hash, again.violations) == (lost.smallest.hash, lost.smallest.violations)


def test_the_nearest_run_that_holds_does_without_that_crash(lost: Diagnosis) -> None:
    assert lost.smallest is not None
    assert lost.passing is not None
    assert lost.passing.outcome.ok
    assert (lost.passing.left_out,) == lost.smallest.plan
    assert lost.passing.outcome.plan == ()


def test_where_nothing_goes_wrong_another_seed_is_near() -> None:
    diagnosis = explain(small("is_unlucky"), first_failure("is_unlucky"))
    assert diagnosis.smallest is not None
    assert diagnosis.smallest.plan == ()
    assert diagnosis.passing is not None
    assert diagnosis.passing.left_out is None
    assert "Unlike calm-3, which passed" in report(diagnosis, "is_unlucky", "")


def test_where_every_seed_fails_none_is_near() -> None:
    diagnosis = explain(small("always_fails"), Failure("calm-9", (Violation("story", "", 0.0),)))
    assert diagnosis.smallest is not None
    assert diagnosis.passing is None


def test_a_plan_stays_as_it_is_where_nobody_wants_it_smaller() -> None:
    failure = first_failure("loses")
    diagnosis = explain(small("loses"), failure, shrinking=False)
    assert diagnosis.shrunk is None
    assert diagnosis.least == failure
    text = report(diagnosis, "loses", "w.py:loses")
    assert "\nWhat goes wrong:\n" in text


def test_where_there_is_no_time_a_plan_stays_as_it_is_and_that_is_told() -> None:
    failure = first_failure("loses")
    diagnosis = explain(small("loses"), failure, seconds=-1.0)
    assert diagnosis.shrunk is not None
    assert not diagnosis.shrunk.complete
    assert diagnosis.least == failure
    assert "; there was no time for more):" in report(diagnosis, "loses", "")


def test_a_run_with_mixed_steps_is_mixed_again() -> None:
    diagnosis = explain(small("always_fails"), first_failure("always_fails", shuffle=True))
    assert diagnosis.least.shuffle
    assert "--replay calm-0 --shuffle" in report(diagnosis, "always_fails", "w.py:always_fails")
    assert ", shuffle=True)" in exported(diagnosis, origin("always_fails"))


def test_a_report_says_what_broke_how_to_see_it_and_why(lost: Diagnosis) -> None:
    assert lost.smallest is not None
    text = report(lost, "loses", "w.py:loses")
    assert text.startswith(f"loses does not hold under {lost.failure.token}: nothing lost\n  nothing lost, at second ")
    assert f"  hanse sim w.py:loses --replay {lost.smallest.token}" in text
    assert f"runs, from {lost.incidents}, in calm weather):" in text
    assert "book is killed" in text
    assert ", which passed, after " in text
    assert "** violation: nothing lost" in text
    assert max(map(len, text.splitlines())) <= 200
    assert "\033[" not in text


def test_a_report_stands_out_where_colour_is_wanted(lost: Diagnosis) -> None:
    text = report(lost, "loses", "w.py:loses", colour=True)
    assert text.startswith("\033[31;1mloses does not hold")
    assert "\033[1mTo run it again:\033[0m" in text


def test_a_report_for_a_test_says_how_to_run_it_once_more(lost: Diagnosis) -> None:
    assert lost.smallest is not None
    assert f"HANSE_SIM_REPLAY={lost.smallest.token}" in report(lost, "loses", "")


def test_a_failure_long_after_its_cause_is_shown_in_two_pieces() -> None:
    diagnosis = explain(small("loses_early"), first_failure("loses_early"))
    text = report(diagnosis, "loses_early", "")
    turned, came = text.partition("What happened when it went another way:")[2].split("What it came to:")
    assert "== incident: book is killed" in turned
    assert "** violation" in came
    assert "** violation" not in turned


def test_a_report_tells_some_violations_and_how_many_more() -> None:
    many = tuple(Violation(f"check {number}", "broken", 1.0) for number in range(8))
    text = report(Diagnosis(Failure("calm-0", many), 0, None), "story", "")
    assert "check 4, at second 1.000: broken\n  and 3 more\n" in text
    assert "check 5" not in text


def test_an_exported_test_fails_as_the_run_does(lost: Diagnosis) -> None:
    text = exported(lost, origin("loses"))
    names: dict[str, object] = {}
    exec(compile(text, "exported.py", "exec"), names)
    with pytest.raises(AssertionError, match="loses does not hold under"):
        cast("type", names["test_loses_keeps_nothing_lost"])()
    assert "    # " in text


def test_a_failure_that_was_not_shrunk_is_exported_as_it_was_found() -> None:
    failure = Failure("calm-2", (Violation("worker", "it ended\nwith exit code 3" + 200 * "!", 0.0),))
    text = exported(Diagnosis(failure, 0, None), origin("dies"))
    assert 'replay(small_worlds.dies, "calm-2")' in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_a_simulation_of_a_package_is_imported_from_it(lost: Diagnosis) -> None:
    text = exported(lost, Origin("/app/shop/worlds.py", "shop.worlds", "test_checkout"))
    assert "\nfrom shop import worlds\n" in text
    assert "\ndef test_checkout_keeps_nothing_lost() -> None:\n" in text
    assert "replay(worlds.test_checkout, " in text
