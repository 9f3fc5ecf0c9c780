"""Nobody waits for those whom it needs.
A service is started that can only fail, before there was ever a database."""

from collections.abc import Mapping

from hanse import World, simulation
from hanse.control import supervisor_machine
from hanse.control.desired import Desired, Key
from hanse.control.instances import System

from . import instead, supervised


@instead(supervisor_machine)
def away(system: System, wanted: Desired, desired: Mapping[Key, Desired]) -> list[str]:
    return []


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def start_out_of_order(world: World) -> None:
    await supervised.story(world)
