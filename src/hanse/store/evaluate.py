"""The reference semantics of `hanse.store.query`, on plain values: every store has to agree with it.

Pure: the memory store runs its queries here, change feeds run their filters here, and the conformance suite compares
an adapter's answers with these.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import assert_never, cast

import msgspec

from hanse.kernel.faults import Malformed
from hanse.store.base import CollectionSchema, FieldSchema, Found, Inside, Row
from hanse.store.cursor import decode_cursor, encode_cursor
from hanse.store.keys import KEYS, OTHER, Key, plain_key, rank
from hanse.store.query import (
    PAGE_MAX,
    And,
    Compare,
    Holds,
    Not,
    OneOf,
    Or,
    Order,
    Path,
    Query,
    Text,
    Where,
)

Value = Mapping[str, object]
"""A row's JSON object, with the row's own `id` and `rev` in it."""

Test = Callable[[Value], bool]

_decode = msgspec.json.Decoder(dict[str, object]).decode
_UNQUOTABLE = frozenset('"\\') | {chr(code) for code in range(32)}


def matches(where: Where | None, value: Value, schema: CollectionSchema) -> bool:
    """Whether a row matches. For many rows, make the `predicate` once.

    Args:
        where: The condition; None matches every row.
        value: The row's JSON object, with `id` and `rev` in it.
        schema: Gives types and defaults to the fields.

    Raises:
        Malformed: The condition has an impossible path.

    Example:
        >>> from hanse.store.base import FieldSchema
        >>> orders = CollectionSchema("orders", {"amount": FieldSchema("decimal", required=True)})
        >>> matches(Compare("gt", ("amount",), "9.5"), {"id": "1", "rev": 1, "amount": "10.00"}, orders)
        True
    """
    return predicate(where, schema)(value)


def predicate(where: Where | None, schema: CollectionSchema) -> Test:
    """The condition as a function of a row's value; made once, asked often.

    Raises:
        Malformed: The condition has an impossible path.
    """
    match where:
        case None:
            return lambda _: True
        case And(parts):
            tests = [predicate(part, schema) for part in parts]
            return lambda value: all(test(value) for test in tests)
        case Or(parts):
            tests = [predicate(part, schema) for part in parts]
            return lambda value: any(test(value) for test in tests)
        case Not(part):
            inner = predicate(part, schema)
            return lambda value: not inner(value)
        case Compare() | OneOf() | Text() | Holds():
            return _leaf(where, schema)
        case _:
            assert_never(where)


def _leaf(where: Compare | OneOf | Text | Holds, schema: CollectionSchema) -> Test:
    field = reader(where.path, schema)
    match where:
        case Compare(op, path, against):
            return _compare(op, keyed(path, schema), KEYS[type_of(path, schema)](against))
        case OneOf(path, values):
            return _one_of(keyed(path, schema), set(map(KEYS[type_of(path, schema)], values)))
        case Text(op, _, needle, fold):
            return lambda value: text_test(op, field(value), needle, fold=fold)
        case Holds(path, item):
            key = KEYS[item_type(path, schema)]
            wanted = key(item)
            return lambda value: holds_key(field(value), wanted, key)
        case _:
            assert_never(where)


def _compare(op: str, key_of: Callable[[Value], Key], against: Key) -> Test:
    if against == OTHER:
        return lambda _: op == "ne"
    if op in {"eq", "ne"}:
        wanted = op == "eq"
        return lambda value: same(key_of(value), against) is wanted
    return lambda value: _ordered(op, key_of(value), against)


def _one_of(key_of: Callable[[Value], Key], wanted: set[Key]) -> Test:
    known = wanted - {OTHER}
    return lambda value: key_of(value) in known


def same(one: Key, other: Key) -> bool:
    """Whether two keys stand for equal values; `OTHER` equals nothing, not even itself."""
    return one == other and one != OTHER


def _ordered(op: str, one: Key, other: Key) -> bool:
    if one is None or one == OTHER or rank(one) != rank(other):
        return False
    left, right = cast("tuple[float, float]", (one, other))  # both of one rank, so both of one comparable type
    match op:
        case "lt":
            return left < right
        case "le":
            return left <= right
        case "gt":
            return left > right
        case _:
            return left >= right


def text_test(op: str, value: object, needle: str, *, fold: bool) -> bool:
    """Whether a string starts with, ends with or contains a piece; of anything else it does not."""
    if not isinstance(value, str):
        return False
    if fold:
        value, needle = value.casefold(), needle.casefold()
    if op == "contains":
        return needle in value
    return value.startswith(needle) if op == "starts" else value.endswith(needle)


def holds_key(value: object, wanted: Key, key: Callable[[object], Key] = plain_key) -> bool:
    """Whether a list holds an item of this key; anything but a list does not."""
    return isinstance(value, list) and any(same(key(one), wanted) for one in cast("list[object]", value))


OWN_RANKS: Mapping[Path, int] = {("id",): 2, ("rev",): 1}
"""What a row has of its own beside its value, each with the kind of its keys (`hanse.store.keys.rank`)."""


def key_against(path: Path, value: object, schema: CollectionSchema) -> Key:
    """The key to compare with in a database whose columns have keys of one kind: a stranger to them equals nothing.

    Example:
        >>> key_against(("id",), "7", CollectionSchema("orders", {}))
        '7'
        >>> key_against(("id",), 7, CollectionSchema("orders", {})) == OTHER
        True
    """
    key = KEYS[type_of(path, schema)](value)
    return OTHER if rank(key) not in (0, OWN_RANKS.get(path, rank(key))) else key


def type_of(path: Path, schema: CollectionSchema) -> str:
    """The type that a path is compared as: that of its field, or of what lies inside it."""
    if path == ("id",):
        return "string"
    if path == ("rev",):
        return "integer"
    found: FieldSchema | Inside | None = schema.fields.get(path[0]) if path else None
    for name in path[1:]:
        found = found and (found.inside.get(name) or found.inside.get(""))
    return found.type if found else "any"


def item_type(path: Path, schema: CollectionSchema) -> str:
    """The type that an item of a list at a path is compared as."""
    return type_of((*path, ""), schema)


def default_of(path: Path, schema: CollectionSchema) -> object:
    """What a path gives in a row that has nothing under its first name."""
    field = schema.fields.get(path[0])
    return _inside(msgspec.json.decode(field.default), path[1:]) if field else None


def _inside(value: object, path: Path) -> object:
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = cast("Mapping[str, object]", value).get(name)
    return value


def unquotable(name: str) -> bool:
    """Whether not every database can write a name in a path: it holds a quote, a backslash or a control character."""
    return not _UNQUOTABLE.isdisjoint(name)


def check_path(path: Path) -> None:
    """Refuse a path that not every database can write.

    Raises:
        Malformed: The path is empty, or a name in it holds a quote, a backslash or a control character.
    """
    if not path or any(map(unquotable, path)):
        raise Malformed(f"expected a path of names without quotes, backslashes or control characters, got {path!r}")


def reader(path: Path, schema: CollectionSchema) -> Callable[[Value], object]:
    """A function that gives what stands at a path of a row's value, or the field's default.

    Raises:
        Malformed: As `check_path`.
    """
    check_path(path)
    name, rest, default = path[0], path[1:], default_of(path, schema)
    if not rest:
        return lambda value: value.get(name, default)
    return lambda value: _inside(value[name], rest) if name in value else default


def keyed(path: Path, schema: CollectionSchema) -> Callable[[Value], Key]:
    """A function that gives the key at a path of a row's value."""
    field, key = reader(path, schema), KEYS[type_of(path, schema)]
    return lambda value: key(field(value))


