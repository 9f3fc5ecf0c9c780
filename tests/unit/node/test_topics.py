"""The feed of a topic: of all services that tell of it, wherever they run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from hanse.contract.declare import rpc
from hanse.contract.model import Event
from hanse.kernel.faults import Malformed, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.node.topics import Source, TopicFeed, TopicLine
from hanse.service.events import LOGS_MAX, Events, EventsOf, joined, resumed
from hanse.service.rows import Line
from hanse.service.service import Service
from hanse.store.base import Store
from hanse.store.sqlite import SqliteStore
from hanse.store.sqlite.desk import InlineDesk
from hanse.transport.memory import MemoryTransport


class Placed(Event):
    order_id: str


class Orders(Service, events=(Placed,)):
    @rpc
    async def place(self, id: str) -> None:
        await self.emit(Placed(order_id=id))


class Imports(Service, events=(Placed,)):
    @rpc
    async def take(self, id: str) -> None:
        await self.emit(Placed(order_id=id))


class Door(Service):
    @rpc
    async def ping(self) -> str:
        return "pong"


APP = App("shop", Orders, Imports, Door)


def inline(url: str) -> Store:
    return SqliteStore(url.removeprefix("sqlite:///"), desk=InlineDesk())


class Apart:
    """Three nodes, one for each service; the door's follows what the others tell."""

    def __init__(self, folder: Path, host: Host) -> None:
        transport = MemoryTransport()
        self.orders, self.imports, self.door = (
            Node(
                APP,
                Settings(node=NodeSettings(services=(name,), store=f"sqlite:///{folder}")),
                host=host,
                transport=transport,
                stores=inline,
            )
            for name in ("orders", "imports", "door")
        )


@pytest.fixture
async def apart(tmp_path: Path, host: Host) -> AsyncIterator[Apart]:
    apart = Apart(tmp_path, host)
    for node in (apart.orders, apart.imports, apart.door):
        await node.start()
    yield apart
    for node in (apart.door, apart.imports, apart.orders):
        await node.stop()


def names(told: list[TopicLine]) -> list[str]:
    return [one.line.event if one.line.event != "emitted" else one.line.value.decode() for one in told]


async def take(feed: TopicFeed, count: int, after: str = "") -> list[TopicLine]:
    async with feed.followed(after) as lines:
        return [await anext(lines) for _ in range(count)]


@pytest.mark.parametrize("cursor", ["x", "a.b", "a.1,", ",".join(["a.1"] * (LOGS_MAX + 1))])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Malformed):
        resumed(cursor, ["a.1"])


def test_a_log_goes_on_where_the_cursor_names_it() -> None:
    assert resumed("", ["a.5", "b.9"]) == (["a.5", "b.9"], False)
    assert resumed(joined(["b.2", "a.1"]), ["a.5", "b.9"]) == (["a.1", "b.2"], False)
    assert resumed("a.1,gone.3", ["a.5", "b.9"]) == (["a.1", "b.9"], True)


async def test_a_log_that_cannot_be_reached_is_told(apart: Apart) -> None:
    await apart.imports.stop()
    with pytest.raises((Unavailable, UnknownOperation)):
        await take(apart.door.topic(Placed), 1)
    await apart.imports.start()


async def test_a_log_that_goes_away_ends_the_feed(apart: Apart) -> None:
    async with apart.door.topic(Placed).followed() as lines:
        assert names([await anext(lines)]) == ["ready"]
        await apart.imports.stop()
        with pytest.raises((Unavailable, UnknownOperation)):
            await anext(lines)
    await apart.imports.start()


class Ending:
    """Events whose feed ends, which none does that is in order."""

    async def cursor(self) -> str:
        return "a.1"

    async def emit(self, topic: str, value: bytes) -> str:
        raise NotImplementedError

    async def follow(self, topic: str, after: str, *, caught_up: bool = False) -> AsyncIterator[Line]:
        yield Line("emitted", "a.2", "m", 2, b"1")


async def test_a_log_that_ends_without_a_fault_ends_the_feed_too() -> None:
    async with TopicFeed(Placed, [Source("orders", cast("Events", Ending()))]).followed() as lines:
        assert names([await anext(lines), await anext(lines)]) == ["ready", "1"]
        with pytest.raises(Unavailable, match="have ended"):
            await anext(lines)


async def test_an_error_of_who_follows_stays_what_it_is(apart: Apart) -> None:
    with pytest.raises(ZeroDivisionError):
        async with apart.door.topic(Placed).followed():
            raise ZeroDivisionError


async def test_what_nodes_apart_tell_is_one_feed_that_resumes_after_they_were_away(apart: Apart) -> None:
    feed = apart.door.topic(Placed)
    async with feed.followed() as lines:
        assert names([await anext(lines)]) == ["ready"]
        await apart.orders.client(Orders).place("1")
        first = await anext(lines)
    assert (first.service, first.line.value) == ("orders", b'{"order_id":"1"}')
    await apart.imports.client(Imports).take("2")
    await apart.orders.client(Orders).place("3")
    for node in (apart.orders, apart.imports):
        await node.stop()
        await node.start()
    told = await take(feed, 2, first.line.cursor)
    assert sorted(names(told)) == ['{"order_id":"2"}', '{"order_id":"3"}']
    again = await take(feed, 1, told[0].line.cursor)
    assert again[0].line.value == told[1].line.value


async def test_an_event_from_elsewhere_is_told_in_the_log_of_who_lists_it(apart: Apart) -> None:
    feed = apart.door.topic(Placed)
    assert feed.first.service == "orders"
    cursor = await feed.first.events.cursor()
    id = await feed.first.events.emit("placed", b'{"order_id":"1"}')
    [told] = await take(feed, 1, cursor)
    assert (told.line.id, told.service) == (id, "orders")


async def test_a_cursor_from_the_future_resets(apart: Apart) -> None:
    """As after a power cut that cost the end of a log."""
    [hosted] = apart.orders.hosted
    lines = EventsOf(hosted.store).follow("placed", f"{hosted.store.log_id}.99")
    assert [(await anext(lines)).event, (await anext(lines)).event] == ["reset", "ready"]
