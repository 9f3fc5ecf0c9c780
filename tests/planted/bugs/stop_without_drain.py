"""A node that is told to stop does not wait for what is under way.
Calls that it had let in end halfway."""

from hanse import World, simulation
from hanse.node.node import Node

from . import inn, instead


@instead(Node)
async def _finish(self: Node, grace: float) -> None:
    pass


@simulation(inn.setup, profile="rolling", seconds=inn.SECONDS)
async def stop_without_drain(world: World) -> None:
    await inn.story(world, served=True)
