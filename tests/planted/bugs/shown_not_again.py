"""Who takes over believes that the edge has the table that was made for it last.
One that the edge was not told of any more, as its maker was killed, it is never told of."""

from collections.abc import Mapping

from msgspec.structs import replace

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
    return replace(found, serving=system.serving), lost


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def shown_not_again(world: World) -> None:
    await supervised.story(world)
