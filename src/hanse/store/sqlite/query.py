"""The query tree as SQL: values are always bound, names are quoted, and the answers are the reference's.

Rows are compared by their keys (`hanse.store.keys`), whose order is SQLite's own order of values: null, numbers,
text, blobs. So each comparison is a range of keys, which an index on the same expression can serve. SQL's third truth
value is met only under a NOT, where a null condition has to be false.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase, digits
from typing import ClassVar, assert_never

import msgspec

from hanse.store.base import CollectionSchema
from hanse.store.cursor import After
from hanse.store.evaluate import OWN_RANKS, check_path, default_of, item_type, key_against, type_of
from hanse.store.keys import FALSE, KEYS, OTHER, TRUE, Key, plain_key
from hanse.store.query import Compare, Holds, OneOf, Order, Path, Query, Text, Where
from hanse.store.sql import SqlCondition, Statement, identifier, literal, where_sql
from hanse.store.sqlite.functions import key_function

_INFINITY = "9e999"
_AFTER_TEXT = "x''"
_PLAIN = frozenset(ascii_lowercase + digits + "_.-")
_SURROGATES, _AFTER_SURROGATES = 0xD800, 0xE000
_LAST = chr(0x10FFFF)


def table_name(collection: str) -> str:
    """The table of a collection, quoted. SQLite folds case in names, so what is not plain lower case is spelled out.

    Example:
        >>> table_name("orders"), table_name("Orders")
        ('"rows:orders"', '"rows:%4f%rders"')
    """
    return identifier("rows:" + "".join(one if one in _PLAIN else f"%{ord(one):x}%" for one in collection))


def key_sql(path: Path, schema: CollectionSchema) -> str:
    """The key at a path of a row, as an expression.

    Raises:
        Malformed: The path cannot be written.
    """
    if path in OWN_RANKS:
        return path[0]
    return f"{key_function(type_of(path, schema))}({_json_sql(path, schema)})"


def _json_sql(path: Path, schema: CollectionSchema) -> str:
    check_path(path)
    whole = literal("$" + "".join(f'."{name}"' for name in path))
    default = default_of(path, schema)
    if default is None:
        return f"value -> {whole}"
    written = literal(msgspec.json.encode(default).decode())
    if len(path) == 1:
        return f"coalesce(value -> {whole}, {written})"
    top = literal(f'$."{path[0]}"')
    return f"CASE WHEN json_type(value, {top}) IS NULL THEN {written} ELSE value -> {whole} END"


class Condition(SqlCondition):
    """A condition on one collection as SQLite has it."""

    true: ClassVar[str] = "1"
    false: ClassVar[str] = "0"

    def leaf(self, where: Compare | OneOf | Text | Holds) -> str:
        """One comparison as SQL."""
        key = key_sql(where.path, self.schema)
        match where:
            case Compare(op, path, value):
                return self._compare(op, key, self._against(path, value))
            case OneOf(path, values):
                return self._one_of(key, [self._against(path, value) for value in values])
            case Text():
                return self._text(key, where)
            case Holds(path, value):
                kind = item_type(path, self.schema)
                holds = f"hanse_holds({self._json(path)}, ?, ?)"
                return "0" if path in OWN_RANKS else self._bind(holds, KEYS[kind](value), kind)
            case _:
                assert_never(where)

    def _json(self, path: Path) -> str:
        return _json_sql(path, self.schema)

    def _against(self, path: Path, value: object) -> Key:
        return key_against(path, value, self.schema)

    def _bind(self, text: str, *values: Key) -> str:
        self.values.extend(values)
        return text

    def _compare(self, op: str, key: str, value: Key) -> str:
        if value == OTHER:
            return "1" if op == "ne" else "0"
        if op in {"eq", "ne"}:
            return self._bind(f"{key} IS {'NOT ' if op == 'ne' else ''}?", value)
        if value is None:
            return "0"
        lowest, highest = _bounds(value)
        texts = {
            "lt": f"{key} >= {lowest} AND {key} < ?",
            "le": f"{key} BETWEEN {lowest} AND ?",
            "gt": f"{key} > ? AND {key} <= {highest}",
            "ge": f"{key} BETWEEN ? AND {highest}",
        }
        return self._bind(texts[op], value)

    def _one_of(self, key: str, values: Sequence[Key]) -> str:
        known = [value for value in values if value is not None and value != OTHER]
        texts = [self._bind(f"{key} IN ({', '.join('?' * len(known))})", *known)] if known else []
        if None in values:
            texts.append(f"{key} IS NULL")
        return " OR ".join(texts) or "0"

    def _text(self, key: str, text: Text) -> str:
        path = text.path
        if path == ("rev",):
            return "0"
        if path == ("id",):
            return self._bind("hanse_like(id, ?, ?, ?)", text.op, text.value, text.fold)
        if text.op == "starts" and not text.fold and KEYS[type_of(path, self.schema)] is plain_key:
            end = _after_prefix(text.value)
            if end is None:
                return self._bind(f"{key} BETWEEN ? AND {_AFTER_TEXT}", text.value)
            return self._bind(f"{key} >= ? AND {key} < ?", text.value, end)
        return self._bind(f"hanse_text({self._json(path)}, ?, ?, ?)", text.op, text.value, text.fold)

    def after(self, order: Sequence[Order], start: After) -> str:
        """Where a page starts: rows that sort after the one that the page before ended with."""
        text = self._after(order, start)
        if order and start.keys[0] is not None and not order[0].descending:
            # Says what the rest implies, in a form that an index can seek to.
            self.values.append(start.keys[0])
            return f"{text} AND {key_sql(order[0].path, self.schema)} >= ?"
        return text

    def _after(self, order: Sequence[Order], start: After) -> str:
        if not order:
            return self._bind("id > ?", start.id)
        key, value = key_sql(order[0].path, self.schema), start.keys[0]
        beyond = self._beyond(key, value, descending=order[0].descending)
        same = self._bind(f"{key} IS ?", value)
        rest = self._after(order[1:], After(start.keys[1:], start.id))
        return f"({beyond} OR ({same} AND {rest}))"

    def _beyond(self, key: str, value: Key, *, descending: bool) -> str:
        if value is None:
            return "0" if descending else f"{key} IS NOT NULL"
        return self._bind(f"({key} < ? OR {key} IS NULL)" if descending else f"{key} > ?", value)


def _bounds(value: Key) -> tuple[str, str]:
    """The least and the greatest key of a value's kind."""
    if isinstance(value, str):
        return "''", _AFTER_TEXT
    if isinstance(value, bytes):
        return f"x'{FALSE.hex()}'", f"x'{TRUE.hex()}'"
    return f"-{_INFINITY}", _INFINITY


