"""The edge sends a request again that may have been handled, whatever its method.
An order that was taken is taken twice."""

from hanse import World, simulation
from hanse.control import edge_retry

from . import instead, supervised


@instead(edge_retry)
def may_repeat(method: str, *, keyed: bool) -> bool:
    return True


@simulation(supervised.setup, profile="calm", seconds=1.0)
async def post_sent_again(world: World) -> None:
    await supervised.story(world)
