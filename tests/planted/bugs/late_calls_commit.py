"""A server ends a handler when its time is over, and does not remember that it did.
What a handler does that swallows its end takes effect after its caller was told that there was no answer.
"""

from hanse import World, simulation
from hanse.kernel.context import FOREVER
from hanse.mesh.deadline import Deadlines, overdue

from . import gate, instead


@instead(Deadlines)
def _fire(self: Deadlines) -> None:
    self._timer, self.nearest = None, FOREVER
    for context in overdue(self.running, self._host.monotonic()):
        assert context.task is not None
        context.task.cancel()
    for context in self.running:
        if context.deadline > self._host.monotonic():
            self.wait_for(min(self.nearest, context.deadline))


@simulation(gate.setup, seconds=gate.SECONDS)
async def late_calls_commit(world: World) -> None:
    await gate.story(world)
