"""An instance is told to end without waiting for the edge to have taken that it drains.
Requests are sent to it that it does not answer any more."""

from msgspec.structs import replace

from hanse import World, simulation
from hanse.control import supervisor_machine
from hanse.control.desired import Desired
from hanse.control.instances import Instance, System
from hanse.control.supervisor_words import Action

from . import instead, supervised

drained_in_order = supervisor_machine._drained


@instead(supervisor_machine)
def _drained(system: System, one: Instance, wanted: Desired, now: float, actions: list[Action]) -> Instance:
    return drained_in_order(replace(system, seen=system.shown), replace(one, idle=True), wanted, now, actions)


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def stop_before_seen(world: World) -> None:
    await supervised.story(world)
