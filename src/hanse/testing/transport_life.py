"""What a transport promises of its life: opening, listening, leaving, closing."""

from __future__ import annotations

import asyncio

import pytest

from hanse.kernel.closing import closing
from hanse.kernel.faults import Unavailable, UnknownOperation
from hanse.testing.transport_hooks import TransportHooks, ask, call, fate, read, stream, unheard
from hanse.testing.transport_things import WAIT_SECONDS, Things
from hanse.transport.base import TellsTrouble

# pytest shows a test's name; a docstring would only repeat it.
# ruff: noqa: D102

CALLS = 100
"""Calls that are under way while a node closes."""

GONE = (Unavailable, UnknownOperation)
"""What calls come to of a service that was served, and is served no more."""


class LifeTests(TransportHooks):
    """Opening and closing."""

    async def test_a_transport_that_was_never_opened_closes(self) -> None:
        node = await self.join()
        await node.close()
        await node.close()

    async def test_a_closed_transport_says_so_and_closes_again(self) -> None:
        async with self.nodes(1) as (node,):
            node.listen("things", Things().server)
            await node.close()
            with pytest.raises(Unavailable):
                await ask(node, call("echo"))
            with pytest.raises(Unavailable):
                await read(node, stream("count", b"1"))

    async def test_a_closed_transport_leaves_no_task_behind(self) -> None:
        before = asyncio.all_tasks()
        async with self.pair() as pair:
            assert await ask(pair.one, call("echo", b"tea")) == b"tea"
            async with closing(pair.one.stream(stream("hang", b"1"))) as replies:
                assert (await anext(replies)).body == b"0"
            await pair.things.until(lambda: pair.things.closed == 1)
        await asyncio.sleep(0)  # whoever has just ended is rid of in the next turn
        assert asyncio.all_tasks() - before == set()

    async def test_an_open_transport_is_in_no_trouble_and_a_closed_one_is(self) -> None:
        async with self.nodes(1) as (node,):
            if not isinstance(node, TellsTrouble):
                pytest.skip("the transport does not tell of trouble")
            assert node.trouble() == ""
            await node.close()
            assert node.trouble()

    async def test_closing_ends_what_the_node_asked_for(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            self.apart(pair.one)
            asking = tasks.start(fate(pair.one, call("wait")))
            reading = tasks.start(read(pair.one, stream("hang", b"1")))
            await pair.things.until(lambda: pair.things.running + pair.things.made == len([asking, reading]))
            await pair.one.close()
            assert isinstance(await asking, Unavailable)
            with pytest.raises(Unavailable):
                await reading

    async def test_closing_ends_what_the_node_was_asked_for(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            self.apart(pair.one)
            asking = tasks.start(fate(pair.one, call("wait")))
            reading = tasks.start(read(pair.one, stream("hang", b"1")))
            await pair.things.until(lambda: pair.things.running + pair.things.made == len([asking, reading]))
            await pair.other.close()
            assert isinstance(await asking, Unavailable)
            with pytest.raises(Unavailable):
                await reading

    async def test_closing_under_load_leaves_no_call_without_an_end(self) -> None:
        for which in (0, 1):
            async with self.pair() as pair, unheard() as tasks:
                self.apart(pair.one)
                asked = [tasks.start(fate(pair.one, call("echo", b"well"))) for _ in range(CALLS)]
                await pair.things.begun()
                await (pair.one, pair.other)[which].close()
                assert all(end == b"well" or isinstance(end, GONE) for end in await asyncio.gather(*asked))

    async def test_what_is_left_when_a_node_closes_goes_on(self) -> None:
        async with self.nodes(3) as (one, other, third):
            things, more = Things(), Things("more")
            await self.listen([one, other, third], {"things": things.server}, at=other)
            await self.listen([one, other, third], {"more": more.server}, at=third)
            third.leave("more")
            await third.close()
            await self.settle([one, other])
            assert await ask(one, call("echo", b"well")) == b"well"
            assert isinstance(await fate(one, call("more.echo")), GONE)


class ListenTests(TransportHooks):
    """Who serves what, from when to when."""

    async def test_who_leaves_gets_no_new_calls(self) -> None:
        async with self.pair() as pair:
            pair.other.leave("things")
            await self.settle([pair.one, pair.other])
            assert isinstance(await fate(pair.one, call("echo")), GONE)
            with pytest.raises(GONE):
                await read(pair.one, stream("count", b"1"))
            assert pair.things.came == []

    async def test_what_is_under_way_when_a_service_leaves_goes_on(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            asking = tasks.start(ask(pair.one, call("wait", b"in")))
            await pair.things.until(lambda: pair.things.running == 1)
            async with closing(pair.one.stream(stream("count", b"2000"))) as replies:
                assert (await anext(replies)).body == b"0"
                pair.other.leave("things")
                await self.settle([pair.one, pair.other])
                pair.things.gate.set()
                assert await asking == b"in"
                async with asyncio.timeout(WAIT_SECONDS):
                    assert len([reply async for reply in replies]) == int(b"2000")

    async def test_who_listens_again_is_asked_again(self) -> None:
        async with self.pair() as pair:
            nodes = [pair.one, pair.other]
            for _ in range(3):
                pair.other.leave("things")
                await self.settle(nodes)
                await self.listen(nodes, {"things": pair.things.server}, at=pair.other)
                assert await ask(pair.one, call("echo", b"back")) == b"back"

    async def test_a_node_that_comes_later_finds_what_is_served(self) -> None:
        async with self.pair() as pair, self.nodes(1) as (late,):
            await self.settle([pair.one, pair.other, late])
            assert await ask(late, call("echo", b"found")) == b"found"
            assert await read(late, stream("count", b"2")) == [b"0", b"1"]

    async def test_a_service_that_comes_after_it_was_asked_for_is_found(self) -> None:
        async with self.pair() as pair:
            assert isinstance(await fate(pair.one, call("more.echo")), UnknownOperation)
            await self.listen([pair.one, pair.other], {"more": Things("more").server}, at=pair.other)
            assert await ask(pair.one, call("more.echo", b"found")) == b"found"

    async def test_leaving_one_service_leaves_the_others(self) -> None:
        async with self.pair() as pair:
            more = Things("more")
            await self.listen([pair.one, pair.other], {"more": more.server}, at=pair.other)
            pair.other.leave("things")
            pair.other.leave("never served")
            await self.settle([pair.one, pair.other])
            assert await ask(pair.one, call("more.echo", b"well")) == b"well"

    async def test_a_service_moves_from_node_to_node(self) -> None:
        async with self.pair() as pair:
            nodes = [pair.one, pair.other]
            pair.other.leave("things")
            await self.settle(nodes)
            there = Things()
            await self.listen(nodes, {"things": there.server}, at=pair.one)
            assert await ask(pair.other, call("echo", b"moved")) == b"moved"
            assert (len(there.came), pair.things.came) == (1, [])
