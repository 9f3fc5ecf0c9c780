"""What tests of delivery share: a store with events in it."""

import pytest

from hanse.delivery.deadletter import DEAD_LETTERS
from hanse.kernel.host import Host
from hanse.store.base import Batch, CollectionSchema, Emit, FieldSchema
from hanse.store.memory import MemoryStore

FIELDS = ("group", "message_id", "message", "topic", "key", "code", "text", "fingerprint", "waits_for", "spot")


@pytest.fixture
async def store(host: Host) -> MemoryStore:
    """A store that knows orders and dead letters."""
    store = MemoryStore(host=host)
    fields = {name: FieldSchema("string", required=True) for name in FIELDS}
    fields |= {name: FieldSchema("integer", required=True) for name in ("order", "drawer")}
    await store.open([CollectionSchema("orders", {}), CollectionSchema(DEAD_LETTERS, fields)])
    return store


class Outbox:
    """Writes events into a store's log."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._count = 0

    async def emit(self, *keys: str, topic: str = "placed") -> None:
        """One commit with an event for each key."""
        writes = []
        for key in keys:
            self._count += 1
            writes.append(Emit(topic, key, b'{"n":%d}' % self._count, f"m{self._count}"))
        await self._store.commit(Batch(0.0, writes=tuple(writes)))


@pytest.fixture
def outbox(store: MemoryStore) -> Outbox:
    return Outbox(store)
