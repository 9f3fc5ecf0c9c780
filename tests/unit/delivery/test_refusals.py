"""What is too large to be delivered is parked beside its log, in order, and holds nothing back but its own key."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol, cast

import pytest

from hanse.delivery.deadletter import DEAD_LETTERS, DeadLetter, letter_in, message_in
from hanse.delivery.outbox import Topic
from hanse.delivery.relay import Relay
from hanse.kernel.faults import TooLarge, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.store.base import Batch, Delete
from hanse.store.memory import MemoryStore
from hanse.store.query import Order, Query

pytestmark = pytest.mark.virtual_time

PLACED = Topic("placed", emitted=True, address="on/mailer", version="1", key=lambda entry: entry.id)


class Emits(Protocol):
    async def emit(self, *keys: str, topic: str = "placed") -> None: ...


class Wire:
    """Takes what is not too large, and remembers it."""

    def __init__(self, *large: str) -> None:
        self.large = set(large)
        self.got: list[str] = []

    async def deliver(self, message: Message) -> None:
        if message.id in self.large:
            raise TooLarge("the message to on/mailer", "1 byte")
        self.got.append(message.id)


@asynccontextmanager
async def relaying(store: MemoryStore, wire: Wire, host: Host) -> AsyncGenerator[Relay]:
    relay = Relay(store, "mailer", [PLACED], wire.deliver, host=host)
    async with asyncio.TaskGroup() as group:
        group.create_task(relay.run())
        try:
            yield relay
        finally:
            await relay.stop(grace=1.0)


async def letters(store: MemoryStore) -> list[DeadLetter]:
    found = await store.find(DEAD_LETTERS, Query(order=(Order(("order",)),)))
    return [letter_in(row) for row in found.rows]


async def test_it_is_parked_with_the_reason_and_the_whole_message(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    async with relaying(store, Wire("m1"), host) as relay:
        await outbox.emit("a")
        await relay.flush()
    [letter] = await letters(store)
    assert (letter.group, letter.key, letter.code, letter.topic) == ("mailer", "a", "too_large", "placed")
    assert letter.text == "the message to on/mailer is over its limit of 1 byte"
    assert message_in(letter).address == "on/mailer"


async def test_others_of_its_key_wait_behind_it_and_other_keys_go_on(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    wire = Wire("m1")
    async with relaying(store, wire, host) as relay:
        await outbox.emit("a", "b", "a")
        await relay.flush()
    first, behind = await letters(store)
    assert wire.got == ["m2"]
    assert (behind.message_id, behind.waits_for) == ("m3", first.id)


async def test_the_key_waits_after_a_restart_as_well_and_goes_on_when_nothing_is_parked(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    async with relaying(store, Wire("m1"), host) as relay:
        await outbox.emit("a")
        await relay.flush()
    wire = Wire()
    async with relaying(store, wire, host) as relay:
        await outbox.emit("a")
        await relay.flush()
        parked = await letters(store)
        removed = tuple(Delete(DEAD_LETTERS, one.id, host.new_id()) for one in parked)
        await store.commit(Batch(0.0, writes=removed))
        await outbox.emit("a")
        await relay.flush()
    assert [one.message_id for one in parked] == ["m1", "m2"]
    assert wire.got == ["m3"]


async def test_one_that_was_parked_before_a_crash_is_not_parked_twice(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    wire = Wire("m1")
    await outbox.emit("a")
    for _ in range(2):  # the position is lost with the first run, as a crash would lose it
        relay = Relay(store, "mailer", [PLACED], wire.deliver, host=host)
        running = asyncio.create_task(relay.run())  # noqa: TID251 - it is killed, not stopped
        await asyncio.sleep(0.1)  # virtual: all is done that can be, but the position, which is saved after a second
        assert relay.position >= 1
        running.cancel()
        await asyncio.wait([running])
        assert await store.position("mailer") == 0
    assert [one.message_id for one in await letters(store)] == ["m1"]


class Away:
    """A store that cannot be written for a while."""

    def __init__(self, store: MemoryStore, failures: int) -> None:
        self.failures = failures
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def commit(self, batch: Batch) -> tuple[int, ...]:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the store is away")
        return await self._store.commit(batch)


async def test_what_cannot_be_parked_is_tried_until_it_can(store: MemoryStore, outbox: Emits, host: Host) -> None:
    await outbox.emit("a")
    away = Away(store, failures=3)
    async with relaying(cast("MemoryStore", away), Wire("m1"), host) as relay:
        await relay.flush()
    assert [one.message_id for one in await letters(store)] == ["m1"]
    assert away.failures == 0
