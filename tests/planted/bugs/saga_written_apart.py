"""A step of a saga is remembered in a commit of its own, after what it wrote.
A process that dies between the two does the step again."""

from hanse import World, simulation
from hanse.delivery.saga_rows import SagaStep
from hanse.kernel.context import ambient
from hanse.node.saga_journal import SagaJournal
from hanse.service.unit import Unit

from . import instead, trips

together = SagaJournal._stored


@instead(SagaJournal)
async def _stored(self: SagaJournal, step: SagaStep) -> SagaStep:
    work = ambient.get().work
    if isinstance(work, Unit):
        await work.commit()
    return await together(self, step)


@simulation(trips.setup, seconds=trips.SECONDS)
async def saga_written_apart(world: World) -> None:
    await trips.story(world)
