"""A row waits its turn, is worked on once at a time, and rests after a failure."""

from hypothesis import given, strategies as st

from hanse.service.agenda import LANE_WAITING_MAX, REST_SECONDS_MAX, SETTLED_MAX, Agenda, rest_after

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


def lanes(places: int = 1, *, concurrency: int = 10, limit: int = 1_000) -> Agenda:
    return Agenda(concurrency=concurrency, limit=limit, lane_concurrency=places)


def taken(tested: Agenda, now: float = 0.0) -> list[str]:
    found: list[str] = []
    while (id := tested.take(now)) is not None:
        found.append(id)
    return found


def test_a_lane_has_so_many_places_and_leaves_the_others_to_the_rest() -> None:
    tested = lanes(2)
    for n in range(5):
        tested.offer(f"slow{n}", n + 1, "slow")
    tested.offer("quick", 9, "quick")
    assert taken(tested) == ["slow0", "quick", "slow1"]
    tested.done("slow1", 0)
    assert taken(tested) == ["slow2"]


def test_lanes_take_turns() -> None:
    tested = lanes(1, concurrency=1)
    for n in range(3):
        tested.offer(f"much{n}", 1, "much")
    tested.offer("little", 1, "little")
    order: list[str] = []
    while (id := tested.take(0.0)) is not None:
        order.append(id)
        tested.done(id, 0)
    assert order == ["much0", "little", "much1", "much2"]


def test_a_lane_that_had_more_than_it_could_remember_says_so_once_there_is_room() -> None:
    tested = lanes(1)
    for n in range(LANE_WAITING_MAX + 1):
        tested.offer(str(n), 1, "much")
    assert tested.wanting() is None
    for _ in range(LANE_WAITING_MAX // 2):
        tested.done(tested.take(0.0) or "", 0)
    assert (tested.wanting(), tested.wanting()) == ("much", None)


def test_a_lane_that_is_all_done_still_says_that_it_had_more() -> None:
    tested = lanes(LANE_WAITING_MAX, concurrency=LANE_WAITING_MAX)
    for n in range(LANE_WAITING_MAX + 1):
        tested.offer(str(n), 1, "much")
    for id in taken(tested):
        tested.done(id, 0)
    assert tested.wanting() == "much"


def test_a_row_with_a_time_is_taken_then_and_not_before() -> None:
    tested = lanes()
    tested.plan("a", 60.0, 1, "lane")
    assert (tested.take(59.9), tested.due(), tested.idle) == (None, 60.0, True)
    assert tested.take(60.0) == "a"
    assert not tested.idle


def test_a_time_may_be_moved_and_taken_back() -> None:
    tested = lanes(2)
    tested.plan("a", 60.0, 1)
    tested.plan("a", 30.0, 2)
    assert (tested.due(), tested.take(30.0), tested.take(60.0)) == (30.0, "a", None)
    tested.plan("b", 60.0, 1)
    tested.offer("b", 2)
    assert (tested.take(31.0), tested.due()) == ("b", None)


def test_a_row_that_waited_may_be_given_a_time() -> None:
    tested = lanes()
    tested.offer("a", 1, "lane")
    tested.plan("a", 60.0, 2, "lane")
    assert (tested.take(0.0), tested.take(60.0)) == (None, "a")


def test_a_time_does_not_cut_a_rest_short() -> None:
    tested = lanes()
    tested.offer("a", 1)
    tested.take(0.0)
    tested.failed("a", 0.0, 1.0)
    tested.plan("a", 0.5, 2)
    assert (tested.take(0.9), tested.take(1.0)) == (None, "a")


def test_a_time_given_while_it_is_worked_on_has_it_looked_at_again() -> None:
    tested = lanes()
    tested.offer("a", 1)
    tested.take(0.0)
    tested.plan("a", 60.0, 5)
    tested.done("a", 1)
    assert tested.take(0.0) == "a"


def test_times_take_at_most_half_of_the_room() -> None:
    tested = lanes(4, limit=4)
    for n in range(4):
        tested.plan(str(n), 60.0, 1)
    assert not tested.full
    assert taken(tested, 60.0) == ["0", "1"]


@given(st.lists(st.tuples(st.sampled_from(["offer", "plan", "take", "done", "fail"]), st.integers(0, 7)), max_size=80))
def test_no_lane_has_more_than_its_places_and_none_is_forgotten(steps: list[tuple[str, int]]) -> None:
    tested, running, wanted, now = lanes(2, concurrency=3), list[int](), set[int](), 0.0
    for rev, (step, n) in enumerate(steps, 1):
        now += 1.0
        if step == "offer":
            tested.offer(str(n), rev, str(n % 2))
            wanted.add(n)
        elif step == "plan":
            tested.plan(str(n), now + n, rev, str(n % 2))
            wanted.add(n)
        elif step == "take" and (id := tested.take(now)) is not None:
            running.append(int(id))
            wanted.discard(int(id))
            assert max(sum(m % 2 == lane for m in running) for lane in (0, 1)) <= 2
        elif step == "done" and running:
            tested.done(str(running.pop(n % len(running))), 0)
        elif step == "fail" and running:
            failed = running.pop(n % len(running))
            tested.failed(str(failed), now, 1.0)
            wanted.add(failed)
    left = set(running)
    for n in running:
        tested.done(str(n), 0)
    while (due := tested.due()) is not None or not tested.idle:
        now = max(now, due or now)
        for id in taken(tested, now):
            left.add(int(id))
            tested.done(id, 0)
    assert wanted <= left
