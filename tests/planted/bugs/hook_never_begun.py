"""Who takes over believes that a release hook runs which was about to begin when the one before was killed.
Its release waits for ever for what never began."""

from collections.abc import Container

from hanse import World, simulation
from hanse.deploy import memory as memories
from hanse.deploy.memory import Memory

from . import instead, supervised


@instead(memories)
def hooks_begun_among(memory: Memory, held: Container[str]) -> Memory:
    return memory


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def hook_never_begun(world: World) -> None:
    await supervised.story(world)
