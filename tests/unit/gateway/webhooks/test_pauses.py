"""Receivers are left alone as they ask, or when they are silent, and what is remembered of them is bounded."""

from hanse.gateway.webhooks.pauses import (
    FAILURES_MAX,
    PAUSE_SECONDS,
    PAUSE_SECONDS_MAX,
    REMEMBERED_MAX,
    Pauses,
)


def test_who_is_silent_several_times_in_a_row_gets_a_pause_and_each_is_longer() -> None:
    pauses, waits = Pauses(), list[float]()
    for _ in range(FAILURES_MAX + 20):
        pauses.silent("a", 0.0)
        waits.append(pauses.until("a"))
    assert waits[: FAILURES_MAX + 1] == [0.0] * (FAILURES_MAX - 1) + [PAUSE_SECONDS, 2 * PAUSE_SECONDS]
    assert waits[-1] == PAUSE_SECONDS_MAX


def test_an_answer_begins_the_count_anew() -> None:
    pauses = Pauses()
    for _ in range(FAILURES_MAX - 1):
        pauses.silent("a", 0.0)
    pauses.answered("a")
    pauses.silent("a", 0.0)
    assert pauses.until("a") == 0.0


def test_a_longer_pause_is_not_made_shorter() -> None:
    pauses = Pauses()
    pauses.asked("a", 60.0)
    pauses.asked("a", 30.0)
    assert pauses.until("a") == 60.0


def test_only_so_many_are_remembered() -> None:
    pauses = Pauses()
    for n in range(REMEMBERED_MAX + 1):
        pauses.asked(str(n), 60.0)
        pauses.silent(str(n), 0.0)
    assert (pauses.until("0"), pauses.until(str(REMEMBERED_MAX))) == (0.0, 60.0)
