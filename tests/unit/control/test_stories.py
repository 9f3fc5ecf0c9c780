import pytest

from hanse.control import stories as module
from hanse.control.stories import SLOW_AGAIN_SECONDS, WHO_MAX, Limits, Stories, Told
from hanse.control.window import Both, Condition, Outcomes


def told(who: str, *, is_new: bool = True, failed: bool = False, seconds: float = 0.01, route: str = "/") -> Told:
    return Told(route, "b1" if is_new else "a1", is_new, who, failed, seconds)


def counted(stories: Stories, at: float = 1.0, route: str = "/") -> Outcomes:
    return stories.cut(at).routes.get(route, Both(new={"b1": Outcomes()})).new["b1"]


def test_who_asks_often_is_one_who_asks() -> None:
    stories = Stories()
    for who in ("ann", "ann", "bob"):
        stories.add(told(who), at=0.5)
    assert counted(stories) == Outcomes(asked=2)


def test_who_has_failed_failed_once_and_is_at_risk_no_more() -> None:
    stories = Stories()
    for _ in range(5):
        stories.add(told("ann", failed=True), at=0.5)
    assert counted(stories) == Outcomes(asked=1, failed=1)
    stories.add(told("ann", failed=True), at=1.5)
    stories.add(told("ann", failed=True, is_new=False, route="/other"), at=1.5)
    stories.add(told("bob"), at=1.5)
    assert counted(stories, 2.0) == Outcomes(asked=1)
    assert stories.cut(3.0).routes == {}


def test_one_failure_among_many_answers_is_a_failure() -> None:
    stories = Stories()
    for failed in (False, True, False):
        stories.add(told("ann", failed=failed), at=0.5)
    assert counted(stories) == Outcomes(asked=1, failed=1)


def test_slow_answers_count_once_for_a_while() -> None:
    stories = Stories({"/": Limits(slow=0.1, slowest=0.5)})
    counts: list[tuple[int, int, int]] = []
    for at in (0.0, 10.0, SLOW_AGAIN_SECONDS + 10.0):
        stories.add(told("ann", seconds=0.2), at=at)
        one = counted(stories, at + 1.0)
        counts.append((one.timed, one.slow, one.slowest))
    assert counts == [(1, 1, 0), (1, 0, 0), (1, 1, 0)]


def test_routes_without_limits_and_failures_are_not_timed() -> None:
    stories = Stories({"/": Limits(slow=0.1, slowest=0.5)})
    stories.add(told("ann", failed=True, seconds=9.0), at=0.5)
    stories.add(told("bob", seconds=9.0, route="/other"), at=0.5)
    window = stories.cut(1.0)
    assert [both.new["b1"].timed for both in window.routes.values()] == [0, 0]


def test_a_window_tells_how_instances_are() -> None:
    window = Stories().cut(1.0, new=Condition(lag=0.2))
    assert (window.at, window.new.lag, window.old.lag) == (1.0, 0.2, 0.0)


def test_so_many_are_remembered_and_no_more() -> None:
    known: dict[str, float] = {str(number): 0.0 for number in range(WHO_MAX)}
    module._note(known, "0", 1.0)
    assert len(known) == WHO_MAX
    module._note(known, "another", 1.0)
    assert len(known) == WHO_MAX
    assert ("0" in known, "1" in known, "another" in known) == (True, False, True)


@pytest.mark.parametrize("is_new", [True, False])
def test_both_releases_are_counted_alike(*, is_new: bool) -> None:
    stories = Stories()
    stories.add(told("ann", is_new=is_new, failed=True), at=0.5)
    both = stories.cut(1.0).routes["/"]
    assert (both.new if is_new else both.old) == {"b1" if is_new else "a1": Outcomes(1, 1)}
