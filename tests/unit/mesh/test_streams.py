"""Streams: no faster than they are read, ended where their reader ends, and with the node."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from hanse.kernel.closing import closing
from hanse.kernel.context import current
from hanse.kernel.faults import (
    BrokenContract,
    DeadlineExceeded,
    Internal,
    Unavailable,
)
from hanse.kernel.host import Host
from hanse.kernel.settings import Settings
from hanse.mesh.client import policy
from hanse.node.app import App
from hanse.node.node import Node

from .back import Back, FrontDoor, OutOfStock, stream


async def test_a_stream_is_no_faster_than_its_reader(back: Back) -> None:
    async def count(self: Back) -> AsyncIterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    made: list[int] = []
    async with closing(back.watch(stream(count))) as items:
        assert [await anext(items) for _ in range(3)] == made == [0, 1, 2]


async def test_a_stream_that_is_left_early_runs_the_handlers_finally_in_its_context(back: Back) -> None:
    async def watch(self: Back) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            ended.append(current().operation)

    ended: list[str] = []
    async with closing(back.watch(stream(watch))) as items:
        assert await anext(items) == 1
    assert ended == ["back.watch"]


async def test_a_fault_in_the_middle_of_a_stream_arrives_after_the_items(back: Back) -> None:
    async def watch(self: Back) -> AsyncIterator[int]:
        yield 1
        raise OutOfStock("tea", 0)

    items = back.watch(stream(watch))
    assert await anext(items) == 1
    with pytest.raises(OutOfStock):
        await anext(items)


async def test_an_error_in_a_stream_stays_inside(back: Back) -> None:
    async def watch(self: Back) -> AsyncIterator[int]:
        yield 1
        raise ValueError("secret")

    with pytest.raises(Internal):
        assert [item async for item in back.watch(stream(watch))] == []


async def test_an_item_that_breaks_the_contract_is_told_so(back: Back) -> None:
    async def watch(self: Back) -> AsyncIterator[int]:
        yield cast("Any", "one")

    with pytest.raises(BrokenContract, match=r"back\.watch broke its contract"):
        await anext(back.watch(stream(watch)))


async def test_a_stream_ends(back: Back) -> None:
    async def watch(self: Back) -> AsyncIterator[int]:
        yield 1
        yield 2

    assert [item async for item in back.watch(stream(watch))] == [1, 2]


@pytest.mark.virtual_time
async def test_a_stream_ends_at_the_deadline_that_its_reader_set(back: Back) -> None:
    async def tick(self: Back) -> AsyncIterator[int]:
        for number in range(100):
            await asyncio.sleep(1)
            yield number

    async def burst(self: Back) -> AsyncIterator[int]:
        while True:
            yield 1

    async def times_out(self: Back) -> AsyncIterator[int]:
        raise TimeoutError
        yield 1

    seen: list[int] = []
    with pytest.raises(DeadlineExceeded, match=r"back\.watch"):  # noqa: PT012 - what came before it is the point
        async for item in policy(back, timeout="3500ms").watch(stream(tick)):
            seen.append(item)  # noqa: PERF401
    assert seen == [0, 1, 2]
    items = policy(back, timeout="1s").watch(stream(burst))
    assert await anext(items) == 1
    await asyncio.sleep(2)
    with pytest.raises(DeadlineExceeded):
        await anext(items)
    with pytest.raises(Internal):
        await anext(policy(back, timeout="1s").watch(stream(times_out)))


async def test_streams_end_with_the_node(settings: Settings, host: Host) -> None:
    async def silent(self: Back) -> AsyncIterator[int]:
        yield 1
        await asyncio.Event().wait()

    async def read(items: AsyncIterator[int]) -> None:
        with pytest.raises(Unavailable, match="this node is stopping; go on elsewhere"):
            await anext(items)

    node = Node(App("shop", Back, FrontDoor), settings, host=host)
    await node.start()
    reading, idle = (node.client(Back).watch(stream(silent)) for _ in range(2))
    assert (await anext(reading), await anext(idle)) == (1, 1)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(read(reading))
        await asyncio.sleep(0)
        await node.stop()
        await task
    with pytest.raises(Unavailable):
        await anext(idle)
