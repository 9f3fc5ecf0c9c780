from collections.abc import Callable
from functools import partial

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from hanse.control.comparison import POINTS_MAX, Comparison, Curve
from hanse.control.evidence import BORNE, Slice
from hanse.control.judge import WAIT_SECONDS, Judging, Terms, heard, judge, judging, stepped
from hanse.control.verdict import Verdict
from hanse.control.weighing import BORNE_MAX
from hanse.control.window import OTHERS, Both, Condition, Outcomes, Window, folded

Traffic = Callable[[int], dict[str, Both]]

BRIEF = Terms(requests_min=100, seconds_min=10.0, deadline_seconds=300.0)


def after(traffic: Traffic, seconds: int, known: Judging | None = None) -> Judging:
    """What is known after so many windows of a second."""
    known = known or judging(BRIEF)
    start = int(known.at)
    for second in range(start + 1, start + seconds + 1):
        known = heard(known, Window(float(second), traffic(second)))
    return known


def some(asked: int, failed: int = 0, slow: int = 0, slowest: int = 0) -> Outcomes:
    return Outcomes(asked, failed, asked, slow, slowest)


def alike(second: int) -> dict[str, Both]:
    """Two releases as good as each other: one of a thousand answers fails, one of twenty is slow."""
    new = {"b1": some(25, int(second % 40 == 0), 1), "b2": some(25, int(second % 40 == 20), 1)}
    old = {f"a{n}": some(50, int(second % 20 == n), 2 + n % 2) for n in range(4)}
    return {"GET /orders": Both(new=new, old=old)}


def failing(second: int, *, new: int, old: int = 0) -> dict[str, Both]:
    return {"GET /orders": Both(new={"b1": some(10, new)}, old={"a1": some(95, old), "a2": some(95, old)})}


def test_half_of_the_requests_failing_is_seen_in_two_seconds() -> None:
    verdict = judge(after(partial(failing, new=5), 2))
    assert (verdict.decision, verdict.reason) == ("roll_back", "failed: 10 of 20, and 0 of 380 of the old release")


def test_a_release_as_good_as_the_old_one_goes_on() -> None:
    verdict = judge(after(alike, 120))
    assert verdict.decision == "go_on"
    assert all(one.is_proven for one in verdict.metrics if one.new)


def test_an_outage_that_both_suffer_from_does_not_roll_back_but_keeps_from_going_on_blindly() -> None:
    verdict = judge(after(partial(failing, new=5, old=47), 60))
    assert verdict.decision in {"wait", "go_on"}
    assert verdict.metrics[0].worse < 20


def test_nothing_is_passed_on_no_data() -> None:
    nothing = after(lambda _: {}, 60)
    assert (judge(nothing).decision, judge(nothing).step_requests) == ("wait", 0)
    assert judge(after(lambda _: {}, 300, nothing)).decision == "hold"
    free = heard(judging(Terms(requests_min=0, seconds_min=0.0)), Window(1.0))
    assert judge(free).reason == "too little traffic: 0 of 1 requests of the new release"


def test_too_little_traffic_waits_and_then_holds_and_says_how_much_is_missing() -> None:
    few: Traffic = lambda second: {"/": Both(new={"b1": some(1)}, old={"a1": some(4)})} if second % 3 == 0 else {}  # noqa: E731
    known = after(few, 30)
    assert judge(known).reason == "too little traffic: 10 of 100 requests of the new release"
    late = judge(after(few, 300, known))
    assert late.decision == "hold"
    assert late.reason.startswith("failed: not known to be no worse yet; needs about ")


def test_it_stays_for_as_long_as_a_step_lasts_at_least() -> None:
    known = after(lambda _: {"/": Both(new={"b1": some(1_000)}, old={"a1": some(1_000)})}, 5)
    assert (judge(known).decision, judge(known).reason) == ("wait", "5 of 10 s")


def test_a_step_begins_with_what_is_known_and_asks_for_traffic_of_its_own() -> None:
    known = stepped(after(alike, 120), Terms(requests_min=300, seconds_min=2.0))
    assert judge(known).reason == "too little traffic: 0 of 300 requests of the new release"
    assert judge(after(alike, 6, known)).decision == "go_on"
    worse = {"GET /orders": Both(new={"b1": some(5, 2), "b2": some(5, 3)}, old={"a1": some(190)})}
    assert judge(after(lambda _: worse, 10, known)).decision == "roll_back"


