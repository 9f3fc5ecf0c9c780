"""What does not end when it is told to is never killed.
A process that hangs outlives the system that it belongs to."""

from hanse import World, simulation
from hanse.control import supervisor_machine
from hanse.control.instances import Instance
from hanse.control.supervisor_words import Action

from . import instead, supervised


@instead(supervisor_machine)
def _killed(one: Instance, now: float, actions: list[Action]) -> Instance:
    return one


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def stop_never_insists(world: World) -> None:
    await supervised.story(world)
