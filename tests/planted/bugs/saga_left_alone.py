"""A sweep takes up no saga that somebody else has begun.
One whose process died stays as it is for ever."""

from hanse import World, simulation
from hanse.delivery.saga_rows import SagaRow
from hanse.node.saga_runner import SagaRunner

from . import instead, trips

taken = SagaRunner.take


@instead(SagaRunner)
def take(self: SagaRunner, row: SagaRow, *, fresh: bool = False) -> None:
    if fresh:
        taken(self, row, fresh=True)


@simulation(trips.setup, seconds=trips.SECONDS)
async def saga_left_alone(world: World) -> None:
    await trips.story(world)