def _after_prefix(prefix: str) -> str | None:
    """The least string that sorts after all those with the prefix; None where there is none.

    Example:
        >>> _after_prefix("tea")
        'teb'
    """
    stem = prefix.rstrip(_LAST)
    if not stem:
        return None
    code = ord(stem[-1]) + 1
    return stem[:-1] + chr(_AFTER_SURROGATES if code == _SURROGATES else code)


def find_sql(query: Query, schema: CollectionSchema, start: After | None) -> Statement:
    """Selects id, rev, value and the keys of the order: a page, and one row more to see whether it is the last.

    Raises:
        Malformed: A path cannot be written.
        TooLarge: It binds more than `PARAMETERS_MAX` values.
    """
    condition = Condition(schema)
    tests = [condition.where(query.where)] if query.where is not None else []
    if start is not None:
        tests.append(condition.after(query.order, start))
    keys = [key_sql(one.path, schema) for one in query.order]
    columns = ", ".join(["id", "rev", "CAST(value AS BLOB)", *keys])
    order = ", ".join([*(_direction(key, one) for key, one in zip(keys, query.order, strict=True)), "id"])
    text = f"SELECT {columns} FROM {table_name(schema.name)}{where_sql(tests)} ORDER BY {order} LIMIT ?"
    return Statement(text, (*condition.values, query.limit + 1))


def count_sql(where: Where | None, schema: CollectionSchema) -> Statement:
    """Selects how many rows match.

    Raises:
        Malformed: A path cannot be written.
        TooLarge: It binds more than `PARAMETERS_MAX` values.
    """
    condition = Condition(schema)
    tests = [condition.where(where)] if where is not None else []
    return Statement(f"SELECT count(*) FROM {table_name(schema.name)}{where_sql(tests)}", tuple(condition.values))


def _direction(key: str, order: Order) -> str:
    return f"{key} DESC" if order.descending else key
