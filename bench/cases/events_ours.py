"""Our side of durable events, over whatever broker: at the transport, and from a call that emits to a handler."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Protocol

from calls import HEADERS
from events import BATCH, TAKEN, Count, Publish, Publishing, Subscribing, decode, encode
from shop import ORDER, Order

from hanse import App, Event, Node, Service, Settings, on, rpc
from hanse.kernel.host import Host
from hanse.kernel.message import EVENT, Message
from hanse.kernel.settings import NodeSettings
from hanse.transport.base import Keeps, Transport

TOPIC = "placed"
GROUP = "mail"


class Kept(Transport, Keeps, Protocol):
    """A transport that keeps events."""


Open = Callable[[str], Kept]
"""The transport of a URL, not yet open; all share the name of one app."""


class Ordered(Event):
    """An order came in."""

    order: Order


class Desk(Service, events=(Ordered,)):
    """Tells of orders."""

    @rpc
    async def place(self) -> None:
        """Of many at once."""
        await self.emit(*[Ordered(order=ORDER) for _ in range(BATCH)])


def node(app: App, url: str, opened: Open) -> Node:
    """One of two code bases, which share a topic."""
    return Node(app, Settings(node=NodeSettings(events="broker", transport=url)), transport=opened(url))


@contextlib.asynccontextmanager
async def _publish(opened: Open, url: str) -> AsyncIterator[Publish]:
    host, transport = Host.system(), opened(url)
    headers = type(HEADERS)(HEADERS.traceparent, identity=HEADERS.identity, type=TOPIC)
    await transport.open()
    yield lambda: transport.publish(
        [Message(EVENT, host.new_id(), TOPIC, 0.0, headers, encode(ORDER)) for _ in range(BATCH)]
    )
    await transport.close()


async def _subscribe(opened: Open, url: str, count: Count, ready: asyncio.Event) -> None:
    transport = opened(url)
    await transport.open()
    backlog = await transport.subscribe(GROUP, [TOPIC])
    ready.set()
    while True:
        for kept in await backlog.take(TAKEN):
            decode(kept.message.body)
            backlog.done(kept)
            count.add()


@contextlib.asynccontextmanager
async def _emit(opened: Open, url: str) -> AsyncIterator[Publish]:
    async with node(App("desk", Desk), url, opened) as desk:
        yield desk.client(Desk).place


async def _handle(opened: Open, url: str, count: Count, ready: asyncio.Event) -> None:
    class Mail(Service):
        @on(Ordered)
        async def write(self, event: Ordered) -> None:
            count.add(1 if event.order.number else 0)

    async with node(App("mail", Mail), url, opened):
        ready.set()
        await asyncio.Event().wait()


def ours(opened: Open) -> tuple[dict[str, Publishing], dict[str, Subscribing]]:
    """Who publishes and who subscribes in the cases `hanse` and `node` of a broker."""
    publishing: dict[str, Publishing] = {"hanse": partial(_publish, opened), "node": partial(_emit, opened)}
    return publishing, {"hanse": partial(_subscribe, opened), "node": partial(_handle, opened)}
