"""A call that begins a saga begins one each time, whatever its idempotency key says.
Who asks again because no answer came has it done twice."""

from hanse import World, current, simulation
from hanse.node import bind

from . import instead, trips


@instead(bind)
def saga_id(scope: str, key: str) -> str:
    del scope, key
    return current().host.new_id()


@simulation(trips.setup, seconds=trips.SECONDS)
async def saga_key_ignored(world: World) -> None:
    await trips.story(world)
