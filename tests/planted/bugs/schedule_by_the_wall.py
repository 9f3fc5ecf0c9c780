"""A schedule goes by the clock on the wall, which may jump.
It runs too often when the clock goes ahead, and not at all when it goes back."""

from collections.abc import Awaitable, Callable

from hanse import World, simulation
from hanse.delivery.schedule import Moments, ScheduleRunner
from hanse.delivery.timetable import Timetable
from hanse.kernel.host import Host

from . import bell, instead

init = ScheduleRunner.__init__


@instead(ScheduleRunner)
def __init__(  # noqa: N807 - the method's name
    self: ScheduleRunner,
    name: str,
    timetable: Timetable,
    call: Callable[[float], Awaitable[None]],
    *,
    host: Host,
    moments: Moments | None = None,
) -> None:
    wall = Host(host.name, now=host.now, monotonic=host.now, chance=host.chance, entropy=host.entropy)
    init(self, name, timetable, call, host=wall, moments=moments)


@simulation(bell.setup, seconds=bell.SECONDS)
async def schedule_by_the_wall(world: World) -> None:
    await bell.story(world)