_Pair = tuple[int, float]
"""A key behind its rank, so that only keys of one kind are ever compared; they are typed as numbers for that."""


class _Falling(msgspec.Struct, frozen=True):
    """A key that sorts the other way round."""

    pair: _Pair

    def __lt__(self, other: _Falling) -> bool:
        return other.pair < self.pair


SortKey = tuple[_Pair | _Falling | str, ...]


def sort_key(keys: Iterable[Key], order: tuple[Order, ...], id: str) -> SortKey:
    """What sorts a row among others: its keys in the order's directions, and its id."""
    pairs = (cast("_Pair", (rank(key), key)) for key in keys)
    return (*(_Falling(pair) if one.descending else pair for pair, one in zip(pairs, order, strict=True)), id)


def check_query(query: Query) -> None:
    """Refuse a page size that no store gives.

    Raises:
        Malformed: The limit is not from 1 to `PAGE_MAX`.
    """
    if not 1 <= query.limit <= PAGE_MAX:
        raise Malformed(f"expected a limit from 1 to {PAGE_MAX}, got {query.limit}")


def page(rows: Iterable[tuple[Row, Value]], query: Query, schema: CollectionSchema) -> Found:
    """A page of rows: those that match, sorted, from where the cursor points.

    Args:
        rows: Each row with its value (`id` and `rev` in it).
        query: What is wanted.
        schema: The collection that they are of.

    Raises:
        Malformed: The cursor is not this query's, or the limit or a path is impossible.
    """
    check_query(query)
    start = None
    if query.cursor is not None:
        after = decode_cursor(query.cursor, query, schema)
        start = sort_key(after.keys, query.order, after.id)
    candidates = _sortable(rows, query, schema)
    found = heapq.nsmallest(query.limit + 1, (one for one in candidates if start is None or start < one[0]))
    kept = found[: query.limit]
    if len(found) == len(kept):
        return Found(tuple(row for _, row, _ in kept), None)
    return Found(tuple(row for _, row, _ in kept), encode_cursor(kept[-1][2], kept[-1][1].id, query, schema))


def page_of(rows: Sequence[Row], query: Query, schema: CollectionSchema) -> Found:
    """A page of rows that match and are sorted already; one more than it has tells that there is another page.

    Args:
        rows: At most `query.limit` and one.
        query: What is wanted.
        schema: The collection that they are of.
    """
    kept = tuple(rows[: query.limit])
    if len(kept) == len(rows):
        return Found(kept, None)
    value = value_of(kept[-1])
    keys = tuple(keyed(one.path, schema)(value) for one in query.order)
    return Found(kept, encode_cursor(keys, kept[-1].id, query, schema))


def value_of(row: Row) -> Value:
    """What conditions look at: the value of a row, with its `id` and `rev` in it."""
    return {**_decode(row.value), "id": row.id, "rev": row.rev}


def _sortable(
    rows: Iterable[tuple[Row, Value]], query: Query, schema: CollectionSchema
) -> Iterator[tuple[SortKey, Row, tuple[Key, ...]]]:
    test = predicate(query.where, schema)
    keys_of = [keyed(one.path, schema) for one in query.order]
    for row, value in rows:
        if test(value):
            keys = tuple(key_of(value) for key_of in keys_of)
            yield sort_key(keys, query.order, row.id), row, keys
