from hypothesis import given, strategies as st

from hanse.mesh.standing import (
    FAILURES_MAX,
    FORGIVEN_SECONDS,
    LOST_SECONDS,
    LOST_SECONDS_MAX,
    OUT_SECONDS,
    OUT_SECONDS_MAX,
    OUTLIERS_SHARE,
    SILENT_MAX,
    TRIAL_CALLS,
    WINDOW_SECONDS,
    Standing,
    State,
    Tally,
    is_outlier,
    may_leave,
    outliers_max,
)

TALLIES = st.integers(0, 200).flatmap(
    lambda calls: st.integers(0, calls).flatmap(
        lambda failures: st.builds(Tally, st.just(calls), st.just(failures), st.integers(0, failures))
    )
)
# What came of a call (well, a fault, nothing at all), and how long after the one before.
CALLS = st.lists(st.tuples(st.sampled_from(["well", "fault", "nothing"]), st.floats(0, 2.0)), max_size=200)


def out(state: State, *, now: float = 0.0) -> Standing:
    standing = Standing()
    standing.leave(state, now)
    return standing


def test_who_does_not_answer_at_all_is_left_alone_whatever_others_do() -> None:
    standing = Standing()
    for _ in range(SILENT_MAX - 1):
        standing.failed(0.0, silent=True)
    assert not standing.state.out
    standing.failed(0.0, silent=True)
    assert standing.state is State.SILENT


def test_any_answer_breaks_the_silence() -> None:
    standing = Standing()
    for number in range(10 * SILENT_MAX):
        standing.failed(0.0, silent=number % SILENT_MAX != 0)
    assert standing.state is State.IN


def test_who_is_out_comes_back_on_trial_and_stays_if_it_answers() -> None:
    standing = out(State.OUTLIER)
    standing.look(OUT_SECONDS - 1)
    assert standing.state.out
    standing.look(OUT_SECONDS)
    assert standing.state is State.TRIAL
    for _ in range(TRIAL_CALLS):
        assert standing.state is State.TRIAL
        standing.answered()
    assert standing.state.value == "in"


def test_a_trial_ends_with_its_first_failure_and_the_next_comes_later() -> None:
    standing = out(State.OUTLIER)
    standing.look(OUT_SECONDS)
    standing.failed(OUT_SECONDS, silent=False)
    assert (standing.state, standing.until) == (State.OUTLIER, OUT_SECONDS + 2 * OUT_SECONDS)


def test_one_that_was_lost_is_asked_again_soon_and_at_once_when_it_is_found() -> None:
    standing = out(State.LOST)
    assert standing.until == LOST_SECONDS
    standing.found(0.0)
    assert standing.state is State.TRIAL


def test_that_it_lives_says_nothing_of_one_that_fails() -> None:
    standing = out(State.OUTLIER)
    standing.found(0.0)
    assert standing.state is State.OUTLIER


def test_the_time_out_grows_up_to_a_limit() -> None:
    for state, most in ((State.LOST, LOST_SECONDS_MAX), (State.SILENT, OUT_SECONDS_MAX)):
        standing, now = Standing(), 0.0
        for _ in range(50):
            standing.leave(state, now)
            now = standing.until
            standing.look(now)
        standing.leave(state, now)
        assert standing.until - now == most


def test_after_a_long_time_in_it_is_forgiven() -> None:
    standing = out(State.OUTLIER)
    standing.look(OUT_SECONDS)
    for _ in range(TRIAL_CALLS):
        standing.answered()
    later = OUT_SECONDS + FORGIVEN_SECONDS
    standing.leave(State.OUTLIER, later)
    assert standing.until == later + OUT_SECONDS


def test_what_comes_back_late_does_not_lengthen_its_time() -> None:
    standing = out(State.LOST)
    standing.leave(State.LOST, now=0.05)
    standing.failed(0.05, silent=True)
    assert standing.until == LOST_SECONDS


def test_a_window_begins_with_its_first_failure() -> None:
    standing = Standing()
    for _ in range(1_000):
        standing.answered()
    standing.failed(WINDOW_SECONDS, silent=False)
    assert (standing.calls, standing.failures) == (1, 1)


@given(CALLS)
def test_it_is_clean_only_while_nothing_is_held_against_it(calls: list[tuple[str, float]]) -> None:
    standing, now = Standing(), 0.0
    for what, later in calls:
        now += later
        standing.look(now)
        if what == "well":
            standing.answered()
        else:
            standing.failed(now, silent=what == "nothing")
        assert standing.failures <= standing.calls
        assert standing.clean == (standing.state is State.IN and standing.row == 0)
        if standing.state.out:
            assert standing.until > now


@given(st.lists(TALLIES, min_size=1), st.integers(FAILURES_MAX, 200))
def test_where_all_fail_alike_nobody_is_an_outlier(others: list[Tally], failures: int) -> None:
    alike = [Tally(other.calls, other.calls, other.calls) for other in others]
    assert not is_outlier(Tally(failures, failures, failures), alike)


@given(TALLIES)
def test_alone_nobody_is_an_outlier(one: Tally) -> None:
    assert not is_outlier(one, [])


@given(TALLIES, st.lists(TALLIES))
def test_who_fails_no_more_than_the_others_is_none(one: Tally, others: list[Tally]) -> None:
    calls, failures = sum(other.calls for other in others), sum(other.failures for other in others)
    if calls and one.row < FAILURES_MAX and one.failures * calls <= failures * one.calls:
        assert not is_outlier(one, others)


def test_who_fails_clearly_more_often_is_one_also_without_a_row() -> None:
    assert is_outlier(Tally(100, 50, 1), [Tally(100, 10, 0), Tally(100, 5, 0)])
    assert not is_outlier(Tally(10, 5, 1), [Tally(100, 10, 0)])


@given(st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(State), min_size=1), max_size=4))
def test_no_more_than_the_share_of_any_service_is_out_as_outliers(groups: list[dict[str, State]]) -> None:
    for group in groups:
        group["a"] = State.IN
    if may_leave("a", groups):
        for group in groups:
            out = 1 + sum(state is State.OUTLIER for name, state in group.items() if name != "a")
            assert out <= max(1, len(group) * OUTLIERS_SHARE)
            assert out < len(group)


@given(st.integers(0, 10_000))
def test_somebody_is_always_left(instances: int) -> None:
    assert outliers_max(instances) < max(instances, 1)
