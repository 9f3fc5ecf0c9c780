"""The query tree as SQL: values are always bound, names are quoted, and the answers are the reference's.

What is compared are the keys that are stored beside each row (`hanse.store.row_keys`): texts, whose order
byte by byte is that of the values. So each comparison is a range of texts, which an index on the same expression can
serve. SQL's third truth value is met only under a NOT, where a null condition has to be false.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import ClassVar, assert_never

import msgspec

from hanse.store.base import CollectionSchema
from hanse.store.cursor import After
from hanse.store.evaluate import OWN_RANKS, check_path, default_of, holds_key, item_type, key_against, type_of
from hanse.store.keys import KEYS, OTHER, Key, rank
from hanse.store.postgresql.fold import fold
from hanse.store.query import Compare, Holds, OneOf, Order, Path, Query, Text, Where
from hanse.store.row_keys import RANKS, key_text, name_of
from hanse.store.sql import SqlCondition, Statement, identifier, literal, where_sql
from hanse.store.text import written

INDEXED_CHARACTERS_MAX = 600
"""Of a key in an index: an entry of more than 2,704 bytes is refused, and with it the row."""

_PLAIN = re.compile("[a-z0-9_]{1,50}")


def table_name(collection: str) -> str:
    """The table of a collection within its schema. Names that PostgreSQL would cut off become their hash.

    Example:
        >>> table_name("orders"), table_name("Orders")
        ('rows_orders', 'named_c2aa657847e107d1_rders')
    """
    if _PLAIN.fullmatch(collection):
        return f"rows_{collection}"
    hashed = blake2b(collection.encode(), digest_size=8).hexdigest()
    return f"named_{hashed}_{''.join(_PLAIN.findall(collection))[:30]}"


def key_sql(path: Path, schema: CollectionSchema) -> str:
    """The key at a path of a row, as an expression.

    Raises:
        Malformed: The path cannot be written.
    """
    if path in OWN_RANKS:
        return path[0]
    return _keyed(path, schema, type_of(path, schema))


def _keyed(path: Path, schema: CollectionSchema, kind: str) -> str:
    check_path(path)
    if (path[0],) in OWN_RANKS:
        # A row's own id and revision have nothing inside.
        return "NULL::text"
    text = f"keys ->> {literal(name_of(path, kind))}"
    default = key_text(KEYS[kind](default_of(path, schema)))
    if default is not None:
        text = f"CASE WHEN keys ? {literal(path[0])} THEN {text} ELSE {literal(default)} END"
    return f'({text}) COLLATE "C"'


def indexed_sql(path: Path, schema: CollectionSchema) -> str:
    """What of a key an index holds."""
    return f"left({key_sql(path, schema)}, {INDEXED_CHARACTERS_MAX})"


class Condition(SqlCondition):
    """A condition on one collection as PostgreSQL has it."""

    true: ClassVar[str] = "true"
    false: ClassVar[str] = "false"

    def __init__(self, schema: CollectionSchema, functions: str) -> None:
        """Begin.

        Args:
            schema: Of the collection.
            functions: The schema in which our functions are, quoted.
        """
        super().__init__(schema)
        self._functions = functions

    def leaf(self, where: Compare | OneOf | Text | Holds) -> str:
        """One comparison as SQL."""
        check_path(where.path)
        match where:
            case Compare(op, path, value):
                return self._compare(op, path, self._against(path, value))
            case OneOf(path, values):
                return self._one_of(path, [self._against(path, value) for value in values])
            case Text():
                return self._text(where)
            case Holds():
                return self._holds(where)
            case _:
                assert_never(where)

    def _against(self, path: Path, value: object) -> Key:
        return key_against(path, value, self.schema)

    def _bound(self, value: object, kind: str = "::text") -> str:
        self.values.append(value)
        return f"${len(self.values)}{kind}"

    def limit(self, rows: int) -> str:
        """How many rows are wanted."""
        return self._bound(rows, "::bigint")

    def _bound_key(self, path: Path, key: Key) -> str:
        if path == ("id",):
            return self._bound(written(str(key)))
        if path == ("rev",):
            return self._bound(str(key), "::text::numeric")
        return self._bound(key_text(key))

    def _compare(self, op: str, path: Path, value: Key) -> str:
        if value == OTHER:
            return "true" if op == "ne" else "false"
        key = key_sql(path, self.schema)
        if value is None:
            return {"eq": f"{key} IS NULL", "ne": f"{key} IS NOT NULL"}.get(op, "false")
        against = self._bound_key(path, value)
        if op == "ne":
            return f"{key} IS DISTINCT FROM {against}"
        sign = {"eq": "=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}[op]
        text = f"{key} {sign} {against}{self._seek(path, sign, against)}"
        if path in OWN_RANKS or op == "eq":
            return text
        least, beyond = RANKS[rank(value)]
        return f"{text} AND {key} >= {literal(least)} AND {key} < {literal(beyond)}"

    def _is_indexed(self, path: Path) -> bool:
        return len(path) == 1 and path[0] in self.schema.indexed and path not in OWN_RANKS

    def _seek(self, path: Path, sign: str, against: str) -> str:
        """Says what a comparison implies, in the form in which an index has it."""
        if not self._is_indexed(path):
            return ""
        wide = {"<": "<=", ">": ">="}.get(sign, sign)
        return f" AND {indexed_sql(path, self.schema)} {wide} left({against}, {INDEXED_CHARACTERS_MAX})"

    def _one_of(self, path: Path, values: Sequence[Key]) -> str:
        key = key_sql(path, self.schema)
        known = [value for value in values if value is not None and value != OTHER]
        texts = ["false"]
        if known and path == ("rev",):
            texts.append(f"{key} IN ({', '.join(self._bound_key(path, value) for value in known)})")
        elif known:
            own = path == ("id",)
            wanted = [written(str(value)) if own else key_text(value) for value in known]
            bound = self._bound(wanted, "::text[]")
            seek = self._seek_any(path, wanted) if self._is_indexed(path) else ""
            texts.append(f"{key} = ANY ({bound}){seek}")
        if None in values:
            texts.append(f"{key} IS NULL")
        return " OR ".join(texts)

    def _seek_any(self, path: Path, wanted: Sequence[str | None]) -> str:
        cut = [text and text[:INDEXED_CHARACTERS_MAX] for text in wanted]
        return f" AND {indexed_sql(path, self.schema)} = ANY ({self._bound(cut, '::text[]')})"

    def _text(self, text: Text) -> str:
        path = text.path
        if path == ("rev",):
            return "false"
        if path == ("id",):
            return self._matches("id", text)
        key = _keyed(path, self.schema, "any")
        test = self._matches(f"substr({key}, 2)", text)
        found = f"{key} >= '2' AND {key} < '3' AND {test}"
        if text.op == "starts" and not text.fold and self._is_indexed(path):
            found += self._seek(path, ">=", self._bound("2" + written(text.value)))
        return found

    def _matches(self, text: str, wanted: Text) -> str:
        needle = wanted.value.casefold() if wanted.fold else wanted.value
        if wanted.fold:
            text = f"{self._functions}.{fold().name}({text})"
        bound = self._bound(written(needle))
        if wanted.op == "contains":
            return f"strpos({text}, {bound}) > 0"
        if wanted.op == "starts":
            return f"starts_with({text}, {bound})"
        return f"right({text}, length({bound})) = {bound}"

    def _holds(self, holds: Holds) -> str:
        path = holds.path
        kind = item_type(path, self.schema)
        wanted = KEYS[kind](holds.value)
        if wanted == OTHER or (path[0],) in OWN_RANKS:
            return "false"
        item = self._bound(msgspec.json.encode([key_text(wanted)]).decode(), "::text::jsonb")
        found = f"(keys -> {literal(name_of(path, kind, items=True))}) @> {item}"
        if holds_key(default_of(path, self.schema), wanted, KEYS[kind]):
            return f"CASE WHEN keys ? {literal(path[0])} THEN coalesce({found}, false) ELSE true END"
        return found

    def after(self, order: Sequence[Order], start: After) -> str:
        """Where a page starts: rows that sort after the one that the page before ended with."""
        text = self._after(order, start)
        if order and start.keys[0] is not None and not order[0].descending and order[0].path not in OWN_RANKS:
            # Says what the rest implies, in a form that an index can seek to.
            path, against = order[0].path, self._bound_key(order[0].path, start.keys[0])
            return f"{text} AND {key_sql(path, self.schema)} >= {against}{self._seek(path, '>=', against)}"
        return text

    def _after(self, order: Sequence[Order], start: After) -> str:
        if not order:
            return f"id > {self._bound(written(start.id))}"
        path, value = order[0].path, start.keys[0]
        key = key_sql(path, self.schema)
        rest = self._after(order[1:], After(start.keys[1:], start.id))
        if value is None:
            return f"({'false' if order[0].descending else f'{key} IS NOT NULL'} OR ({key} IS NULL AND {rest}))"
        against = self._bound_key(path, value)
        beyond = f"({key} < {against} OR {key} IS NULL)" if order[0].descending else f"{key} > {against}"
        return f"({beyond} OR ({key} = {against} AND {rest}))"


def find_sql(query: Query, schema: CollectionSchema, start: After | None, place: str) -> Statement:
    """Selects id, rev and value: a page, and one row more to see whether it is the last.

    Args:
        query: What is wanted.
        schema: Of the collection.
        start: Where the page starts; None at the beginning.
        place: The schema of the tables, quoted.

    Raises:
        Malformed: A path cannot be written.
        TooLarge: It binds more than `PARAMETERS_MAX` values.
    """
    condition = Condition(schema, place)
    tests = [condition.where(query.where)] if query.where is not None else []
    if start is not None:
        tests.append(condition.after(query.order, start))
    order = ", ".join([*(part for one in query.order for part in _directed(one, schema)), "id"])
    table = f"{place}.{identifier(table_name(schema.name))}"
    limit = condition.limit(query.limit + 1)
    text = f"SELECT id, rev, value FROM {table}{where_sql(tests)} ORDER BY {order} LIMIT {limit}"
    return Statement(text, tuple(condition.values))


def count_sql(where: Where | None, schema: CollectionSchema, place: str) -> Statement:
    """Selects how many rows match.

    Raises:
        Malformed: A path cannot be written.
        TooLarge: It binds more than `PARAMETERS_MAX` values.
    """
    condition = Condition(schema, place)
    tests = [condition.where(where)] if where is not None else []
    table = f"{place}.{identifier(table_name(schema.name))}"
    return Statement(f"SELECT count(*) FROM {table}{where_sql(tests)}", tuple(condition.values))


def _directed(order: Order, schema: CollectionSchema) -> list[str]:
    """What to sort by: first by what an index has of it, where there is one, and then by all of it."""
    path = order.path
    keys = [key_sql(path, schema)]
    if len(path) == 1 and path[0] in schema.indexed and path not in OWN_RANKS:
        keys.insert(0, indexed_sql(path, schema))
    return [f"{key} DESC NULLS LAST" if order.descending else f"{key} NULLS FIRST" for key in keys]
