"""Views: one feed for all who follow the same, in order and without a gap, whatever the feed or its readers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, cast

import msgspec
import pytest

from hanse.contract.model import Resource
from hanse.gateway.feeds import RowsFeed, Source
from hanse.gateway.gateway import Gateway
from hanse.gateway.handover import Budget
from hanse.gateway.limits import Limits
from hanse.gateway.outlet import FULL_BYTES, Outlet, SendOutlet
from hanse.gateway.projection import projection
from hanse.gateway.told import Framing, framed
from hanse.gateway.view import AWAY_SECONDS_MAX, Shared, View
from hanse.gateway.views import LINGER_SECONDS, Views
from hanse.kernel.faults import Fault, Forbidden, Overloaded, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.collection import Collection
from hanse.service.rows import Line, Rows
from hanse.service.service import Service
from hanse.store.query import Compare, Where

pytestmark = pytest.mark.virtual_time


class Item(Resource):
    name: str
    size: int = 0


class Stock(Service):
    items: Collection[Item]


class Heard(msgspec.Struct):
    """What a reader was told, decoded."""

    event: str
    key: str = ""
    cursor: str = ""
    value: dict[str, Any] | None = None


class Reader:
    """Takes what it is told, or nothing while it is shut."""

    def __init__(self, tasks: Tasks, view: View) -> None:
        self.group = Framing("lines", b"{")
        self.heard: list[Heard] = []
        self.fault: Fault | None = None
        self.fallen = False
        self.pieces = 0
        self.view = view
        self.ready = asyncio.Event()
        self.ready.set()
        self.outlet: Outlet = SendOutlet(self, self._take, lambda: None, tasks)

    async def _take(self, data: bytes) -> None:
        _ = await self.ready.wait()
        self.pieces += 1
        self.heard += [msgspec.json.decode(line, type=Heard) for line in data.splitlines()]

    async def begin(self) -> None:
        """It has begun."""

    def fell(self) -> None:
        self.fallen = True

    def failed(self, fault: Fault) -> None:
        self.fault = fault

    def waits(self) -> None:
        """Nobody looks after it."""

    def filled(self) -> None:
        self.view.rest(self)

    def emptied(self) -> None:
        self.view.serve(self)

    @property
    def told(self) -> list[str]:
        return [f"{line.event} {line.key}".strip() for line in self.heard]

    @property
    def cursor(self) -> str:
        return [line.cursor for line in self.heard if line.cursor][-1]


class Way:
    """The way to the owner of rows: feeds break on it, it may be shut, and cursors may be of a log that is gone."""

    def __init__(self, rows: Rows, tasks: Tasks) -> None:
        self._rows = rows
        self._tasks = tasks
        self._open: list[asyncio.Event] = []
        self.fault: Fault | None = None
        self.forgets = False
        self.lets = 1_000
        self.gate = asyncio.Event()

    def __len__(self) -> int:
        return len(self._open)

    def breaks(self) -> None:
        for one in self._open:
            one.set()

    async def follow(
        self, where: Where | None = None, after: str = "", *, snapshot: bool = True, caught_up: bool = False
    ) -> AsyncIterator[Line]:
        self.lets -= 1
        if self.lets < 0:
            _ = await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        after = "gone.1" if self.forgets and after else after
        lines = cast(
            "AsyncGenerator[Line, None]", self._rows.follow(where, after, snapshot=snapshot, caught_up=caught_up)
        )
        broken = asyncio.Event()
        self._open.append(broken)
        try:
            while (line := await self._unless(broken, anext(lines))) is not None:
                yield line
        finally:
            self._open.remove(broken)
            await lines.aclose()
        raise Unavailable("the way broke")

    async def _unless(self, broken: asyncio.Event, step: Awaitable[Line]) -> Line | None:
        async def get() -> Line:
            return await step

        getting, breaking = self._tasks.start(get()), self._tasks.start(broken.wait())
        try:
            await asyncio.wait({getting, breaking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            there = getting.done()
            _ = getting.cancel(), breaking.cancel()
            await asyncio.wait({getting, breaking})
        return getting.result() if there else None


class Scene:
    """A view on rows that can be got at only by a way that breaks."""

    def __init__(self, node: Node, tasks: Tasks, limits: Limits, where: Where | None = None) -> None:
        self.items = node.collection(Item)
        self.way = Way(node.rows(Item), tasks)
        self.tasks = tasks
        self.budget = Budget(limits.views_bytes)
        shared = Shared(node, limits, self.budget, tasks)
        self.view = View(RowsFeed(cast("Rows", self.way), where), shared)
        self.running = tasks.start(self.view.run())

    def reader(self) -> Reader:
        return Reader(self.tasks, self.view)

    async def come(self, after: str = "", *, snapshot: bool = True) -> Reader:
        reader = self.reader()
        await self.view.admit(reader, after, snapshot=snapshot)
        await settled()
        return reader

    async def write(self, *ids: str, size: int = 0) -> None:
        for id in ids:
            await self.items.put(Item(name="x" * size, id=id))
        await settled()


async def settled() -> None:
    """What is under way arrives."""
    await asyncio.sleep(0.1)


Begin = Callable[..., Scene]


@pytest.fixture
async def node(host: Host) -> AsyncIterator[Node]:
    async with Node(App("stock", Stock), host=host) as node:
        yield node


@pytest.fixture
def begin(node: Node, tasks: Tasks) -> Begin:
    def make(limits: Limits | None = None, where: Where | None = None) -> Scene:
        return Scene(node, tasks, limits or Limits(), where)

    return make


async def test_a_view_whose_feed_never_came_tells_why(begin: Begin) -> None:
    scene = begin()
    scene.way.fault = Forbidden("nobody may see this")

    with pytest.raises(Forbidden):
        await scene.come()
    assert isinstance(scene.view.over, Forbidden)
    with pytest.raises(Forbidden):
        await scene.come("log.1")


async def test_many_follow_by_one_feed(begin: Begin) -> None:
    scene = begin()
    await scene.write("1")
    readers = [await scene.come() for _ in range(5)]
    await scene.write("2", "3")

    assert {tuple(one.told) for one in readers} == {("snapshot 1", "ready", "created 2", "created 3")}
    assert len(scene.way) == 1


async def test_who_comes_back_gets_what_the_view_has_kept_without_a_feed_of_its_own(begin: Begin) -> None:
    scene = begin()
    first = await scene.come()
    await scene.write("1", "2")
    after = first.heard[1].cursor
    await scene.write("3")
    scene.way.fault = Unavailable("no more feeds")
    again = await scene.come(after)

    assert again.told == ["created 2", "created 3"]


async def test_who_comes_back_from_further_reads_by_itself_first(begin: Begin) -> None:
    early = begin()
    start = (await early.come()).cursor
    await early.write("1", "2")
    late = begin()
    again = await late.come(start)
    await late.write("3")

    assert again.told == ["created 1", "created 2", "created 3"]
    assert len(late.way) == 1


async def test_who_comes_from_now_on_gets_no_rows(begin: Begin) -> None:
    scene = begin()
    await scene.write("1")
    reader = await scene.come(snapshot=False)
    await scene.write("2")

    assert reader.told == ["ready", "created 2"]


async def test_a_cursor_of_another_log_is_answered_with_a_new_snapshot(begin: Begin) -> None:
    scene = begin()
    await scene.write("1")
    reader = await scene.come("other.9")
    await scene.write("2")

    assert reader.told == ["reset", "snapshot 1", "ready", "created 2"]


async def test_a_feed_that_breaks_is_opened_again_and_nobody_notices(begin: Begin) -> None:
    scene = begin()
    reader = await scene.come()
    await scene.write("1")
    scene.way.fault = Unavailable("away")
    scene.way.breaks()
    await scene.write("2")
    await asyncio.sleep(AWAY_SECONDS_MAX / 2)
    scene.way.fault = None
    await asyncio.sleep(5)
    await scene.write("3")

    assert reader.told == ["ready", "created 1", "created 2", "created 3"]
    assert reader.fault is None


async def test_who_was_ahead_of_a_feed_that_broke_is_told_once(begin: Begin) -> None:
    scene = begin(None, Compare("eq", ("name",), "tea"))
    early = await scene.come()
    await scene.write("1")  # the filter has nothing of it: who comes now has read further than the view
    ahead = await scene.come()
    scene.way.breaks()
    await settled()
    await scene.items.put(Item(name="tea", id="2"))
    await asyncio.sleep(5)

    assert (early.told, ahead.told) == (["ready", "created 2"], ["ready", "created 2"])
    scene.way.fault = Forbidden("not any more")
    scene.way.breaks()
    await asyncio.sleep(1)
    assert isinstance(early.fault, Forbidden)


async def test_who_was_ahead_and_leaves_while_the_feed_is_away_is_forgotten(begin: Begin) -> None:
    scene = begin(None, Compare("eq", ("name",), "tea"))
    await scene.come()
    await scene.write("1")
    ahead = await scene.come()
    scene.way.breaks()
    scene.view.leave(ahead)
    await scene.items.put(Item(name="tea", id="2"))
    await asyncio.sleep(5)

    assert (ahead.told, ahead.fault) == (["ready"], None)


async def moving(begin: Begin) -> tuple[Scene, Reader]:
    """Somebody who is ahead of a feed that broke and is here again, and so begins to read by itself."""
    scene = begin(None, Compare("eq", ("name",), "tea"))
    await scene.come()
    await scene.write("1")
    ahead = await scene.come()
    scene.way.forgets, scene.way.lets = True, 1
    scene.way.breaks()
    await asyncio.sleep(5)
    assert scene.view._moving
    return scene, ahead


async def test_who_leaves_while_it_reads_by_itself_is_told_no_more(begin: Begin) -> None:
    scene, ahead = await moving(begin)
    scene.view.leave(ahead)
    scene.way.gate.set()
    await scene.items.put(Item(name="tea", id="2"))
    await settled()

    assert (ahead.told, ahead.fault, len(scene.way)) == (["ready"], None, 1)


async def test_who_cannot_read_by_itself_is_told_why(begin: Begin) -> None:
    scene, ahead = await moving(begin)
    scene.way.fault = Forbidden("not any more")
    scene.way.gate.set()
    await settled()

    assert ahead.fault == scene.way.fault
    assert scene.view.over is None


async def test_a_view_that_ends_leaves_nobody_reading_by_itself(begin: Begin) -> None:
    scene, ahead = await moving(begin)
    scene.running.cancel()
    await settled()

    assert (len(scene.way), scene.view._moving) == (0, {})
    assert ahead.fault is not None


async def test_a_feed_that_stays_away_ends_the_view(begin: Begin) -> None:
    scene = begin()
    reader = await scene.come()
    scene.way.fault = Unavailable("away for good")
    scene.way.breaks()
    await asyncio.sleep(2 * AWAY_SECONDS_MAX)

    assert reader.fault == scene.way.fault
    assert scene.running.done()
    assert scene.budget.used == 0


async def test_a_log_that_is_lost_is_told_to_all_by_one_snapshot(begin: Begin) -> None:
    scene = begin()
    await scene.write("1")
    readers = [await scene.come() for _ in range(3)]
    scene.way.forgets = True
    scene.way.breaks()
    await settled()
    scene.way.forgets = False
    await asyncio.sleep(5)
    await scene.write("2")

    expected = ("snapshot 1", "ready", "reset", "snapshot 1", "ready", "created 2")
    assert {tuple(one.told) for one in readers} == {expected}


async def test_who_comes_amid_a_snapshot_for_all_is_told_everything(begin: Begin) -> None:
    scene = begin()
    await scene.write(*(str(number) for number in range(50)))
    await scene.come()
    scene.way.forgets = True
    scene.way.breaks()
    coming = [scene.tasks.start(scene.come()) for _ in range(5)]
    await asyncio.sleep(5)
    scene.way.forgets = False
    await scene.write("new")

    for one in coming:
        assert one.result().told[-2:] == ["ready", "created new"]


async def test_who_does_not_take_it_rests_and_goes_on_later(begin: Begin) -> None:
    scene = begin()
    keen, slow = await scene.come(), await scene.come()
    slow.ready.clear()
    await scene.write(*(str(number) for number in range(12)), size=10_000)
    assert slow.outlet.left < 2 * FULL_BYTES
    slow.ready.set()
    await settled()
    await scene.write("last")

    assert keen.told == slow.told
    assert len(slow.told) == 14


async def test_who_takes_nothing_for_too_long_has_to_resume_and_costs_no_memory(begin: Begin) -> None:
    scene = begin(Limits(view_bytes=200_000))
    keen, slow = await scene.come(), await scene.come()
    cursor = slow.cursor
    slow.ready.clear()
    for number in range(60):
        await scene.write(str(number), size=10_000)

    assert (slow.fallen, keen.fallen) == (True, False)
    assert len(keen.told) == 61
    assert slow.outlet.left < 2 * FULL_BYTES
    assert scene.budget.used < 300_000
    scene.view.leave(slow)
    again = await scene.come(cursor)
    assert again.told == keen.told[1:]


async def test_what_comes_together_is_written_together(node: Node, tasks: Tasks) -> None:
    views = Views(node, Limits())
    reader = Reader(tasks, views.view(Source(Item)))
    await reader.view.admit(reader, "", snapshot=True)
    await settled()
    pieces = reader.pieces
    _ = await node.rows(Item).create_many([msgspec.json.encode({"name": str(number)}) for number in range(20)])
    await settled()

    assert len(reader.told) == 21
    assert reader.pieces == pieces + 1
    await views.tasks.cancel()


async def test_fields_are_cut_out_before_and_after(node: Node, tasks: Tasks) -> None:
    views = Views(node, Limits())
    view = views.view(Source(Item, None, projection(Item, ["size"])))
    reader = Reader(tasks, view)
    await view.admit(reader, "", snapshot=True)
    await node.collection(Item).put(Item(name="secret", size=3, id="1"))
    await settled()

    assert reader.heard[-1].value is not None
    assert reader.heard[-1].value.keys() == {"id", "rev", "size"}
    await views.tasks.cancel()


async def test_equal_sources_are_one_view_until_nobody_follows(node: Node, tasks: Tasks) -> None:
    views = Views(node, Limits(views=2))
    where = Compare("eq", ("name",), "tea")
    view = views.view(Source(Item, where))
    assert views.view(Source(Item, Compare("eq", ("name",), "tea"))) is view
    assert views.view(Source(Item)) is not view
    with pytest.raises(Overloaded, match="2 different filters"):
        views.view(Source(Item, Compare("eq", ("name",), "rum")))
    reader = Reader(tasks, view)
    await view.admit(reader, "", snapshot=True)
    await asyncio.sleep(2 * LINGER_SECONDS)
    assert len(views) == 1

    view.leave(reader)
    await asyncio.sleep(2 * LINGER_SECONDS)
    assert len(views) == 0
    assert isinstance(view.over, Unavailable)
    assert len(views.tasks) == 0


async def test_the_views_of_a_node_that_has_stopped_end(host: Host, tasks: Tasks) -> None:
    async with Node(App("stock", Stock), host=host) as node:
        views = Views(node, Limits())
        view = views.view(Source(Item))
        reader = Reader(tasks, view)
        await view.admit(reader, "", snapshot=True)
    await asyncio.sleep(5)

    assert reader.fault is not None
    assert len(views.tasks) == 0


@pytest.mark.parametrize(
    ("size", "head"), [(125, b"\x81\x7d"), (126, b"\x81\x7e\x00\x7e"), (65_535, b"\x81\x7e\xff\xff")]
)
def test_a_message_is_framed_by_its_size(size: int, head: bytes) -> None:
    assert framed(b"x" * size) == head + b"x" * size


def test_a_long_message_has_eight_bytes_for_its_size() -> None:
    assert framed(b"x" * 65_536)[:10] == b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"


async def test_quiet_clients_cost_no_tasks_but_those_of_their_server(node: Node, tasks: Tasks) -> None:
    door = cast("Any", Gateway().resources(Item).asgi(node))

    async def client(kind: str, path: str, news: asyncio.Queue[Any]) -> None:
        said = [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": '{"op":"subscribe","id":1,"collection":"items"}'},
        ]
        headers = [(b"accept", b"text/event-stream")] if kind == "http" else []
        scope = {"type": kind, "method": "GET", "path": path, "query_string": b"", "headers": headers}

        async def receive() -> dict[str, Any]:
            if kind == "websocket" and said:
                return said.pop(0)
            await asyncio.Event().wait()
            raise AssertionError

        await door(scope, receive, news.put)

    async def crowd(size: int) -> int:
        for kind, path in (("http", "/items"), ("websocket", "/live")):
            for _ in range(size):
                tasks.start(client(kind, path, asyncio.Queue()))
        await asyncio.sleep(3)
        return len(asyncio.all_tasks()) - len(tasks)

    assert await crowd(1) == await crowd(50)
