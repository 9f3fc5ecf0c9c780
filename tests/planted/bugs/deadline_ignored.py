"""A server does not end a handler when its time is over.
It takes effect after its caller was told that there was no answer."""

from hanse import World, simulation
from hanse.mesh.deadline import Deadlines

from . import gate, instead


@instead(Deadlines)
def wait_for(self: Deadlines, deadline: float, least: float = 0.0) -> None:
    pass


@simulation(gate.setup, seconds=gate.SECONDS)
async def deadline_ignored(world: World) -> None:
    await gate.story(world)
