"""The relay delivers what the log tells, in order per key, until it is acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, cast

import msgspec
import pytest

from hanse.delivery.brake import Braked
from hanse.delivery.outbox import FAILING_SINCE, Topic
from hanse.delivery.relay import SAVE_EVERY, SAVE_SECONDS, Relay, RelayOptions
from hanse.delivery.retry import HandlerFailed
from hanse.kernel.faults import Fault, Overloaded, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks
from hanse.store.base import Batch, Changes, Delete, Entry, Put
from hanse.store.listeners import LATE_SECONDS
from hanse.store.memory import MemoryStore

pytestmark = pytest.mark.virtual_time

Deliver = Callable[[Message], Awaitable[None]]
PLACED = Topic("placed", emitted=True, address="on/mailer", version="1", key=lambda entry: entry.id)
FAILED = HandlerFailed("mailer", "value_error", "no")


class Emits(Protocol):
    async def emit(self, *keys: str, topic: str = "placed") -> None: ...


class Receiver:
    """Acknowledges all that comes, once it is let; remembers it."""

    def __init__(self, *, lets: bool = True) -> None:
        self.got: list[Message] = []
        self.gate = asyncio.Event()
        if lets:
            self.gate.set()

    async def __call__(self, message: Message) -> None:
        self.got.append(message)
        await self.gate.wait()

    @property
    def ids(self) -> list[str]:
        return [message.id for message in self.got]


@asynccontextmanager
async def relaying(
    store: MemoryStore, deliver: Deliver, host: Host, *topics: Topic, window: int = 1024
) -> AsyncIterator[Relay]:
    relay = Relay(store, "mailer", topics or [PLACED], deliver, host=host, options=RelayOptions(window=window))
    async with asyncio.TaskGroup() as group:
        group.create_task(relay.run())
        try:
            yield relay
        finally:
            await relay.stop(grace=1.0)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_an_event_is_delivered_with_its_id_entry_and_headers(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    receiver = Receiver()
    async with relaying(store, receiver, host) as relay:
        await outbox.emit("k")
        await relay.flush()
    [message] = receiver.got
    assert (message.id, message.address, message.timeout) == ("m1", "on/mailer", 30.0)
    assert (message.headers.type, message.headers.version, message.headers.key) == ("placed", "1", "k")
    assert msgspec.msgpack.decode(message.body, type=Entry).after == b'{"n":1}'


async def test_changes_of_rows_are_delivered_by_their_collection(store: MemoryStore, host: Host) -> None:
    receiver = Receiver()
    async with relaying(store, receiver, host, Topic("orders", emitted=False)) as relay:
        await store.commit(Batch(0.0, writes=(Put("orders", "1", b"{}", "a"),)))
        await store.commit(Batch(0.0, writes=(Delete("orders", "1", "b"),)))
        await relay.flush()
    assert receiver.ids == ["a", "b"]


async def test_an_event_named_like_a_wanted_collection_is_left_alone(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    receiver = Receiver()
    async with relaying(store, receiver, host, Topic("orders", emitted=False)) as relay:
        await outbox.emit("k", topic="orders")
        await relay.flush()
    assert receiver.got == []


async def test_entries_of_one_key_wait_for_one_another(store: MemoryStore, outbox: Emits, host: Host) -> None:
    receiver = Receiver(lets=False)
    async with relaying(store, receiver, host) as relay:
        await outbox.emit("a", "a", "b")
        await turns()
        assert receiver.ids == ["m1", "m3"]
        receiver.gate.set()
        await relay.flush()
    assert receiver.ids == ["m1", "m3", "m2"]


async def test_entries_without_a_key_go_side_by_side(store: MemoryStore, outbox: Emits, host: Host) -> None:
    receiver = Receiver(lets=False)
    async with relaying(store, receiver, host, Topic("placed", emitted=True)):
        await outbox.emit("a", "a", "a")
        await turns()
        assert receiver.ids == ["m1", "m2", "m3"]


async def test_an_entry_whose_key_cannot_be_told_is_delivered_in_no_order(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    receiver = Receiver()
    topic = Topic("placed", emitted=True, key=lambda entry: {"known": "k"}[entry.id])
    async with relaying(store, receiver, host, topic) as relay:
        await outbox.emit("unknown", "known")
        await relay.flush()
    assert [message.headers.key for message in receiver.got] == ["", "k"]


async def test_a_failed_delivery_is_repeated_as_the_next_attempt(store: MemoryStore, outbox: Emits, host: Host) -> None:
    got: list[tuple[str, int]] = []

    async def fail_twice(message: Message) -> None:
        got.append((message.id, message.headers.attempt))
        if len(got) < 3:
            raise FAILED

    async with relaying(store, fail_twice, host) as relay:
        await outbox.emit("a")
        await relay.flush()
    assert got == [("m1", 1), ("m1", 2), ("m1", 3)]


async def test_a_repeat_tells_since_when_it_fails(store: MemoryStore, outbox: Emits, host: Host) -> None:
    told: list[str | None] = []

    async def fail_thrice(message: Message) -> None:
        told.append(message.headers.extra.get(FAILING_SINCE))
        if len(told) < 4:
            raise FAILED

    async with relaying(store, fail_thrice, host) as relay:
        await outbox.emit("a")
        await relay.flush()
    assert told == [None, "1700000000.0", "1700000000.0", "1700000000.0"]


async def test_an_outage_is_no_attempt_of_the_handler(
    store: MemoryStore, outbox: Emits, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[int] = []

    async def away(message: Message) -> None:
        attempts.append(message.headers.attempt)
        if len(attempts) < 8:
            raise Unavailable("the broker is away")

    async with relaying(store, away, host) as relay:
        await outbox.emit("a")
        await relay.flush()
    assert attempts == [1] * 8
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "the relay mailer cannot deliver: the broker is away; it tries again until it can"
    ]


async def test_what_a_brake_lets_through_now_and_then_is_no_end_of_the_trouble(
    store: MemoryStore, outbox: Emits, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hanse.delivery")
    tries: list[str] = []

    async def braked(message: Message) -> None:
        tries.append(message.id)
        # Every fourth is tried and parked, until the handler works.
        if len(tries) < 12 and len(tries) % 4:
            raise Braked("mailer fails at everything")

    async with relaying(store, braked, host) as relay:
        await outbox.emit(*"abcdef")
        await relay.flush()
    told = [record.message for record in caplog.records if "deliver" in record.message]
    assert [text.partition(":")[0] for text in told] == [
        "the relay mailer cannot deliver",
        "the relay mailer delivers again",
    ]


async def test_a_key_that_fails_keeps_back_no_other(store: MemoryStore, outbox: Emits, host: Host) -> None:
    got: list[str] = []

    async def deliver(message: Message) -> None:
        if message.headers.key == "bad":
            raise Unavailable("not now")
        got.append(message.id)

    async with relaying(store, deliver, host) as relay:
        await outbox.emit("bad", "bad", "good")
        await asyncio.sleep(600)
        await outbox.emit("good")
        await turns()
        assert (got, len(relay._window), relay.position) == (["m3", "m4"], 2, 0)


@pytest.mark.parametrize("error", [Unavailable("the broker is away"), UnknownOperation("nobody hears")])
async def test_a_flush_that_does_not_insist_ends_when_nobody_is_there(
    store: MemoryStore, outbox: Emits, host: Host, error: Fault
) -> None:
    async def deliver(message: Message) -> None:
        await asyncio.sleep(1.0)
        raise error

    async with relaying(store, deliver, host) as relay:
        await outbox.emit("k")
        await relay.flush(insist=False)
        assert (host.monotonic(), relay.position) == (1.0, 0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(600):
                await relay.flush()


async def test_a_flush_waits_for_a_handler_that_fails_whether_it_insists_or_not(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    failures = [FAILED, Overloaded("calls")]

    async def deliver(message: Message) -> None:
        if failures:
            raise failures.pop()

    async with relaying(store, deliver, host) as relay:
        await outbox.emit("k")
        await relay.flush(insist=False)
        assert (failures, relay.position) == ([], 1)


async def test_a_full_window_takes_no_more_until_something_is_done(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    receiver = Receiver(lets=False)
    async with relaying(store, receiver, host, window=2) as relay:
        await outbox.emit("a", "b", "c")
        await turns()
        assert (receiver.ids, len(relay._window)) == (["m1", "m2"], 2)
        receiver.gate.set()
        await relay.flush()
    assert receiver.ids == ["m1", "m2", "m3"]


async def test_the_position_is_saved_soon_and_once_for_many(store: MemoryStore, outbox: Emits, host: Host) -> None:
    async with relaying(store, Receiver(), host) as relay:
        for key in "abcd":
            await outbox.emit(key)
            await asyncio.sleep(SAVE_SECONDS / 5)
        assert (relay.position, await store.position("mailer")) == (4, 0)
        await asyncio.sleep(SAVE_SECONDS / 4)
        assert await store.position("mailer") == 4


async def test_what_is_flushed_is_saved(store: MemoryStore, outbox: Emits, host: Host) -> None:
    async with relaying(store, Receiver(), host) as relay:
        await outbox.emit("a", "b")
        await relay.flush()
        assert (await store.position("mailer"), store.commits) == (2, 2)
        await asyncio.sleep(SAVE_SECONDS * 2)
        assert store.commits == 2


async def test_it_is_saved_while_messages_keep_coming(store: MemoryStore, outbox: Emits, host: Host) -> None:
    async with relaying(store, Receiver(), host):
        for _ in range(30):
            await outbox.emit("a")
            await asyncio.sleep(SAVE_SECONDS / 10)
        assert await store.position("mailer") >= 20


async def test_an_entry_of_nobodys_moves_the_position_within_seconds(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    async with relaying(store, Receiver(), host) as relay:
        await turns()
        await outbox.emit("a", topic="unwanted")
        await asyncio.sleep(LATE_SECONDS)
        await turns()
        assert relay.position == 1


async def test_the_position_is_saved_under_way_too(store: MemoryStore, outbox: Emits, host: Host) -> None:
    receiver = Receiver(lets=False)
    async with relaying(store, receiver, host, Topic("other", emitted=True), PLACED):
        await outbox.emit(*["a"] * SAVE_EVERY, topic="unwanted")
        await outbox.emit("b")
        await turns()
        assert await store.position("mailer") == SAVE_EVERY


async def test_a_stopped_relay_saves_how_far_it_came(store: MemoryStore, outbox: Emits, host: Host) -> None:
    async def deliver(message: Message) -> None:
        if message.id == "m2":
            await asyncio.Event().wait()

    async with relaying(store, deliver, host):
        await outbox.emit("a", "b", "c")
        await turns()
    assert await store.position("mailer") == 1


async def test_a_restarted_relay_goes_on_from_its_position(store: MemoryStore, outbox: Emits, host: Host) -> None:
    async with relaying(store, Receiver(), host) as relay:
        await outbox.emit("a")
        await relay.flush()
    await outbox.emit("a")
    receiver = Receiver()
    async with relaying(store, receiver, host) as relay:
        await relay.flush()
    assert receiver.ids == ["m2"]


async def test_stopping_waits_for_what_is_under_way(store: MemoryStore, outbox: Emits, host: Host) -> None:
    done: list[str] = []

    async def slow(message: Message) -> None:
        await asyncio.sleep(0.5)
        done.append(message.id)

    async with relaying(store, slow, host):
        await outbox.emit("a", "a")
        await turns()
    assert done == ["m1"]
    assert await store.position("mailer") == 1


async def test_a_message_that_rests_does_not_hold_up_the_stop(store: MemoryStore, outbox: Emits, host: Host) -> None:
    async def fail(message: Message) -> None:
        raise FAILED

    async with relaying(store, fail, host) as relay:
        await outbox.emit("a")
        await asyncio.sleep(3600)
        retries = relay.retries
        await relay.stop(grace=5.0)
        assert relay.retries == retries


async def test_flushing_a_relay_that_stops_says_that_something_is_left(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    told: list[BaseException] = []
    relay = Relay(store, "mailer", [PLACED], Receiver(lets=False), host=host)
    await outbox.emit("a")
    async with Tasks(told.append) as tasks:
        tasks.start(relay.run())
        flushing = tasks.start(relay.flush())
        await turns()
        await relay.stop(grace=1.0)
        with pytest.raises(Unavailable):
            await flushing


async def test_a_relay_that_never_ran_stops_at_once(store: MemoryStore, host: Host) -> None:
    await Relay(store, "mailer", [PLACED], Receiver(), host=host).stop()


async def test_a_trimmed_log_is_told_loudly_and_gone_on_with(
    store: MemoryStore, outbox: Emits, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    async with relaying(store, Receiver(), host) as relay:
        await outbox.emit("a")
        await relay.flush()
    await outbox.emit("a", "a", "a")
    await store.trim(1.0, keep_after=3)
    receiver = Receiver()
    async with relaying(store, receiver, host) as relay:
        await relay.flush()
        assert relay.gaps == 1
    assert receiver.ids == ["m4"]
    assert "were trimmed away" in caplog.text


async def test_a_new_relay_starts_with_what_a_trimmed_log_still_has(
    store: MemoryStore, outbox: Emits, host: Host
) -> None:
    await outbox.emit("a", "b")
    await store.trim(1.0, keep_after=1)
    receiver = Receiver()
    async with relaying(store, receiver, host) as relay:
        await relay.flush()
        assert (receiver.ids, relay.gaps) == (["m2"], 0)


async def test_a_store_that_is_away_is_asked_again(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore(host=host)
    async with relaying(store, Receiver(), host) as relay:
        await asyncio.sleep(10)
        await store.open([])
        await asyncio.sleep(120)
        await relay.flush()
    assert "cannot read its log" in caplog.text


async def test_an_error_that_nobody_foresaw_ends_no_relay(
    outbox: Emits, store: MemoryStore, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd:
        """A store whose log cannot be read for a while, in a way of its own."""

        odd = True

        async def changes(self, after: int, *, limit: int, names: Sequence[str] | None = None) -> Changes:
            if self.odd:
                raise ZeroDivisionError("no such table: log")
            return await store.changes(after, limit=limit, names=names)

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

    odd, receiver = Odd(), Receiver()
    async with relaying(cast("MemoryStore", odd), receiver, host) as relay:
        await outbox.emit("a")
        await asyncio.sleep(10)
        odd.odd = False
        await asyncio.sleep(120)
        await relay.flush()
    assert receiver.ids == ["m1"]
    assert "ZeroDivisionError" in caplog.text


async def test_a_position_that_cannot_be_saved_at_the_end_costs_repeats_only(
    store: MemoryStore, outbox: Emits, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(lets=False)
    async with relaying(store, receiver, host):
        await outbox.emit("a")
        await turns()
        await store.close()
        receiver.gate.set()
    assert "could not save its position" in caplog.text


async def test_a_relay_that_breaks_says_so(store: MemoryStore, outbox: Emits, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(message: Message) -> None:
        raise FAILED

    broken = Host("broken", now=lambda: 1 / 0, monotonic=lambda: 0.0, chance=Host.system().chance, entropy=bytes)
    async with relaying(store, fail, broken):
        await outbox.emit("a")
        await turns()
    assert "the relay mailer broke" in caplog.text
