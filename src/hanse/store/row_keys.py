"""The keys of a row: what queries compare, worked out as the row is written.

The reference compares values by keys (`hanse.store.keys`), which Python's own parsers make of Decimals, datetimes and
durations. A database could not make the same ones, so each row is stored with its keys beside its value: a flat JSON
object, from each path in the row to its key as a text. The texts sort byte by byte as the keys do, whatever their
types: so every comparison is a range of texts, and any path can have an index.

A path that the schema gives a type has a second key under the type's name, and a list one for each of its items. What
cannot be queried (a name with a quote or a control character in it) has none. Null is null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import cast

from hanse.store.base import CollectionSchema, FieldSchema, Inside
from hanse.store.evaluate import unquotable
from hanse.store.keys import FALSE, KEYS, TRUE, Key, plain_key
from hanse.store.query import Path
from hanse.store.text import written

RANKS = {1: ("1", "2"), 2: ("2", "3"), 3: ("30", "32")}
"""For each kind of comparable keys (`hanse.store.keys.rank`) the least text, and the first beyond all of them."""

OTHER_TEXT = "4"
"""The key of what equals nothing."""

_STEP, _ITEMS, _TYPED = "\x1f", "\x1e", "\x1d"
_BIAS = 5_000
_INFINITE = "9999"
_COMPLEMENT = str.maketrans("0123456789", "9876543210")

Texts = dict[str, str | list[str | None] | None]
"""The keys of one row."""


def name_of(path: Path, kind: str = "any", *, items: bool = False) -> str:
    """The name that a path has among the keys, read as a type.

    Args:
        path: Of the value.
        kind: One of the types of `CollectionSchema`.
        items: Whether the keys of a list's items are wanted instead; then the type is theirs.
    """
    name = _STEP.join(path) + (_ITEMS if items else "")
    return name if KEYS[kind] is plain_key else f"{name}{_TYPED}{kind}"


def keyed_for(
    schemas: Mapping[str, CollectionSchema], stored: Mapping[str, CollectionSchema]
) -> dict[str, Sequence[CollectionSchema]]:
    """By whose schemas the rows of each collection get their keys: where another version shares it, by both.

    Args:
        schemas: As this process declares them.
        stored: As the store's newest version does.
    """
    return {
        name: (schema,) if (other := stored.get(name, schema)) == schema else (other, schema)
        for name, schema in schemas.items()
    }


def key_text(key: Key) -> str | None:
    """A key as a text that sorts as the key does.

    Example:
        >>> key_text("tea"), key_text(plain_key(True)), key_text(plain_key([]))
        ('2tea', '31', '4')
        >>> numbers = [-10.5, -1, 0, 0.25, 9.5, 10, 2**60]
        >>> [key_text(one) for one in numbers] == sorted(str(key_text(one)) for one in numbers)
        True
    """
    if key is None:
        return None
    if isinstance(key, str):
        return "2" + written(key)
    if isinstance(key, bytes):
        return "30" if key == FALSE else "31" if key == TRUE else OTHER_TEXT
    return "1" + _number(key)


def _number(number: float) -> str:
    """Sign, exponent and digits, complemented for a negative one, so that they sort as the number does."""
    if not number:
        return "1"
    size = abs(number)
    if size == float("inf"):
        exponent, digits = _INFINITE, ""
    elif size == int(size):
        whole = str(int(size))
        exponent, digits = f"{len(whole) - 1 + _BIAS:04d}", whole.rstrip("0")
    else:
        # Not whole, so below 2**53: where the shortest digits that mean a float are exact enough beside integers.
        parts = Decimal(repr(size))
        exponent, digits = f"{parts.adjusted() + _BIAS:04d}", "".join(map(str, parts.as_tuple().digits)).rstrip("0")
    text = exponent + digits
    # The final ~ sorts above all digits: of two negative numbers, the longer one is the smaller.
    return f"0{text.translate(_COMPLEMENT)}~" if number < 0 else f"2{text}"


def row_keys(value: Mapping[str, object], schemas: Iterable[CollectionSchema]) -> Texts:
    """The keys of a row.

    Args:
        value: Of the row.
        schemas: Of the collection: the one that is declared here, and that of another version that shares the store.

    Raises:
        RecursionError: It is nested deeper than Python goes.
    """
    found: Texts = {}
    _plain("", value, found)
    for schema in schemas:
        for name, field in schema.fields.items():
            if name in value and _is_typed(field) and not unquotable(name):
                _typed(name, value[name], field, found)
    return found


def _plain(prefix: str, value: Mapping[str, object], found: Texts) -> None:
    for name, item in value.items():
        if unquotable(name):
            continue
        path = prefix + name
        found[path] = key_text(plain_key(item))
        if isinstance(item, dict):
            _plain(path + _STEP, cast("dict[str, object]", item), found)
        elif isinstance(item, list):
            found[path + _ITEMS] = _each(cast("list[object]", item), plain_key)


def _typed(path: str, value: object, declared: FieldSchema | Inside, found: Texts) -> None:
    if (key := KEYS[declared.type]) is not plain_key:
        found[f"{path}{_TYPED}{declared.type}"] = key_text(key(value))
    rest = declared.inside.get("")
    if isinstance(value, dict):
        for name, item in cast("dict[str, object]", value).items():
            inside = declared.inside.get(name) or rest
            if inside is not None and not unquotable(name):
                _typed(path + _STEP + name, item, inside, found)
    elif isinstance(value, list) and rest is not None and KEYS[rest.type] is not plain_key:
        found[f"{path}{_ITEMS}{_TYPED}{rest.type}"] = _each(cast("list[object]", value), KEYS[rest.type])


def _each(items: Sequence[object], key: Callable[[object], Key]) -> list[str | None]:
    return [key_text(key(item)) for item in items]


def _is_typed(declared: FieldSchema | Inside) -> bool:
    return KEYS[declared.type] is not plain_key or any(map(_is_typed, declared.inside.values()))


def types_in(schema: CollectionSchema) -> frozenset[str]:
    """What a schema gives types to: where that grows, rows from before lack keys."""
    return frozenset(name for field in schema.fields.items() for name in _types(*field))


def _types(name: str, declared: FieldSchema | Inside) -> Iterable[str]:
    if KEYS[declared.type] is not plain_key:
        yield f"{name}{_TYPED}{declared.type}"
    for inner, inside in declared.inside.items():
        yield from _types(f"{name}{_STEP}{inner}", inside)
