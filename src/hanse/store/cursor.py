"""Cursors of pages: where the next one starts, as an opaque string that only its own query understands.

A cursor holds the sort keys and the id of the last row given, so the next page starts after that row even when it is
gone by then, and costs the same however deep it is. A hash of the collection, the condition and the order binds it to
its query; the page size may change from page to page.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

import msgspec

from hanse.kernel.faults import Malformed
from hanse.store.base import CollectionSchema
from hanse.store.keys import Key, is_key
from hanse.store.query import Query

_HASH_BYTES = 6


class After(msgspec.Struct, frozen=True):
    """The row that a page starts after.

    Attributes:
        keys: The row's keys, one for each field of the order.
        id: The row's id.
    """

    keys: tuple[Key, ...]
    id: str


class _Token(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    query: bytes
    keys: tuple[object, ...]
    id: str


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Token)


def encode_cursor(keys: tuple[Key, ...], id: str, query: Query, schema: CollectionSchema) -> str:
    """The cursor that continues after a row."""
    return urlsafe_b64encode(_encode(_Token(_hash(query, schema), keys, id))).rstrip(b"=").decode()


def decode_cursor(cursor: str, query: Query, schema: CollectionSchema) -> After:
    """The row that a cursor continues after.

    Raises:
        Malformed: It is no cursor, or that of another query.
    """
    try:
        token = _decoder.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise Malformed("expected the cursor that the page before gave, unchanged; start again without one") from None
    keys = tuple(key for key in token.keys if is_key(key))
    if token.query != _hash(query, schema) or len(keys) != len(token.keys) or len(keys) != len(query.order):
        raise Malformed("the cursor is of another query: keep filter and order as they were, or start without one")
    return After(keys, token.id)


def _hash(query: Query, schema: CollectionSchema) -> bytes:
    # As text, where what lies inside fields is told too.
    types = [str(_type(schema, one.path[0])) for one in query.order if one.path]
    # Not packed: MessagePack has no integers beyond 64 bits, which JSON has.
    text = repr((schema.name, query.where, query.order, types))
    return blake2b(text.encode(errors="surrogatepass"), digest_size=_HASH_BYTES).digest()


def _type(schema: CollectionSchema, name: str) -> object:
    field = schema.fields.get(name)
    return (field.type, field.inside) if field else ""
