"""The writer: a group of batches in one transaction, each of them refused or accepted on its own.

What is stored is looked up as `hanse.store.group` asks for it, and only then is anything written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from hanse.kernel.codec import canonical
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import NotFound, Unavailable
from hanse.kernel.message import Headers
from hanse.store.base import Batch, Entry, Row
from hanse.store.group import Group, Outcome, Wanted
from hanse.store.plan import Address, Plan
from hanse.store.sqlite.boots import HEAD
from hanse.store.sqlite.failures import meaning, raise_meaning
from hanse.store.sqlite.query import table_name
from hanse.store.sqlite.tables import transaction

TRIM_MAX = 10_000
"""Entries, and marks, forgotten in one transaction at most, so that commits get their turn."""

LOOK_UP = 16
"""Rows that are looked for by one statement before they are written."""

_LOG = "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_MARK = "INSERT INTO marks VALUES (?, ?, ?, ?, ?)"
_POSITION = "INSERT INTO positions VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq"


class _Stored:
    """What is stored, as it is asked for."""

    def __init__(self, connection: sqlite3.Connection, tables: dict[str, str]) -> None:
        self._rows: dict[Address, Row | None] = {}
        self._connection = connection
        self._tables = tables

    def look_up(self, batches: Sequence[Batch]) -> None:
        """Look for the rows that a group writes, `LOOK_UP` at once: one by one, each would have a turn of the lock."""
        for collection, ids in Wanted.of(batches, self._tables).rows.items():
            for start in range(0, len(ids) if len(ids) > 1 else 0, LOOK_UP):
                self._look_up(collection, ids[start : start + LOOK_UP])

    def _look_up(self, collection: str, ids: Sequence[str]) -> None:
        # Always the same text, so that SQLite prepares it once; nothing is null.
        padded = (*ids, *(None,) * (LOOK_UP - len(ids)))
        marks = ", ".join("?" * LOOK_UP)
        statement = f"SELECT id, rev, CAST(value AS BLOB) FROM {self._tables[collection]} WHERE id IN ({marks})"
        self._rows.update(((collection, id), None) for id in ids)
        for id, rev, value in self._connection.execute(statement, padded).fetchall():
            self._rows[collection, id] = Row(id, rev, value)

    def row(self, collection: str, id: str, /) -> Row | None:
        if (collection, id) in self._rows:
            return self._rows[collection, id]
        table = self._tables.get(collection)
        if table is None:
            raise NotFound("collection", collection)
        statement = f"SELECT rev, CAST(value AS BLOB) FROM {table} WHERE id = ?"
        found: list[tuple[int, bytes]] = self._connection.execute(statement, (id,)).fetchall()
        return Row(id, *found[0]) if found else None

    def at(self, name: str, /) -> int:
        found: list[tuple[int]] = self._connection.execute(
            "SELECT seq FROM positions WHERE name = ?", (name,)
        ).fetchall()
        return found[0][0] if found else 0

    def has_mark(self, scope: str, key: str, /) -> bool:
        statement = "SELECT 1 FROM marks WHERE scope = ? AND key = ?"
        return bool(self._connection.execute(statement, (scope, key)).fetchall())


class Writer:
    """Writes to one file, through one connection."""

    def __init__(self, connection: sqlite3.Connection, collections: Iterable[str]) -> None:
        self.connection: sqlite3.Connection = connection
        self._tables = {name: table_name(name) for name in collections}

    def apply(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        """Write batches in one transaction; for each the positions of its writes, or why it was refused."""
        outcomes = self._in_transaction(batches)
        fault_point("store.after_commit")
        return outcomes

    def _in_transaction(self, batches: Sequence[Batch]) -> Sequence[Outcome]:
        try:
            with transaction(self.connection):
                outcomes = self._write(batches)
                fault_point("store.before_commit")
                return outcomes
        except Exception as error:  # noqa: BLE001 - each waiter is told, and the writer goes on
            meant = meaning(error)
            if len(batches) == 1 or isinstance(meant, Unavailable):
                return [meant for _ in batches]
            # One of them holds what cannot be stored. It must not take its neighbours along.
            return [outcome for batch in batches for outcome in self._in_transaction((batch,))]

    def _write(self, batches: Sequence[Batch]) -> list[Outcome]:
        (head,) = self.connection.execute(HEAD).fetchone()
        stored = _Stored(self.connection, self._tables)
        stored.look_up(batches)
        group = Group(stored, head)
        group.plan(batches)
        self._write_rows(group.rows)
        self._write_plans(group.accepted)
        return group.outcomes

    def _write_rows(self, rows: dict[Address, Row | None]) -> None:
        puts: dict[str, list[tuple[str, int, bytes]]] = {}
        deletes: dict[str, list[tuple[str]]] = {}
        for (collection, id), row in rows.items():
            table = self._tables[collection]
            if row is None:
                deletes.setdefault(table, []).append((id,))
            else:
                puts.setdefault(table, []).append((id, row.rev, row.value))
        for table, gone in deletes.items():
            self.connection.executemany(f"DELETE FROM {table} WHERE id = ?", gone)
        for table, written in puts.items():
            self.connection.executemany(
                f"INSERT INTO {table} VALUES (?, ?, CAST(? AS TEXT)) "
                "ON CONFLICT (id) DO UPDATE SET rev = excluded.rev, value = excluded.value",
                written,
            )

    def _write_plans(self, accepted: Sequence[tuple[Batch, Plan]]) -> None:
        entries = [line for batch, planned in accepted for line in _lines(planned.entries, batch.headers)]
        marks = [
            (mark.scope, mark.key, batch.at, mark.digest, mark.result)
            for batch, planned in accepted
            for mark in planned.marks.values()
        ]
        positions = [(one.name, one.seq) for batch, _ in accepted for one in batch.positions]
        for statement, values in ((_LOG, entries), (_MARK, marks), (_POSITION, positions)):
            if values:
                self.connection.executemany(statement, values)

    def trim(self, before: float, keep_after: int) -> tuple[int, int]:
        """Forget the oldest entries and marks, `TRIM_MAX` of each at most; how many of each went.

        Raises:
            Unavailable: SQLite failed.
        """
        try:
            with transaction(self.connection):
                return self._trim(before, keep_after)
        except sqlite3.Error as error:
            raise_meaning(error)

    def _trim(self, before: float, keep_after: int) -> tuple[int, int]:
        connection = self.connection
        oldest = f"SELECT seq, at FROM log ORDER BY seq LIMIT {TRIM_MAX}"
        first_kept = f"SELECT min(seq) FROM ({oldest}) WHERE at >= ? OR seq > ?"
        (end,) = connection.execute(
            f"SELECT coalesce(({first_kept}), (SELECT max(seq) + 1 FROM ({oldest})), 0)", (before, keep_after)
        ).fetchone()
        entries = connection.execute("DELETE FROM log WHERE seq < ?", (end,)).rowcount
        connection.execute("UPDATE meta SET value = max(value, ?) WHERE name IN ('trimmed', 'base')", (end - 1,))
        old = f"SELECT rowid FROM marks WHERE at < ? LIMIT {TRIM_MAX}"
        marks = connection.execute(f"DELETE FROM marks WHERE rowid IN ({old})", (before,)).rowcount
        return entries, marks


def _lines(entries: Sequence[Entry], headers: Headers) -> Iterable[tuple[object, ...]]:
    if entries:
        packed = canonical(headers)
        for one in entries:
            yield (
                one.seq,
                one.at,
                str(one.op),
                one.name,
                one.id,
                one.message_id,
                one.before_rev,
                packed,
                one.before,
                one.after,
            )
