from hypothesis import given, strategies as st

from hanse.control.lateness import LEFT_SECONDS, STALL_SECONDS, WELL_SECONDS, Lateness

LOOK = 0.25


def counted(*windows: tuple[int, int, bool]) -> list[float]:
    """What counts of windows of a quarter of a second: how many were well, how many late, and whether it answered."""
    known, found = Lateness(), list[float]()
    for number, (well, late, answered) in enumerate(windows, 1):
        known, counts = known.after(number * LOOK, well, late, 0.0, answered=answered)
        found.append(counts)
    return found


def test_all_who_wait_for_one_stall_count_as_one() -> None:
    assert sum(counted((5, 2, True), (0, 9, False), (0, 9, False), (3, 4, True), (9, 0, True))) == 1.0


def test_who_was_left_over_is_of_the_same_stall() -> None:
    assert sum(counted((0, 9, False), (0, 9, True), (2, 5, True), (9, 0, True))) == 1.0


def test_another_stall_counts_once_more() -> None:
    stall = ((0, 9, False), (0, 9, True), (9, 0, True))
    assert sum(counted(*stall, *stall)) == 2.0


def test_who_goes_on_answering_late_was_slow_from_the_beginning() -> None:
    windows = round(LEFT_SECONDS / LOOK)
    assert counted(*[(0, 4, True)] * (windows + 2)) == [1.0, *[0.0] * (windows - 1), 4.0 * (windows + 1) - 1.0, 4.0]


def test_who_answers_nobody_is_slow_in_the_end() -> None:
    windows = round(STALL_SECONDS / LOOK)
    assert counted(*[(0, 4, False)] * (windows + 2))[windows:] == [4.0 * (windows + 1) - 1.0, 4.0]


def test_who_is_late_for_some_counts_in_full_from_some_seconds_on() -> None:
    """What was left out stays so: it may have been a stall, as others were answered in time."""
    windows = round(STALL_SECONDS / LOOK)
    assert counted(*[(9, 4, True)] * (windows + 2)) == [1.0, *[0.0] * (windows - 1), 4.0, 4.0]


def test_what_is_usual_counts() -> None:
    assert Lateness().after(LOOK, 95, 5, 5.0, answered=True) == (Lateness(), 5)
    assert Lateness().after(LOOK, 90, 10, 5.0, answered=True)[1] == 6.0


def test_whoever_is_asked_seldom_is_late_anew_each_time() -> None:
    quiet = [(0, 0, False)] * round(WELL_SECONDS / LOOK)
    assert sum(counted((0, 1, True), *quiet, (0, 1, True), *quiet, (0, 1, True))) == 3.0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.booleans()), max_size=60))
def test_never_more_counts_than_there_was(windows: list[tuple[int, int, bool]]) -> None:
    found = counted(*windows)
    late = [late for _, late, _ in windows]
    for number in range(1, len(windows) + 1):
        assert sum(found[:number]) <= sum(late[:number])
    assert all(one >= 0.0 for one in found)
