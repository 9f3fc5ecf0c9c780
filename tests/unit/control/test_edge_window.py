import itertools

import msgspec

from hanse.control.edge_figures import Counts, Key
from hanse.control.edge_people import People
from hanse.control.edge_window import REQUESTS_MIN, SLOWEST_MIN, Buckets, frozen, told
from hanse.control.judge import heard, judge, judging
from hanse.control.judged import Tally, window_between
from hanse.control.window import Both, Outcomes, Window
from hanse.kernel.latency import BOUNDS_MS


def counts(*seconds: float, errors: int = 0) -> Counts:
    found = Counts(requests=len(seconds), errors=errors)
    for one in seconds:
        found.took(one)
    return found


def test_what_is_slow_is_what_one_of_twenty_was_before() -> None:
    before = counts(*[0.009] * 900, *[0.09] * 80, *[0.9] * 20)
    limits = frozen({Key("users", "1.4", "users-1", "/a"): before}, "users", "1.4")
    assert limits == {"/a": limits[""], "": limits["/a"]}
    assert (BOUNDS_MS[limits["/a"].slow], BOUNDS_MS[limits["/a"].slowest]) == (100.0, 1_000.0)


def test_a_route_with_few_requests_goes_by_those_of_all() -> None:
    figures = {
        Key("users", "1.4", "users-1", "/a"): counts(*[0.01] * (REQUESTS_MIN - 1)),
        Key("users", "1.4", "users-2", "/b"): counts(*[0.01] * REQUESTS_MIN),
        Key("users", "1.5", "users-3", "/c"): counts(*[0.01] * REQUESTS_MIN),
        Key("other", "1.4", "other-1", "/d"): counts(*[0.01] * REQUESTS_MIN),
    }
    assert sorted(frozen(figures, "users", "1.4")) == ["", "/b"]
    now = {Key("users", "1.5", "users-3", "/a"): counts(0.01, 0.5)}
    both = told(now, "users", new="1.5", old="1.4", slow=frozen(figures, "users", "1.4"))
    assert both["/a"].new["users-3"].slow == 1


