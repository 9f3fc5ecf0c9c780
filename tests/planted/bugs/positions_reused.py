"""After a power cut, positions are given again that were lost with it.
A reader that had seen them takes what is new for what it knows."""

import sqlite3

from hanse import World, simulation
from hanse.store.sqlite import tables

from . import follower, instead


@instead(tables)
def note(connection: sqlite3.Connection, new_id: str, boot: str, *, durable: bool) -> None:
    pass


@simulation(follower.lossy, profile="power", seconds=follower.SECONDS)
async def positions_reused(world: World) -> None:
    await follower.story(world)
