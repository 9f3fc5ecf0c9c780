"""A feed does not look at which log a cursor is of.
After a power cut, a reader goes on in a log that has lost what the reader knows."""

from hanse import World, simulation
from hanse.service import log_reader

from . import follower, instead


@instead(log_reader)
def position_of(log_id: str, cursor: str) -> int:
    return int(cursor.rpartition(".")[2])


@simulation(follower.lossy, profile="power", seconds=follower.SECONDS)
async def log_id_ignored(world: World) -> None:
    await follower.story(world)
