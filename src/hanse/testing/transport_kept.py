"""What a transport promises that keeps events by itself: see `hanse.transport.base.Keeps` and `Backlog`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

import pytest

from hanse.kernel.faults import TooLarge, Unavailable
from hanse.kernel.message import EVENT, Headers, Identity, Message
from hanse.testing.transport_hooks import POLL_SECONDS, RECOVER_SECONDS, TransportHooks, unheard
from hanse.testing.transport_things import WAIT_SECONDS
from hanse.transport.base import Backlog, Keeps, Kept, TellsLeft, Transport

# pytest shows a test's name; a docstring would only repeat it.
# ruff: noqa: D102

TOPIC = "order_placed"
GROUP = "mailer.receipt"

SOME = 20
"""Events of tests in which their number does not matter."""

MANY = 2_500
"""Events that are published at once: more than any broker takes in one piece."""

PIECE = 100
"""Events that are taken at once at most."""

_ids = map("event-%d".__mod__, itertools.count(1))


def event(topic: str = TOPIC, body: bytes = b"", id: str = "") -> Message:
    """An event, as a service publishes it."""
    return Message(EVENT, id or next(_ids), topic, 0.0, Headers(type=topic), body)


def events(count: int = SOME, topic: str = TOPIC) -> list[Message]:
    """Some events, each with its number as its body."""
    return [event(topic, b"%d" % n) for n in range(count)]


def ids_of(kept: Sequence[Kept | Message]) -> list[str]:
    """What they are called."""
    return [one.message.id if isinstance(one, Kept) else one.id for one in kept]


async def published(node: Keeps, messages: Sequence[Message], *, limit: float = RECOVER_SECONDS) -> None:
    """Publish until it is known that all are kept, as a publisher does."""
    async with asyncio.timeout(limit):
        while True:
            try:
                return await node.publish(messages)
            except Unavailable:
                await asyncio.sleep(POLL_SECONDS)  # nothing tells when it would be taken


async def opened(node: Keeps, group: str = GROUP, topics: Sequence[str] = (TOPIC,)) -> Backlog:
    """Open a backlog, and try again until that is done."""
    async with asyncio.timeout(RECOVER_SECONDS):
        while True:
            try:
                return await node.subscribe(group, topics)
            except Unavailable:
                await asyncio.sleep(POLL_SECONDS)  # nothing tells when it could be


@asynccontextmanager
async def subscribed(node: Keeps, group: str = GROUP, topics: Sequence[str] = (TOPIC,)) -> AsyncGenerator[Backlog]:
    """A backlog, closed in the end."""
    backlog = await opened(node, group, topics)
    try:
        yield backlog
    finally:
        await backlog.close()


async def taken(backlog: Backlog, count: int, *, limit: float = WAIT_SECONDS) -> list[Kept]:
    """So many events of a backlog, taken as they come."""
    got: list[Kept] = []
    async with asyncio.timeout(limit):
        while len(got) < count:
            piece = await backlog.take(min(PIECE, count - len(got)))
            assert 0 < len(piece) <= count - len(got)
            got += piece
    numbers = [kept.number for kept in got]
    assert numbers == sorted(set(numbers))
    return got


async def handled(backlog: Backlog, count: int, *, limit: float = WAIT_SECONDS) -> list[str]:
    """Take so many events and acknowledge each; which those were."""
    got = await taken(backlog, count, limit=limit)
    for kept in got:
        backlog.done(kept)
    return ids_of(got)


async def all_of(node: Keeps, wanted: set[str], *, group: str = GROUP) -> list[str]:
    """Handle events until these have come, opening the backlog again where it is lost; which those were, in order."""
    got: list[str] = []
    async with asyncio.timeout(RECOVER_SECONDS):
        while not wanted <= set(got):
            async with subscribed(node, group) as backlog:
                try:
                    while not wanted <= set(got):
                        for kept in await backlog.take(PIECE):
                            got.append(kept.message.id)
                            backlog.done(kept)
                except Unavailable:
                    await asyncio.sleep(POLL_SECONDS)  # it is closed, and opened again
    return got


def first_times(ids: Sequence[str]) -> list[str]:
    """Without those that came before."""
    return list(dict.fromkeys(ids))


class KeepingHooks(TransportHooks):
    """Nodes of a transport that keeps events; of others there is nothing to be tested."""

    @asynccontextmanager
    async def keepers(self, number: int = 1) -> AsyncGenerator[list[Keeps]]:
        """So many open nodes that keep events."""
        async with self.nodes(number) as nodes:
            if not nodes[0].features.durable:
                pytest.skip("the transport's features say that it keeps no events")
            assert all(isinstance(node, Keeps) for node in nodes)
            yield [cast("Keeps", node) for node in nodes]

    async def killed(self, node: Keeps) -> None:
        """Kill a node that keeps events."""
        await self.kill(cast("Transport", node))

    async def severed(self, node: Keeps) -> None:
        """Break the connections of one."""
        await self.sever(cast("Transport", node))


class KeptTests(KeepingHooks):
    """What is published and what comes of it."""

    async def test_events_come_in_the_order_in_which_they_were_published(self) -> None:
        async with self.keepers() as (node,), subscribed(node) as backlog:
            first, second = events(), events()
            await node.publish(first)
            await node.publish(second)
            assert await handled(backlog, 2 * SOME) == ids_of(first + second)

    async def test_an_event_comes_as_it_was_published(self) -> None:
        async with self.keepers() as (node,), subscribed(node) as backlog:
            headers = Headers(
                type=TOPIC,
                tags={"booking_ref": "Ä 1"},
                identity=Identity("ada", scopes=frozenset({"orders:write"})),
                causation_id="m1",
                extra={"x": "\r\ny"},
            )
            message = Message(EVENT, "Grüße\r\n€", TOPIC, 0.0, headers, bytes(range(256)))
            await node.publish([message])
            [kept] = await taken(backlog, 1)
            assert kept.message == message

    async def test_an_event_that_is_published_again_is_kept_once_at_its_first_place(self) -> None:
        async with self.keepers() as (node,), subscribed(node) as backlog:
            first, second = events(), events()
            await node.publish(first)
            await node.publish(first)
            await node.publish([*first[SOME // 2 :], *second])
            await node.publish([*first, *second, last := event()])
            assert await handled(backlog, 2 * SOME + 1) == [*ids_of(first + second), last.id]

    async def test_nodes_publish_side_by_side_and_each_keeps_its_order(self) -> None:
        async with self.keepers(2) as (one, other), subscribed(one) as backlog:
            first, second = events(), events()
            async with asyncio.TaskGroup() as group:
                for node, messages in ((one, first), (other, second)):
                    _ = group.create_task(_in_pieces(node, messages))
            got = await handled(backlog, 2 * SOME)
            assert [id for id in got if id in set(ids_of(first))] == ids_of(first)
            assert [id for id in got if id in set(ids_of(second))] == ids_of(second)

    async def test_many_events_may_be_published_at_once(self) -> None:
        async with self.keepers() as (node,), subscribed(node) as backlog:
            await node.publish([])
            await node.publish(many := events(MANY))
            assert await handled(backlog, MANY, limit=RECOVER_SECONDS) == ids_of(many)

    async def test_an_event_that_is_too_large_is_refused_and_none_beside_it_is_kept(self) -> None:
        async with self.keepers() as (node,), subscribed(node) as backlog:
            largest = cast("Transport", node).features.bytes_max
            if not largest:
                pytest.skip("the transport's features name no limit")
            with pytest.raises(TooLarge):
                await node.publish([event(), event(body=bytes(largest + 1))])
            await node.publish([last := event(body=bytes(largest))])
            [kept] = await taken(backlog, 1)
            assert kept.message == last

    async def test_a_group_is_handed_only_its_topics_whatever_they_are_called(self) -> None:
        topics = ["a.b", "a", "a.b.c", "*", ">", "Grüße an alle", "x" * 200, TOPIC]
        async with self.keepers() as (node,):
            await node.publish(sent := [event(topic) for topic in topics])
            for message, topic in zip(sent, topics, strict=True):
                async with subscribed(node, f"of {topic}*>.\t/\\", [topic]) as backlog:
                    assert await handled(backlog, 1) == [message.id]
            async with subscribed(node, "two", topics[:2]) as backlog:
                assert await handled(backlog, 2) == ids_of(sent[:2])

    async def test_topics_are_replaced_by_those_that_are_wanted_later(self) -> None:
        async with self.keepers() as (node,):
            await node.publish([before := event("old")])
            async with subscribed(node, GROUP, ["old"]) as backlog:
                assert await handled(backlog, 1) == [before.id]
            async with subscribed(node, GROUP, ["new"]) as backlog:
                await node.publish([event("old"), after := event("new")])
                assert await handled(backlog, 1) == [after.id]


class BacklogTests(KeepingHooks):
    """What one group is handed."""

    async def test_a_new_group_begins_with_the_oldest_event(self) -> None:
        async with self.keepers() as (node,):
            await node.publish(before := events())
            async with subscribed(node) as backlog:
                assert await handled(backlog, SOME) == ids_of(before)

    async def test_each_group_is_handed_every_event(self) -> None:
        async with self.keepers(2) as (one, other):
            await one.publish(sent := events())
            async with subscribed(one, "first") as first, subscribed(other, "second") as second:
                assert await handled(first, SOME) == ids_of(sent)
                assert await handled(second, SOME) == ids_of(sent)

    async def test_a_group_goes_on_where_it_was(self) -> None:
        async with self.keepers(2) as (one, other):
            await one.publish(sent := events())
            async with subscribed(one) as backlog:
                assert await handled(backlog, SOME // 2) == ids_of(sent[: SOME // 2])
            async with subscribed(other) as backlog:
                assert await handled(backlog, SOME // 2) == ids_of(sent[SOME // 2 :])

    async def test_what_was_not_acknowledged_comes_again_first_and_in_order(self) -> None:
        async with self.keepers() as (node,):
            await node.publish(sent := events())
            async with subscribed(node) as backlog:
                for kept in reversed(await taken(backlog, SOME)):
                    # Acknowledged from the last, and not all: the rest comes again, and nothing else of them.
                    if kept.message.body[-1:] in b"13579":
                        backlog.done(kept)
            await node.publish(later := events(3))
            async with subscribed(node) as backlog:
                assert await handled(backlog, SOME // 2 + 3) == [*ids_of(sent[::2]), *ids_of(later)]

    async def test_whoever_takes_waits_until_there_is_something(self) -> None:
        async with self.keepers() as (node,), subscribed(node) as backlog, unheard() as tasks:
            taking = tasks.start(backlog.take(PIECE))
            await node.publish([event("else")])
            assert not taking.done()
            await node.publish([message := event()])
            async with asyncio.timeout(WAIT_SECONDS):
                assert ids_of(await taking) == [message.id]

    async def test_giving_up_waiting_loses_nothing(self) -> None:
        async with self.keepers() as (node,), subscribed(node) as backlog, unheard() as tasks:
            for _ in range(3):
                taking = tasks.start(backlog.take(PIECE))
                await asyncio.sleep(0)
                taking.cancel()
                _ = await asyncio.wait([taking])
            await node.publish(sent := events())
            assert await handled(backlog, SOME) == ids_of(sent)

    async def test_one_at_a_time_is_handed_what_comes(self) -> None:
        async with self.keepers(2) as (one, other), unheard() as tasks:
            await one.publish(first := events())
            async with AsyncExitStack() as open_ones:
                backlog = await open_ones.enter_async_context(subscribed(one))
                assert await handled(backlog, SOME) == ids_of(first)
                # Not before: nothing says which of two has the first turn.
                waiting = await open_ones.enter_async_context(subscribed(other))
                here = tasks.start(handled(backlog, SOME))
                there = tasks.start(handled(waiting, SOME))
                await asyncio.sleep(0)
                await one.publish(second := events())
                async with asyncio.timeout(WAIT_SECONDS):
                    assert await here == ids_of(second)
                assert not there.done()
                await one.publish(third := events())
                await backlog.close()
                async with asyncio.timeout(WAIT_SECONDS):
                    assert await there == ids_of(third)

    async def test_how_much_is_left_is_told_whoever_is_handed_it(self) -> None:
        async with self.keepers(2) as (one, other), subscribed(one) as backlog:
            if not isinstance(backlog, TellsLeft):
                pytest.skip("what the transport keeps for a group it cannot count")
            await _told(backlog, 0)
            await one.publish(events())
            await _told(backlog, SOME)
            got = await taken(backlog, SOME)
            async with subscribed(other) as waiting:
                for kept in got[1:]:
                    backlog.done(kept)
                await one.publish(events(2))
                assert isinstance(waiting, TellsLeft)
                await _told(backlog, 1 + 2)
                await _told(waiting, 1 + 2)
                for kept in [got[0], *await taken(backlog, 2)]:
                    backlog.done(kept)
                await _told(waiting, 0)

    async def test_a_backlog_may_be_closed_again_and_hands_out_nothing_then(self) -> None:
        async with self.keepers() as (node,):
            backlog = await opened(node)
            await node.publish(events())
            [kept, *_] = await taken(backlog, 2)
            await backlog.close()
            backlog.done(kept)
            await backlog.close()
            with pytest.raises(Unavailable):
                _ = await backlog.take(1)

    async def test_who_waits_is_told_when_the_node_is_closed(self) -> None:
        async with self.keepers(2) as (one, other), unheard() as tasks:
            await one.publish([event()])
            backlog = await opened(one)
            _ = await handled(backlog, 1)
            waiting = await opened(other)
            taking = [tasks.start(backlog.take(1)), tasks.start(waiting.take(1))]
            await asyncio.sleep(0)
            for node in (other, one):
                await cast("Transport", node).close()
            async with asyncio.timeout(WAIT_SECONDS):
                _ = await asyncio.wait(taking)
            assert all(isinstance(task.exception(), Unavailable) for task in taking)


class KeptThroughTests(KeepingHooks):
    """What is kept while things break: nothing is lost, and what comes again comes in order."""

    async def test_who_takes_over_from_one_that_was_killed_is_handed_the_rest_in_order(self) -> None:
        async with self.keepers(3) as (one, other, third), unheard() as tasks:
            await third.publish(sent := events())
            backlog = await opened(one)
            got = await taken(backlog, SOME)
            waiting = await opened(other)
            backlog.done(got[0])
            taking = tasks.start(taken(waiting, SOME - 1 + 3))
            await self.killed(one)
            await third.publish(later := events(3))
            async with asyncio.timeout(WAIT_SECONDS):
                again = ids_of(await taking)
            # The acknowledgement may have been lost with the one that was killed.
            expected = ids_of(sent + later)
            assert again in (expected[: len(again)], expected[1:])
            await waiting.close()
            await backlog.close()

    async def test_the_rest_comes_again_in_order_after_a_connection_broke(self) -> None:
        async with self.keepers(2) as (one, other):
            await other.publish(sent := events())
            backlog = await opened(one)
            got = await handled(backlog, SOME // 2)
            await self.severed(one)
            await published(one, sent)
            try:
                got += ids_of(await taken(backlog, SOME // 2))
            except Unavailable:
                await backlog.close()
                got += await all_of(one, set(ids_of(sent[SOME // 2 :])))
            finally:
                await backlog.close()
            assert first_times(got) == ids_of(sent)

    async def test_nothing_is_lost_when_the_broker_is_killed(self) -> None:
        async with self.keepers(2) as (one, other):
            await one.publish(before := events(MANY))
            async with subscribed(other) as backlog:
                assert await handled(backlog, SOME) == ids_of(before[:SOME])
            await self.restart()
            await published(one, after := events())
            got = await all_of(other, set(ids_of(before[SOME:] + after)))
            assert got == ids_of(before[SOME:] + after)

    async def test_what_is_published_while_the_broker_is_killed_is_kept_once_and_in_order(self) -> None:
        async with self.keepers(2) as (one, other), unheard() as tasks:
            sent = events(MANY)
            publishing = tasks.start(_in_pieces(one, sent))
            handling = tasks.start(all_of(other, set(ids_of(sent))))
            await self.restart()
            await publishing
            assert first_times(await handling) == ids_of(sent)
            # Kept once: a group that begins now is handed each of them once.
            assert await all_of(one, set(ids_of(sent)), group="late") == ids_of(sent)


async def _told(backlog: TellsLeft, count: int) -> None:
    """Return once so many events are left: an acknowledgement is on its way for a while."""
    left = -1
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                left = await backlog.left()
                if left == count:
                    return
                await asyncio.sleep(POLL_SECONDS)  # nothing tells when it would be so
    except TimeoutError:
        raise AssertionError(f"expected that {count} events are left, got {left}") from None


async def _in_pieces(node: Keeps, messages: Sequence[Message]) -> None:
    """Publish one piece after the other, each until it is known to be kept."""
    for start in range(0, len(messages), PIECE):
        await published(node, messages[start : start + PIECE])
