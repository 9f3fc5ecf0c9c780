"""A brake tries one message at a time, and first those that may succeed."""

from hypothesis import given, strategies as st

from hanse.delivery.brake import FAILING_MAX, FRESH_SECONDS, LOOK_SECONDS, PROBE_SECONDS, REMEMBERED_MAX, Brake


def held() -> Brake:
    brake = Brake()
    for number in range(FAILING_MAX):
        brake.failed(f"bad{number}", now=0.0)
    return brake


def test_one_that_has_not_failed_is_tried_before_those_that_have() -> None:
    brake = held()
    assert brake.wait("good", now=0.5) == 0.5
    assert brake.wait("bad0", now=PROBE_SECONDS) == FRESH_SECONDS
    assert brake.wait("good", now=PROBE_SECONDS) == 0.0


def test_where_none_is_known_that_has_not_failed_nobody_waits_for_it() -> None:
    assert held().wait("bad0", now=PROBE_SECONDS) == 0.0


def test_one_that_does_not_come_back_holds_up_the_others_for_a_moment_only() -> None:
    brake = held()
    assert brake.wait("gone", now=0.5) == 0.5
    assert brake.wait("bad0", now=PROBE_SECONDS + FRESH_SECONDS) == 0.0


def test_one_that_was_broken_off_counts_as_not_failed() -> None:
    brake = held()
    assert brake.wait("slow", now=PROBE_SECONDS) == 0.0
    brake.left("slow")
    assert brake.wait("slow", now=PROBE_SECONDS) == 0.0


def test_what_is_remembered_has_a_limit() -> None:
    brake, now = held(), 0.0
    for number in range(2 * REMEMBERED_MAX):
        assert brake.wait(f"fresh{number}", now=now) > 0.0
    for number in range(2 * REMEMBERED_MAX):
        now += 1_000.0
        assert brake.wait(f"more{number}", now=now) == 0.0
        brake.failed(f"more{number}", now=now)
    assert brake.held


@given(st.integers(1, 5), st.integers(0, 12), st.data())
def test_what_is_good_comes_through_after_as_many_tries_as_there_are_good_ones(
    good: int, bad: int, data: st.DataObject
) -> None:
    """However many bad ones ask with them, and whoever asks first."""
    brake, now = held(), 0.0
    waiting = [f"good{n}" for n in range(good)] + [f"bad{n}" for n in range(bad)]
    due, tries = dict.fromkeys(waiting, 0.0), 0
    while any(id.startswith("good") for id in due):
        now = min(due.values())
        for id in data.draw(st.permutations([id for id in due if due[id] <= now])):
            rest = brake.wait(id, now=now)
            if rest:
                due[id] = now + rest
                continue
            tries += 1
            if id.startswith("good"):
                brake.succeeded()
                del due[id]
            else:
                brake.failed(id, now=now)
                due[id] = now + LOOK_SECONDS
        assert now < 1_000.0
    assert tries <= good + bad + FAILING_MAX * good
