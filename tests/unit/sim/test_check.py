"""Checks: what they may say, and how what went wrong is told."""

from collections.abc import Callable

import pytest

from hanse.kernel.message import Kind, Message
from hanse.sim.check import Observer, broken, told_of
from hanse.store.base import Batch


def fails(error: Exception) -> Callable[[], object]:
    def check() -> object:
        raise error

    return check


@pytest.mark.parametrize(
    ("check", "wrong"),
    [
        (fails(AssertionError("two of one id")), "two of one id"),
        (fails(AssertionError()), "an assertion failed"),
        (fails(KeyError("id")), "the check itself failed: KeyError: 'id'"),
        (lambda: False, "it does not hold"),
        (lambda: ["a", "b"], "['a', 'b']"),
        (lambda: "too many", "too many"),
        (lambda: None, None),
        (lambda: True, None),
    ],
)
def test_a_check_says_what_is_wrong(check: Callable[[], object], wrong: str | None) -> None:
    assert broken(check) == wrong


def test_groups_are_told_by_what_is_in_them() -> None:
    inner = ExceptionGroup("inner", [ValueError("no"), KeyError("id")])
    assert told_of(ExceptionGroup("outer", [inner, ValueError("no")])) == "ValueError: no; KeyError: 'id'"


def test_an_observer_hears_nothing_unless_it_says_so() -> None:
    observer = Observer()
    observer.begin()
    observer.committed("a", "a.db", Batch(0.0), ())
    observer.acknowledged("a", "a.db", Batch(0.0), ())
    observer.said("a", "b", Message(Kind.CALL, "1", "a.b"), None)
    observer.passed("a", "unit.before_commit")
    observer.died("a", dark=False)
    observer.healed()
    observer.finish()
    assert observer.idle()
