"""What a transport promises of streams: in order, no faster than they are taken, and over when either side says so."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from hanse.kernel.closing import closing
from hanse.kernel.faults import DeadlineExceeded, NotFound
from hanse.kernel.message import Kind
from hanse.testing.transport_hooks import TransportHooks, ask, call, read, stream, unheard
from hanse.testing.transport_things import WAIT_SECONDS
from hanse.transport.base import Transport

# pytest shows a test's name; a docstring would only repeat it.
# ruff: noqa: D102

ENDLESS = b"200000"
"""Items of a stream that nobody reads to its end; not so many that who runs ahead never comes to the end of them."""

ROUNDS = 100
"""Calls that are made while a stream is not read: by then, one that knows no limit has run far ahead."""

ENDED_SECONDS = 0.2
"""Time of streams that are meant to run out of it."""


class StreamTests(TransportHooks):
    """Items, and the end."""

    async def test_items_come_in_order_and_then_the_end(self) -> None:
        async with self.pair() as pair:
            assert await read(pair.one, stream("count", b"100")) == [b"%d" % n for n in range(100)]
            assert pair.things.closed == 1

    async def test_a_stream_may_be_empty(self) -> None:
        async with self.pair() as pair:
            assert await read(pair.one, stream("count", b"0")) == []

    async def test_a_stream_may_be_long(self) -> None:
        async with self.pair() as pair:
            number = 3 * self.ahead_max
            assert await read(pair.one, stream("count", b"%d" % number)) == [b"%d" % n for n in range(number)]

    async def test_items_come_as_they_are_made(self) -> None:
        async with self.pair() as pair, closing(pair.one.stream(stream("hang", b"3"))) as replies:
            async with asyncio.timeout(WAIT_SECONDS):
                # The producer has nothing more, and does not end: who would gather items would gather for ever.
                assert [(await anext(replies)).body for _ in range(3)] == [b"0", b"1", b"2"]

    async def test_streams_at_once_have_each_their_own_items(self) -> None:
        async with self.pair() as pair:
            sizes = range(0, 200, 10)
            got = await asyncio.gather(*(read(pair.one, stream("count", b"%d" % size)) for size in sizes))
            assert got == [[b"%d" % n for n in range(size)] for size in sizes]

    async def test_many_streams_are_open_at_once(self) -> None:
        async with self.pair() as pair, AsyncExitStack() as opened:
            replies = [pair.one.stream(stream("hang", b"1")) for _ in range(ROUNDS)]
            for one in replies:
                _ = await opened.enter_async_context(closing(one))
                assert (await anext(one)).body == b"0"
            assert await ask(pair.one, call("echo", b"well")) == b"well"
            await opened.aclose()
            await pair.things.until(lambda: pair.things.closed == ROUNDS)

    async def test_a_fault_amid_a_stream_comes_after_the_items_before_it(self) -> None:
        async with self.pair() as pair:
            items: list[bytes] = []
            with pytest.raises(NotFound, match="there is no tea 'green'"):
                await read(pair.one, stream("snap", b"5"), items)
            assert items == [b"0", b"1", b"2", b"3", b"4"]
            await pair.things.until(lambda: pair.things.closed == 1)

    async def test_a_stream_ends_at_its_deadline(self) -> None:
        async with self.pair() as pair:
            items: list[bytes] = []
            # So that a connection stands: to make one takes its part of a deadline.
            assert await ask(pair.one, call("echo", b"first")) == b"first"
            with pytest.raises(DeadlineExceeded, match=r"things\.hang"):
                await read(pair.one, stream("hang", b"2", timeout=ENDED_SECONDS), items)
            assert items == [b"0", b"1"]
            await pair.things.until(lambda: pair.things.closed == 1)

    async def test_a_node_streams_from_itself(self) -> None:
        async with self.pair() as pair:
            assert await read(pair.other, stream("count", b"3")) == [b"0", b"1", b"2"]


class PaceTests(TransportHooks):
    """Readers who take their time, and readers who have enough."""

    async def test_a_producer_is_not_far_ahead_of_its_reader(self) -> None:
        async with self.pair() as pair, closing(pair.one.stream(stream("count", ENDLESS))) as replies:
            assert (await anext(replies)).body == b"0"
            await _meanwhile(pair.one)
            assert pair.things.made <= self.ahead_max + 1
            async with asyncio.timeout(WAIT_SECONDS):
                taken = [(await anext(replies)).body for _ in range(2 * self.ahead_max)]
            assert taken == [b"%d" % n for n in range(1, 2 * self.ahead_max + 1)]
            assert pair.things.made <= 3 * self.ahead_max + 1

    async def test_a_slow_reader_holds_up_no_calls_and_no_streams(self) -> None:
        async with self.pair() as pair, closing(pair.one.stream(stream("count", ENDLESS))) as replies:
            assert (await anext(replies)).body == b"0"
            assert await ask(pair.one, call("echo", b"well")) == b"well"
            assert len(await read(pair.one, stream("count", b"1000"))) == int(b"1000")
            assert (await anext(replies)).body == b"1"

    async def test_closing_a_stream_early_reaches_its_producer(self) -> None:
        async with self.pair() as pair:
            async with closing(pair.one.stream(stream("hang", b"3"))) as replies:
                assert (await anext(replies)).body == b"0"
                assert pair.things.closed == 0
            await pair.things.until(lambda: pair.things.closed == 1)
            assert await ask(pair.one, call("echo", b"well")) == b"well"

    async def test_closing_a_stream_reaches_a_producer_that_waits_for_its_reader(self) -> None:
        async with self.pair() as pair:
            async with closing(pair.one.stream(stream("count", ENDLESS))) as replies:
                assert (await anext(replies)).kind is Kind.ITEM
                await _meanwhile(pair.one)
            await pair.things.until(lambda: pair.things.closed == 1)

    async def test_cancelling_a_reader_reaches_its_producer(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            items: list[bytes] = []
            reading = tasks.start(read(pair.one, stream("hang", b"3"), items))
            await pair.things.until(lambda: pair.things.made == int(b"3"))
            _ = reading.cancel()
            await pair.things.until(lambda: pair.things.closed == 1)
            assert await ask(pair.one, call("echo", b"well")) == b"well"

    async def test_a_stream_that_is_closed_leaves_others_alone(self) -> None:
        async with self.pair() as pair, closing(pair.one.stream(stream("count", b"500"))) as others:
            assert (await anext(others)).body == b"0"
            for _ in range(ROUNDS):
                async with closing(pair.one.stream(stream("count", ENDLESS))) as replies:
                    assert (await anext(replies)).body == b"0"
            await pair.things.until(lambda: pair.things.closed == ROUNDS)
            rest = [reply.body async for reply in others if reply.kind is Kind.ITEM]
            assert rest == [b"%d" % n for n in range(1, 500)]


async def _meanwhile(node: Transport) -> None:
    """Let time pass for whoever would use it: by as many calls, and as many turns of the loop."""
    for _ in range(ROUNDS):
        _ = await ask(node, call("echo"))
        await asyncio.sleep(0)
