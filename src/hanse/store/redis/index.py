"""Indexes: sorted sets of the keys of a field, each with the id of its row, and which of them a query goes by.

An index tells which rows may match; whether they do, the reference says, of each. So it may tell of too many rows, and
never of too few. What it is called tells what is indexed and how: a field that changes its type or default gets another
one. Whoever commits keeps all indexes that there are, also those of another version of its service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from hashlib import blake2b

import msgspec

from hanse.store.base import CollectionSchema, FieldSchema, Row
from hanse.store.evaluate import Value, keyed
from hanse.store.keys import KEYS, Key, plain_key, rank
from hanse.store.query import And, Compare, OneOf, Path, Query, Scalar, Text, Where
from hanse.store.row_keys import RANKS, key_text

VALUES_MAX = 100
"""Values of one condition that an index is asked for; with more, all rows are looked at."""

ID, BEYOND, LAST = b"\x00", b"\x01", b"\xff"
"""What stands between key and id, what comes after all ids, and what comes after all texts that begin so."""

_decode = msgspec.json.Decoder(dict[str, object]).decode


class Span(msgspec.Struct, frozen=True):
    """Part of an index, its ends as `ZRANGE` takes them."""

    low: bytes = b"-"
    high: bytes = b"+"


EVERYTHING = Span()


class Index(msgspec.Struct, frozen=True, dict=True):
    """An index of one field.

    Attributes:
        collection: Whose.
        field: Which.
        type: What its values are compared as.
        default: As JSON, of rows that do not have it.
        ready: Whether all rows are in it.
    """

    collection: str
    field: str
    type: str
    default: bytes
    ready: bool = False

    @cached_property
    def name(self) -> str:
        """Says what is indexed, and how."""
        parts = (self.collection, self.field, self.type, self.default)
        return f"index:{blake2b(msgspec.msgpack.encode(parts), digest_size=10).hexdigest()}"

    @cached_property
    def _key(self) -> Callable[[Value], Key]:
        field = FieldSchema(self.type, required=False, default=self.default)
        return keyed((self.field,), CollectionSchema(self.collection, {self.field: field}))

    def member(self, row: Row) -> bytes:
        """What stands for a row in it. Raises `RecursionError` where that is nested too deeply."""
        return text_of(self._key(_decode(row.value))) + ID + row.id.encode()

    def spans(self, where: Where | None) -> list[Span] | None:
        """The parts of it that rows are in which may match; None where it cannot tell."""
        match where:
            case Compare(op, path, value) if path == (self.field,) and op != "ne":
                return _compared(op, KEYS[self.type](value))
            case OneOf(path, values) if path == (self.field,) and len(values) <= VALUES_MAX:
                return [exactly(text) for text in sorted({self._text(value) for value in values})]
            case Text("starts", path, piece, False) if path == (self.field,) and KEYS[self.type] is plain_key:
                begin = text_of(piece)
                return [Span(b"[" + begin, b"(" + begin + LAST)]
            case And(parts):
                told = (self.spans(part) for part in parts)
                return min((one for one in told if one is not None), key=_width, default=None)
            case _:
                return None

    def _text(self, value: Scalar) -> bytes:
        return text_of(KEYS[self.type](value))


def text_of(key: Key) -> bytes:
    """A key as it stands in an index.

    Example:
        >>> text_of(None), text_of("tea")
        (b'', b'2tea')
    """
    return (key_text(key) or "").encode(errors="surrogatepass")


def exactly(text: bytes) -> Span:
    """All rows with one key."""
    return Span(b"[" + text + ID, b"(" + text + BEYOND)


def after(text: bytes, id: str) -> Span:
    """All rows with one key, and an id after another."""
    return Span(b"(" + text + ID + id.encode(errors="surrogatepass"), b"(" + text + BEYOND)


def _compared(op: str, key: Key) -> list[Span] | None:
    text = text_of(key)
    if op == "eq":
        return [exactly(text)]
    if rank(key) not in RANKS:
        return None
    least, beyond = (b"[" + RANKS[rank(key)][0].encode(), b"(" + RANKS[rank(key)][1].encode())
    match op:
        case "lt":
            return [Span(least, b"(" + text + ID)]
        case "le":
            return [Span(least, b"(" + text + BEYOND)]
        case "gt":
            return [Span(b"[" + text + BEYOND, beyond)]
        case _:
            return [Span(b"[" + text + ID, beyond)]


def _width(spans: list[Span]) -> tuple[bool, int]:
    """What is asked for exactly is rather taken than what lies between two ends."""
    return any(one.low[:-1] != b"[" + one.high[1:-1] for one in spans), len(spans)


class Way(msgspec.Struct, frozen=True):
    """How a query goes about it.

    Attributes:
        index: Which index it goes by.
        spans: Parts of it, one after the other.
        ordered: Whether rows come in the order that is wanted, so that a page that is full is done.
        falls: Whether they come from the last key to the first.
        is_sure: Whether that is less than all rows for certain.
    """

    index: Index
    spans: list[Span]
    ordered: bool = False
    falls: bool = False
    is_sure: bool = True


def way(query: Query, indexes: Iterable[Index], *, counting: bool = False) -> Way | None:
    r"""How a query goes by one of some indexes; None where none of them helps.

    Args:
        query: What is wanted.
        indexes: Of its collection.
        counting: Whether only their number is wanted, whatever the order.

    Example:
        >>> sku = Index("orders", "sku", "string", b"null", ready=True)
        >>> way(Query(where=Compare("eq", ("sku",), "tea")), [sku]).spans
        [Span(low=b'[2tea\x00', high=b'(2tea\x01')]
    """
    usable: dict[Path, Index] = {(one.field,): one for one in indexes if one.ready}
    order = () if counting else query.order
    found = [Way(one, spans) for one in usable.values() if (spans := one.spans(query.where)) is not None]
    exact = [one for one in found if not _width(one.spans)[0]]
    if exact:
        best = min(exact, key=lambda one: len(one.spans))
        return msgspec.structs.replace(best, ordered=not order and len(best.spans) == 1)
    if len(order) == 1 and (index := usable.get(order[0].path)) is not None:
        spans = index.spans(query.where) or [EVERYTHING]
        return Way(index, spans, ordered=True, falls=order[0].descending)
    if found:
        return msgspec.structs.replace(found[0], is_sure=bool(order) or counting)
    return None


def of_collections(indexes: Iterable[Index]) -> dict[str, list[Index]]:
    """Indexes by the collection that they are of."""
    found: dict[str, list[Index]] = {}
    for one in indexes:
        found.setdefault(one.collection, []).append(one)
    return found


def wanted_of(schema: CollectionSchema) -> list[Index]:
    """The indexes that a collection is to have."""
    fields = ((name, schema.fields[name]) for name in schema.indexed)
    return [Index(schema.name, name, field.type, field.default) for name, field in fields]
