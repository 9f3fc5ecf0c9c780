"""Events over HTTP: the feed of a topic as Server-Sent Events, and telling of one from outside.

The feed resumes as that of rows does (`gateway.sse`), but has no snapshot: without a cursor it begins now. Each event
is a CloudEvent; a `reset` says that the logs do not reach back to the cursor, so that some may have been missed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager

from hanse.contract.cloud_events import CONTENT_TYPE, event_type, source_of
from hanse.contract.model import Event, topic_of
from hanse.contract.openapi_topics import TopicPath
from hanse.gateway.asgi import JSON, Request, Response
from hanse.gateway.body import read_body
from hanse.gateway.cloud_events import cloud_event, plain, structured
from hanse.gateway.filters import asked_of_topic, where_in
from hanse.gateway.routes import Handler
from hanse.gateway.sse import MEDIA_TYPE, sse_form
from hanse.gateway.streams import HttpStream, Streams
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Fault
from hanse.mesh.client import policy
from hanse.node.node import Node
from hanse.node.topics import TopicFeed, TopicLine
from hanse.service.events import matcher_of, parts_of_cursor
from hanse.service.log_reader import QUIET_SECONDS
from hanse.service.rows import Line
from hanse.store.query import Where


class NotAcceptable(Fault, status=406, detail="expected a client that accepts {expected} here"):
    """What there is cannot be given in the form that the client wants."""

    expected: str


class ToldTopic:
    """A topic as the outside hears of it: in CloudEvents.

    Args of the constructor:
        kind: The event.
        node: Reaches the services that tell of it.

    Attributes:
        type: What each event says that it is.
    """

    def __init__(self, kind: type[Event], node: Node) -> None:
        self.feed: TopicFeed = node.topic(kind)
        self.type: str = event_type(node.app.name, kind)
        self._app = node.app.name
        self._kind = kind
        self._now = node.host.monotonic

    def event(self, told: TopicLine) -> bytes:
        """What an event looks like outside."""
        return cloud_event(told.line, self.type, source_of(self._app, told.service))

    @asynccontextmanager
    async def followed(self, after: str, where: Where | None) -> AsyncGenerator[AsyncGenerator[TopicLine, None]]:
        """What is told after a cursor, of events that match. `ready` comes again where the cursor moved on for long.

        Raises:
            Malformed: It is no cursor.
        """
        _ = parts_of_cursor(after)
        async with self.feed.followed(after) as lines:
            if where is None:
                yield lines
            else:
                async with aclosing(self._matching(lines, matcher_of(self._kind, where))) as matching:
                    yield matching

    async def _matching(
        self, lines: AsyncGenerator[TopicLine, None], matches: Callable[[bytes], bool]
    ) -> AsyncGenerator[TopicLine, None]:
        told_at = self._now()
        async for told in lines:
            line = told.line
            if line.event != "emitted" or matches(line.value):
                yield told
            elif self._now() - told_at >= QUIET_SECONDS:
                yield TopicLine(Line("ready", line.cursor))
            else:
                continue
            told_at = self._now()

    @asynccontextmanager
    async def messages(self, after: str, where: object) -> AsyncGenerator[AsyncGenerator[bytes, None]]:
        """What is told after a cursor, as messages of a WebSocket without their beginning.

        Raises:
            Malformed: It is no cursor.
            Invalid: The filter cannot be.
        """
        tree = where_in(self._kind, where)
        async with self.followed(after, tree) as lines, aclosing(self._messages(lines)) as messages:
            yield messages

    async def _messages(self, lines: AsyncGenerator[TopicLine, None]) -> AsyncGenerator[bytes, None]:
        async for told in lines:
            line = told.line
            if line.event == "reset":
                yield b'"event":"reset"}'
            elif line.event == "ready":
                yield b'"event":"ready","cursor":%b}' % encode_json(line.cursor)
            else:
                names = (encode_json(line.cursor), encode_json(line.id), self.event(told))
                yield b'"event":"emitted","cursor":%b,"key":%b,"value":%b}' % names


class EventRoutes:
    """The handlers of one kind of event.

    Args of the constructor:
        event: What is exposed.
        node: Reaches the services that tell of it.
        streams: Where streams are counted.
    """

    def __init__(self, event: TopicPath, node: Node, streams: Streams) -> None:
        self._event = event
        self._told = ToldTopic(event.kind, node)
        self._streams = streams
        self._form = sse_form(streams.limits.retry_seconds)

    def methods(self) -> dict[str, Handler]:
        """By method, as far as they are exposed."""
        found: dict[str, Handler] = {}
        if self._event.live:
            found["GET"] = self.follow
        if self._event.emit:
            found["POST"] = self.emit
        return found

    async def follow(self, request: Request) -> None:
        """Stream until the client goes, or the node drains.

        Raises:
            NotAcceptable: The client does not ask for an event stream.
            Malformed: The cursor is none.
            Invalid: The filter cannot be.
        """
        if not request.accepts(MEDIA_TYPE):
            raise NotAcceptable(MEDIA_TYPE)
        where, after = asked_of_topic(self._event.kind, request.query)
        async with self._told.followed(request.header(b"last-event-id") or after, where) as lines:
            stream = HttpStream(request, self._streams, self._form, ((b"vary", b"accept"),))
            await stream.run(self._events(lines))

    async def emit(self, request: Request) -> Response:
        """Tell of an event; the same one again, by its id and source or its idempotency key, is told once.

        Raises:
            Invalid, Malformed: It is not of its kind.
        """
        body = await read_body(request, self._streams.limits, (JSON, CONTENT_TYPE))
        kind, topic = self._event.kind, topic_of(self._event.kind)
        enveloped = request.header(b"content-type").partition(";")[0].strip().lower() == CONTENT_TYPE
        came = structured(body, kind, self._told.type) if enveloped else plain(body, kind)
        first = self._told.feed.first.events
        # An idempotency key of the request is in its context already.
        asked = policy(first, idempotency_key=f"{topic} {came.key}") if came.key else first
        id = await asked.emit(topic, came.value)
        return Response(202, encode_json({"id": id, "type": self._told.type}))

    async def _events(self, lines: AsyncGenerator[TopicLine, None]) -> AsyncGenerator[bytes, None]:
        try:
            async for told in lines:
                yield self._event_of(told)
        finally:
            await lines.aclose()

    def _event_of(self, told: TopicLine) -> bytes:
        line = told.line
        if line.event == "reset":
            return b"event: reset\nid\ndata: {}\n\n"
        if line.event == "ready":
            return b'event: ready\nid: %b\ndata: {"cursor":%b}\n\n' % (line.cursor.encode(), encode_json(line.cursor))
        return b"event: emitted\nid: %b\ndata: %b\n\n" % (line.cursor.encode(), self._told.event(told))
