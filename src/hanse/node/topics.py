"""A topic as the whole system tells of it: the logs of all services that may emit its events, as one feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager

import msgspec

from hanse.contract.model import Event, topic_of
from hanse.kernel.closing import closing
from hanse.kernel.faults import Misdeclared, Unavailable
from hanse.node.app import App, Part
from hanse.service.events import Events, joined, resumed
from hanse.service.rows import Line
from hanse.service.service import may_emit

TOLD_MAX = 16
"""Events that wait for the reader of a topic; the logs wait for it beyond."""


class Source(msgspec.Struct, frozen=True):
    """A service that may tell of a topic, and its events."""

    service: str
    events: Events


class TopicLine(msgspec.Struct, frozen=True):
    """What a topic's feed tells: `emitted`, `ready` or `reset`; its cursor is that of all logs."""

    line: Line
    service: str = ""


def tellers_of(app: App, kind: type[Event]) -> list[Part]:
    """The services that may emit an event; those that list it first.

    Raises:
        Misdeclared: Nobody may.
    """
    found = [part for part in app.parts if may_emit(part.cls, kind)]
    if not found:
        raise Misdeclared(
            f"no service of the app {app.name!r} tells of {kind.__name__}: each lists its `events`, and this is none "
            f"of them; add it: `class {app.parts[0].cls.__name__ if app.parts else 'Orders'}(..., "
            f"events=(..., {kind.__name__}))`"
        )
    return sorted(found, key=lambda part: kind not in part.cls.__hanse_promise__.events)


class TopicFeed:
    """Follows the events of one kind wherever they are told, and tells of new ones.

    Args of the constructor:
        kind: The event.
        sources: Who may tell of it; new ones are told in the log of the first.
    """

    def __init__(self, kind: type[Event], sources: Sequence[Source]) -> None:
        self.topic: str = topic_of(kind)
        self._sources = sources

    @property
    def first(self) -> Source:
        """Where events from outside are told."""
        return self._sources[0]

    @asynccontextmanager
    async def followed(
        self, after: str = "", *, caught_up: bool = False
    ) -> AsyncGenerator[AsyncGenerator[TopicLine, None]]:
        """Its events after a cursor, or from now on: `ready` first, where no cursor is given.

        Args:
            after: The cursor.
            caught_up: Whether `ready` is told to who resumes, too: once it has what it missed.

        Raises:
            Malformed: It is no cursor.
            Unavailable: A log cannot be reached.
        """
        heads = [await source.events.cursor() for source in self._sources]
        cursors, lost = resumed(after, heads)
        begun = lost or not after
        merge = _Merge(self._sources, self.topic, cursors, caught_up=caught_up and not begun)
        failure: Exception | None = None
        async with asyncio.TaskGroup() as group, aclosing(merge.lines(group, lost=lost, begun=begun)) as lines:
            try:
                yield lines
            except Exception as error:  # noqa: BLE001 - raised below: the group would wrap it
                failure = error
            finally:
                merge.stop()
        if failure is not None:
            raise failure


class _Merge:
    """Puts the events of several logs into one feed; each reader of a log waits for the one who reads here.

    Args of the constructor:
        sources: Whose logs.
        topic: Of which only this is told.
        cursors: Where to begin in each.
        caught_up: Whether `ready` is told once each log has told what had been by then.
    """

    def __init__(self, sources: Sequence[Source], topic: str, cursors: list[str], *, caught_up: bool) -> None:
        self._sources = sources
        self._topic = topic
        self._cursors = cursors
        self._behind = set(range(len(sources))) if caught_up else set[int]()
        self._told: asyncio.Queue[tuple[int, Line] | Exception] = asyncio.Queue(TOLD_MAX)
        self._readers: list[asyncio.Task[None]] = []

    async def lines(self, group: asyncio.TaskGroup, *, lost: bool, begun: bool) -> AsyncGenerator[TopicLine, None]:
        """What is told, until a log fails.

        Args:
            group: Runs those who read.
            lost: Whether it begins with `reset`.
            begun: Whether it begins, or goes on, with `ready`.
        """
        if lost:
            yield TopicLine(Line("reset"))
        if begun:
            yield TopicLine(Line("ready", joined(self._cursors)))
        # Not before: who comes to hear from now on, and wants to know no more than where that is, needs none of them.
        self._readers = [group.create_task(self._read(place)) for place in range(len(self._sources))]
        while not isinstance(item := await self._told.get(), Exception):
            place, line = item
            if line.cursor:
                self._cursors[place] = line.cursor
                line = msgspec.structs.replace(line, cursor=joined(self._cursors))
            if line.event == "ready":
                self._behind.discard(place)
            if line.event != "ready" or not self._behind:
                yield TopicLine(line, self._sources[place].service)
        raise item

    def stop(self) -> None:
        """Read no more."""
        for reader in self._readers:
            _ = reader.cancel()

    async def _read(self, place: int) -> None:
        source, after, caught_up = self._sources[place], self._cursors[place], place in self._behind
        try:
            async with closing(source.events.follow(self._topic, after, caught_up=caught_up)) as lines:
                async for line in lines:
                    await self._told.put((place, line))
        except Exception as error:  # noqa: BLE001 - raised to the reader
            await self._told.put(error)
        else:
            # A log has no end: to go on without it would leave a gap that nobody is told of.
            await self._told.put(Unavailable(f"the events of {source.service} have ended; come back and resume"))
