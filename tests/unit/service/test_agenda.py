"""A row waits its turn, is worked on once at a time, and rests after a failure."""

from hypothesis import given, strategies as st

from hanse.service.agenda import REST_SECONDS_MAX, SETTLED_MAX, Agenda, rest_after

STEPS = st.lists(st.tuples(st.sampled_from(["offer", "take", "done", "fail", "wait"]), st.integers(0, 3)), max_size=60)


def agenda(*, concurrency: int = 1, limit: int = 10) -> Agenda:
    return Agenda(concurrency=concurrency, limit=limit)


@given(STEPS, st.integers(1, 3), st.integers(1, 4))
def test_no_row_is_lost_or_worked_on_twice_at_once(steps: list[tuple[str, int]], concurrency: int, limit: int) -> None:
    tested, running, wanted, now = agenda(concurrency=concurrency, limit=limit), list[str](), set[str](), 0.0
    for rev, (step, n) in enumerate(steps, 1):
        if step == "offer" and not tested.full:
            tested.offer(str(n), rev)
            wanted.add(str(n))
        elif step == "take" and (id := tested.take(now)) is not None:
            assert id not in running
            running.append(id)
            wanted.discard(id)
            assert len(running) <= concurrency
        elif step == "done" and running:
            tested.done(running.pop(n % len(running)), 0)
        elif step == "fail" and running and not tested.full:
            id = running.pop(n % len(running))
            tested.failed(id, now, 1.0)
            wanted.add(id)
        elif step == "wait":
            now += 100.0 * n
    left = set(running)
    for id in running:
        tested.done(id, 0)
    while (due := tested.due()) is not None or not tested.idle:
        now = max(now, due or now)
        while (id := tested.take(now)) is not None:
            left.add(id)
            tested.done(id, 0)
    assert wanted <= left


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_rests_grow_up_to_a_limit_and_are_never_nothing(failures: int, draw: float) -> None:
    assert 0.0 < rest_after(failures, draw) <= rest_after(failures + 1, draw) <= REST_SECONDS_MAX


def test_a_change_while_a_row_is_worked_on_has_it_looked_at_again() -> None:
    tested = agenda()
    tested.offer("a", 1)
    assert tested.take(0.0) == "a"
    tested.offer("a", 5)
    tested.done("a", 1)
    assert tested.take(0.0) == "a"


def test_the_change_that_the_work_itself_made_does_not() -> None:
    tested = agenda()
    tested.offer("a", 1)
    tested.take(0.0)
    tested.offer("a", 5)
    tested.done("a", 5)
    tested.offer("a", 5)
    assert tested.idle


def test_a_sweep_looks_at_settled_rows_too() -> None:
    tested = agenda()
    tested.offer("a", 1)
    tested.take(0.0)
    tested.done("a", 1)
    tested.offer("a")
    assert tested.take(0.0) == "a"


def test_a_sweep_during_the_work_adds_none() -> None:
    tested = agenda()
    tested.offer("a", 1)
    tested.take(0.0)
    tested.offer("a")
    tested.done("a", 1)
    assert tested.idle


def test_a_row_that_failed_rests_whatever_is_said_of_it() -> None:
    tested = agenda()
    tested.offer("a", 1)
    tested.take(0.0)
    assert tested.failed("a", 10.0, 1.0) == 1.0
    tested.offer("a", 2)
    assert (tested.take(10.9), tested.due(), tested.take(11.0)) == (None, 11.0, "a")
    assert tested.failed("a", 20.0, 1.0) == 2.0


def test_a_row_that_failed_is_left_to_the_sweep_where_there_is_no_room() -> None:
    tested = agenda(limit=1)
    tested.offer("a", 1)
    tested.take(0.0)
    tested.offer("b", 2)
    assert tested.full
    tested.failed("a", 0.0, 1.0)
    assert tested.due() is None


def test_the_memory_of_settled_rows_is_bounded() -> None:
    tested = agenda()
    for n in range(SETTLED_MAX + 1):
        tested.offer(str(n), 1)
        tested.done(tested.take(0.0) or "", 1)
    tested.offer("0", 1)
    assert tested.take(0.0) == "0"
