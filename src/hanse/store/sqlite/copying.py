"""A whole file, read in one transaction beside whoever writes, and written in another.

So a dump is of one moment, and a restore that is cut short, by an error or by a kill, has not happened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar, cast, final

import msgspec

from hanse.kernel.codec import canonical
from hanse.kernel.faults import Malformed, NotFound
from hanse.kernel.message import Headers
from hanse.store.base import Entry, Mark, Op, Position, Row
from hanse.store.dump import (
    PIECE_MAX,
    Entries,
    MarkAt,
    Marks,
    Moment,
    Piece,
    Positions,
    Rows,
    base_after,
    not_empty,
)
from hanse.store.sqlite.boots import HEAD
from hanse.store.sqlite.failures import raise_meaning
from hanse.store.sqlite.query import table_name

T = TypeVar("T")

_headers = msgspec.msgpack.Decoder(Headers).decode
_LOG = "SELECT seq, at, op, name, id, message_id, before, after, before_rev, headers FROM log ORDER BY seq"
_Line = tuple[int, float, str, str, str, str, bytes | None, bytes | None, int, bytes]


def moment_of(connection: sqlite3.Connection) -> Moment:
    """Where the file is, as the connection's transaction sees it."""
    (head, log_id, trimmed) = connection.execute(
        f"SELECT ({HEAD}), (SELECT value FROM meta WHERE name = 'log_id'), "
        "(SELECT value FROM meta WHERE name = 'trimmed')"
    ).fetchone()
    return Moment(log_id, head, trimmed)


def pieces_of(connection: sqlite3.Connection, collections: Iterable[str]) -> Iterator[Piece]:
    """All that the connection's transaction sees of some collections, and of what belongs to all of them."""
    for name in collections:
        rows = f"SELECT id, rev, CAST(value AS BLOB) FROM {table_name(name)} ORDER BY id"
        for piece in _pieces(connection, rows):
            yield Rows(name, [Row(*one) for one in cast("list[tuple[str, int, bytes]]", piece)])
    for piece in _pieces(connection, _LOG):
        yield Entries([_entry(one) for one in cast("list[_Line]", piece)])
    marks = "SELECT scope, key, digest, result, at FROM marks ORDER BY scope, key"
    for piece in _pieces(connection, marks):
        lines = cast("list[tuple[str, str, bytes, bytes, float]]", piece)
        yield Marks([MarkAt(Mark(scope, key, digest, result), at) for scope, key, digest, result, at in lines])
    for piece in _pieces(connection, "SELECT name, seq FROM positions ORDER BY name"):
        yield Positions([Position(*one) for one in cast("list[tuple[str, int]]", piece)])


def _pieces(connection: sqlite3.Connection, statement: str) -> Iterator[list[tuple[object, ...]]]:
    found = connection.execute(statement)
    while piece := found.fetchmany(PIECE_MAX):
        yield piece


def _entry(line: _Line) -> Entry:
    seq, at, op, name, id, message_id, before, after, before_rev, headers = line
    return Entry(seq, at, Op(op), name, id, message_id, before, after, before_rev, _headers(headers))


@final
class Restoring:
    """Writes a dump into a file, in one transaction."""

    def __init__(self, connection: sqlite3.Connection, collections: Iterable[str]) -> None:
        """Begin.

        Args:
            connection: Writes to the file, and is used for nothing else meanwhile.
            collections: Those that are open.
        """
        self._connection = connection
        self._tables: Mapping[str, str] = {name: table_name(name) for name in collections}

    def begin(self) -> None:
        """Begin the transaction.

        Raises:
            NotEmpty: Something is stored already.
            Unavailable: SQLite failed.
        """
        _meant(lambda: self._connection.execute("BEGIN IMMEDIATE"))
        for what, table in {**self._tables, "entries of the log": "log", "marks": "marks"}.items():
            if self._connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall():
                raise not_empty(what)
        self._connection.execute("DELETE FROM positions")

    def write(self, piece: Piece) -> None:
        """Write a piece.

        Raises:
            NotFound: It has rows of a collection that is not open.
            Malformed: It holds what SQLite cannot take, or something twice.
            Unavailable: SQLite failed.
        """
        _meant(lambda: self._write(piece))

    def _write(self, piece: Piece) -> None:
        match piece:
            case Rows(collection, rows):
                if collection not in self._tables:
                    raise NotFound("collection", collection)
                statement = f"INSERT INTO {self._tables[collection]} VALUES (?, ?, CAST(? AS TEXT))"
                self._connection.executemany(statement, ((row.id, row.rev, row.value) for row in rows))
            case Entries(entries):
                statement = f"INSERT INTO log VALUES ({', '.join('?' * 10)})"
                self._connection.executemany(statement, map(_columns, entries))
            case Marks(marks):
                self._connection.executemany(
                    "INSERT INTO marks VALUES (?, ?, ?, ?, ?)",
                    ((one.mark.scope, one.mark.key, one.at, one.mark.digest, one.mark.result) for one in marks),
                )
            case Positions(positions):
                self._connection.executemany(
                    "INSERT INTO positions VALUES (?, ?)", ((one.name, one.seq) for one in positions)
                )

    def finish(self, moment: Moment, log_id: str) -> None:
        """Commit, flushed to the disk.

        Raises:
            Unavailable: SQLite failed.
        """
        set_meta = "UPDATE meta SET value = ? WHERE name = ?"
        values = (("trimmed", moment.trimmed), ("base", base_after(moment)), ("log_id", log_id))
        self._connection.executemany(set_meta, ((value, name) for name, value in values))
        _meant(lambda: self._connection.execute("COMMIT"))

    def give_up(self) -> None:
        """Have nothing of it written."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _columns(one: Entry) -> tuple[object, ...]:
    headers = canonical(one.headers)
    return (
        one.seq,
        one.at,
        str(one.op),
        one.name,
        one.id,
        one.message_id,
        one.before_rev,
        headers,
        one.before,
        one.after,
    )


def _meant(job: Callable[[], T]) -> T:
    try:
        return job()
    except sqlite3.IntegrityError as error:
        raise Malformed(f"the dump holds something twice: {error}") from None
    except (sqlite3.Error, UnicodeError, OverflowError) as error:
        raise_meaning(error)
