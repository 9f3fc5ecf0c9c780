"""Who takes over takes it for granted that all runs that was remembered.
A process that ended while nobody listened is never started anew."""

from collections.abc import Mapping

from hanse import World, simulation
from hanse.control import supervisor_heard
from hanse.control.instances import System
from hanse.control.supervisor_words import Ended, Launched

from . import instead, supervised

recovered_all = supervisor_heard.recovered


@instead(supervisor_heard)
def recovered(
    system: System, held: Mapping[str, int], ports: Mapping[str, int], now: float
) -> tuple[System, list[Ended | Launched]]:
    found, lost = recovered_all(system, held, ports, now)
    return found, [one for one in lost if not isinstance(one, Ended)]


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def lost_not_noticed(world: World) -> None:
    await supervised.story(world)
