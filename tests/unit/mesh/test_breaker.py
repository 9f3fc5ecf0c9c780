from hypothesis import given, strategies as st

from hanse.mesh.breaker import CALLS_MIN, FAILURES_RATIO, PAUSE_SECONDS, WINDOW_SECONDS, Breaker, State

# Whether a call failed, and how long after the one before it came back.
CALLS = st.lists(st.tuples(st.booleans(), st.floats(0, WINDOW_SECONDS / 4)), max_size=200)


def tripped() -> Breaker:
    breaker = Breaker()
    for _ in range(CALLS_MIN):
        breaker.record(failed=True, now=0.0)
    return breaker


def test_a_few_failures_are_no_evidence() -> None:
    breaker = Breaker()
    for _ in range(CALLS_MIN - 1):
        breaker.record(failed=True, now=0.0)
    assert breaker.allows(now=0.0)


def test_it_opens_when_half_of_the_calls_fail() -> None:
    breaker = Breaker()
    for number in range(CALLS_MIN):
        breaker.record(failed=number % 2 == 1, now=0.0)
    breaker.record(failed=True, now=0.0)
    assert breaker.state is State.OPEN


def test_what_went_well_before_the_window_does_not_hide_an_outage() -> None:
    breaker = Breaker()
    for _ in range(10_000):
        breaker.calls += 1
    for _ in range(CALLS_MIN):
        breaker.record(failed=True, now=1_000.0)
    assert breaker.state is State.OPEN


def test_after_the_pause_one_probe_goes_and_no_more() -> None:
    breaker = tripped()
    assert not breaker.allows(now=PAUSE_SECONDS / 2)
    assert breaker.allows(now=PAUSE_SECONDS)
    assert not breaker.allows(now=PAUSE_SECONDS)


def test_a_probe_that_is_answered_closes_it() -> None:
    breaker = tripped()
    assert breaker.allows(now=PAUSE_SECONDS)
    breaker.record(failed=False, now=PAUSE_SECONDS)
    assert breaker.state is State.CLOSED
    breaker.record(failed=True, now=PAUSE_SECONDS)
    assert breaker.allows(now=PAUSE_SECONDS)


def test_a_probe_that_fails_opens_it_again() -> None:
    breaker = tripped()
    assert breaker.allows(now=PAUSE_SECONDS)
    breaker.record(failed=True, now=PAUSE_SECONDS + 1)
    assert not breaker.allows(now=2 * PAUSE_SECONDS)
    assert breaker.allows(now=2 * PAUSE_SECONDS + 1)


def test_a_probe_that_never_comes_back_is_followed_by_another() -> None:
    breaker = tripped()
    assert breaker.allows(now=PAUSE_SECONDS)
    assert breaker.allows(now=2 * PAUSE_SECONDS)


def test_late_answers_do_not_close_an_open_breaker() -> None:
    breaker = tripped()
    breaker.record(failed=False, now=1.0)
    breaker.record(failed=True, now=1.0)
    assert breaker.state is State.OPEN


@given(CALLS)
def test_it_is_open_only_after_enough_failures_in_one_window(calls: list[tuple[bool, float]]) -> None:
    breaker, now, counted = Breaker(), 0.0, list[tuple[float, bool]]()
    for failed, later in calls:
        now += later
        breaker.record(failed=failed, now=now)
        counted.append((now, failed))
        if breaker.state is State.OPEN:
            window = [bad for at, bad in counted if now - at <= WINDOW_SECONDS]
            assert sum(window) >= CALLS_MIN * FAILURES_RATIO
            return
    assert breaker.allows(now)
