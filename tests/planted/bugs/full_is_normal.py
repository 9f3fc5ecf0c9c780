"""A store that is to flush each commit does not: `synchronous=full` is sold, and `normal` is delivered.
A power cut takes what was acknowledged in the last seconds."""

import sqlite3

from hanse import World, simulation
from hanse.store.sqlite.store import SqliteStore

from . import counter, instead


@instead(SqliteStore)
def _connect(self: SqliteStore) -> sqlite3.Connection:
    connection = self._disk.connect(self._path, "normal")
    self._connections.append(connection)
    return connection


@simulation(counter.setup, profile="power", seconds=counter.SECONDS)
async def full_is_normal(world: World) -> None:
    await counter.story(world)
