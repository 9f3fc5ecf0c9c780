"""A whole schema, read in one transaction beside whoever writes, and written in another.

So a dump is of one moment, and a restore that is cut short, by an error or by a kill, has not happened.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

import msgspec

from hanse.kernel.codec import canonical
from hanse.kernel.faults import Malformed, NotFound
from hanse.kernel.message import Headers
from hanse.store.base import CollectionSchema, Entry, Mark, Op, Position, Row
from hanse.store.dump import (
    PIECE_MAX,
    Dump,
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
from hanse.store.postgresql.failures import LostError, code_of, raise_meaning
from hanse.store.postgresql.link import Dialer, Link, Record, hang_up
from hanse.store.postgresql.query import table_name
from hanse.store.row_keys import row_keys
from hanse.store.sql import identifier, literal
from hanse.store.text import meant, written

RESTORE_SECONDS = 600.0
"""For which one statement of a restore may wait and take."""

_TWICE = "23505"
"""A key that is there already."""

_decode = msgspec.json.Decoder(dict[str, object]).decode
_encode = msgspec.json.Encoder().encode
_headers = msgspec.msgpack.Decoder(Headers).decode
_Line = tuple[int, float, str, str, str, str, int, bytes, bytes | None, bytes | None]
_LINE = "seq, at, op, name, id, message_id, before_rev, headers, before, after"
_COLUMNS: Mapping[str, Sequence[str]] = {
    "log": ("bigint", "double precision", "text", "text", "text", "text", "bigint", "bytea", "bytea", "bytea"),
    "marks": ("text", "text", "double precision", "bytea", "bytea"),
    "positions": ("text", "bigint"),
}


@asynccontextmanager
async def dumped(dialer: Dialer, place: str, collections: Sequence[str]) -> AsyncGenerator[Dump]:
    """All that a schema holds, read over a connection of its own.

    Args:
        dialer: Makes the connection.
        place: The schema, quoted.
        collections: Whose rows are wanted.
    """
    link = await dialer.dial()
    try:
        reading = _Reading(link, place)
        yield Dump(await reading.begin(), _meaning_of(reading.pieces(collections), link, dialer.place))
    finally:
        with suppress(Exception):
            await hang_up(link)


async def _meaning_of(pieces: AsyncIterator[Piece], link: Link, place: str) -> AsyncGenerator[Piece]:
    try:
        async for piece in pieces:
            yield piece
    except Exception as error:  # noqa: BLE001 - it is raised as what it means
        raise_meaning(LostError(str(error)) if link.is_closed() else error, place)


class _Reading:
    """Reads in one transaction, which sees one state of the schema."""

    def __init__(self, link: Link, place: str) -> None:
        self._link = link
        self._place = place

    async def begin(self) -> Moment:
        # A server may end what is open and silent for long: whoever takes the dump may be slow.
        _ = await self._link.execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = 0"
        )
        ((log_id, head, trimmed),) = cast(
            "list[tuple[str, int, int]]",
            await self._link.fetch(
                f"SELECT value, head, trimmed FROM {self._place}.meta, {self._place}.state WHERE name = 'log_id'"
            ),
        )
        return Moment(log_id, head, trimmed)

    async def pieces(self, collections: Sequence[str]) -> AsyncGenerator[Piece]:
        for name in collections:
            table = identifier(table_name(name))
            async for found in self._keyed(f"SELECT id, rev, value FROM {{s}}.{table}", "id"):
                rows = cast("list[tuple[str, int, bytes]]", found)
                yield Rows(name, [Row(meant(id), rev, value) for id, rev, value in rows])
        async for lines in self._entries():
            yield Entries(lines)
        async for marks in self._marks():
            yield Marks([MarkAt(Mark(meant(one[0]), meant(one[1]), one[3], one[4]), one[2]) for one in marks])
        async for found in self._keyed("SELECT name, seq FROM {s}.positions", "name"):
            positions = cast("list[tuple[str, int]]", found)
            yield Positions([Position(meant(name), seq) for name, seq in positions])

    async def _keyed(self, statement: str, key: str) -> AsyncGenerator[Sequence[Record]]:
        """What a statement selects, in the order of the first column, a text."""
        # Of all texts the empty one is the least: so that is looked for as well.
        operator, after = ">=", ""
        while found := await self._read(f"{statement} WHERE {key} {operator} $1 ORDER BY {key}", after):
            yield found
            operator, after = ">", cast("str", found[-1][0])

    async def _entries(self) -> AsyncGenerator[list[Entry]]:
        after = 0
        while found := await self._read(f"SELECT {_LINE} FROM {{s}}.log WHERE seq > $1 ORDER BY seq", after):
            lines = [_entry(cast("_Line", tuple(cast("_Line", one)))) for one in found]
            yield lines
            after = lines[-1].seq

    async def _marks(self) -> AsyncGenerator[list[tuple[str, str, float, bytes, bytes]]]:
        statement = "SELECT scope, key, at, digest, result FROM {s}.marks ORDER BY scope, key"
        values: tuple[str, ...] = ()
        while found := await self._read(statement, *values):
            marks = cast("list[tuple[str, str, float, bytes, bytes]]", found)
            yield marks
            statement = (
                "SELECT scope, key, at, digest, result FROM {s}.marks WHERE (scope, key) > ($1, $2) ORDER BY scope, key"
            )
            values = marks[-1][:2]

    async def _read(self, statement: str, *values: object) -> Sequence[Record]:
        text = f"{statement.replace('{s}', self._place)} LIMIT {PIECE_MAX}"
        return await self._link.fetch(text, *values, timeout=RESTORE_SECONDS)


def _entry(line: _Line) -> Entry:
    seq, at, op, name, id, message_id, before_rev, headers, before, after = line
    return Entry(
        seq, at, Op(op), meant(name), meant(id), meant(message_id), before, after, before_rev, _headers(headers)
    )


class Restoring:
    """Writes a dump into a schema, in one transaction."""

    def __init__(self, link: Link, place: str, schemas: Mapping[str, CollectionSchema]) -> None:
        """Begin.

        Args:
            link: A connection that is used for nothing else meanwhile.
            place: The schema, quoted.
            schemas: Of the collections that are open.
        """
        self._link = link
        self._place = place
        self._schemas = schemas

    async def restore(self, moment: Moment, pieces: AsyncIterator[Piece], log_id: str) -> None:
        """Write all of it, or nothing.

        Raises:
            NotEmpty: Something is stored already.
            NotFound: It has rows of a collection that is not open.
            Malformed: It holds something twice.
        """
        # Whoever commits waits for this row, and is refused then: what it rests on has changed.
        _ = await self._link.execute(
            f"BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; SELECT 1 FROM {self._place}.state FOR UPDATE",
            timeout=RESTORE_SECONDS,
        )
        try:
            await self._require_empty()
            _ = await self._link.execute(f"DELETE FROM {self._place}.positions")
            async for piece in pieces:
                await self._write(piece)
            _ = await self._link.execute(
                f"UPDATE {self._place}.state SET head = {base_after(moment)}, trimmed = {moment.trimmed}, "
                f"version = version + 1; UPDATE {self._place}.meta SET value = {literal(log_id)} "
                "WHERE name = 'log_id'; COMMIT"
            )
        except BaseException as error:
            if not self._link.is_closed():
                with suppress(Exception):
                    _ = await self._link.execute("ROLLBACK")
            if code_of(error) == _TWICE:
                raise Malformed(f"the dump holds something twice: {error}") from None
            raise

    async def _require_empty(self) -> None:
        tables = {name: table_name(name) for name in self._schemas}
        for what, table in {**tables, "entries of the log": "log", "marks": "marks"}.items():
            if await self._link.fetch(f"SELECT 1 FROM {self._place}.{identifier(table)} LIMIT 1"):
                raise not_empty(what)

    async def _write(self, piece: Piece) -> None:
        match piece:
            case Rows(collection, rows):
                await self._write_rows(collection, rows)
            case Entries(entries):
                await self._insert("log", [_columns(one) for one in entries])
            case Marks(marks):
                lines = [
                    (written(one.mark.scope), written(one.mark.key), one.at, one.mark.digest, one.mark.result)
                    for one in marks
                ]
                await self._insert("marks", lines)
            case Positions(positions):
                await self._insert("positions", [(written(one.name), one.seq) for one in positions])

    async def _write_rows(self, collection: str, rows: Sequence[Row]) -> None:
        schema = self._schemas.get(collection)
        if schema is None:
            raise NotFound("collection", collection)
        _ = await self._link.fetch(
            f"INSERT INTO {self._place}.{identifier(table_name(collection))} "
            "SELECT r.id, r.rev, r.value, r.keys::jsonb "
            "FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::text[]) AS r (id, rev, value, keys)",
            [written(row.id) for row in rows],
            [row.rev for row in rows],
            [row.value for row in rows],
            [_encode(row_keys(_decode(row.value), (schema,))).decode() for row in rows],
            timeout=RESTORE_SECONDS,
        )

    async def _insert(self, table: str, lines: Sequence[Sequence[object]]) -> None:
        bound = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_COLUMNS[table], 1))
        columns = [list(column) for column in zip(*lines, strict=True)]
        statement = f"INSERT INTO {self._place}.{table} SELECT * FROM unnest({bound})"
        _ = await self._link.fetch(statement, *columns, timeout=RESTORE_SECONDS)


def _columns(one: Entry) -> tuple[object, ...]:
    return (
        one.seq,
        one.at,
        str(one.op),
        written(one.name),
        written(one.id),
        written(one.message_id),
        one.before_rev,
        canonical(one.headers),
        one.before,
        one.after,
    )
