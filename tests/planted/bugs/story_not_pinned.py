"""A call does not carry the release that was chosen for it.
What is called for it in turn goes to either release, and two halves of a change do not meet."""

from hanse import World, simulation
from hanse.kernel.message import Headers
from hanse.mesh import released
from hanse.mesh.routes import Way

from . import instead, routed


@instead(released)
def headed(headers: Headers, way: Way) -> Headers:
    return headers


@simulation(routed.setup, profile="calm", seconds=routed.SECONDS)
async def story_not_pinned(world: World) -> None:
    await routed.story(world)
