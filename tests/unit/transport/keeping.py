"""A transport that keeps events in the memory of one process, for as long as its medium is there."""

import asyncio
from collections.abc import Sequence
from typing import final

from hanse.kernel.faults import TooLarge, Unavailable
from hanse.kernel.message import Message
from hanse.transport.base import Backlog, Features, Kept
from hanse.transport.memory import MemoryTransport

BYTES_MAX = 65_536


class Medium:
    """Keeps what is published, and how far each group has come."""

    def __init__(self) -> None:
        self.log: list[Message] = []
        self.groups: dict[str, Group] = {}
        self.changed: asyncio.Condition = asyncio.Condition()
        self.ids: set[str] = set()
        self.away: bool = False

    async def tell(self) -> None:
        """Something has changed."""
        async with self.changed:
            self.changed.notify_all()


@final
class Group:
    """How far one has come: all before `reached` was handed out, and all of that handled but for `undone`."""

    def __init__(self) -> None:
        self.reached = 0
        self.undone: dict[int, None] = {}
        self.holders: list[Held] = []


@final
class Held:
    """A backlog that is open."""

    def __init__(self, medium: Medium, group: Group, topics: Sequence[str]) -> None:
        self._medium = medium
        self.group = group
        self._topics = set(topics)
        self._again: list[int] | None = None
        self.lost = False
        group.holders.append(self)

    async def take(self, count: int) -> list[Kept]:
        """See `Backlog.take`."""
        found: list[Kept] = []
        async with self._medium.changed:
            while not (found := self._next(count)):
                await self._medium.changed.wait()
        return found

    def _next(self, count: int) -> list[Kept]:
        if self.lost:
            raise Unavailable("the backlog is closed")
        group = self.group
        if group.holders[0] is not self:
            return []
        if self._again is None:
            self._again = sorted(group.undone)
        numbers, self._again = self._again[:count], self._again[count:]
        while len(numbers) < count and group.reached < len(self._medium.log):
            if self._medium.log[group.reached].headers.type in self._topics:
                numbers.append(group.reached)
                group.undone[group.reached] = None
            group.reached += 1
        return [Kept(number, self._medium.log[number]) for number in numbers]

    def done(self, kept: Kept) -> None:
        """See `Backlog.done`."""
        if not self.lost:
            del self.group.undone[kept.number]

    async def left(self) -> int:
        """See `TellsLeft.left`."""
        if self.lost:
            raise Unavailable("the backlog is closed")
        behind = self._medium.log[self.group.reached :]
        return len(self.group.undone) + sum(message.headers.type in self._topics for message in behind)

    async def close(self) -> None:
        """See `Backlog.close`."""
        self.lose()
        await self._medium.tell()

    def lose(self) -> None:
        """It is nobody's any more."""
        if not self.lost:
            self.lost = True
            self.group.holders.remove(self)


class Keeping(MemoryTransport):
    """Keeps events, and carries messages."""

    features = Features(durable=True, balances=False, local=True, bytes_max=BYTES_MAX)

    def __init__(self, medium: Medium) -> None:
        super().__init__()
        self.medium = medium
        self.held: list[Held] = []

    async def close(self) -> None:
        await super().close()
        await self.break_off()

    async def break_off(self) -> None:
        """Lose all that it has open."""
        for held in self.held:
            held.lose()
        await self.medium.tell()

    async def publish(self, messages: Sequence[Message], /) -> None:
        """See `Keeps.publish`."""
        if self.medium.away:
            raise Unavailable("the medium is away")
        for message in messages:
            if len(message.body) > BYTES_MAX:
                raise TooLarge("an event", f"{BYTES_MAX} bytes")
        for message in messages:
            await asyncio.sleep(0)
            if message.id not in self.medium.ids:
                self.medium.ids.add(message.id)
                self.medium.log.append(message)
        await self.medium.tell()

    async def subscribe(self, group: str, topics: Sequence[str], /) -> Backlog:
        """See `Keeps.subscribe`."""
        if self.medium.away:
            raise Unavailable("the medium is away")
        self.held.append(held := Held(self.medium, self.medium.groups.setdefault(group, Group()), topics))
        return held
