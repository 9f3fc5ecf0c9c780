"""One group of batches, as SQL: what has to be known to plan it, and what then writes all of it.

Both are one statement each. The first sees one state of the store, and says its version. The second changes nothing
unless the store is still at that version: whoever commits raises it, and waits for whoever is doing so. So nobody has
to hold a lock while a group is planned, and the positions of a store are given in the order of its commits, one group
after the other: a reader that has seen one never finds a new entry below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import msgspec

from hanse.kernel.codec import canonical
from hanse.store.base import Batch, CollectionSchema, Row
from hanse.store.group import Known, Wanted
from hanse.store.plan import Address, Plan
from hanse.store.postgresql.link import Record
from hanse.store.postgresql.query import table_name
from hanse.store.row_keys import row_keys
from hanse.store.sql import Statement, identifier
from hanse.store.text import meant, written

_STATE, _MARKS, _POSITIONS = -3, -2, -1

_decode = msgspec.json.Decoder(dict[str, object]).decode
_encode = msgspec.json.Encoder().encode


class State(msgspec.Struct, frozen=True):
    """Where a store is.

    Attributes:
        head: The newest position.
        version: How often anything was committed.
        shape: How often its collections changed.
    """

    head: int
    version: int
    shape: int


class Author(msgspec.Struct, frozen=True):
    """Who writes, and how often it has: kept with each group, so that it can be told whether that was committed."""

    id: str
    number: int


class Look:
    """The one statement that tells what has to be known to plan some batches."""

    def __init__(self, wanted: Wanted) -> None:
        """Begin.

        Args:
            wanted: What it is.
        """
        self._wanted = wanted
        self._collections = tuple(sorted(wanted.rows))

    def sql(self, place: str) -> Statement:
        """Selects the state, and what is stored of all that is wanted.

        Args:
            place: The schema of the tables, quoted.
        """
        known = "JOIN unnest($1::text[], $2::text[]) AS w (scope, key) ON m.scope = w.scope AND m.key = w.key"
        parts = [
            f"SELECT {_STATE}, ''::text, shape::text, head, version, ''::bytea FROM {place}.state",
            f"SELECT {_MARKS}, m.scope, m.key, 0, 0, ''::bytea FROM {place}.marks AS m {known}",
            f"SELECT {_POSITIONS}, name, '', seq, 0, ''::bytea FROM {place}.positions WHERE name = ANY ($3::text[])",
        ]
        values: list[object] = [
            [written(scope) for scope, _ in self._wanted.marks],
            [written(key) for _, key in self._wanted.marks],
            [written(name) for name in self._wanted.positions],
        ]
        for number, collection in enumerate(self._collections):
            table = f"{place}.{identifier(table_name(collection))}"
            values.append([written(id) for id in self._wanted.rows[collection]])
            parts.append(f"SELECT {number}, id, '', rev, 0, value FROM {table} WHERE id = ANY (${len(values)}::text[])")
        return Statement(" UNION ALL ".join(parts), tuple(values))

    def read(self, found: Iterable[Record], known: Known) -> State:
        """Take what was asked for, and tell where the store is."""
        state = State(0, 0, 0)
        for part, one, other, number, version, value in cast("Iterable[tuple[int, str, str, int, int, bytes]]", found):
            if part == _STATE:
                state = State(number, version, int(other))
            elif part == _MARKS:
                known.marks.add((meant(one), meant(other)))
            elif part == _POSITIONS:
                known.positions[meant(one)] = number
            else:
                id = meant(one)
                known.rows[self._collections[part], id] = Row(id, number, value)
        return state


Accepted = Sequence[tuple[Batch, Plan]]


class Writing:
    """The one statement that writes a group, if the store is still where it was."""

    def __init__(self, place: str, state: State, author: Author, head: int) -> None:
        """Begin.

        Args:
            place: The schema of the tables, quoted.
            state: Where the store was when the group was planned.
            author: Who writes.
            head: Where the store will be.
        """
        self._place = place
        self._values: list[object] = [state.version, head, author.id, author.number]
        again = "ON CONFLICT (id) DO UPDATE SET last = excluded.last, at = now()"
        self._parts = [
            f"st AS (UPDATE {place}.state SET head = $2, version = version + 1 WHERE version = $1 RETURNING version)",
            f"me AS (INSERT INTO {place}.writers (id, last) SELECT $3::text, $4::bigint FROM st {again})",
        ]

    def rows(self, rows: Mapping[Address, Row | None], schemas: Mapping[str, Sequence[CollectionSchema]]) -> None:
        """Write rows as they are to be; those that are None go.

        Args:
            rows: By collection and id.
            schemas: What gives them keys, for each collection.
        """
        puts: dict[str, list[Row]] = {}
        gone: dict[str, list[str]] = {}
        for (collection, id), row in rows.items():
            if row is None:
                gone.setdefault(collection, []).append(written(id))
            else:
                puts.setdefault(collection, []).append(row)
        for collection in sorted(gone):
            bound = self._bound(gone[collection], "text")
            table = self._table(table_name(collection))
            self._add(f"DELETE FROM {table} WHERE id = ANY ({bound}) AND EXISTS (SELECT 1 FROM st)")
        for collection in sorted(puts):
            self._put(collection, puts[collection], schemas[collection])

    def _put(self, collection: str, rows: Sequence[Row], schemas: Sequence[CollectionSchema]) -> None:
        keys = [_encode(row_keys(_decode(row.value), schemas)).decode() for row in rows]
        columns = (
            self._bound([written(row.id) for row in rows], "text"),
            self._bound([row.rev for row in rows], "bigint"),
            self._bound([row.value for row in rows], "bytea"),
            self._bound(keys, "text"),
        )
        table, lines = self._table(table_name(collection)), f"unnest({', '.join(columns)}) AS r (id, rev, value, keys)"
        self._add(
            f"INSERT INTO {table} SELECT r.id, r.rev, r.value, r.keys::jsonb FROM st, {lines} "
            "ON CONFLICT (id) DO UPDATE SET rev = excluded.rev, value = excluded.value, keys = excluded.keys"
        )

    def batches(self, accepted: Accepted) -> None:
        """Write their entries, marks and positions."""
        self._insert(
            "log",
            [line for batch, planned in accepted for line in _lines(batch, planned)],
            ("bigint", "double precision", "text", "text", "text", "text", "bigint", "bytea", "bytea", "bytea"),
        )
        marks = [
            (written(mark.scope), written(mark.key), batch.at, mark.digest, mark.result)
            for batch, planned in accepted
            for mark in planned.marks.values()
        ]
        self._insert("marks", marks, ("text", "text", "double precision", "bytea", "bytea"))
        positions = {written(one.name): one.seq for batch, _ in accepted for one in batch.positions}
        self._insert(
            "positions",
            list(positions.items()),
            ("text", "bigint"),
            " ON CONFLICT (name) DO UPDATE SET seq = excluded.seq",
        )

    def sql(self) -> Statement:
        """Gives a row if it took effect, and none if somebody else committed in between."""
        return Statement(f"WITH {', '.join(self._parts)} SELECT version FROM st", tuple(self._values))

    def _insert(self, table: str, lines: Sequence[Sequence[object]], types: Sequence[str], otherwise: str = "") -> None:
        if lines:
            columns = zip(*lines, strict=True)
            bound = [self._bound(list(column), kind) for column, kind in zip(columns, types, strict=True)]
            self._add(
                f"INSERT INTO {self._table(table)} SELECT r.* FROM st, unnest({', '.join(bound)}) AS r{otherwise}"
            )

    def _bound(self, values: list[object] | list[str] | list[int] | list[bytes], kind: str) -> str:
        self._values.append(values)
        return f"${len(self._values)}::{kind}[]"

    def _table(self, name: str) -> str:
        return f"{self._place}.{identifier(name)}"

    def _add(self, statement: str) -> None:
        self._parts.append(f"w{len(self._parts)} AS ({statement})")


def _lines(batch: Batch, planned: Plan) -> Iterable[tuple[object, ...]]:
    if planned.entries:
        packed = canonical(batch.headers)
        for one in planned.entries:
            yield (
                one.seq,
                one.at,
                str(one.op),
                written(one.name),
                written(one.id),
                written(one.message_id),
                one.before_rev,
                packed,
                one.before,
                one.after,
            )
