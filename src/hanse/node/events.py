"""Wires `@on`: a relay from each log that may tell of what is wanted, through the transport, to the group's inbox."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from hanse.contract.model import Event, Resource, collection_of, topic_of, version_of
from hanse.delivery.inbox import Inbox
from hanse.delivery.outbox import Topic
from hanse.delivery.relay import Relay
from hanse.kernel.codec import codec_for
from hanse.kernel.context import Context
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.mesh.fault import fault_in
from hanse.mesh.server import Endpoint
from hanse.node.hosted import Hosted
from hanse.service.change import change_of, cursor_of
from hanse.service.reaction import On
from hanse.service.shape import shape_of
from hanse.service.unit import Unit, unit_for
from hanse.store.base import Entry
from hanse.transport.base import Transport

Read = Callable[[Entry], object]

_entries = codec_for(Entry)


class Subscription:
    """One `@on` method of one service: where its messages go, and what handles them."""

    def __init__(self, hosted: Hosted, method: str, on: On, host: Host) -> None:
        self.on: On = on
        own = f"{hosted.part.name}.{method}"
        self.group: str = on.group or own
        # Methods of one group share its marks; but each hears of its own events, and comes as far as it comes.
        self.name: str = f"{on.group}/{own}" if on.group else own
        self.service: str = f"on/{self.name}"
        self.address: str = f"{self.service}.handle"
        self.inbox: Inbox = Inbox(hosted.store, self.group, host=host)
        self._hosted = hosted
        self._handler: Callable[[object], Awaitable[None]] = getattr(hosted.instance, method)
        self._read = _reader(on.kind)

    def endpoint(self) -> Endpoint:
        """What serves its address: the inbox, and behind it the method as a unit of work."""

        async def run(context: Context, message: Message) -> None:
            async def handle(message: Message) -> None:
                context.store = self._hosted.store
                unit = cast("Unit", unit_for(self._hosted.store))
                unit.marks.append(self.inbox.mark(message))
                await self._handler(self._read(_entries.decode(message.body)))
                await unit.commit()

            await self.inbox.consume(message, handle, attempts_max=self.on.attempts)
            context.work = None  # committed, or dropped with the message that was parked: nothing is left to the server

        return Endpoint(run=run)

    def topic(self) -> Topic:
        """What it wants of a log."""
        kind = self.on.kind
        name = collection_of(kind) if issubclass(kind, Resource) else topic_of(kind)
        emitted = issubclass(kind, Event)
        return Topic(name, emitted, self.address, topic_of(kind), str(version_of(kind)), self._key())

    def relay(self, hosted: list[Hosted], transport: Transport, host: Host) -> None:
        """Give a relay to each service whose log may tell of it: a resource's owner, or who may emit the event."""
        for one in hosted:
            if _may_tell(one, self.on.kind):
                one.relays.append(Relay(one.store, self.name, [self.topic()], deliverer(transport), host=host))

    def _key(self) -> Callable[[Entry], str] | None:
        key, read = self.on.key, self._read
        if key is not None:
            return lambda entry: key(read(entry))
        return None if issubclass(self.on.kind, Event) else lambda entry: entry.id


def deliverer(transport: Transport) -> Callable[[Message], Awaitable[None]]:
    """Sends an event and waits until it is acknowledged."""

    async def deliver(message: Message) -> None:
        reply = await transport.request(message)
        if reply.kind is Kind.FAULT:
            raise fault_in(reply)

    return deliver


def _may_tell(hosted: Hosted, kind: type[Event | Resource]) -> bool:
    if issubclass(kind, Resource):
        return kind in hosted.owned
    promised = hosted.part.cls.__hanse_promise__.events
    return not promised or kind in promised


def _reader(kind: type[Event | Resource]) -> Read:
    """Makes an event, or a change of a resource, of a log entry."""
    if issubclass(kind, Resource):
        shape = shape_of(kind)
        return lambda entry: change_of(entry, shape.read, cursor_of("", entry.seq))
    codec: Any = codec_for(kind)
    return lambda entry: codec.decode_json(entry.after or b"")
