"""What a transport promises while things break: what is under way ends, what comes later goes on by itself."""

from __future__ import annotations

import asyncio

import pytest

from hanse.kernel.faults import DeadlineExceeded, Unavailable, UnknownOperation
from hanse.testing.transport_hooks import TransportHooks, ask, call, fate, read, stream, unheard
from hanse.testing.transport_things import Things
from hanse.transport.base import TellsTrouble

# pytest shows a test's name; a docstring would only repeat it.
# ruff: noqa: D102

CALLS = 100
"""Calls that two instances share: that one gets none of them by chance is as good as impossible."""

WORD_SECONDS = 5.0
"""Time of messages that may be lost where a connection breaks."""


class InstanceTests(TransportHooks):
    """Two instances of one service."""

    async def test_two_instances_share_calls_and_each_is_answered_once(self) -> None:
        async with self.nodes(3) as nodes:
            first, second = await self.instances(nodes)
            bodies = [b"%d" % n for n in range(CALLS)]
            assert await asyncio.gather(*(ask(nodes[0], call("echo", body)) for body in bodies)) == bodies
            assert sorted(message.body for it in (first, second) for message in it.came) == sorted(bodies)
            assert first.came
            assert second.came

    async def test_two_instances_share_streams(self) -> None:
        async with self.nodes(3) as nodes:
            first, second = await self.instances(nodes)
            for _ in range(CALLS):
                assert await read(nodes[0], stream("count", b"2")) == [b"0", b"1"]
            assert first.closed
            assert second.closed
            assert first.closed + second.closed == CALLS

    async def test_calls_go_on_while_an_instance_leaves(self) -> None:
        async with self.nodes(3) as nodes, unheard() as tasks:
            first, _ = await self.instances(nodes)
            asked = [tasks.start(fate(nodes[0], call("echo", b"well"))) for _ in range(CALLS)]
            nodes[1].leave("things")
            fates = await asyncio.gather(*asked)
            # One that was on its way may be told that nobody is there any more; nothing of it has happened then.
            assert all(one == b"well" or isinstance(one, Unavailable) for one in fates)
            await self.settle(nodes)
            came = len(first.came)
            assert await asyncio.gather(*(ask(nodes[0], call("echo", b"well")) for _ in range(CALLS)))
            assert len(first.came) == came

    async def test_cancelling_a_call_reaches_the_instance_that_has_it(self) -> None:
        async with self.nodes(3) as nodes, unheard() as tasks:
            first, second = await self.instances(nodes)
            asked = [tasks.start(ask(nodes[0], call("hold"))) for _ in range(CALLS)]
            await first.until(lambda: first.running + second.running == CALLS)
            for asking in asked:
                _ = asking.cancel()
            await first.until(lambda: len(first.cancelled) + len(second.cancelled) == CALLS)
            assert first.running + second.running == 0


