"""A topic as the whole system tells of it: the logs of all services that may emit its events, as one feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

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
    async def followed(self, after: str = "") -> AsyncGenerator[AsyncGenerator[TopicLine, None]]:
        """Its events after a cursor, or from now on: `ready` first, where no cursor is given.

        Raises:
            Malformed: It is no cursor.
            Unavailable: A log cannot be reached.
        """
        heads = [await source.events.cursor() for source in self._sources]
        cursors, lost = resumed(after, heads)
        queue: asyncio.Queue[tuple[int, Line] | Exception] = asyncio.Queue(TOLD_MAX)
        failure: Exception | None = None
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(self._read(place, cursors[place], queue)) for place in range(len(cursors))]
            try:
                yield self._merged(cursors, queue, after=after, lost=lost)
            except Exception as error:  # noqa: BLE001 - raised below: the group would wrap it
                failure = error
            finally:
                for reader in readers:
                    _ = reader.cancel()
        if failure is not None:
            raise failure

    async def _read(self, place: int, after: str, queue: asyncio.Queue[tuple[int, Line] | Exception]) -> None:
        try:
            async with closing(self._sources[place].events.follow(self.topic, after)) as lines:
                async for line in lines:
                    await queue.put((place, line))
        except Exception as error:  # noqa: BLE001 - raised to the reader
            await queue.put(error)
        else:
            # A log has no end: to go on without it would leave a gap that nobody is told of.
            said = f"the events of {self._sources[place].service} have ended; come back and resume"
            await queue.put(Unavailable(said))

    async def _merged(
        self, cursors: list[str], queue: asyncio.Queue[tuple[int, Line] | Exception], *, after: str, lost: bool
    ) -> AsyncGenerator[TopicLine, None]:
        if lost:
            yield TopicLine(Line("reset"))
        if lost or not after:
            yield TopicLine(Line("ready", joined(cursors)))
        while True:
            item = await queue.get()
            if isinstance(item, Exception):
                raise item
            place, line = item
            if line.cursor:
                cursors[place] = line.cursor
                line = msgspec.structs.replace(line, cursor=joined(cursors))
            yield TopicLine(line, self._sources[place].service)
