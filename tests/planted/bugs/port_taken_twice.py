"""An instance that insists on a port is started beside the one that it replaces.
Two processes want to listen at one place, and one of them fails."""

from msgspec.structs import replace

from hanse import World, simulation
from hanse.control import supervisor_machine
from hanse.control.desired import Desired
from hanse.control.instances import System

from . import instead, supervised

peopled = supervisor_machine._peopled


@instead(supervisor_machine)
def _peopled(system: System, wanted: Desired, now: float) -> System:
    stale = any(one.key == wanted.key and one.build != wanted.build for one in system.instances)
    return peopled(system, replace(wanted, port=0) if wanted.port and stale else wanted, now)


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def port_taken_twice(world: World) -> None:
    await supervised.story(world)
