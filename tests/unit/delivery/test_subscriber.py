"""What a broker keeps for a group is handled: in order per key, again until it is, and by whoever has the turn."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from tests.unit.transport.keeping import Keeping, Medium

from hanse.delivery.outbox import Topic
from hanse.delivery.relay import RelayOptions
from hanse.delivery.retry import HandlerFailed
from hanse.delivery.subscriber import Subscriber
from hanse.kernel.codec import canonical
from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import EVENT, Headers, Message
from hanse.kernel.tasks import Tasks
from hanse.store.base import Entry, Op
from hanse.transport.base import Backlog

pytestmark = pytest.mark.virtual_time

PLACED = Topic("placed", emitted=True, address="on/mailer", version="1", key=lambda entry: entry.id)


def placed(*keys: str, first: int = 1) -> list[Message]:
    """Events as a publisher has them."""
    found: list[Message] = []
    for number, key in enumerate(keys, first):
        entry = Entry(number, 0.0, Op.EMITTED, "placed", key, f"m{number}", None, b'{"n":1}', 0, Headers())
        found.append(Message(EVENT, f"m{number}", "placed", 0.0, Headers(type="placed"), canonical(entry)))
    return found


class Handler:
    """Handles all that comes, once it is let; remembers it."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.done: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.fails: dict[str, list[Exception]] = {}

    async def __call__(self, message: Message) -> None:
        self.got.append(message)
        if (gate := self.gates.get(message.headers.key)) is not None:
            await gate.wait()
        if failures := self.fails.get(message.id):
            raise failures.pop(0)
        self.done.append(message.id)


class Plain:
    """A backlog that does not tell what is left."""

    def __init__(self, backlog: Backlog) -> None:
        self.take = backlog.take
        self.done = backlog.done
        self.close = backlog.close


class Untelling(Keeping):
    async def subscribe(self, group: str, topics: Sequence[str], /) -> Backlog:
        return Plain(await super().subscribe(group, topics))


@asynccontextmanager
async def subscribing(
    medium: Medium,
    handler: Callable[[Message], Awaitable[None]],
    host: Host,
    window: int = 1024,
    make: type[Keeping] = Keeping,
) -> AsyncGenerator[tuple[Subscriber, Keeping]]:
    keeps = make(medium)
    options = RelayOptions(window=window)
    subscriber = Subscriber(keeps, "mailer", [PLACED], handler, host=host, options=options)
    async with Tasks(lambda _: None) as tasks:
        running = tasks.start(subscriber.run())
        yield subscriber, keeps
        await subscriber.stop(1.0)
        await running


async def test_an_event_is_delivered_with_its_id_entry_and_headers(host: Host) -> None:
    medium, handler = Medium(), Handler()
    async with subscribing(medium, handler, host) as (subscriber, keeps):
        await keeps.publish(sent := placed("k"))
        await subscriber.flush()
    [message] = handler.got
    assert (message.id, message.address, message.timeout, message.body) == ("m1", "on/mailer", 30.0, sent[0].body)
    assert (message.headers.type, message.headers.version, message.headers.key) == ("placed", "1", "k")
    assert medium.groups["mailer"].undone == {}


async def test_one_key_is_in_order_and_holds_up_no_other(host: Host) -> None:
    medium, handler = Medium(), Handler()
    handler.gates["slow"] = asyncio.Event()
    async with subscribing(medium, handler, host) as (subscriber, keeps):
        await keeps.publish(placed("slow", "a", "slow", "b", "a"))
        await asyncio.sleep(1.0)
        assert sorted(handler.done) == ["m2", "m4", "m5"]
        assert (len(handler.got), subscriber.lag) == (4, 2)
        handler.gates["slow"].set()
        await subscriber.flush()
        assert handler.done[3:] == ["m1", "m3"]


async def test_a_handler_that_fails_is_tried_again_with_its_key_behind_it(host: Host) -> None:
    medium, handler = Medium(), Handler()
    handler.fails["m1"] = [HandlerFailed("mailer", "value_error", "no"), Unavailable("nobody"), ValueError("?")]
    async with subscribing(medium, handler, host) as (subscriber, keeps):
        await keeps.publish(placed("k", "k"))
        await subscriber.flush()
        assert subscriber.retries == 3
    assert handler.done == ["m1", "m2"]
    # An attempt is what a handler failed at, not what did not get there.
    assert [message.headers.attempt for message in handler.got] == [1, 2, 2, 2, 1]


async def test_it_takes_no_more_than_its_window_holds(host: Host) -> None:
    medium, handler = Medium(), Handler()
    handler.gates["k"] = asyncio.Event()
    await Keeping(medium).publish(placed(*"kkkkk"))
    async with subscribing(medium, handler, host, window=3) as (subscriber, _):
        await asyncio.sleep(1.0)
        assert len(medium.groups["mailer"].undone) == 3
        handler.gates["k"].set()
        await subscriber.flush()
    assert handler.done == ["m1", "m2", "m3", "m4", "m5"]


async def test_what_it_has_lost_is_broken_off_and_taken_again(host: Host) -> None:
    medium, handler = Medium(), Handler()
    handler.gates["k"] = asyncio.Event()
    async with subscribing(medium, handler, host) as (subscriber, keeps):
        await keeps.publish(placed(*"kk"))
        await asyncio.sleep(1.0)
        await keeps.break_off()
        await asyncio.sleep(1.0)
        assert handler.done == []
        handler.gates["k"].set()
        await subscriber.flush()
        assert subscriber.trouble == ""
    assert handler.done == ["m1", "m2"]
    assert [message.id for message in handler.got] == ["m1", "m1", "m2"]