def test_an_instance_that_has_gone_has_no_say() -> None:
    known = after(alike, 120)
    assert judge(after(partial(failing, new=5), 10, known)).decision == "wait"
    assert judge(after(partial(failing, new=5), 60, known)).decision == "roll_back"


def test_one_route_of_many_that_is_broken_is_found_and_named() -> None:
    def traffic(second: int) -> dict[str, Both]:
        good = {
            f"/{n}": Both(new={"b1": some(4)}, old={"a1": some(36, int((n + second) % 10 == 0))}) for n in range(50)
        }
        rare = Both(new={"b1": some(1, 1)}, old={"a1": some(9)})
        return {**good, "/rare": rare} if second % 10 == 0 else good

    verdict = judge(after(traffic, 100))
    assert verdict.decision == "roll_back"
    assert "at /rare above all" in verdict.reason


def test_one_bad_instance_is_not_held_against_its_release() -> None:
    def traffic(_: int) -> dict[str, Both]:
        new = {"b1": some(10, 5), "b2": some(10), "b3": some(10)}
        return {"/": Both(new=new, old={"a1": some(100), "a2": some(100)})}

    verdict = judge(after(traffic, 20))
    assert verdict.decision == "wait"
    assert verdict.reason == "failed: only b1 is worse so far: look at its machine, or replace it"
    assert judge(after(traffic, 300)).decision == "hold"


def test_instances_that_are_all_bad_agree() -> None:
    def traffic(_: int) -> dict[str, Both]:
        return {"/": Both(new={"b1": some(5, 2), "b2": some(5, 3)}, old={"a1": some(190)})}

    assert judge(after(traffic, 3)).decision == "roll_back"


def test_an_instance_that_has_just_come_is_not_asked_to_agree() -> None:
    known = after(partial(failing, new=0), 5)
    two = {"/": Both(new={"b1": some(100, 50), "b2": some(1)}, old={"a1": some(900)})}
    assert judge(after(lambda _: two, 2, known)).decision == "roll_back"


@pytest.mark.parametrize("count", [2, 40])
def test_many_instances_are_few_to_the_judge(count: int) -> None:
    def traffic(_: int) -> dict[str, Both]:
        return {"/": Both(new={f"b{n}": some(5, 1) for n in range(count)}, old={"a1": some(190)})}

    known = after(traffic, 6)
    assert judge(known).decision == "roll_back"
    assert len(known.weighed[0].without) <= 9


def test_a_burst_counts_once_and_not_for_each_of_its_events() -> None:
    burst = {"/": Both(new={"b1": some(100, 90)}, old={"a1": some(1_900)})}
    few = {"/": Both(new={"b1": some(100, 20)}, old={"a1": some(1_900)})}
    many, once = (heard(judging(), Window(1.0, one)).weighed[0].whole.all for one in (burst, few))
    assert many.worse() == pytest.approx(once.worse(), rel=0.1)
    assert many.new_events == 90
    assert many.counted == pytest.approx(10.7, rel=0.01)


def test_what_fails_as_ever_is_no_burst() -> None:
    """Else the old release's own failures would use up what the new one's may say."""
    usual = {"/": Both(new={"b1": some(50)}, old={"a1": some(950, 2)})}
    known = after(lambda _: usual, 4)
    assert known.weighed[0].whole.all.old_events == 8
    assert known.weighed[0].spent["/"] <= 0.01


def test_a_burst_ends_after_some_seconds() -> None:
    known = after(partial(failing, new=5), 4)
    assert known.weighed[0].whole.all.counted == pytest.approx(8.3, rel=0.01)
    assert after(partial(failing, new=5), 1, known).weighed[0].whole.all.counted == pytest.approx(13.3, rel=0.01)


def test_instances_of_the_old_release_that_differ_raise_what_is_borne() -> None:
    def traffic(second: int) -> dict[str, Both]:
        old = {"a1": some(100, 0, 8), "a2": some(100, 0, 2)}
        return {"/": Both(new={"b1": some(25, 0, 2 + second % 2)}, old=old)}

    known = after(traffic, 200)
    slow = known.weighed[1]
    assert 2.0 < slow.apart < 4.0
    assert slow.borne == BORNE[4]
    assert "slow: instances of the old release differ 2.5 times at least: 3.2 times" in judge(known).text()


