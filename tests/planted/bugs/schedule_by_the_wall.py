"""A schedule goes by the clock on the wall, which may jump.
It runs too often when the clock goes ahead, and not at all when it goes back."""

from collections.abc import Awaitable, Callable

from hanse import World, simulation
from hanse.delivery.schedule import EveryRunner, Moments
from hanse.kernel.host import Host

from . import bell, instead

init = EveryRunner.__init__


@instead(EveryRunner)
def __init__(  # noqa: N807 - the method's name
    self: EveryRunner,
    name: str,
    period: float,
    call: Callable[[float], Awaitable[None]],
    *,
    host: Host,
    moments: Moments | None = None,
) -> None:
    wall = Host(host.name, now=host.now, monotonic=host.now, chance=host.chance, entropy=host.entropy)
    init(self, name, period, call, host=wall, moments=moments)


@simulation(bell.setup, seconds=bell.SECONDS)
async def schedule_by_the_wall(world: World) -> None:
    await bell.story(world)
