"""A step of a saga that nobody answered in time counts as not done.
What it did after all is never undone."""

from hanse import World, simulation
from hanse.delivery.saga_rows import SagaStep
from hanse.kernel.faults import Fault
from hanse.node.saga_attempts import Attempts

from . import instead, trips

settled = Attempts.closed


@instead(Attempts)
async def closed(
    self: Attempts, step: SagaStep, fault: Fault, *, unsettled: bool = False, attempts: int | None = None
) -> SagaStep:
    del unsettled
    return await settled(self, step, fault, attempts=attempts)


@simulation(trips.setup, seconds=trips.SECONDS)
async def saga_silence_is_no(world: World) -> None:
    await trips.story(world)
