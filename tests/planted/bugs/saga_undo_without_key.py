"""What undoes a step of a saga is called without a key.
Where its answer is lost it is asked for again, and done twice."""

from collections.abc import Awaitable, Callable

from hanse import World, simulation
from hanse.delivery.saga_rows import SagaStep
from hanse.node.saga_back import WayBack

from . import instead, trips

tried = WayBack._tried


@instead(WayBack)
async def _tried(self: WayBack, entry: SagaStep, call: Callable[[], Awaitable[object]], key: str) -> Exception | None:
    return await tried(self, entry, call, "" if entry.kind == "undo" else key)


@simulation(trips.setup, seconds=trips.SECONDS)
async def saga_undo_without_key(world: World) -> None:
    await trips.story(world)