class KillTests(TransportHooks):
    """A node that is killed: nobody says goodbye for it."""

    async def test_what_was_asked_of_a_node_that_is_killed_ends(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            asking = tasks.start(fate(pair.one, call("wait"), limit=self.notice_seconds))
            reading = tasks.start(read(pair.one, stream("hang", b"1"), limit=self.notice_seconds))
            await pair.things.until(lambda: pair.things.running + pair.things.made == len([asking, reading]))
            await self.kill(pair.other)
            assert isinstance(await asking, Unavailable)
            with pytest.raises(Unavailable):
                await reading

    async def test_the_other_instance_takes_over_from_one_that_is_killed(self) -> None:
        async with self.nodes(3) as nodes:
            first, _ = await self.instances(nodes)
            await self.kill(nodes[1])
            for _ in range(CALLS):
                await self.recovered(nodes[0])
            assert [await ask(nodes[0], call("echo", b"well")) for _ in range(CALLS)] == [b"well"] * CALLS
            assert first.came == []

    async def test_who_was_killed_comes_back_as_another(self) -> None:
        async with self.pair() as pair:
            assert await ask(pair.one, call("echo", b"first")) == b"first"
            await self.kill(pair.other)
            assert isinstance(
                await fate(pair.one, call("echo", timeout=WORD_SECONDS)),
                Unavailable | UnknownOperation | DeadlineExceeded,
            )
            async with self.nodes(1) as (again,):
                things = Things()
                await self.listen([pair.one, again], {"things": things.server}, at=again)
                await self.recovered(pair.one)
                assert things.came

    async def test_a_producer_ends_when_its_reader_is_killed(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            _ = tasks.start(read(pair.one, stream("hang", b"1")))
            await pair.things.until(lambda: pair.things.made == 1)
            await self.kill(pair.one)
            await pair.things.until(lambda: pair.things.closed == 1)


class SeverTests(TransportHooks):
    """A connection that breaks."""

    async def test_what_is_under_way_when_a_connection_breaks_ends(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            asking = tasks.start(fate(pair.one, call("hold", timeout=WORD_SECONDS)))
            reading = tasks.start(read(pair.one, stream("hang", b"1", timeout=WORD_SECONDS)))
            await pair.things.until(lambda: pair.things.running + pair.things.made == len([asking, reading]))
            await self.sever(pair.one)
            assert isinstance(await asking, Unavailable | DeadlineExceeded)
            with pytest.raises((Unavailable, DeadlineExceeded)):
                await reading
            await pair.things.until(lambda: pair.things.running == 0 and pair.things.closed == 1)

    async def test_calls_go_on_by_themselves_after_a_connection_broke(self) -> None:
        async with self.pair() as pair:
            for node in (pair.one, pair.other, pair.one):
                await self.sever(node)
                await self.recovered(pair.one)
                assert await read(pair.one, stream("count", b"3")) == [b"0", b"1", b"2"]


class RestartTests(TransportHooks):
    """What lies between the nodes is killed, and comes back."""

    async def test_calls_go_on_by_themselves_after_a_restart(self) -> None:
        async with self.pair() as pair:
            assert await ask(pair.one, call("echo", b"before")) == b"before"
            for _ in range(2):
                await self.restart()
                await self.recovered(pair.one)
                assert await read(pair.one, stream("count", b"3")) == [b"0", b"1", b"2"]

    async def test_what_is_under_way_at_a_restart_ends(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            asking = tasks.start(fate(pair.one, call("hold", timeout=WORD_SECONDS)))
            reading = tasks.start(read(pair.one, stream("hang", b"1", timeout=WORD_SECONDS)))
            await pair.things.until(lambda: pair.things.running + pair.things.made == len([asking, reading]))
            await self.restart()
            assert isinstance(await asking, Unavailable | DeadlineExceeded)
            with pytest.raises((Unavailable, DeadlineExceeded)):
                await reading
            await self.recovered(pair.one)
            await pair.things.until(lambda: pair.things.running == 0)

    async def test_trouble_is_over_after_a_restart(self) -> None:
        async with self.pair() as pair:
            if not isinstance(pair.one, TellsTrouble):
                pytest.skip("the transport does not tell of trouble")
            await self.restart()
            await self.recovered(pair.one)
            assert pair.one.trouble() == ""

    async def test_calls_under_load_through_a_restart_all_end(self) -> None:
        async with self.pair() as pair, unheard() as tasks:
            asked = [tasks.start(fate(pair.one, call("echo", b"well", timeout=WORD_SECONDS))) for _ in range(CALLS)]
            await self.restart()
            asked += [tasks.start(fate(pair.one, call("echo", b"well", timeout=WORD_SECONDS))) for _ in range(CALLS)]
            known = (Unavailable, UnknownOperation, DeadlineExceeded)
            assert all(one == b"well" or isinstance(one, known) for one in await asyncio.gather(*asked))
            await self.recovered(pair.one)
