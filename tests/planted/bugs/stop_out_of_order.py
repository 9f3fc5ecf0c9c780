"""A stop takes no heed of who needs whom.
A database ends before those who have something to write yet."""

from collections.abc import Mapping

from hanse import World, simulation
from hanse.control import supervisor_machine
from hanse.control.desired import Desired, Key
from hanse.control.instances import Instance, System

from . import instead, supervised


@instead(supervisor_machine)
def _is_needed(system: System, one: Instance, desired: Mapping[Key, Desired]) -> bool:
    return False


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def stop_out_of_order(world: World) -> None:
    await supervised.story(world)