def test_however_much_the_old_release_differs_a_broken_one_is_rolled_back() -> None:
    def traffic(_: int) -> dict[str, Both]:
        return {"/": Both(new={"b1": some(50, 10)}, old={"a1": some(1_000, 5), "a2": some(10_000)})}

    known = after(traffic, 60)
    assert known.weighed[0].borne == BORNE_MAX
    assert judge(known).decision == "roll_back"


def test_instances_that_differ_let_nobody_pass_who_would_not_have() -> None:
    """What is borne only keeps from rolling back: to be as bad as a bad instance proves nothing."""

    def traffic(_: int) -> dict[str, Both]:
        return {"/": Both(new={"b1": some(50, 2)}, old={"a1": some(1_000, 40), "a2": some(1_000)})}

    known = after(traffic, 200)
    assert known.weighed[0].borne > known.weighed[0].metric.borne
    assert judge(known).decision == "wait"


def test_a_little_that_speaks_against_it_keeps_it_from_going_on() -> None:
    known = after(alike, 120)
    worse = after(lambda _: {"/": Both(new={"b1": some(5, 1)}, old={"a1": some(95)})}, 4, known)
    verdict = judge(worse)
    assert (verdict.decision, verdict.reason) == ("wait", "failed: it looks worse, and that is not sure yet")


def test_a_few_failures_by_chance_are_past_once_it_is_known_how_rare_they_are() -> None:
    def well(_: int) -> dict[str, Both]:
        return {"/": Both(new={"b1": some(10)}, old={"a1": some(10)})}

    unlucky = after(lambda _: {"/": Both(new={"b1": some(3, 2)}, old={"a1": some(12)})}, 2)
    early = judge(after(well, 120, unlucky))
    assert (early.decision, early.reason) == ("wait", "failed: it looks worse, and that is not sure yet")
    late = after(well, 170, after(well, 120, unlucky))
    assert judge(late).decision == "go_on"
    assert judge(late).metrics[0].worse > 20.0
    again = after(lambda _: {"/": Both(new={"b1": some(10, 1)}, old={"a1": some(10)})}, 1, late)
    assert judge(again).decision == "wait"


def test_requests_to_one_release_wait_for_the_other_one_to_be_asked() -> None:
    def rare(second: int) -> dict[str, Both]:
        return {"/": Both(new={"b1": some(1, 1)}) if second % 5 == 0 else Both(old={"a1": some(1)})}

    known = after(rare, 60)
    assert known.weighed[0].whole.all.new_events == 12
    assert judge(known).decision == "roll_back"


def test_who_waits_for_too_long_is_left_out_of_the_comparison_and_not_of_the_count() -> None:
    known = after(lambda second: {"/": Both(new={"b1": some(1, 1)})} if second == 1 else {}, int(WAIT_SECONDS) + 2)
    assert (known.waiting, known.weighed[0].new.events, known.weighed[0].whole.all.new_events) == ({}, 1, 0)


def test_messages_are_judged_as_requests_are() -> None:
    def traffic(_: int) -> dict[str, Both]:
        return {"on/orders.Placed": Both(new={"b1": some(5, 2)}, old={"a1": some(45, 1)})}

    assert judge(after(traffic, 30)).decision == "roll_back"


def test_slow_answers_are_judged() -> None:
    def traffic(_: int) -> dict[str, Both]:
        return {"/": Both(new={"b1": some(20, 0, 8, 4)}, old={"a1": some(180, 0, 9, 2)})}

    verdict = judge(after(traffic, 10))
    assert verdict.decision == "roll_back"
    assert verdict.reason.startswith("slow")


def test_without_the_old_release_what_nobody_minds_goes_on() -> None:
    def traffic(second: int) -> dict[str, Both]:
        return {"/": Both(new={"b1": some(100, int(second % 10 == 0), 5, 1)})}

    assert judge(after(traffic, 60)).decision == "go_on"
    assert judge(after(lambda _: {"/": Both(new={"b1": some(100, 2)})}, 60)).decision == "wait"


