"""The moments of schedules, over years."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, strategies as st

from hanse.delivery.timetable import LATE_SECONDS, MISSED_MAX, TURNED_BACK_SECONDS, ByCron, Period, next_run
from hanse.kernel.cron import Cron

TIMES = st.integers(0, 10**6).map(lambda n: n / 8)
PERIODS = st.integers(1, 10**4).map(lambda n: n / 8)
EXPRESSIONS = st.sampled_from(
    ["* * * * *", "*/7 * * * *", "30 2 * * *", "0 9 * * mon-fri", "0 0 29 2 *", "15 3 1 * sun"]
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
SECONDS = st.floats(1.7e9, 1.9e9)


@given(TIMES, PERIODS, TIMES)
def test_the_next_run_is_a_moment_of_the_schedule_within_one_period(start: float, period: float, later: float) -> None:
    now = start + later
    moment = next_run(start, period, now)
    assert now < moment <= now + period
    assert (moment - start) % period == 0.0


@given(st.floats(0, 1e9), st.floats(0.001, 1e6), st.floats(0, 1e9))
def test_the_next_run_is_always_to_come(start: float, period: float, later: float) -> None:
    assert next_run(start, period, start + later) > start + later


def test_a_clock_before_the_start_counts_as_the_start() -> None:
    assert next_run(100.0, 60.0, 40.0) == 160.0


@given(TIMES, PERIODS, TIMES)
def test_who_goes_on_runs_no_moment_twice_and_tells_each_that_is_missed(
    start: float, period: float, later: float
) -> None:
    last, now = start + 1.0, start + 1.0 + later
    first, missed, begun = Period(period).first(last, now)
    assert not begun
    assert first > last
    assert now - min(LATE_SECONDS, period / 2) <= first <= now + period
    assert (first - last) / period == missed + 1


def test_a_last_moment_far_ahead_is_of_a_wrong_clock() -> None:
    assert Period(60.0).first(10_000.0, 100.0) == (160.0, 0, True)
    assert ByCron(Cron("0 4 * * *")).first(10 * 86_400.0, 0.0) == (4 * 3600.0, 0, True)


@given(EXPRESSIONS, ZONES, SECONDS, st.floats(0.0, 1e6))
def test_by_cron_no_moment_is_run_twice_and_none_passes_untold(
    expression: str, zone: str, last: float, later: float
) -> None:
    cron, now = Cron(expression, zone), last + later
    moment, missed, begun = ByCron(cron).first(last, now)
    assert (moment > last, begun) == (True, False)
    assert moment > now - LATE_SECONDS
    passed, upcoming = 0, cron.after(last)
    while upcoming < moment and passed < MISSED_MAX:
        passed, upcoming = passed + 1, cron.after(upcoming)
    assert missed == passed


@given(EXPRESSIONS, ZONES, SECONDS)
def test_what_comes_after_a_moment_came_until_it(expression: str, zone: str, now: float) -> None:
    cron = Cron(expression, zone)
    moment = cron.after(now)
    assert moment > now
    assert cron.until(moment) == cron.until(moment + 0.5) == moment
    assert cron.until(moment - 0.001) <= now


@given(EXPRESSIONS, SECONDS, st.floats(0.0, TURNED_BACK_SECONDS))
def test_a_clock_that_is_turned_back_runs_no_moment_twice(expression: str, now: float, back: float) -> None:
    cron = Cron(expression)
    moment = cron.until(now)
    assert ByCron(cron).following(0.0, moment, moment - back).moment > moment


@pytest.mark.parametrize(
    ("expression", "begin", "runs"),
    [
        ("30 2 * * *", "2027-03-27T12:00", ["2027-03-28T03:00", "2027-03-29T02:30"]),
        ("30 2 * * *", "2027-10-30T12:00", ["2027-10-31T02:30", "2027-11-01T02:30"]),
        ("0 0 29 2 *", "2027-01-01T00:00", ["2028-02-29T00:00", "2032-02-29T00:00"]),
    ],
)
def test_clocks_that_change_skip_and_repeat_nothing(expression: str, begin: str, runs: list[str]) -> None:
    zone = ZoneInfo("Europe/Berlin")
    cron, moment = Cron(expression, "Europe/Berlin"), datetime.fromisoformat(begin).replace(tzinfo=zone).timestamp()
    for wanted in runs:
        moment = cron.after(moment)
        assert f"{datetime.fromtimestamp(moment, UTC).astimezone(zone):%Y-%m-%dT%H:%M}" == wanted


def test_what_passed_while_nobody_was_there_for_long_is_counted_up_to_a_limit() -> None:
    upcoming = ByCron(Cron("* * * * *")).first(1.8e9, 1.8e9 + 365 * 86_400.0 + 45.0)
    assert upcoming.missed == MISSED_MAX
    assert upcoming.moment == 1.8e9 + 365 * 86_400.0 + 60.0
