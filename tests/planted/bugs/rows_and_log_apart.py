"""Rows and their log are two transactions.
A process that is killed between the two has changed a row, and tells nobody."""

from collections.abc import Sequence

from hanse import World, simulation
from hanse.store.base import Batch
from hanse.store.plan import Plan
from hanse.store.sqlite.writer import Writer

from . import follower, instead

write_plans = Writer._write_plans


@instead(Writer)
def _write_plans(self: Writer, accepted: Sequence[tuple[Batch, Plan]]) -> None:
    self.connection.execute("COMMIT")
    self.connection.execute("BEGIN IMMEDIATE")
    write_plans(self, accepted)


@simulation(follower.setup, seconds=follower.SECONDS)
async def rows_and_log_apart(world: World) -> None:
    await follower.story(world)
