"""From what a gateway says of webhooks to the service that sends them."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import msgspec

from hanse.contract.guard import Guard, authenticated
from hanse.contract.model import Event, topic_of
from hanse.gateway.webhooks.model import PING, WebhookEnded
from hanse.gateway.webhooks.sender import Sender
from hanse.gateway.webhooks.service import Webhooks
from hanse.kernel.faults import Misdeclared
from hanse.kernel.message import Identity
from hanse.service.reaction import on


class WebhookOptions(msgspec.Struct, frozen=True):
    """What a gateway says of webhooks.

    Attributes:
        allow: Who may have subscriptions of their own.
        manage: Who sees and changes everybody's; None for nobody.
        audience: Whose subscriptions hear of an event; None for whoever wants it.
        sender: What sends them; None for what sends over HTTP.
    """

    allow: Guard = authenticated
    manage: Guard | None = None
    audience: Callable[[Event], Identity] | None = None
    sender: Sender | None = None


def webhooks_of(kinds: Iterable[type[Event]], options: WebhookOptions) -> type[Webhooks]:
    """The service that tells programs outside of these events.

    Raises:
        Misdeclared: They are no events, or none.
    """
    topics: dict[str, type[Event]] = {}
    for kind in kinds:
        given = cast("object", kind)
        if not (isinstance(given, type) and issubclass(given, Event)):
            raise Misdeclared(f"expected Event classes such as `class OrderPlaced(Event)`, got {kind!r}")
        if topics.setdefault(topic_of(kind), kind) is not kind or topic_of(kind) == PING:
            raise Misdeclared(f"two webhooks would be of the type {topic_of(kind)!r}; give {kind.__name__} a topic=")
    if not topics:
        raise Misdeclared("expected events that programs outside may hear of, such as webhooks(OrderPlaced)")

    def body(namespace: dict[str, Any]) -> None:
        namespace["__doc__"] = Webhooks.__doc__
        namespace["__module__"] = Webhooks.__module__
        namespace["__kinds__"] = topics
        namespace["__may__"] = options.allow
        namespace["__sender__"] = options.sender
        if options.manage is not None:
            namespace["__manages__"] = options.manage
        if options.audience is not None:
            namespace["__audience__"] = staticmethod(options.audience)
        for topic, kind in topics.items():
            namespace[f"on_{topic}"] = _taking(topic, kind)

    keywords = {"name": "webhooks", "events": (WebhookEnded,)}
    return cast("type[Webhooks]", types.new_class("Webhooks", (Webhooks,), keywords, body))


def _taking(topic: str, kind: type[Event]) -> Callable[[Webhooks, Event], Awaitable[None]]:
    async def take(self: Webhooks, event: Event) -> None:
        await self.told(event)

    take.__name__ = f"on_{topic}"
    take.__qualname__ = f"Webhooks.{take.__name__}"
    return on(kind)(take)