async def test_a_broker_that_is_away_is_told_of_once_and_waited_for(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    medium, handler = Medium(), Handler()
    medium.away = True
    async with subscribing(medium, handler, host) as (subscriber, keeps):
        await asyncio.sleep(600.0)
        assert "the medium is away" in subscriber.trouble
        medium.away = False
        await keeps.publish(placed("k"))
        await subscriber.flush()
        assert subscriber.trouble == ""
    assert handler.done == ["m1"]
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


async def test_a_stop_lets_another_go_on_with_what_is_not_done(host: Host) -> None:
    medium, handler, other = Medium(), Handler(), Handler()
    handler.gates["k"] = asyncio.Event()
    async with subscribing(medium, other, host) as (second, _):
        # The first that has it open has the turn: the other one, until it is stopped.
        other.gates["k"] = asyncio.Event()
        await Keeping(medium).publish(placed(*"kkk"))
        await asyncio.sleep(1.0)
        async with subscribing(medium, handler, host) as (first, _):
            handler.gates["k"].set()
            await second.stop(1.0)
            await first.flush()
    assert other.done == []
    assert handler.done == ["m1", "m2", "m3"]


async def test_a_stop_waits_for_what_is_under_way(host: Host) -> None:
    medium, handler = Medium(), Handler()
    gate = handler.gates["k"] = asyncio.Event()
    async with subscribing(medium, handler, host) as (subscriber, keeps), Tasks(lambda _: None) as tasks:
        await keeps.publish(placed(*"kk"))
        await asyncio.sleep(1.0)
        stopping = tasks.start(subscriber.stop(10.0))
        await asyncio.sleep(1.0)
        gate.set()
        await stopping
        assert handler.done[:1] == ["m1"]
        with pytest.raises(Unavailable, match="has stopped"):
            await subscriber.flush()


async def test_it_may_be_broken_off_and_run_again(host: Host) -> None:
    medium, handler = Medium(), Handler()
    keeps = Keeping(medium)
    subscriber = Subscriber(keeps, "mailer", [PLACED], handler, host=host)
    async with Tasks(lambda _: None) as tasks:
        running = tasks.start(subscriber.run())
        await asyncio.sleep(1.0)
        _ = running.cancel()
        _ = await asyncio.wait([running])
        await keeps.publish(placed("k"))
        _ = tasks.start(subscriber.run())
        await subscriber.flush()
        await subscriber.stop()
    assert handler.done == ["m1"]


class Leaving(Handler):
    """Takes its time to leave when it is broken off, as a commit does."""

    async def __call__(self, message: Message) -> None:
        try:
            await super().__call__(message)
        except asyncio.CancelledError:
            await asyncio.sleep(1.0)
            raise


@asynccontextmanager
async def broken_off_twice(host: Host, handler: Handler) -> AsyncGenerator[tuple[Subscriber, Tasks]]:
    """With one event under way, and again while it lets go, as whoever has lost its duty and is slow to leave."""
    keeps = Keeping(Medium())
    options = RelayOptions(window=1)
    subscriber = Subscriber(keeps, "mailer", [PLACED], handler, host=host, options=options)
    handler.gates["k"] = asyncio.Event()
    async with Tasks(lambda _: None) as tasks:
        running = tasks.start(subscriber.run())
        await keeps.publish(placed(*"kkk"))
        await asyncio.sleep(1.0)
        _ = running.cancel()
        await asyncio.sleep(0.1)
        _ = running.cancel()
        _ = await asyncio.wait([running])
        handler.gates["k"].set()
        yield subscriber, tasks


async def test_it_may_be_broken_off_while_it_lets_go_and_run_again(host: Host) -> None:
    handler = Leaving()
    async with broken_off_twice(host, handler) as (subscriber, tasks), asyncio.timeout(60.0):
        _ = tasks.start(subscriber.run())
        await subscriber.flush()
        await subscriber.stop()
    assert handler.done == ["m1", "m2", "m3"]


async def test_one_that_was_broken_off_while_it_let_go_can_be_stopped(host: Host) -> None:
    async with broken_off_twice(host, Leaving()) as (subscriber, _), asyncio.timeout(60.0):
        await subscriber.stop()
        assert subscriber.trouble == ""


async def test_what_others_publish_is_handed_on_as_the_event_itself(host: Host) -> None:
    medium, handler = Medium(), Handler()
    async with subscribing(medium, handler, host) as (subscriber, keeps):
        await keeps.publish([Message(EVENT, "x1", "placed", 0.0, Headers(type="placed"), b'{"n":2}')])
        await subscriber.flush()
    [message] = handler.got
    assert message.id == "x1"
    assert b'{"n":2}' in message.body


async def test_where_the_broker_cannot_tell_what_is_left_what_was_taken_is_waited_for(host: Host) -> None:
    medium, handler = Medium(), Handler()
    async with subscribing(medium, handler, host, make=Untelling) as (subscriber, keeps):
        await keeps.publish(placed("k"))
        await asyncio.sleep(1.0)
        await subscriber.flush()
        assert not await subscriber.look()
    assert handler.done == ["m1"]
