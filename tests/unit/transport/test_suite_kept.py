"""The part of the suite that is about events: it passes on what keeps them in memory, and it can fail."""

import asyncio
from collections.abc import Sequence

import pytest

from hanse.kernel.faults import Unavailable
from hanse.kernel.message import NO_HEADERS, Message
from hanse.testing.transport_kept import BacklogTests, KeptTests, KeptThroughTests
from hanse.transport.base import Backlog, Keeps, Kept, Transport

from .keeping import Group, Held, Keeping, Medium


class Suite(KeptTests, BacklogTests, KeptThroughTests):
    """What is kept in memory cannot be restarted."""

    make: type[Keeping] = Keeping

    def __init__(self, make: type[Keeping] = Keeping) -> None:
        self.made = make
        self.medium = Medium()

    async def join(self) -> Transport:
        return self.made(self.medium)

    async def killed(self, node: Keeps) -> None:
        assert isinstance(node, Keeping)
        await node.break_off()

    severed = killed


NAMES = [name for part in Suite.__bases__ for name in vars(part) if name.startswith("test_")]


@pytest.mark.virtual_time
@pytest.mark.parametrize("name", NAMES)
async def test_what_is_kept_in_memory_keeps_the_promise(name: str) -> None:
    await getattr(Suite(), name)()


class Doubling(Keeping):
    """Keeps what is published again again."""

    async def publish(self, messages: Sequence[Message], /) -> None:
        self.medium.ids.clear()
        await super().publish(messages)


class Backwards(Keeping):
    async def publish(self, messages: Sequence[Message], /) -> None:
        await super().publish(messages[::-1])


class Bare(Keeping):
    async def publish(self, messages: Sequence[Message], /) -> None:
        for message in messages:
            headers = NO_HEADERS.__class__(type=message.headers.type)
            await super().publish([message.with_headers(headers)])


class Piecemeal(Keeping):
    """Keeps what stands before an event that is too large."""

    async def publish(self, messages: Sequence[Message], /) -> None:
        for message in messages:
            await super().publish([message])


class OneGroup(Keeping):
    async def subscribe(self, group: str, topics: Sequence[str], /) -> Backlog:
        return await super().subscribe("all", topics)


class FromNow(Keeping):
    async def subscribe(self, group: str, topics: Sequence[str], /) -> Backlog:
        known = self.medium.groups.setdefault(group, Group())
        known.reached = max(known.reached, len(self.medium.log))
        return await super().subscribe(group, topics)


class Forgetful(Keeping):
    """Takes what was handed out for handled."""

    async def subscribe(self, group: str, topics: Sequence[str], /) -> Backlog:
        self.medium.groups.setdefault(group, Group()).undone.clear()
        return await super().subscribe(group, topics)


class Every(Keeping):
    """Looks at no topic."""

    async def subscribe(self, group: str, topics: Sequence[str], /) -> Backlog:
        every = {message.headers.type for message in self.medium.log}
        return await super().subscribe(group, [*topics, *every, "old", "else"])


class Pushy:
    """Hands events to whoever asks, whoever's turn it is."""

    def __init__(self, held: Held) -> None:
        self.held = held

    async def take(self, count: int) -> list[Kept]:
        if not self.held.lost:
            holders = self.held.group.holders
            holders.remove(self.held)
            holders.insert(0, self.held)
        return await self.held.take(count)

    def done(self, kept: Kept) -> None:
        if kept.number in self.held.group.undone:
            self.held.done(kept)

    async def close(self) -> None:
        await self.held.close()


class Crowding(Keeping):
    async def subscribe(self, group: str, topics: Sequence[str], /) -> Backlog:
        held = await super().subscribe(group, topics)
        assert isinstance(held, Held)
        return Pushy(held)


class Deaf(Keeping):
    """Tells nobody that it is closed."""

    async def break_off(self) -> None:
        for held in self.held:
            held.lose()


NOTICED: dict[type[Keeping], tuple[str, ...]] = {
    Doubling: ("an_event_that_is_published_again_is_kept_once_at_its_first_place",),
    Backwards: (
        "events_come_in_the_order_in_which_they_were_published",
        "many_events_may_be_published_at_once",
        "nodes_publish_side_by_side_and_each_keeps_its_order",
    ),
    Bare: ("an_event_comes_as_it_was_published",),
    Piecemeal: ("an_event_that_is_too_large_is_refused_and_none_beside_it_is_kept",),
    OneGroup: ("each_group_is_handed_every_event",),
    FromNow: ("a_new_group_begins_with_the_oldest_event",),
    Forgetful: ("what_was_not_acknowledged_comes_again_first_and_in_order",),
    Every: (
        "a_group_is_handed_only_its_topics_whatever_they_are_called",
        "topics_are_replaced_by_those_that_are_wanted_later",
        "whoever_takes_waits_until_there_is_something",
    ),
    Crowding: ("one_at_a_time_is_handed_what_comes",),
    Deaf: ("who_waits_is_told_when_the_node_is_closed",),
}


@pytest.mark.virtual_time
@pytest.mark.parametrize(("wrong", "name"), [(wrong, name) for wrong, names in NOTICED.items() for name in names])
async def test_a_promise_that_is_broken_is_noticed(wrong: type[Keeping], name: str) -> None:
    with pytest.raises((AssertionError, TimeoutError, Unavailable, pytest.fail.Exception)):
        await getattr(Suite(wrong), f"test_{name}")()


async def test_a_transport_that_keeps_nothing_is_not_asked_to() -> None:
    class Other(Suite):
        async def join(self) -> Transport:
            from hanse.transport.memory import MemoryTransport

            return MemoryTransport()

    with pytest.raises(pytest.skip.Exception, match="keeps no events"):
        await Other().test_many_events_may_be_published_at_once()
    await asyncio.sleep(0)
