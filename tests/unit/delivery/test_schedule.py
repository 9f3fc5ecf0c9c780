"""A schedule is kept, never overtaken, and never made up for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from hanse.delivery.schedule import Moments, ScheduleRunner
from hanse.delivery.timetable import ByCron, Period, Timetable
from hanse.kernel.cron import Cron
from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks


@asynccontextmanager
async def scheduled(
    call: Callable[[float], Awaitable[None]],
    host: Host,
    moments: Moments | None = None,
    timetable: Timetable = Period(60.0),  # noqa: B008 - a value
) -> AsyncIterator[ScheduleRunner]:
    runner = ScheduleRunner("mailer.digest", timetable, call, host=host, moments=moments)
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
    await ScheduleRunner("mailer.digest", Period(60.0), Noted(host), host=host).stop()


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


# By the clock on the wall


class Wall:
    """A clock on the wall that somebody sets."""

    def __init__(self, host: Host) -> None:
        self.host = Host("wall", now=self.now, monotonic=host.monotonic, chance=host.chance, entropy=host.entropy)
        self._monotonic = host.monotonic
        self._began = host.monotonic()
        self.set = 0.0
        self.missed = 0
        """What the last schedule by it has missed."""

    def now(self) -> float:
        return self.set + self._monotonic() - self._began


HOUR, DAY = 3600.0, 86400.0


async def runs_of(
    wall: Wall, expression: str, *steps: tuple[float, float], moments: Moments | None = None
) -> list[float]:
    """The moments run by an expression, in hours, while time passes and the clock is then set ahead, step by step."""
    runs: list[float] = []

    async def run(moment: float) -> None:
        runs.append(moment / HOUR)

    async with scheduled(run, wall.host, moments, ByCron(Cron(expression))) as runner:
        for seconds, ahead in steps:
            await asyncio.sleep(seconds)
            wall.set += ahead
        wall.missed = runner.missed
    return runs


@pytest.mark.virtual_time
async def test_a_cron_expression_runs_at_its_moments(host: Host) -> None:
    assert await runs_of(Wall(host), "30 4 * * *", (2 * DAY, 0.0)) == [4.5, 28.5]


@pytest.mark.virtual_time
async def test_a_clock_that_is_set_ahead_over_moments_misses_them_aloud(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    wall = Wall(host)
    assert await runs_of(wall, "0 4 * * *", (HOUR, 2 * DAY), (4 * HOUR, 0.0)) == [52.0]
    assert wall.missed == 2
    assert "2 runs of mailer.digest were missed, as the clock went ahead" in caplog.text


@pytest.mark.virtual_time
async def test_a_clock_that_is_set_ahead_comes_to_the_moment_sooner(host: Host) -> None:
    wall = Wall(host)
    assert await runs_of(wall, "0 4 * * *", (HOUR, 3 * HOUR - 10.0), (60.0, 0.0)) == [4.0]


@pytest.mark.virtual_time
async def test_a_clock_that_is_set_back_a_little_runs_nothing_twice(host: Host) -> None:
    assert await runs_of(Wall(host), "0 * * * *", (HOUR + 60.0, -HOUR), (2 * HOUR, 0.0)) == [1.0, 2.0]


@pytest.mark.virtual_time
async def test_a_clock_that_was_far_ahead_is_right_from_now_on(host: Host) -> None:
    wall = Wall(host)
    wall.set = 400 * DAY
    runs = await runs_of(wall, "0 4 * * *", (5 * HOUR, -400 * DAY), (DAY, 0.0))
    assert runs == [400 * 24 + 4.0, 28.0]


@pytest.mark.virtual_time
async def test_a_long_run_by_cron_is_not_overtaken(host: Host) -> None:
    runs: list[float] = []

    async def run(moment: float) -> None:
        runs.append(moment)
        await asyncio.sleep(150.0)

    wall = Wall(host)
    async with scheduled(run, wall.host, None, ByCron(Cron("* * * * *"))) as runner:
        await asyncio.sleep(400.0)
        assert runs == [60.0, 180.0, 360.0]
        assert runner.missed == 3


@pytest.mark.virtual_time
async def test_the_next_process_goes_on_by_cron_and_tells_what_passed(host: Host) -> None:
    wall, kept = Wall(host), Kept()
    wall.set = HOUR
    assert await runs_of(wall, "0 4 * * *", (HOUR, 0.0), moments=kept) == []
    wall.set += 2 * DAY
    assert await runs_of(wall, "0 4 * * *", (4 * HOUR, 0.0), moments=kept) == [52.0]
    assert wall.missed == 2


@pytest.mark.virtual_time
async def test_the_next_process_repeats_nothing_that_ran_while_the_clock_was_ahead(host: Host) -> None:
    wall, kept = Wall(host), Kept(last=HOUR)
    assert await runs_of(wall, "0 * * * *", (HOUR + 60.0, 0.0), (HOUR, 0.0), moments=kept) == [2.0]
