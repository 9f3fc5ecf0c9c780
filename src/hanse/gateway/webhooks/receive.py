"""Webhooks that come in: verified, and told as an event of a service, once however often they come."""

from __future__ import annotations

import msgspec

from hanse.contract.model import Event, topic_of
from hanse.contract.openapi_routes import RoutePath
from hanse.gateway.asgi import Request, Response
from hanse.gateway.body import read_body
from hanse.gateway.cloud_events import plain
from hanse.gateway.limits import Limits
from hanse.gateway.webhooks.unbelieved import Unbelieved
from hanse.gateway.webhooks.verify import Scheme, WebhookRefused
from hanse.kernel.context import current
from hanse.mesh.client import policy
from hanse.node.node import Node


class Received(msgspec.Struct, frozen=True):
    """Where webhooks of a kind come in.

    Attributes:
        kind: The event that they are told as.
        path: Where.
        scheme: Who is believed.
    """

    kind: type[Event]
    path: str
    scheme: Scheme

    @property
    def about(self) -> RoutePath:
        """What the documents tell of it."""
        topic = topic_of(self.kind)
        doc = f"Take a webhook that tells of {topic}.\n\nWhat is not signed for this path is refused."
        return RoutePath(
            f"receive_{topic}", "POST", self.path, doc, body=self.kind, status=204, faults=(WebhookRefused,)
        )


class Receiver:
    """The handler of one path that webhooks come to.

    Args of the constructor:
        received: What was declared.
        node: Reaches the service that tells of them.
        limits: How large they may be.
        unbelieved: Counts those that are refused.
    """

    def __init__(self, received: Received, node: Node, limits: Limits, unbelieved: Unbelieved) -> None:
        self._received = received
        self._first = node.topic(received.kind).first.events
        self._limits = limits
        self._unbelieved = unbelieved

    async def __call__(self, request: Request) -> Response:
        """Take one; the answer comes when it is kept.

        Raises:
            WebhookRefused: It is not believed.
            Invalid, Malformed, TooLarge: It is not of its kind.
        """
        body = await read_body(request, self._limits)
        one = self._received
        host = current().host
        try:
            id = one.scheme.verify(request.headers(), body, host.now())
        except WebhookRefused as fault:
            self._unbelieved.add(one.path, fault, host.monotonic())
            raise
        # A key of the request's own is a stranger's word; the id is what was signed.
        context = current()
        context.headers = msgspec.structs.replace(context.headers, idempotency_key="")
        asked = policy(self._first, idempotency_key=f"{one.path} {id}")
        _ = await asked.emit(topic_of(one.kind), plain(body, one.kind).value)
        return Response(204, b"", (), "")
