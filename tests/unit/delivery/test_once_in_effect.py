"""Relay and inbox together: whatever fails, and whenever, each event is handled once in effect, or parked in order."""

import asyncio
import random  # noqa: TID251 - each run follows its seed
from typing import Protocol

import pytest

from hanse.delivery.deadletter import DEAD_LETTERS, letter_in
from hanse.delivery.inbox import Inbox
from hanse.delivery.outbox import Topic
from hanse.delivery.relay import Relay
from hanse.kernel.faults import Malformed, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks
from hanse.store.base import Batch, Put
from hanse.store.memory import MemoryStore
from hanse.store.query import PAGE_MAX, Query

pytestmark = pytest.mark.virtual_time

EVENTS = 60
KEYS = ("a", "b", "c", "")
POISON = 0.05
TOPIC = Topic("placed", emitted=True, key=lambda entry: entry.id)


class Emits(Protocol):
    async def emit(self, *keys: str, topic: str = "placed") -> None: ...


class Hostile:
    """A group of subscribers behind a network that loses calls and answers, with a handler that fails and dawdles."""

    def __init__(self, store: MemoryStore, host: Host, seed: int) -> None:
        self.chance = random.Random(seed)
        self.poison = {f"m{n}" for n in range(1, EVENTS + 1) if self.chance.random() < POISON}
        self.inbox = Inbox(store, "mailer", host=host)
        self._store = store
        self._host = host

    async def start(self) -> None:
        """A new life: what was in memory is gone."""
        self.inbox = Inbox(self._store, "mailer", host=self._host)
        await self.inbox.open()

    async def deliver(self, message: Message) -> None:
        await asyncio.sleep(self.chance.random())
        if self.chance.random() < 0.1:
            raise Unavailable("the call was lost")
        await self.inbox.consume(message, self.handle, attempts_max=100)
        if self.chance.random() < 0.2:
            raise Unavailable("the answer was lost")

    async def handle(self, message: Message) -> None:
        await asyncio.sleep(self.chance.random())
        if message.id in self.poison:
            raise Malformed("poison")
        if self.chance.random() < 0.2:
            raise ValueError("not now")
        effect = Put("orders", f"{message.headers.key}.{message.id}", b"{}", f"e{message.id}", expected=0)
        await self._store.commit(Batch(0.0, writes=(effect,), marks=(self.inbox.mark(message),)))
        if self.chance.random() < 0.1:
            raise ValueError("after the commit")


async def run_for(seconds: float, hostile: Hostile, store: MemoryStore, host: Host) -> None:
    """A life of the process: it reads what was saved, works, and dies without a word, or in order."""
    relay = Relay(store, "mailer", [TOPIC], hostile.deliver, host=host)
    await hostile.start()
    async with Tasks(print) as tasks:
        tasks.start(relay.run())
        await asyncio.sleep(seconds)
        if hostile.chance.random() < 0.3:
            await relay.stop(grace=0.5)


async def handled(store: MemoryStore) -> list[tuple[str, int]]:
    """Key and number of each event that took effect, in that order."""
    entries = (await store.changes(0, limit=PAGE_MAX, names=["orders"])).entries
    return [(key, int(id[1:])) for key, _, id in (entry.id.partition(".") for entry in entries)]


@pytest.mark.parametrize("seed", range(20))
async def test_each_event_is_handled_once_or_parked_and_keys_stay_in_order(
    store: MemoryStore, outbox: Emits, host: Host, seed: int
) -> None:
    hostile = Hostile(store, host, seed)
    for _ in range(EVENTS):
        await outbox.emit(hostile.chance.choice(KEYS))
    for _ in range(6):
        await run_for(hostile.chance.uniform(0.0, 8.0), hostile, store, host)
    await run_for(36_000.0, hostile, store, host)

    effects = await handled(store)
    letters = [letter_in(row) for row in (await store.find(DEAD_LETTERS, Query(limit=PAGE_MAX))).rows]
    numbers = [n for _, n in effects] + [int(letter.message_id[1:]) for letter in letters]
    assert sorted(numbers) == list(range(1, EVENTS + 1))
    for key in KEYS[:-1]:
        in_order = [n for other, n in effects if other == key]
        parked = [int(letter.message_id[1:]) for letter in letters if letter.key == key]
        assert in_order == sorted(in_order)
        assert not parked or max(in_order, default=0) < min(parked)
    assert {letter.message_id for letter in letters if not letter.waits_for} <= hostile.poison
