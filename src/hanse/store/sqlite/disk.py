"""The disk that a store's file is on, as far as the store needs one: where its connections come from.

The seam below SQLite. The machine's own disk is `LocalDisk`; a simulated machine hands its stores another one, whose
files outlive the processes that use them, and which may lose what was not flushed. How slow a disk is, and whether it
fails, is for the desk to say (`hanse.store.sqlite.desk`), through which every access goes.
"""

from __future__ import annotations

import sqlite3
from typing import Protocol, final

from hanse.store.sqlite.boots import this_boot
from hanse.store.sqlite.tables import connect


class Disk(Protocol):
    """Where the files of stores are.

    Whatever a store keeps on a disk lasts: a disk that is handed to a store makes it durable, whatever its path is.
    """

    def connect(self, path: str, synchronous: str, /) -> sqlite3.Connection:
        """A connection to a file, which is made where it is missing.

        It commits by itself (no `isolation_level`), and knows our functions: `hanse.store.sqlite.tables.connect` makes
        such a one. It may be one that the disk has given to others, as long as all of them run on one thread.

        Raises:
            sqlite3.Error: The file cannot be opened.
        """
        ...

    def release(self, connection: sqlite3.Connection, /) -> None:
        """Whoever asked for the connection needs it no more; called once for each `connect`."""
        ...

    def boot(self) -> str:
        """Names the time since the machine was started, or lost power; empty where it cannot be told."""
        ...


@final
class LocalDisk:
    """The disk of this machine."""

    def connect(self, path: str, synchronous: str, /) -> sqlite3.Connection:
        """A connection of its own."""
        return connect(path, synchronous=synchronous)

    def release(self, connection: sqlite3.Connection, /) -> None:
        """Close it."""
        connection.close()

    def boot(self) -> str:
        """See `hanse.store.sqlite.boots`."""
        return this_boot()
