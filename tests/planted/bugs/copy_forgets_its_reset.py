"""A copy takes a reset for nothing, and what follows it for changes.
Rows that its owner lost, or removed meanwhile, stay."""

from collections.abc import Iterable

from hanse import World, simulation
from hanse.service.copy import Copy, Step
from hanse.service.rows import Line

from . import instead, mirror

honest = Copy.take


@instead(Copy)
def take(self: Copy, lines: Iterable[Line]) -> Step:
    return honest(self, [line for line in lines if line.event != "reset"])


@simulation(mirror.setup, seconds=mirror.SECONDS)
async def copy_forgets_its_reset(world: World) -> None:
    await mirror.story(world)
