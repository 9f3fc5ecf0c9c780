"""A schedule begins anew where the moment that ran last is ahead of the clock of whoever has its duty.
A clock that is turned back, or the next instance whose clock is behind, runs a moment that the fleet has run."""

from hanse import World, simulation
from hanse.delivery.timetable import ByCron, Upcoming

from . import calendar, instead


@instead(ByCron)
def first(self: ByCron, last: float, now: float) -> Upcoming:
    if last <= 0.0 or last > now:
        return Upcoming(self.cron.after(now), is_begun=True)
    return self._after(last, now)


@simulation(calendar.setup, seconds=calendar.SECONDS)
async def cron_by_each_clock(world: World) -> None:
    await calendar.story(world)
