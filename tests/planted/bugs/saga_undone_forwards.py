"""The steps of a saga are undone in the order in which they were done.
What a step rests on is gone before the step is."""

from collections.abc import Iterable, Mapping

from hanse import World, simulation
from hanse.delivery import saga_machine
from hanse.delivery.saga_rows import SagaStep
from hanse.node import saga_back

from . import instead, trips

backwards = saga_machine.way_back


@instead(saga_back)
def way_back(steps: Mapping[str, SagaStep], undoable: Iterable[str]) -> list[SagaStep]:
    return backwards(steps, undoable)[::-1]


@simulation(trips.setup, seconds=trips.SECONDS)
async def saga_undone_forwards(world: World) -> None:
    await trips.story(world)
