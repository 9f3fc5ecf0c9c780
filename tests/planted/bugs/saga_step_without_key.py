"""What a step of a saga calls is called without a key.
Whoever resumes a saga asks again for what was done already, and it is done twice."""

from collections.abc import Awaitable, Callable

from hanse import World, simulation
from hanse.delivery.saga_rows import SagaStep
from hanse.kernel.context import FOREVER
from hanse.node.saga_journal import SagaJournal

from . import instead, trips

keyed = SagaJournal.take_effect


@instead(SagaJournal)
async def take_effect(
    self: SagaJournal,
    step: SagaStep,
    call: Callable[[], Awaitable[object]],
    *,
    key: str = "",
    seconds: float = FOREVER,
) -> SagaStep:
    del key
    return await keyed(self, step, call, seconds=seconds)


@simulation(trips.setup, seconds=trips.SECONDS)
async def saga_step_without_key(world: World) -> None:
    await trips.story(world)
