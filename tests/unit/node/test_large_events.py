"""An event that no message can hold is refused where it is emitted, and nothing of its unit of work is done."""

import pytest

from hanse import App, Collection, Event, Node, Resource, Service, on, rpc
from hanse.delivery.outbox import Topic, message_of, taken
from hanse.kernel.codec import encode
from hanse.kernel.faults import TooLarge
from hanse.kernel.message import Headers
from hanse.service.service import ENTRY_BYTES
from hanse.transport.base import Features
from hanse.transport.memory import MemoryTransport

pytestmark = pytest.mark.virtual_time

LIMIT = 20_000
TOLD = Headers(tags={"booking": "ABC123" * 100}, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")


class Drawn(Event):
    picture: str


class Sheet(Resource):
    size: int


class Studio(Service, events=(Drawn,)):
    sheets: Collection[Sheet]

    @rpc
    async def draw(self, sizes: list[int]) -> None:
        for size in sizes:
            await self.sheets.create(Sheet(size=size))
        await self.emit(*(Drawn(picture="x" * size) for size in sizes))


class Shown(Resource):
    size: int


class Gallery(Service):
    shown: Collection[Shown]

    @on(Drawn)
    async def show(self, drawn: Drawn) -> None:
        await self.shown.create(Shown(size=len(drawn.picture)))


def node(limit: int = LIMIT) -> Node:
    transport = MemoryTransport()
    transport.features = Features(durable=False, balances=False, local=True, bytes_max=limit)
    return Node(App("art", Studio, Gallery), transport=transport)


async def test_the_caller_is_told_and_nothing_is_written() -> None:
    async with node() as served:
        with pytest.raises(TooLarge, match="the event 'drawn' is over its limit of 20000 bytes with its context"):
            await served.client(Studio).draw([10, LIMIT])
        await served.settle()
        assert [one async for one in served.collection(Sheet).scan()] == []
        assert [one async for one in served.collection(Shown).scan()] == []


async def test_one_that_fits_is_told() -> None:
    async with node() as served:
        await served.client(Studio).draw([10, LIMIT // 2])
        await served.settle()
        assert {one.size async for one in served.collection(Shown).scan()} == {10, LIMIT // 2}


async def test_without_a_limit_any_is_told() -> None:
    async with node(0) as served:
        await served.client(Studio).draw([LIMIT])
        await served.settle()
        assert {one.size async for one in served.collection(Shown).scan()} == {LIMIT}


async def test_the_largest_that_is_taken_fits_in_a_message_with_its_context() -> None:
    largest = LIMIT - ENTRY_BYTES - len(encode(TOLD)) - len('{"picture":""}')
    async with node() as served:
        with served.context(TOLD):
            await served.client(Studio).draw([largest])
            with pytest.raises(TooLarge):
                await served.client(Studio).draw([largest + ENTRY_BYTES])
        topic = Topic("drawn", emitted=True, address="on/gallery.show.handle")
        changes = await served.hosted[0].store.changes(0, limit=100, names=["drawn"])
        [entry] = [one for one in changes.entries if one.name == "drawn"]
        assert LIMIT - ENTRY_BYTES < len(message_of(taken(entry, topic), 30.0).body) <= LIMIT
