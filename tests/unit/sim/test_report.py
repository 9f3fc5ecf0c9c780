"""A report of made-up runs: what it draws, and what it leaves out."""

from __future__ import annotations

import pytest

from hanse.sim.check import Violation
from hanse.sim.explain import Diagnosis, Passing
from hanse.sim.failure import Failure
from hanse.sim.report import AFTER_SHOWN, LAST_SHOWN, report
from hanse.sim.run import Outcome
from hanse.sim.trace import Effect

OBSERVER = "(observer)"
BEFORE = 10


def asking(at: float) -> list[Effect]:
    """A reader of feeds asks a service."""
    return [
        Effect(at, OBSERVER, "send", "stream rows/tickets.follow", b"{}", "bank"),
        Effect(at, "bank", "receive", "stream rows/tickets.follow", b"", OBSERVER),
    ]


def outcome(effects: list[Effect], check: str = "") -> Outcome:
    end = [Effect(100.0, "", "violation", f"{check}: it is so")] if check else []
    return Outcome(
        token="calm-1",
        violations=(Violation(check, "it is so", 100.0),) if check else (),
        seconds=100.0,
        effects=(*effects, *end),
    )


def told(failing: list[Effect], passing: list[Effect], check: str = "all is paid") -> str:
    smallest = outcome(failing, check)
    failure = Failure("calm-1", smallest.violations)
    return report(Diagnosis(failure, 0, smallest, None, Passing(outcome(passing))), "evening", "")


def log(at: float, words: str) -> Effect:
    return Effect(at, "bank", "log", words)


def test_who_only_looks_on_is_not_drawn() -> None:
    text = told([*asking(0.1), log(0.2, "here"), *asking(0.3)], [*asking(0.1), log(0.2, "there")])
    assert "after 2 effects that are alike" in text
    assert "|log here" in text
    assert OBSERVER not in text


def test_who_looks_on_is_drawn_where_what_they_read_is_wrong() -> None:
    text = told([*asking(0.1), log(0.2, "here")], [*asking(0.1), log(0.2, "there")], check="feeds")
    assert "seconds (observer)" in text


@pytest.mark.parametrize("place", [0, 1])
def test_who_looks_on_is_drawn_where_the_run_went_another_way_with_them(place: int) -> None:
    """Be it that they did something else, or that somebody did it to them."""
    effects = [log(0.05, "ready"), *asking(0.1), log(0.2, "here")]
    text = told(effects, effects[: 1 + place])
    assert f"after {1 + place} effect" in text
    assert OBSERVER in text.partition("What happened")[2]


def test_as_much_is_drawn_after_the_turn_however_much_looking_on_there_was() -> None:
    before = [effect for second in range(BEFORE) for effect in (*asking(second), log(second, f"before {second}"))]
    after = [effect for second in range(BEFORE, 99) for effect in (*asking(second), log(second, f"after {second}"))]
    text = told([*before, *after], [*before, *asking(BEFORE), log(BEFORE, "something else")])
    turned, came = text.partition("What happened when it went another way:")[2].split("What it came to:")
    assert f"log after {BEFORE + AFTER_SHOWN - 1}" in turned
    assert f"log after {BEFORE + AFTER_SHOWN}" not in turned
    assert came.count("log after") == LAST_SHOWN - 1
    assert "** violation" in came