def test_a_window_that_was_heard_changes_nothing() -> None:
    known = after(alike, 10)
    assert heard(known, Window(10.0, alike(10))) is known
    assert heard(known, Window(3.0, alike(3))) is known


WINDOWS = st.lists(
    st.dictionaries(
        st.sampled_from(["/a", "/b", "/c"]),
        st.builds(
            lambda new, old, new_failed, old_failed, slow: Both(
                new={"b1": some(new, min(new, new_failed), min(slow, new))} if new else {},
                old={"a1": some(old, min(old, old_failed)), "a2": some(1)} if old else {},
            ),
            st.integers(0, 30),
            st.integers(0, 90),
            st.integers(0, 3),
            st.integers(0, 3),
            st.integers(0, 9),
        ),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40)
@given(WINDOWS, st.integers(0, 24))
def test_a_judge_that_starts_again_goes_on_where_another_stopped(windows: list[dict[str, Both]], stop: int) -> None:
    whole = stored = judging(BRIEF)
    for second, routes in enumerate(windows, 1):
        if second == stop:
            stored = msgspec.json.decode(msgspec.json.encode(stored), type=Judging)
        window = msgspec.json.decode(msgspec.json.encode(Window(float(second), routes)), type=Window)
        whole, stored = heard(whole, Window(float(second), routes)), heard(stored, window)
    assert stored == whole
    assert judge(stored) == judge(whole)


@settings(max_examples=40)
@given(WINDOWS)
def test_a_verdict_is_told_as_text_and_as_json(windows: list[dict[str, Both]]) -> None:
    verdict = judge(after(lambda second: windows[second - 1], len(windows)))
    assert msgspec.json.decode(verdict.to_json(), type=Verdict) == verdict
    assert len(verdict.text().splitlines()) >= 5
    assert b"null" not in verdict.to_json().replace(b'high":null', b"").replace(b'ratio":null', b"").replace(
        b'requests":null', b""
    )


@settings(max_examples=25)
@given(WINDOWS)
def test_the_order_of_routes_makes_no_difference(windows: list[dict[str, Both]]) -> None:
    one = judge(after(lambda second: windows[second - 1], len(windows)))
    other = judge(after(lambda second: dict(reversed(windows[second - 1].items())), len(windows)))
    assert (one.decision, one.reason) == (other.decision, other.reason)


def test_what_is_known_stays_of_one_size() -> None:
    def traffic(second: int) -> dict[str, Both]:
        names = [f"/{(second * 7 + n) % 2_000}" for n in range(20)]
        return {name: Both(new={f"b{second % 50}": some(2, 1)}, old={"a1": some(9, 1)}) for name in names}

    early = after(traffic, 200)
    sizes = [len(msgspec.msgpack.encode(one)) for one in (early, after(traffic, 100, early))]
    assert sizes[1] < sizes[0] * 1.1
    assert sizes[1] < 500_000


def test_routes_beyond_a_limit_are_one() -> None:
    routes = {f"/{n}": Both(new={"b1": some(1)}) for n in range(5)}
    few = folded(routes, (), 3)
    assert sorted(few) == [OTHERS, "/0", "/1", "/2"]
    assert few[OTHERS].new["b1"].asked == 2


def test_routes_beyond_those_that_are_looked_at_alone_count_among_all() -> None:
    slices = {f"/{n}": Slice(5, 95, 1, 1) for n in range(200)}
    comparison = Comparison().after(slices)
    assert len(comparison.spots) == 128
    assert comparison.all.new_events == 200


def test_a_curve_is_of_bounded_size_and_tells_of_all_the_time() -> None:
    curve = Curve()
    for second in range(100_000):
        curve = curve.after(float(second), 1e300)
    assert len(curve.points) <= POINTS_MAX
    assert curve.points[0] == (0.0, 300.0)
    assert curve.points[-1][0] > 95_000


def test_a_verdict_lists_what_it_goes_by() -> None:
    known = heard(judging(), Window(1.0, failing(1, new=5), new=Condition(lag=0.5)))
    text = judge(known).text()
    assert "failed: 5 of 10, old 0 of 190; ratio all new (" in text
    assert "event loop: its event loop is 0.5 s late" in text
