"""What a log tells is published in its order, however often the broker is away, and none of it is lost."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec
import pytest

from hanse.delivery.deadletter import DEAD_LETTERS, letter_in
from hanse.delivery.outbox import Topic
from hanse.delivery.publisher import PIECE_MAX, Publisher
from hanse.delivery.relay import Relay
from hanse.kernel.faults import TooLarge, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks
from hanse.store.base import Entry
from hanse.store.memory import MemoryStore
from hanse.store.query import Query
from hanse.transport.base import Backlog

pytestmark = pytest.mark.virtual_time


class Emits(Protocol):
    async def emit(self, *keys: str, topic: str = "placed") -> None: ...


class Broker:
    """Keeps what is published, as long as it is there, and takes one piece after the other."""

    def __init__(self) -> None:
        self.kept: list[Message] = []
        self.pieces: list[int] = []
        self.failures = 0
        self.half: bool = False
        self.large: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def publish(self, messages: Sequence[Message], /) -> None:
        self.pieces.append(len(messages))
        for message in messages:
            if message.id in self.large:
                raise TooLarge("an event", "nothing")
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            self.keep(messages[: len(messages) // 2] if self.half else [])
            raise Unavailable("the broker is away")
        self.keep(messages)

    def keep(self, messages: Sequence[Message]) -> None:
        known = {message.id for message in self.kept}
        self.kept += [message for message in messages if message.id not in known]

    async def subscribe(self, group: str, topics: Sequence[str], /) -> Backlog:
        raise NotImplementedError

    @property
    def ids(self) -> list[str]:
        return [message.id for message in self.kept]


@asynccontextmanager
async def publishing(store: MemoryStore, broker: Broker, host: Host, *topics: str) -> AsyncGenerator[Relay]:
    publisher = Publisher(broker, host)
    wanted = [Topic(name, emitted=True, version="1") for name in topics]
    relay = publisher.relay = Relay(store, "published", wanted, publisher.publish, host=host)
    async with Tasks(lambda _: None) as tasks:
        running = tasks.start(relay.run())
        yield relay
        await relay.stop(1.0)
        await running


def numbered(count: int, first: int = 1) -> list[str]:
    return [f"m{number}" for number in range(first, first + count)]


async def test_events_are_published_in_the_order_of_the_log(store: MemoryStore, outbox: Emits, host: Host) -> None:
    broker = Broker()
    async with publishing(store, broker, host, "placed") as relay:
        await outbox.emit(*"aab")
        await outbox.emit(*"ba")
        await relay.flush()
    assert broker.ids == numbered(5)
    message = broker.kept[0]
    assert (message.headers.type, message.headers.version, message.address) == ("placed", "1", "placed")
    assert msgspec.msgpack.decode(message.body, type=Entry).after == b'{"n":1}'


async def test_many_events_are_few_pieces(store: MemoryStore, outbox: Emits, host: Host) -> None:
    broker = Broker()
    await outbox.emit(*("k" for _ in range(2 * PIECE_MAX)))
    async with publishing(store, broker, host, "placed") as relay:
        await relay.flush()
    assert broker.ids == numbered(2 * PIECE_MAX)
    assert len(broker.pieces) < PIECE_MAX // 50
    assert max(broker.pieces) <= PIECE_MAX


async def test_only_what_the_service_may_tell_is_published(store: MemoryStore, outbox: Emits, host: Host) -> None:
    broker = Broker()
    async with publishing(store, broker, host, "placed") as relay:
        await outbox.emit("a")
        await outbox.emit("b", topic="else")
        await relay.flush()
    assert broker.ids == ["m1"]


async def test_a_service_that_lists_no_events_publishes_all(store: MemoryStore, outbox: Emits, host: Host) -> None:
    broker = Broker()
    async with publishing(store, broker, host) as relay:
        await outbox.emit("a")
        await outbox.emit("b", topic="else")
        await relay.flush()
    assert [message.headers.type for message in broker.kept] == ["placed", "else"]


@pytest.mark.parametrize("half", [False, True])
async def test_what_may_not_be_kept_is_published_again_with_nothing_ahead_of_it(
    store: MemoryStore, outbox: Emits, host: Host, *, half: bool
) -> None:
    broker = Broker()
    broker.failures, broker.half = 7, half
    async with publishing(store, broker, host, "placed") as relay:
        for number in range(30):
            await outbox.emit(f"k{number % 3}", "k")
            await asyncio.sleep(0)
        await relay.flush()
        assert relay.trouble == ""
    assert broker.ids == numbered(60)


async def test_a_broker_that_is_away_is_told_of_and_waited_for(
    store: MemoryStore, outbox: Emits, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker()
    broker.failures = 1_000_000
    async with publishing(store, broker, host, "placed") as relay:
        await outbox.emit("a")
        await asyncio.sleep(600.0)
        assert "the broker is away" in relay.trouble
        await relay.flush(insist=False)
        assert relay.behind
        broker.failures = 0
        await relay.flush()
        assert relay.trouble == ""
    assert broker.ids == ["m1"]
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


async def test_what_was_not_published_at_a_stop_is_published_after_the_next_start(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    broker = Broker()
    broker.gate.clear()
    async with publishing(store, broker, host, "placed"):
        await outbox.emit(*"abc")
        await asyncio.sleep(1.0)
    assert broker.ids == []
    broker.gate.set()
    async with publishing(store, broker, host, "placed") as relay:
        await relay.flush()
    assert broker.ids == numbered(3)


async def test_a_relay_that_was_broken_off_publishes_again_when_it_runs_again(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    broker, publisher = Broker(), None
    publisher = Publisher(broker, host)
    relay = publisher.relay = Relay(store, "published", [], publisher.publish, host=host)
    broker.gate.clear()
    async with Tasks(lambda _: None) as tasks:
        running = tasks.start(relay.run())
        await outbox.emit(*"abc")
        await asyncio.sleep(1.0)
        _ = running.cancel()
        _ = await asyncio.wait([running])
        broker.gate.set()
        _ = tasks.start(relay.run())
        await relay.flush()
        await relay.stop()
    assert broker.ids == numbered(3)


async def test_one_that_is_too_large_is_parked_and_the_others_go_on(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    broker = Broker()
    broker.large = {"m2", "m5"}
    async with publishing(store, broker, host, "placed") as relay:
        await outbox.emit(*"abcdef")
        await relay.flush()
        assert (relay.trouble, relay.position) == ("", 6)
    assert broker.ids == ["m1", "m3", "m4", "m6"]
    parked = [letter_in(row) for row in (await store.find(DEAD_LETTERS, Query())).rows]
    assert {(one.group, one.message_id, one.code) for one in parked} == {
        ("published", "m2", "too_large"),
        ("published", "m5", "too_large"),
    }