def test_what_is_slow_is_known_of_few_answers_and_what_is_slowest_of_more() -> None:
    """A node times one call of 32: a thousand calls more would be asked for, and nobody looked at how slow any is."""
    before = [0.009] * (REQUESTS_MIN * 9 // 10) + [0.09] * (REQUESTS_MIN // 10)
    few = frozen({Key("users", "1.4", "users-1", "/a"): counts(*before)}, "users", "1.4")["/a"]
    assert (BOUNDS_MS[few.slow], few.slowest) == (100.0, len(BOUNDS_MS))
    many = frozen({Key("users", "1.4", "u", "/a"): counts(*before * (SLOWEST_MIN // REQUESTS_MIN))}, "users", "1.4")
    assert (many["/a"].slow, BOUNDS_MS[many["/a"].slowest]) == (few.slow, 100.0)
    slower = {Key("users", "1.5", "u", "/a"): counts(*[0.5] * 20)}
    told_of = told(slower, "users", new="1.5", old="1.4", slow={"/a": few})["/a"].new["u"]
    assert (told_of.timed, told_of.slow, told_of.slowest) == (20, 20, 0)


def test_nothing_is_slow_where_nobody_knows_what_is() -> None:
    both = told(
        {Key("users", "1.5", "u", "/"): counts(9.0)}, "users", new="1.5", old="1.4", slow=frozen({}, "users", "")
    )
    assert (both["/"].new["u"].asked, both["/"].new["u"].timed) == (1, 0)


def test_what_takes_longer_than_all_buckets_is_slow_and_slowest() -> None:
    limits = {"": Buckets(len(BOUNDS_MS) - 1, len(BOUNDS_MS) - 1)}
    both = told({Key("users", "1.5", "u", "/"): counts(99.0)}, "users", new="1.5", old="1.4", slow=limits)
    assert (both["/"].new["u"].slow, both["/"].new["u"].slowest) == (1, 1)


def test_who_waits_for_longer_than_anybody_did_is_slow_before_the_answer_comes() -> None:
    limits = {"": Buckets(BOUNDS_MS.index(10.0), BOUNDS_MS.index(20.0))}
    key = Key("users", "1.5", "u", "/")
    before = told({}, "users", new="1.5", old="1.4", slow=limits, waiting={key: counts(0.4, 0.3, 0.015, 0.001)})
    assert before["/"].new["u"] == Outcomes(timed=2, slow=2, slowest=2)
    after = told({key: counts(0.5, 0.4)}, "users", new="1.5", old="1.4", slow=limits)
    assert after["/"].new["u"] == Outcomes(asked=2, timed=2, slow=2, slowest=2)


def test_who_waits_is_not_slow_where_nobody_knows_what_is() -> None:
    waiting = {Key("users", "1.5", "u", "/"): counts(9.0)}
    assert told({}, "users", new="1.5", old="1.4", slow={}, waiting=waiting) == {}


def test_other_releases_and_requests_that_nobody_answered_are_left_out() -> None:
    figures = {
        Key("users", "1.3", "users-1", "/"): counts(0.01),
        Key("users", "1.5", "", "/"): counts(0.01, errors=1),
        Key("other", "1.5", "other-1", "/"): counts(0.01),
    }
    assert told(figures, "users", new="1.5", old="1.4", slow={}) == {}


def test_a_judge_goes_by_what_an_edge_has_counted() -> None:
    known = judging()
    for second in (1.0, 2.0):
        figures = {
            Key("users", "1.5", "b1", "/"): counts(*[0.01] * 10, errors=5),
            Key("users", "1.4", "a1", "/"): counts(*[0.01] * 190),
        }
        known = heard(known, Window(second, told(figures, "users", new="1.5", old="1.4", slow={})))
    assert judge(known).decision == "roll_back"


def test_what_was_overdue_and_fails_at_last_has_failed() -> None:
    limits = {"": Buckets(BOUNDS_MS.index(10.0), BOUNDS_MS.index(20.0))}
    new, old = Key("users", "1.5", "b", "/"), Key("users", "1.4", "a", "/")
    well = counts(*[0.001] * 50)
    looks = [
        told({old: counts()}, "users", new="1.5", old="1.4", slow=limits),
        told({old: well}, "users", new="1.5", old="1.4", slow=limits, waiting={new: counts(0.4, 0.3)}),
        told({old: well, new: counts(0.5, 0.4, errors=2)}, "users", new="1.5", old="1.4", slow=limits),
    ]
    tallies = [Tally("a", routes) for routes in looks]
    windows = [window_between(*two, 1.0).routes["/"].new["b"] for two in itertools.pairwise(tallies)]
    assert windows == [Outcomes(timed=2, slow=2, slowest=2), Outcomes(asked=2, failed=2)]


def test_a_release_of_which_nobody_has_an_answer_is_slow_beside_one_that_answers() -> None:
    both = Both(new={"b": Outcomes(timed=2, slow=2, slowest=2)}, old={"a": Outcomes(asked=50, timed=50)})
    assert both.compares


def test_who_failed_before_and_is_overdue_takes_no_failure_of_others_away() -> None:
    limits = {"": Buckets(BOUNDS_MS.index(10.0), BOUNDS_MS.index(20.0))}
    key, people = Key("users", "1.5", "b", "/"), People()
    seen = Counts()
    people.count(seen, ("b", "/"), "r", "ann", 1.0, failed=True)
    first = told({key: seen}, "users", new="1.5", old="1.4", slow=limits, waiting={key: counts(0.4)})
    seen = msgspec.structs.replace(seen)
    for name in ("ann", "bob"):
        people.count(seen, ("b", "/"), "r", name, 5.0, failed=True)
    second = told({key: seen}, "users", new="1.5", old="1.4", slow=limits)
    window = window_between(Tally("a", first), Tally("a", second), 1.0)
    assert window.routes["/"].new["b"] == Outcomes(asked=1, failed=1)
