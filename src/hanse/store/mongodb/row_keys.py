"""The keys of a row: what queries in MongoDB compare, worked out as a row is written, and stored beside it.

The reference compares values by keys (`hanse.store.keys`), which are plain scalars in an order that is BSON's own:
null, numbers, strings, bytes. So each row is stored with its keys as a flat document, from each path in the row to its
key. No key is a list, so that nothing of how MongoDB looks into lists comes into it; the items of a list have a name of
their own.

A path that the schema gives a type has a second key under the type's name. A field that has a default is under a name
that tells which: a row that lacks the field has the keys of its default there, and a version of the app that changes
the default looks under another name. What cannot be queried (a name with a quote or a control character in it) has no
key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import cast

import msgspec

from hanse.store.base import CollectionSchema, FieldSchema, Inside
from hanse.store.evaluate import unquotable
from hanse.store.keys import KEYS, OTHER, Key, plain_key
from hanse.store.query import Path

NONE = b"null"
"""The default that is no default: what is missing is null, and has no key."""

Keys = dict[str, Key | list[Key]]
"""The keys of one row."""

_OWN = frozenset({"id", "rev"})
_ESCAPED = str.maketrans({one: f"~{ord(one):02x}" for one in "~/.$:=["})
_DIGEST_BYTES = 4


def name_of(path: Path, kind: str = "any", *, default: bytes = NONE, items: bool = False) -> str:
    """The name that a path has among the keys, read as a type.

    Args:
        path: Of the value.
        kind: One of the types of `CollectionSchema`.
        default: Of the field that the path begins with, as JSON.
        items: Whether the keys of a list's items are wanted instead; then the type is theirs.

    Example:
        >>> name_of(("address", "city")), name_of(("total",), "decimal"), name_of(("a.b",), items=True)
        ('address/city', 'total:decimal', 'a~2eb[]')
    """
    first, *rest = map(_escaped, path)
    return _finished("/".join((_begun(first, default), *rest)), kind, items=items)


def _escaped(name: str) -> str:
    return name.translate(_ESCAPED) or "~"


def _begun(first: str, default: bytes) -> str:
    return first if default == NONE else f"{first}={blake2b(default, digest_size=_DIGEST_BYTES).hexdigest()}"


def _finished(name: str, kind: str, *, items: bool = False) -> str:
    name = f"{name}[]" if items else name
    return name if KEYS[kind] is plain_key else f"{name}:{kind}"


def row_keys(value: Mapping[str, object], schemas: Sequence[CollectionSchema]) -> Keys:
    r"""The keys of a row.

    Args:
        value: Of the row.
        schemas: Of the collection: the one that is declared here, and that of another version that shares the store.

    Raises:
        RecursionError: It is nested deeper than Python goes.

    Example:
        >>> orders = CollectionSchema("orders", {"day": FieldSchema("date", required=True)})
        >>> row_keys({"day": "2026-01-01", "tags": ["tea"]}, [orders])
        {'day': '2026-01-01', 'tags': b'\x02', 'tags[]': ['tea'], 'day:date': 739617}
    """
    found: Keys = {}
    for name, item in value.items():
        if not unquotable(name) and name not in _OWN and not _always_has_default(name, schemas):
            _plain(_escaped(name), item, found)
    for schema in schemas:
        for name, field in schema.fields.items():
            if not unquotable(name) and name not in _OWN:
                _declared(name, value, field, found)
    return found


def _always_has_default(name: str, schemas: Sequence[CollectionSchema]) -> bool:
    """Whether nobody looks for a field under its mere name."""
    return all((field := schema.fields.get(name)) is not None and field.default != NONE for schema in schemas)


def _declared(name: str, value: Mapping[str, object], field: FieldSchema, found: Keys) -> None:
    has_default = field.default != NONE
    if name not in value and not has_default:
        return
    item = value[name] if name in value else msgspec.json.decode(field.default)
    begun = _begun(_escaped(name), field.default)
    if has_default:
        _plain(begun, item, found)
    if _is_typed(field):
        _typed(begun, item, field, found)


def _plain(name: str, item: object, found: Keys) -> None:
    found[name] = plain_key(item)
    if isinstance(item, dict):
        for inner, one in cast("dict[str, object]", item).items():
            if not unquotable(inner):
                _plain(f"{name}/{_escaped(inner)}", one, found)
    elif isinstance(item, list):
        found[f"{name}[]"] = _each(cast("list[object]", item), plain_key)


def _typed(name: str, item: object, declared: FieldSchema | Inside, found: Keys) -> None:
    if (key := KEYS[declared.type]) is not plain_key:
        found[_finished(name, declared.type)] = key(item)
    rest = declared.inside.get("")
    if isinstance(item, dict):
        for inner, one in cast("dict[str, object]", item).items():
            inside = declared.inside.get(inner) or rest
            if inside is not None and not unquotable(inner):
                _typed(f"{name}/{_escaped(inner)}", one, inside, found)
    elif isinstance(item, list) and rest is not None and KEYS[rest.type] is not plain_key:
        found[_finished(name, rest.type, items=True)] = _each(cast("list[object]", item), KEYS[rest.type])


def _each(items: Sequence[object], key: Callable[[object], Key]) -> list[Key]:
    """Without those that equal nothing, which nobody finds."""
    return [found for item in items if (found := key(item)) != OTHER]


def _is_typed(declared: FieldSchema | Inside) -> bool:
    return KEYS[declared.type] is not plain_key or any(map(_is_typed, declared.inside.values()))


def lacking(before: CollectionSchema, after: CollectionSchema) -> frozenset[str]:
    """The names that queries of a schema look for, and rows that were written under another one do not have.

    Example:
        >>> before = CollectionSchema("orders", {})
        >>> after = CollectionSchema("orders", {"note": FieldSchema("string", required=False)})
        >>> lacking(before, after), len(lacking(before, CollectionSchema("orders", {
        ...     "size": FieldSchema("integer", required=False, default=b"1")})))
        (frozenset(), 1)
    """
    # What was not declared has its keys as well, under its mere name.
    known = {_escaped(name) for name in after.fields if name not in before.fields}
    return frozenset(_names_in(after)) - frozenset(_names_in(before)) - known


def _names_in(schema: CollectionSchema) -> Iterable[str]:
    for name, field in schema.fields.items():
        begun = _begun(_escaped(name), field.default)
        yield begun
        yield from _typed_names(begun, field)


def _typed_names(name: str, declared: FieldSchema | Inside) -> Iterable[str]:
    if KEYS[declared.type] is not plain_key:
        yield _finished(name, declared.type)
    for inner, inside in declared.inside.items():
        yield from _typed_names(f"{name}/{_escaped(inner)}", inside)
