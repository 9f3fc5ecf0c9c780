"""A schedule is kept, never overtaken, and never made up for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, strategies as st

from hanse.delivery.schedule import LATE_SECONDS, EveryRunner, Moments, first_run, next_run
from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks

TIMES = st.integers(0, 10**6).map(lambda n: n / 8)
PERIODS = st.integers(1, 10**4).map(lambda n: n / 8)


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


@asynccontextmanager
async def scheduled(
    call: Callable[[float], Awaitable[None]], host: Host, moments: Moments | None = None
) -> AsyncIterator[EveryRunner]:
    runner = EveryRunner("mailer.digest", 60.0, call, host=host, moments=moments)
    async with Tasks(print) as tasks:
        tasks.start(runner.run())
        try:
            yield runner
        finally:
            await runner.stop(grace=5.0)


class Noted:
    """Notes when it is called, and takes its time."""

    def __init__(self, host: Host, *, takes: float = 0.0) -> None:
        self.began: list[float] = []
        self.ended: list[float] = []
        self._host = host
        self._takes = takes

    async def __call__(self, moment: float) -> None:
        self.began.append(self._host.monotonic())
        await asyncio.sleep(self._takes)
        self.ended.append(self._host.monotonic())


@pytest.mark.virtual_time
async def test_the_first_run_comes_after_one_period_and_the_others_on_time(host: Host) -> None:
    noted = Noted(host, takes=7.0)
    async with scheduled(noted, host):
        await asyncio.sleep(200)
    assert noted.began == [60.0, 120.0, 180.0]


@pytest.mark.virtual_time
async def test_a_long_run_is_not_overtaken_and_what_it_missed_is_counted(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    noted = Noted(host, takes=130.0)
    async with scheduled(noted, host) as runner:
        await asyncio.sleep(250)
        assert runner.missed == 2
    assert noted.began == [60.0, 240.0]
    assert "2 runs of mailer.digest were missed, as it took longer" in caplog.text


@pytest.mark.virtual_time
async def test_a_run_that_fails_does_not_end_the_schedule(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(moment: float) -> None:
        raise ValueError("no")

    async with scheduled(fail, host) as runner:
        await asyncio.sleep(130)
        assert runner.failures == 2
    assert "mailer.digest failed" in caplog.text


@pytest.mark.virtual_time
async def test_stopping_waits_for_the_run_under_way(host: Host) -> None:
    noted = Noted(host, takes=4.0)
    async with scheduled(noted, host):
        await asyncio.sleep(61)
    assert noted.ended == [64.0]


@pytest.mark.virtual_time
async def test_a_run_that_outlasts_the_grace_is_cancelled(host: Host) -> None:
    noted = Noted(host, takes=40.0)
    async with scheduled(noted, host):
        await asyncio.sleep(61)
    assert (noted.ended, host.monotonic()) == ([], 66.0)


@pytest.mark.virtual_time
async def test_a_schedule_that_never_ran_stops_at_once(host: Host) -> None:
    await EveryRunner("mailer.digest", 60.0, Noted(host), host=host).stop()


@pytest.mark.virtual_time
async def test_a_clock_that_lags_behind_the_loop_is_waited_for(host: Host) -> None:
    slow = Host("slow", now=host.now, monotonic=lambda: host.monotonic() / 2, chance=host.chance, entropy=host.entropy)
    noted = Noted(slow)
    async with scheduled(noted, slow):
        await asyncio.sleep(125)
    assert noted.began == [pytest.approx(60.0, abs=0.01)]


# Moments that are remembered


class Kept:
    """Moments of one schedule, kept by whoever makes it; fails as often as a test wants."""

    def __init__(self, last: float = 0.0) -> None:
        self.moment = last
        self.fails = 0

    async def last(self) -> float:
        self._may_fail()
        return self.moment

    async def note(self, moment: float) -> None:
        self._may_fail()
        self.moment = moment

    def _may_fail(self) -> None:
        if self.fails:
            self.fails -= 1
            raise Unavailable("the store is away")


@given(TIMES, PERIODS, TIMES)
def test_who_goes_on_runs_no_moment_twice_and_tells_each_that_is_missed(
    start: float, period: float, later: float
) -> None:
    last, now = start + 1.0, start + 1.0 + later
    first, missed = first_run(last, period, now)
    assert first > last
    assert now - min(LATE_SECONDS, period / 2) <= first <= now + period
    assert (first - last) / period == missed + 1


def test_a_last_moment_far_ahead_is_of_a_wrong_clock() -> None:
    assert first_run(10_000.0, 60.0, 100.0) == (160.0, 0)


@pytest.mark.virtual_time
async def test_the_next_process_goes_on_with_the_moments_of_the_one_before(host: Host) -> None:
    kept, began = Kept(), host.now()

    async def run(moment: float) -> None:
        runs.append(round(moment - began))
        await kept.note(moment)

    runs: list[int] = []
    for seconds in (50.0, 50.0, 50.0):
        async with scheduled(run, host, kept):
            await asyncio.sleep(seconds)
    assert runs == [60, 120]


@pytest.mark.virtual_time
async def test_a_moment_that_passed_just_now_is_run_late_and_older_ones_are_told(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    noted = Noted(host)
    async with scheduled(noted, host, Kept(host.now() - 3 * 60.0 - 5.0)) as runner:
        await asyncio.sleep(1.0)
        assert (noted.began, runner.missed) == ([0.0], 2)
    assert "2 runs of mailer.digest were missed, as nobody was there" in caplog.text


@pytest.mark.virtual_time
async def test_a_run_that_failed_is_not_repeated_by_the_next_process(host: Host) -> None:
    kept, began = Kept(), host.now()

    async def fail(moment: float) -> None:
        raise ValueError("no")

    async with scheduled(fail, host, kept):
        await asyncio.sleep(61.0)
    assert kept.moment == pytest.approx(began + 60.0)


@pytest.mark.virtual_time
async def test_a_store_that_is_away_is_asked_again(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    kept.fails = 3

    async def fail(moment: float) -> None:
        kept.fails = 1
        raise ValueError("no")

    async with scheduled(fail, host, kept) as runner:
        await asyncio.sleep(65.0)
        assert runner.failures == 1
    assert "cannot tell when it ran last" in caplog.text
    assert "is not remembered" in caplog.text
