from hypothesis import given, strategies as st

from hanse.kernel.faults import Conflict, DeadlineExceeded, Fault, Internal, NotFound, Overloaded, Unavailable
from hanse.mesh.retry import BUDGET_MAX, RETRIES_MAX, Backoff, Budget, next_delay

DRAWS = st.floats(0, 1)


@given(st.sampled_from([NotFound("order", "42"), Internal("x"), DeadlineExceeded("a.b")]), DRAWS)
def test_what_a_retry_cannot_help_is_not_tried_again(fault: Fault, draw: float) -> None:
    assert next_delay(fault, 1, 60.0, draw) is None


@given(DRAWS)
def test_tries_have_a_limit(draw: float) -> None:
    fault = Unavailable("gone")
    assert next_delay(fault, RETRIES_MAX, 60.0, draw) is not None
    assert next_delay(fault, RETRIES_MAX + 1, 60.0, draw) is None


def test_there_is_no_retry_that_the_caller_would_not_see() -> None:
    assert next_delay(Overloaded("calls", after=5.0), 1, 5.0, 0.5) is None


@given(st.floats(0, 10), DRAWS)
def test_who_says_when_to_come_back_is_heard(after: float, draw: float) -> None:
    delay = next_delay(Overloaded("calls", after=after), 1, 60.0, draw)
    assert delay is not None
    assert delay >= after


@given(st.integers(1, 100), DRAWS)
def test_pauses_grow_up_to_their_limit(retry: int, draw: float) -> None:
    backoff = Backoff()
    assert 0 <= backoff.delay(retry, draw) <= backoff.limit
    assert backoff.delay(retry, draw) <= backoff.delay(retry + 1, draw)


def test_asking_twice_gives_the_same_answer() -> None:
    assert next_delay(Conflict("x"), 2, 9.0, 0.5) == next_delay(Conflict("x"), 2, 9.0, 0.5) == 0.02


@given(st.lists(st.booleans(), max_size=500))
def test_retries_add_at_most_a_tenth_to_the_load(tries: list[bool]) -> None:
    budget, spent, earned = Budget(), 0, 0
    for retry in tries:
        if retry:
            spent += budget.spend()
        else:
            budget.earn()
            earned += 1
    assert spent <= BUDGET_MAX + earned / 10
