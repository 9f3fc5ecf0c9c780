"""What the store suite asks of whoever runs it: how a store is made, opened again, and opened twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import pytest

from hanse.store.base import Batch, Changes, CollectionSchema, Delete, Emit, Entry, FieldSchema, Put, Store, Write

WAIT_SECONDS = 60.0
"""How long the suite waits for what has to happen; only a failing store makes it wait so long."""

ORDERS = CollectionSchema(
    "orders",
    {
        "sku": FieldSchema("string", required=False),
        "total": FieldSchema("decimal", required=False, default=b'"0"'),
        "at": FieldSchema("datetime", required=False),
    },
    indexed=("sku", "total"),
)
NOTES = CollectionSchema("notes", {"text": FieldSchema("string", required=False)})


def put(id: str, sku: str = "tea", *, expected: int | None = None, collection: str = "orders") -> Put:
    """A write of a row."""
    return Put(collection, id, msgspec.json.encode({"sku": sku}), f"put-{id}-{sku}", expected)


def delete(id: str, *, expected: int | None = None) -> Delete:
    """A write that removes a row."""
    return Delete("orders", id, f"delete-{id}", expected)


def emit(key: str, topic: str = "placed") -> Emit:
    """A write that tells of an event."""
    return Emit(topic, key, b'{"n":1}', f"emit-{key}")


def batch(*writes: Write, at: float = 1.0) -> Batch:
    """A unit of work with these writes."""
    return Batch(at=at, writes=writes)


async def follow(store: Store, after: int, upto: int, *, limit: int = 7) -> list[Entry]:
    """All entries after a position, read piece by piece until a position is reached."""
    entries: list[Entry] = []
    while after < upto:
        piece: Changes = await store.changes(after, limit=limit)
        entries.extend(piece.entries)
        after = piece.upto
        await asyncio.sleep(0)
    return entries


class StoreHooks:
    """Subclass `hanse.testing.store.StoreSuite` and say how your store comes to be.

    pytest finds the tests of the suite in your subclass, whose name has to start with `Test`.
    """

    pytestmark: pytest.MarkDecorator = pytest.mark.asyncio

    async def make(self) -> Store:
        """A store that has never been opened, on nothing; each call gives another."""
        raise NotImplementedError

    async def reopen(self, store: Store) -> Store:
        """A store on what a closed one has left behind; asked for if the features say `durable`."""
        raise NotImplementedError

    async def beside(self, store: Store) -> Store:
        """A store on what an open one serves, as another process would; asked for if the features say `shared`."""
        raise NotImplementedError

    @asynccontextmanager
    async def opened(self, *collections: CollectionSchema) -> AsyncGenerator[Store]:
        """A new store, open with these collections (orders and notes by default), closed in the end."""
        store = await self.make()
        await store.open(collections or (ORDERS, NOTES))
        try:
            yield store
        finally:
            await store.close()
