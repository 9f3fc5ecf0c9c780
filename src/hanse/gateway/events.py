"""Events over HTTP: the feed of a topic as Server-Sent Events, and telling of one from outside.

The feed is a view as that of rows is (`gateway.view`), but has no snapshot: without a cursor it begins now. Each event
is a CloudEvent; a `reset` says that the logs do not reach back to the cursor, so that some may have been missed.
"""

from __future__ import annotations

from hanse.contract.cloud_events import CONTENT_TYPE, event_type
from hanse.contract.model import topic_of
from hanse.contract.openapi_topics import TopicPath
from hanse.gateway.asgi import EVENT_STREAM, JSON, Request, Response
from hanse.gateway.body import read_body
from hanse.gateway.cloud_events import plain, structured
from hanse.gateway.problem import NotAcceptable
from hanse.gateway.routes import Handler
from hanse.gateway.sse import FeedStream
from hanse.gateway.streams import Streams
from hanse.gateway.views import Views
from hanse.kernel.codec import encode_json
from hanse.mesh.client import policy
from hanse.node.node import Node


class EventRoutes:
    """The handlers of one kind of event.

    Args of the constructor:
        event: What is exposed.
        node: Reaches the services that tell of it.
        views: What is followed.
        streams: Where streams are counted.
    """

    def __init__(self, event: TopicPath, node: Node, views: Views, streams: Streams) -> None:
        self._event = event
        self._first = node.topic(event.kind).first.events
        self._type = event_type(node.app.name, event.kind)
        self._limits = streams.limits
        self._stream = FeedStream(event.kind, views, streams)

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
        if not request.accepts(EVENT_STREAM):
            raise NotAcceptable(EVENT_STREAM)
        await self._stream(request)

    async def emit(self, request: Request) -> Response:
        """Tell of an event; the same one again, by its id and source or its idempotency key, is told once.

        Raises:
            Invalid, Malformed: It is not of its kind.
        """
        body = await read_body(request, self._limits, (JSON, CONTENT_TYPE))
        kind, topic = self._event.kind, topic_of(self._event.kind)
        enveloped = request.header(b"content-type").partition(";")[0].strip().lower() == CONTENT_TYPE
        came = structured(body, kind, self._type) if enveloped else plain(body, kind)
        # An idempotency key of the request is in its context already.
        asked = policy(self._first, idempotency_key=f"{topic} {came.key}") if came.key else self._first
        id = await asked.emit(topic, came.value)
        return Response(202, encode_json({"id": id, "type": self._type}))
