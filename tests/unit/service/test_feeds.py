"""Feeds tell every change once, whatever is written while they read, and go on where they were after a restart."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sized
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest
from hypothesis import example, given, settings as tuned, strategies as st

from hanse.contract.model import Resource
from hanse.kernel.closing import closing
from hanse.kernel.faults import Malformed
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings, Settings
from hanse.node.app import App
from hanse.node.node import Node
from hanse.service.change import Created, Deleted, Existing, Followed, Ready, Reset, Updated, parts_of
from hanse.service.collection import Collection
from hanse.service.feed import Feed
from hanse.service.local import LocalCollection
from hanse.service.log_reader import QUIET_SECONDS, CursorLost
from hanse.store.base import Batch, Delete, Emit, Put, Store
from hanse.store.memory import MemoryStore
from hanse.store.query import Compare, Query

from .shop import Order, Shop

T = TypeVar("T")


async def take(items: AsyncIterator[T], count: int) -> list[T]:
    async with closing(items) as opened:
        return [await anext(opened) for _ in range(count)]


def told(item: Followed[Order]) -> str:
    match item:
        case Existing(value=row):
            return f"={row.id}:{row.status}"
        case Created(after=row):
            return f"+{row.id}:{row.status}"
        case Updated(before=old, after=row):
            return f"~{row.id}:{old.status}>{row.status}"
        case Deleted(before=row):
            return f"-{row.id}:{row.status}"
        case Ready():
            return "ready"
        case Reset():
            return "reset"


async def test_a_cursor_that_is_none_is_refused(orders: Collection[Order]) -> None:
    for wrong in ("x", "a.b", ".9" + "9" * 20, "log.\u0663"):
        with pytest.raises(Malformed, match="expected a cursor as this server gave it"):
            await take(orders.changes(after=wrong), 1)


async def test_a_cursor_of_another_log_is_lost(orders: Collection[Order]) -> None:
    with pytest.raises(CursorLost, match=r"does not reach back to other\.0"):
        await take(orders.changes(after="other.0"), 1)


async def test_a_cursor_past_the_end_of_the_log_is_lost(orders: Collection[Order]) -> None:
    """A power cut may take the last commits with it; who saw them has to start anew."""
    name, _, _ = (await orders.cursor()).rpartition(".")
    with pytest.raises(CursorLost):
        await take(orders.changes(after=f"{name}.5"), 1)


async def test_who_follows_with_a_lost_cursor_is_told_to_start_anew(orders: Collection[Order]) -> None:
    await orders.create(Order(id="1", sku="tea"))
    assert [told(item) for item in await take(orders.follow(after="other.0"), 3)] == ["reset", "=1:new", "ready"]


async def test_a_log_that_was_trimmed_does_not_reach_back(orders: Collection[Order], node: Node) -> None:
    start = await orders.cursor()
    for id in ("1", "2"):
        await orders.create(Order(id=id, sku="tea"))
    await node.hosted[0].store.trim(float("inf"), keep_after=1)
    with pytest.raises(CursorLost):
        await take(orders.changes(after=start), 1)
    items = await take(orders.follow(after=start), 4)
    assert [told(item) for item in items] == ["reset", "=1:new", "=2:new", "ready"]


async def test_changes_are_typed_and_resume_after_any_of_them(orders: Collection[Order]) -> None:
    start = await orders.cursor()
    await orders.create(Order(id="1", sku="tea"))
    await orders.patch("1", status="paid")
    await orders.delete("1")
    changes = await take(orders.changes(after=start), 3)
    assert [told(change) for change in changes] == ["+1:new", "~1:new>paid", "-1:paid"]
    for index, change in enumerate(changes[:-1]):
        rest = await take(orders.changes(after=change.cursor), 2 - index)
        assert [told(one) for one in rest] == [told(one) for one in changes[index + 1 :]]


async def test_revisions_in_changes_are_those_of_the_rows(orders: Collection[Order]) -> None:
    start = await orders.cursor()
    first = await orders.create(Order(id="1", sku="tea"))
    second = await orders.patch("1", status="paid")
    created, updated = await take(orders.changes(after=start), 2)
    assert isinstance(created, Created)
    assert isinstance(updated, Updated)
    assert (created.after, updated.before, updated.after) == (first, first, second)
    assert updated.at > 0


async def test_without_a_cursor_changes_begin_now(orders: Collection[Order], shop: Shop) -> None:
    await orders.create(Order(id="1", sku="tea"))
    before = len(listeners(shop))
    async with closing(orders.changes()) as changes, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(next_of(changes))
        while len(listeners(shop)) == before:  # noqa: ASYNC110 - the store tells nobody who listens
            await asyncio.sleep(0)
        await orders.create(Order(id="2", sku="tea"))
        assert told(await first) == "+2:new"


async def next_of(items: AsyncIterator[T]) -> T:
    return await anext(items)


def listeners(shop: Shop) -> Sized:
    """Who waits for commits: both stores keep them in one place."""
    return cast("Sized", getattr(cast("LocalCollection[Order]", shop.orders)._store, "_listeners"))  # noqa: B009


@pytest.mark.virtual_time
@pytest.mark.parametrize("sku", ["rum", "beside"])
async def test_the_cursor_of_a_quiet_feed_moves_on_however_busy_the_log_is(host: Host, sku: str) -> None:
    async with Node(App("shop", Shop), host=host) as node:
        orders, rows = node.collection(Order), node.rows(Order)
        where = Compare("eq", ("sku",), "tea")
        async with closing(rows.follow(where, snapshot=False, caught_up=True)) as lines:
            first = await anext(lines)
            moving = asyncio.gather(anext(lines))
            count = 0
            while not moving.done():
                count += 1
                if sku == "rum":
                    _ = await orders.create(Order(sku=sku))
                else:
                    _ = await node.hosted[0].store.commit(Batch(0.0, (Emit("other", "", b"{}", str(count)),)))
                await asyncio.sleep(1)
                assert count < 3 * QUIET_SECONDS
            [moved] = moving.result()

    assert (first.event, moved.event) == ("ready", "ready")
    assert parts_of(moved.cursor) > parts_of(first.cursor)


async def test_a_filter_is_a_view(orders: Collection[Order]) -> None:
    start = await orders.cursor()
    await orders.create(Order(id="1", sku="tea"))
    await orders.create(Order(id="2", sku="tea", status="paid"))
    await orders.patch("1", status="paid")
    await orders.patch("1", note="x")
    await orders.patch("1", status="sent")
    await orders.patch("1", note="y")
    await orders.delete("1")
    await orders.delete("2")
    changes = await take(orders.changes(lambda o: o.status == "paid", after=start), 5)
    assert [told(change) for change in changes] == ["+2:paid", "+1:paid", "~1:paid>paid", "-1:paid", "-2:paid"]


async def test_a_filtered_snapshot_holds_what_matches(orders: Collection[Order]) -> None:
    await orders.create(Order(id="1", sku="tea"))
    await orders.create(Order(id="2", sku="tea", status="paid"))
    items = await take(orders.follow(lambda o: o.status == "paid"), 2)
    assert [told(item) for item in items] == ["=2:paid", "ready"]


async def test_a_feed_goes_on_where_it_was_after_a_restart(settings: Settings) -> None:
    if settings.node.store == "memory:":
        settings = Settings(node=NodeSettings())
    app = App("shop", Shop)
    async with Node(app, settings) as node:
        orders = node.collection(Order)
        await orders.create(Order(id="1", sku="tea"))
        *_, ready = await take(orders.follow(), 2)
        await orders.patch("1", status="paid")
    assert isinstance(ready, Ready)
    async with Node(app, settings) as node:
        orders = node.collection(Order)
        if settings.node.store == "memory:":
            assert [told(item) for item in await take(orders.follow(after=ready.cursor), 2)] == ["reset", "ready"]
        else:
            await orders.patch("1", status="sent")
            items = await take(orders.follow(after=ready.cursor), 2)
            assert [told(item) for item in items] == ["~1:new>paid", "~1:paid>sent"]


async def test_a_reader_that_leaves_is_forgotten_at_once(orders: Collection[Order], shop: Shop) -> None:
    await orders.create(Order(id="1", sku="tea"))
    before = len(listeners(shop))
    for _ in range(3):
        await take(orders.changes(after=(await orders.cursor()).rpartition(".")[0] + ".0"), 1)
        await take(orders.follow(), 2)
    assert len(listeners(shop)) == before


class Item(Resource):
    status: str = "new"


STATUSES = ("new", "paid")
# What a writer does between two steps of a reader: a row's id and its new status, None to delete it.
Step = tuple[str, str | None]


@dataclass
class Interleaved:
    """A store whose reads are points where the writer of the test goes on."""

    store: MemoryStore
    writes: list[list[Step]] = field(default_factory=list[list[Step]])

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)

    async def find(self, collection: str, query: Query) -> object:
        # Small pages, so that writes come between them.
        await self.write()
        found = await self.store.find(collection, Query(query.where, limit=2, cursor=query.cursor))
        await self.write()
        return found

    async def head(self) -> int:
        await self.write()
        return await self.store.head()

    async def write_all(self) -> None:
        while self.writes:
            await self.write()

    async def write(self) -> None:
        for id, status in self.writes.pop(0) if self.writes else []:
            there = await self.store.load("items", id)
            if status is not None:
                value = b'{"id":"%s","status":"%s"}' % (id.encode(), status.encode())
                await self.store.commit(Batch(0.0, writes=(Put("items", id, value, "m"),)))
            elif there is not None:
                await self.store.commit(Batch(0.0, writes=(Delete("items", id, "m"),)))


STEPS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([*STATUSES, None])), max_size=3)


@given(before=STEPS, writes=st.lists(STEPS, max_size=12), after=STEPS, filtered=st.booleans())
@example(before=[("a", "new")], writes=[[], [("a", "paid"), ("a", None)]], after=[], filtered=False)
@tuned(max_examples=150)
def test_snapshot_then_follow_misses_and_repeats_nothing(
    before: list[Step], writes: list[list[Step]], after: list[Step], *, filtered: bool
) -> None:
    asyncio.run(check_follow([before], writes, [after], filtered=filtered))


async def check_follow(
    before: list[list[Step]], writes: list[list[Step]], after: list[list[Step]], *, filtered: bool
) -> None:
    store = MemoryStore()
    collection = LocalCollection(Item, store)
    await store.open([collection.schema])
    await Interleaved(store, before).write()
    where = Compare("eq", ("status",), "paid") if filtered else None
    reading = Interleaved(store, writes)
    feed = Feed(cast("Store", reading), collection.shape, where, collection.matcher(where))
    known: dict[str, Item] = {}
    async with closing(feed.follow(None)) as items:
        while not apply(await anext(items), known):
            pass
        reading.writes += [*after, [("end", "paid")]]
        await reading.write_all()
        while "end" not in known:
            apply(await anext(items), known)
    rows = [row async for row in collection.scan() if not filtered or row.status == "paid"]
    assert sorted(known.values(), key=lambda row: row.id) == rows


def apply(item: Followed[Item], known: dict[str, Item]) -> bool:
    """Apply what a feed tells as strictly as can be; whether it was the end of the snapshot."""
    match item:
        case Existing(value=row) | Created(after=row):
            assert row.id not in known
            known[row.id] = row
        case Updated(before=before, after=row):
            assert known[row.id].rev <= before.rev < row.rev
            known[row.id] = row
        case Deleted(before=row):
            assert known.pop(row.id).rev <= row.rev
        case Ready():
            return True
        case Reset():
            pytest.fail("nothing was trimmed")
    return False


@pytest.mark.parametrize("count", [1, 3, 4])
async def test_a_feed_that_is_closed_leaves_nothing_to_the_collector_of_garbage(
    orders: Collection[Order], count: int
) -> None:
    for _ in range(2):
        await orders.create(Order(sku="tea"))
    left: list[AsyncGenerator[Any, Any]] = []
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=hooks.firstiter, finalizer=left.append)
    try:
        async with closing(orders.follow()) as items:
            for number in range(count):
                if number == 3:
                    await orders.create(Order(sku="ink"))
                await anext(items)
    finally:
        sys.set_asyncgen_hooks(*hooks)
    for generator in left:
        await generator.aclose()
    assert left == []
