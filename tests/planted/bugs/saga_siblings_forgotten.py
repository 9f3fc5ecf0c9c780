"""A saga whose code has failed turns back at once, while other steps of it are being done.
What these come to is in no journal, and is never undone."""

from hanse import World, simulation
from hanse.node.saga_replay import Replay
from hanse.node.saga_run import SagaRun

from . import instead, trips


@instead(SagaRun)
async def _drain(self: SagaRun, replay: Replay) -> None:
    del replay
    self._course.end()


@simulation(trips.setup, seconds=trips.SECONDS)
async def saga_siblings_forgotten(world: World) -> None:
    await trips.story(world)
