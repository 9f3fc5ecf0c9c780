"""What views follow: the rows of a collection or the events of a topic that match a filter, as lines."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Protocol

import msgspec

from hanse.contract.cloud_events import event_type, source_of
from hanse.contract.model import Event, Resource
from hanse.gateway.cloud_events import cloud_event
from hanse.gateway.projection import Project
from hanse.kernel.closing import closing
from hanse.node.node import Node
from hanse.node.topics import TopicFeed, TopicLine
from hanse.service.events import matcher_of
from hanse.service.rows import Line, Rows
from hanse.store.query import Where


class Feed(Protocol):
    """Something that can be followed."""

    def followed(self, after: str, *, snapshot: bool) -> AbstractAsyncContextManager[AsyncIterator[Line]]:
        """Its lines after a cursor, without a gap.

        `ready` is told once what was missed is, and then now and again, where the logs went on without a line.

        Args:
            after: The cursor; empty for from now on.
            snapshot: Whether it begins with what is there, where no cursor is given; of events nothing is.
        """
        ...


class Source(msgspec.Struct, frozen=True):
    """What a view shows; equal ones are one view. Rows have no guards: it is the same for all who may open it.

    Attributes:
        kind: The resource, or the event.
        where: Which of its rows, or which events.
        project: Which fields of rows; None for all.
    """

    kind: type[Resource | Event]
    where: Where | None = None
    project: Project | None = None

    def feed(self, node: Node) -> Feed:
        """What tells of it.

        Raises:
            Misdeclared: Nobody may tell of such an event.
        """
        if issubclass(self.kind, Event):
            return EventsFeed(self.kind, self.where, node)
        return RowsFeed(node.rows(self.kind), self.where, self.project)


class RowsFeed:
    """The rows of a collection; see `Feed`.

    Args of the constructor:
        rows: Serves them.
        where: Which of them.
        project: Cuts out the fields that are wanted.
    """

    def __init__(self, rows: Rows, where: Where | None = None, project: Project | None = None) -> None:
        self._rows = rows
        self._where = where
        self._project = project

    @asynccontextmanager
    async def followed(self, after: str, *, snapshot: bool) -> AsyncGenerator[AsyncIterator[Line], None]:
        """See `Feed.followed`."""
        async with closing(self._rows.follow(self._where, after, snapshot=snapshot, caught_up=True)) as lines:
            if self._project is None:
                yield lines
            else:
                async with aclosing(_cut(lines, self._project)) as cut:
                    yield cut


async def _cut(lines: AsyncIterator[Line], project: Project) -> AsyncGenerator[Line, None]:
    async for line in lines:
        if not line.id:
            yield line
        else:
            before = project(line.before) if line.before else b""
            yield msgspec.structs.replace(line, value=project(line.value), before=before)


class EventsFeed:
    """The events of a topic, each in its envelope; see `Feed`.

    Args of the constructor:
        kind: The event.
        where: Which of them.
        node: Reaches all who may tell of it.
    """

    def __init__(self, kind: type[Event], where: Where | None, node: Node) -> None:
        self._topic: TopicFeed = node.topic(kind)
        self._app = node.app.name
        self._type = event_type(node.app.name, kind)
        self._matches: Callable[[bytes], bool] | None = None if where is None else matcher_of(kind, where)

    @asynccontextmanager
    async def followed(
        self,
        after: str,
        *,
        snapshot: bool,  # noqa: ARG002 - of events nothing is there
    ) -> AsyncGenerator[AsyncIterator[Line], None]:
        """See `Feed.followed`."""
        async with self._topic.followed(after, caught_up=True) as lines, aclosing(self._told(lines)) as told:
            yield told

    async def _told(self, lines: AsyncIterator[TopicLine]) -> AsyncGenerator[Line, None]:
        caught_up = False
        async for told in lines:
            line = told.line
            if line.event != "emitted":
                caught_up = caught_up or line.event == "ready"
                yield line
            elif self._matches is None or self._matches(line.value):
                value = cloud_event(line, self._type, source_of(self._app, told.service))
                yield msgspec.structs.replace(line, value=value)
            elif caught_up:
                yield Line("ready", line.cursor)
