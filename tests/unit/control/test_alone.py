"""A release that is asked everything, beside what the old one did before."""

from __future__ import annotations

import random  # noqa: TID251 - draws from a seed

import pytest

from hanse.control.alone import EVIDENCE, Alone
from hanse.control.window import Both, Outcomes, Window


def window(at: float, *, new: tuple[int, int] = (0, 0), old: tuple[int, int] = (0, 0)) -> Window:
    both = Both(
        new={"n": Outcomes(*new)} if new[0] else {},
        old={"o": Outcomes(*old)} if old[0] else {},
    )
    return Window(at, {"GET /": both})


def after(rate: float, old_rate: float, *, seed: int, seconds: int, asked: int = 20) -> float:
    """The most evidence that there ever was, of a release that fails at a rate after one that failed at another."""
    chance = random.Random(seed)

    def failed(rate: float) -> tuple[int, int]:
        return asked, sum(chance.random() < rate for _ in range(asked))

    known, most = Alone(), 0.0
    for second in range(30):
        known = known.after(window(second, old=failed(old_rate)), alone=False)
    for second in range(seconds):
        known = known.after(window(30 + second, new=failed(rate)), alone=True)
        most = max(most, known.worse)
    return most


def test_half_of_all_failing_is_seen_in_two_seconds() -> None:
    assert all(after(0.5, 0.002, seed=seed, seconds=2) >= EVIDENCE for seed in range(100))


@pytest.mark.parametrize("rate", [0.0, 0.002, 0.05])
def test_a_release_that_does_as_the_old_one_did_raises_no_alarm(rate: float) -> None:
    alarms = sum(after(rate, rate, seed=seed, seconds=300) >= EVIDENCE for seed in range(100))
    assert alarms == 0


def test_a_few_failures_after_nothing_was_asked_are_no_proof() -> None:
    known = Alone().after(window(1.0, new=(3, 2)), alone=True)
    assert known.worse < EVIDENCE


def test_one_burst_is_no_proof_where_the_old_release_had_failures_too() -> None:
    known = Alone(old=10_000, old_failed=500, new=10_000, new_failed=500)
    assert known.after(window(1.0, new=(60, 60)), alone=True).worse < EVIDENCE
    assert not list(known.after(window(1.0, new=(60, 60)), alone=True).signals())


def test_what_both_are_asked_is_for_others_to_compare() -> None:
    known = Alone().after(window(1.0, new=(50, 50), old=(50, 0)), alone=True)
    assert (known.new, known.old) == (0.0, 50.0)


def test_it_says_what_it_saw() -> None:
    known = Alone(old=5_000, old_failed=5).after(window(1.0, new=(40, 20)), alone=True)
    assert [one.says for one in known.signals()] == [
        "20 of 40 requests failed since it is asked alone; 5 of 5000 of the old release's before"
    ]


def test_who_shares_requests_is_not_alone_though_the_old_release_has_nothing_to_say_for_a_moment() -> None:
    """It stalls, all but three wait for it, and for these everything fails."""
    known = Alone().after(window(1.0, new=(50, 0), old=(600, 0)), alone=False)
    known = known.after(window(1.25, new=(3, 3)), alone=False)
    assert not list(known.signals())
    assert (known.new, known.new_failed) == (0.0, 0.0)


def test_where_the_old_release_answers_too_the_new_one_is_not_alone_until_it_has_been_quiet() -> None:
    """Messages, for instance, are shared by instances of both, whoever has all calls."""
    calls = {"till.price": Both(new={"n": Outcomes(50, 25)})}
    shared = {"on thanks": Both(new={"n": Outcomes(3, 3)}, old={"o": Outcomes(3, 3)})}
    gap = {"on thanks": Both(new={"n": Outcomes(3, 3)})}
    known = Alone(old=1_000).after(Window(1.0, shared), alone=True).after(Window(1.25, gap), alone=True)
    assert (known.new, known.new_failed) == (0.0, 0.0)
    assert list(known.after(Window(1.5, {**gap, **calls}), alone=True).signals()), "calls are the new one's alone"
    assert known.after(Window(9.0, gap), alone=True).new_failed == 3.0
