"""The query tree as filters of MongoDB: what they say is the reference's answer, or never less than it.

Rows are compared by the keys that are stored beside them (`row_keys.py`). BSON orders those as the reference does, and
compares only what is of one kind, as it does. What MongoDB cannot say the same way, which is to fold case as Python
does and a NUL in a pattern, becomes a wider filter; then the rows that come are looked at once more, by the reference
itself, and `exact` is false.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from hashlib import blake2b
from typing import assert_never

import msgspec

from hanse.kernel.faults import Malformed
from hanse.store.base import CollectionSchema
from hanse.store.cursor import After
from hanse.store.evaluate import check_path, item_type, key_against, type_of
from hanse.store.keys import KEYS, OTHER, Key, rank
from hanse.store.mongodb.row_keys import NONE, name_of
from hanse.store.query import And, Compare, Holds, Not, OneOf, Or, Order, Path, Query, Text, Where

Filter = dict[str, object]
"""A filter, or a part of one, as MongoDB reads it."""

ORDERS_MAX = 31
"""Fields that a query may be ordered by; MongoDB takes 32, and the id is one."""

PATTERN_BYTES_MAX = 16_000
"""Bytes of a text that is looked for by a pattern; MongoDB takes about twice as many, and some are escaped."""

_NAME_BYTES_MAX = 120
_KEPT = re.compile(r"[^\w .-]", re.ASCII)
_OWN: dict[Path, str] = {("id",): "_id", ("rev",): "rev"}
_EVERY: Filter = {}
_NONE: Filter = {"_id": {"$in": []}}
_SPECIAL = re.compile(r"[\\^$.|?*+(){}\[\]]")
_END = r"(?![\s\S])"
_SURROGATES, _AFTER_SURROGATES = 0xD800, 0xE000
_LEAST: dict[int, Key] = {1: float("-inf"), 2: "", 3: b""}
"""For each kind of keys (`hanse.store.keys.rank`) the least one: whatever is not below it is of that kind."""


def rows_name(collection: str) -> str:
    """The name of the rows of a collection, behind the store's prefix.

    Example:
        >>> rows_name("orders"), rows_name("a$b")
        ('rows.orders', 'rows.a~24b')
    """
    name = _KEPT.sub(lambda found: f"~{ord(found[0]):x}", collection)
    if len(name) > _NAME_BYTES_MAX:
        digest = blake2b(collection.encode(errors="surrogatepass"), digest_size=12).hexdigest()
        name = f"{name[: _NAME_BYTES_MAX - len(digest) - 1]}~{digest}"
    return f"rows.{name}"


def key_field(path: Path, schema: CollectionSchema, kind: str | None = None, *, items: bool = False) -> str:
    """The field that holds the key at a path of a row.

    Args:
        path: Of the value.
        schema: Of the collection.
        kind: The type that it is read as; that of the schema unless it is said.
        items: Whether the keys of a list's items are wanted.

    Raises:
        Malformed: Not every store can write the path.
    """
    if path in _OWN and not items:
        return _OWN[path]
    check_path(path)
    field = schema.fields.get(path[0])
    kind = kind or (item_type(path, schema) if items else type_of(path, schema))
    return f"keys.{name_of(path, kind, default=field.default if field else NONE, items=items)}"


class Asked(msgspec.Struct, frozen=True):
    """A condition as MongoDB is asked it.

    Attributes:
        filter: Lets all rows through that match.
        exact: Whether it lets no others through.
    """

    filter: Filter
    exact: bool = True


def asked(where: Where | None, schema: CollectionSchema, *, negated: bool = False) -> Asked:
    """The condition, or what it is not.

    Raises:
        Malformed: A path cannot be written.
    """
    match where:
        case None:
            return Asked(_EVERY)
        case And(parts):
            return _joined("$or" if negated else "$and", [asked(one, schema, negated=negated) for one in parts])
        case Or(parts):
            return _joined("$and" if negated else "$or", [asked(one, schema, negated=negated) for one in parts])
        case Not(part):
            return asked(part, schema, negated=not negated)
        case Compare() | OneOf() | Text() | Holds():
            found = _leaf(where, schema)
            if not negated:
                return found
            return Asked({"$nor": [found.filter]}) if found.exact else Asked(_EVERY, exact=False)
        case _:
            assert_never(where)


def _joined(word: str, parts: Sequence[Asked]) -> Asked:
    if not parts:
        return Asked(_EVERY if word == "$and" else _NONE)
    filters = [part.filter for part in parts]
    return Asked(filters[0] if len(filters) == 1 else {word: filters}, all(part.exact for part in parts))


def _leaf(where: Compare | OneOf | Text | Holds, schema: CollectionSchema) -> Asked:
    field = key_field(where.path, schema)
    match where:
        case Compare(op, path, value):
            return Asked(_compared(field, op, key_against(path, value, schema)))
        case OneOf(path, values):
            known = [one for one in (key_against(path, value, schema) for value in values) if one != OTHER]
            return Asked({field: {"$in": known}})
        case Text(path=path):
            return _text(where, key_field(path, schema, "any"))
        case Holds(path, value):
            wanted = KEYS[item_type(path, schema)](value)
            if wanted == OTHER or path in _OWN:
                return Asked(_NONE)
            return Asked({key_field(path, schema, items=True): {"$elemMatch": {"$eq": wanted}}})
        case _:
            assert_never(where)


def _compared(field: str, op: str, against: Key) -> Filter:
    if against == OTHER:
        return _EVERY if op == "ne" else _NONE
    if against is None and op not in {"eq", "ne"}:
        return _NONE
    return {field: {f"${op.replace('le', 'lte').replace('ge', 'gte')}": against}}


def _text(text: Text, field: str) -> Asked:
    if text.path == ("rev",):
        return Asked(_NONE)
    some: Filter = {field: {"$gte": ""}}
    if not text.value:
        return Asked(some)
    if text.fold or (text.op != "starts" and not _fits_pattern(text.value)):
        return Asked(some, exact=False)
    if text.op == "starts":
        last = _beyond(text.value)
        return Asked({field: {"$gte": text.value} if last is None else {"$gte": text.value, "$lt": last}})
    pattern = _SPECIAL.sub(r"\\\g<0>", text.value)
    return Asked({field: {"$regex": pattern + (_END if text.op == "ends" else "")}})


def _fits_pattern(text: str) -> bool:
    return "\x00" not in text and len(text.encode(errors="surrogatepass")) <= PATTERN_BYTES_MAX


def _beyond(text: str) -> str | None:
    """The least text that does not start as this one, and is beyond all that do; None where there is none."""
    kept = text.rstrip(chr(sys.maxunicode))
    if not kept:
        return None
    code = ord(kept[-1]) + 1
    return kept[:-1] + chr(_AFTER_SURROGATES if code == _SURROGATES else code)


class Finding(msgspec.Struct, frozen=True):
    """How a page is asked for.

    Attributes:
        filter: Lets all rows of the page through, and those behind it.
        exact: Whether it lets no others through.
        sort: Fields and directions, each field once.
    """

    filter: Filter
    exact: bool
    sort: tuple[tuple[str, int], ...]


def finding(query: Query, schema: CollectionSchema, start: After | None) -> Finding:
    """How a page is asked for.

    Args:
        query: What is wanted.
        schema: Of the collection.
        start: Where the page starts; None at the beginning.

    Raises:
        Malformed: A path cannot be written, or there are too many to order by.
    """
    sort: dict[str, int] = {}
    for one in query.order:
        _ = sort.setdefault(key_field(one.path, schema), -1 if one.descending else 1)
    if len(sort) > ORDERS_MAX:
        raise Malformed(f"expected at most {ORDERS_MAX} fields to order by, got {len(sort)}")
    _ = sort.setdefault("_id", 1)
    parts = [asked(query.where, schema)]
    if start is not None:
        parts.append(Asked(_after(query.order, start, schema)))
    whole = _joined("$and", [part for part in parts if part.filter or not part.exact])
    return Finding(whole.filter, whole.exact, tuple(sort.items()))


def _after(order: Sequence[Order], start: After, schema: CollectionSchema) -> Filter:
    """Rows that sort after the one that the page before ended with."""
    if not order:
        return {"_id": {"$gt": start.id}}
    field, value = key_field(order[0].path, schema), start.keys[0]
    rest = _after(order[1:], After(start.keys[1:], start.id), schema)
    further = _below(field, value) if order[0].descending else _above(field, value)
    return {"$or": [*further, {"$and": [{field: value}, rest]}]}


def _above(field: str, value: Key) -> list[Filter]:
    if value is None:
        return [{field: {"$ne": None}}]
    beyond: list[Filter] = [{field: {"$gte": least}} for kind, least in _LEAST.items() if kind > rank(value)]
    return [{field: {"$gt": value}}, *beyond]


def _below(field: str, value: Key) -> list[Filter]:
    if value is None:
        return []
    beyond: list[Filter] = [{field: {"$gte": least}} for kind, least in _LEAST.items() if kind < rank(value)]
    return [{field: {"$lt": value}}, {field: None}, *beyond]
