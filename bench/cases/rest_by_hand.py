"""What the peers of the REST group write to SQLite: a row, in a transaction of its own."""

from __future__ import annotations

import itertools
import sqlite3

SCHEMA = "CREATE TABLE IF NOT EXISTS sales (id TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_numbers = itertools.count(1)


def opened() -> sqlite3.Connection:
    """A database in the current folder, as durable as Hanse's is by default."""
    base = sqlite3.connect("sales.db", isolation_level=None)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("PRAGMA synchronous = NORMAL")
    base.execute(SCHEMA)
    return base


def load(base: sqlite3.Connection, key: str) -> str | None:
    """The JSON of a row."""
    row: tuple[str] | None = base.execute("SELECT value FROM sales WHERE id = ?", (key,)).fetchone()
    return None if row is None else row[0]


def add(base: sqlite3.Connection, value: str) -> str:
    """Write a row; its id."""
    key = f"{next(_numbers):x}"
    base.execute("INSERT INTO sales VALUES (?, ?)", (key, value))
    return key
