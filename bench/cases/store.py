"""What the SQLite store costs, beside the standard library's sqlite3 by hand: `store.py CASE SECONDS`."""

from __future__ import annotations

import itertools
import sqlite3
import sys
import tempfile
from pathlib import Path

import meter

from hanse.store.base import Batch, CollectionSchema, FieldSchema, Put
from hanse.store.sqlite import SqliteStore

VALUE = b'{"number":123456,"customer":"Ada Lovelace, London","tags":["tea","gift","fragile"],"amount":1234.56}'
ROWS = 10_000
PIECE = 1_000
"""Entries of the log that are read at once."""

_numbers = itertools.count()


async def load(seconds: float, path: Path) -> None:
    store = await _opened(path)
    await _fill(store)
    ids = itertools.cycle(str(number) for number in range(ROWS))
    await meter.one_by_one(lambda: store.load("sales", next(ids)), seconds)
    await store.close()


async def commit(seconds: float, path: Path) -> None:
    store = await _opened(path)
    await meter.one_by_one(lambda: store.commit(_batch()), seconds, batch=50)
    await store.close()


async def commit_64(seconds: float, path: Path) -> None:
    store = await _opened(path)
    await meter.in_flight(lambda: store.commit(_batch()), seconds)
    await store.close()


async def tail(seconds: float, path: Path) -> None:
    store = await _opened(path)
    await _fill(store)
    starts = itertools.cycle(range(0, ROWS, PIECE))

    async def read() -> None:
        piece = await store.changes(next(starts), limit=PIECE)
        assert len(piece.entries) == PIECE

    await meter.one_by_one(read, seconds, batch=10, each=PIECE)
    await store.close()


def _batch(rows: int = 1) -> Batch:
    numbers = [str(next(_numbers)) for _ in range(rows)]
    return Batch(at=1.0, writes=tuple(Put("sales", number, VALUE, f"m{number}") for number in numbers))


async def _opened(path: Path) -> SqliteStore:
    store = SqliteStore(str(path))
    types = {"number": "integer", "customer": "string", "tags": "array", "amount": "number"}
    fields = {name: FieldSchema(kind, required=True) for name, kind in types.items()}
    await store.open([CollectionSchema("sales", fields)])
    return store


async def _fill(store: SqliteStore) -> None:
    for _ in range(ROWS // PIECE):
        await store.commit(_batch(PIECE))


async def raw_load(seconds: float, path: Path) -> None:
    base = _raw(path)
    _raw_write(base, ROWS)
    ids = itertools.cycle(str(number) for number in range(ROWS))

    async def read() -> object:
        return base.execute("SELECT id, rev, value FROM sales WHERE id = ?", (next(ids),)).fetchone()

    await meter.one_by_one(read, seconds)


async def raw_commit(seconds: float, path: Path) -> None:
    await _raw_commit(seconds, path, 1)


async def raw_commit_64(seconds: float, path: Path) -> None:
    await _raw_commit(seconds, path, 64)


async def _raw_commit(seconds: float, path: Path, rows: int) -> None:
    base = _raw(path)

    async def write() -> None:
        _raw_write(base, rows)

    await meter.one_by_one(write, seconds, batch=50, each=rows)


async def raw_tail(seconds: float, path: Path) -> None:
    base = _raw(path)
    _raw_write(base, ROWS)
    starts = itertools.cycle(range(0, ROWS, PIECE))

    async def read() -> None:
        rows = base.execute("SELECT * FROM log WHERE seq > ? ORDER BY seq LIMIT ?", (next(starts), PIECE)).fetchall()
        assert len(rows) == PIECE

    await meter.one_by_one(read, seconds, batch=10, each=PIECE)


def _raw(path: Path) -> sqlite3.Connection:
    """A row and a line of a log: what whoever wants a change feed writes at least."""
    base = sqlite3.connect(path, isolation_level=None)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("PRAGMA synchronous = NORMAL")
    base.execute("CREATE TABLE sales (id TEXT PRIMARY KEY, rev INTEGER, value BLOB) WITHOUT ROWID")
    base.execute("CREATE TABLE log (seq INTEGER PRIMARY KEY, name TEXT, id TEXT, message_id TEXT, after BLOB)")
    return base


def _raw_write(base: sqlite3.Connection, rows: int) -> None:
    base.execute("BEGIN IMMEDIATE")
    for _ in range(rows):
        number = str(next(_numbers))
        seq = base.execute(
            "INSERT INTO log (name, id, message_id, after) VALUES (?, ?, ?, ?)", ("sales", number, f"m{number}", VALUE)
        ).lastrowid
        base.execute("INSERT INTO sales VALUES (?, ?, ?)", (number, seq, VALUE))
    base.execute("COMMIT")


CASES = {
    case.__name__: case
    for case in (load, commit, commit_64, tail, raw_load, raw_commit, raw_commit_64, raw_tail)
}  # fmt: skip

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        meter.run(CASES[sys.argv[1]](float(sys.argv[2]), Path(folder) / "bench.db"))
