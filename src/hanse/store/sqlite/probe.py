"""What SQLite can do in a folder: file systems differ in what they make of locks and shared memory."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from hanse.store.sqlite.tables import SQLITE_MIN


def version() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The version of SQLite that this Python brings, and the oldest that will do."""
    return sqlite3.sqlite_version_info, SQLITE_MIN


def journal_in(folder: Path) -> str:
    """How a file in a folder keeps its journal when it is asked for `wal`: that, or what it falls back to.

    Raises:
        OSError: Nothing can be written there, or the file system has no locks; says which.
    """
    with tempfile.TemporaryDirectory(prefix=".hanse-doctor-", dir=folder) as inner:
        try:
            with closing(sqlite3.connect(Path(inner, "probe.db"))) as connection:
                (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
                with connection:
                    _ = connection.execute("CREATE TABLE probe (id INTEGER)")
                return str(mode)
        except sqlite3.Error as error:
            raise OSError(str(error)) from None
