from hypothesis import given, strategies as st

from hanse.control.edge_health import checked_in_vain, eject, is_back, may_eject
from hanse.control.edge_retry import ATTEMPTS_MAX, IDEMPOTENT, Failure, Tried, next_step
from hanse.control.edge_table import Retries

METHODS = st.sampled_from([*sorted(IDEMPOTENT), "POST", "PATCH", "LINK"])
TRIED = st.builds(
    Tried, METHODS, keyed=st.booleans(), attempts=st.integers(1, 12), kept=st.booleans(), others=st.booleans()
)


@given(st.sampled_from(Failure), TRIED, st.integers(1, 10))
def test_what_may_have_been_heard_is_sent_again_only_where_that_is_safe(
    failure: Failure, tried: Tried, most: int
) -> None:
    step = next_step(failure, tried, Retries(attempts=most))
    if step == "again":
        heard = failure is not Failure.UNSENT
        assert not heard or (failure is Failure.UNHEARD and tried.kept)
        assert not heard or tried.keyed or tried.method in IDEMPOTENT
        assert tried.attempts < max(most, ATTEMPTS_MAX)


@given(TRIED, st.integers(1, 10))
def test_a_request_that_may_have_been_heard_is_never_told_as_not_taken(tried: Tried, most: int) -> None:
    assert next_step(Failure.UNHEARD, tried, Retries(attempts=most)) in {"again", "unknown"}
    assert next_step(Failure.UNSENT, tried, Retries(attempts=most)) in {"again", "unavailable"}


@given(st.integers(1, 30), st.lists(st.integers(0, 29)))
def test_at_most_half_of_a_pool_is_ejected_whatever_fails(size: int, fails: list[int]) -> None:
    pool = [f"s{number}" for number in range(size)]
    ejected: set[str] = set()
    for number in fails:
        server = pool[number % size]
        if may_eject(server, pool, ejected):
            ejected.add(server)
    assert 2 * len(ejected) <= size


def test_a_server_is_asked_less_and_less_often_up_to_a_limit() -> None:
    state, pauses = eject(0.0), list[float]()
    for _ in range(8):
        before = state.due
        state = checked_in_vain(state, before)
        pauses.append(round(state.due - before, 3))
    assert pauses == [0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0, 2.0]


def test_an_application_that_fails_is_not_back() -> None:
    assert [is_back(status) for status in (None, 0, 200, 404, 499, 500, 503)] == [False, *[True] * 4, False, False]
