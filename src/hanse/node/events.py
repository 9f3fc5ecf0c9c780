"""Wires `@on`, and what sagas wait for: a relay from each log that may tell of it, by the transport, to an inbox.

A relay belongs to the node that hosts the log, the inbox to the node that hosts the subscriber. All that the two have
to agree on follows from the app, so neither asks where the other is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec

from hanse.contract.model import Event, Resource, collection_of, topic_of, version_of
from hanse.delivery.courier import ACK_SECONDS
from hanse.delivery.inbox import Inbox
from hanse.delivery.outbox import Topic, taken
from hanse.delivery.publisher import Publisher
from hanse.delivery.refusals import Refusals
from hanse.delivery.relay import Relay
from hanse.delivery.retry import horizon
from hanse.delivery.subscriber import Subscriber
from hanse.kernel.codec import Codec, canonical, codec_for, encode_json
from hanse.kernel.context import Context
from hanse.kernel.faults import Fault, Invalid, Misconfigured
from hanse.kernel.finite import checked
from hanse.kernel.host import Host
from hanse.kernel.message import FAULT, Message
from hanse.kernel.settings import NodeSettings
from hanse.kernel.validate import FLAWS_MAX, unknown
from hanse.mesh.fault import fault_in
from hanse.mesh.server import Endpoint
from hanse.node.app import App, Part
from hanse.node.hosted import Hosted
from hanse.service.change import change_of, cursor_of
from hanse.service.reaction import ATTEMPTS, On
from hanse.service.saga_method import pinned_in
from hanse.service.service import may_emit, reactions_of
from hanse.service.shape import shape_of
from hanse.service.unit import Unit, unit_for
from hanse.store.base import Entry
from hanse.transport.base import Keeps, Transport

Read = Callable[[Entry], object]
Handler = Callable[[Any], Awaitable[None]]


class NotEditable(Fault, status=409, detail="the message cannot be edited: {problem}"):
    """A dead letter cannot be changed in this way."""

    problem: str


_entries = codec_for(Entry)

PUBLISHED = "published"
"""Names how far a log has been published to a broker; no group has a name without a dot."""


class Subscription:
    """One `@on` method of an app: what it wants, and where its messages go, wherever that is.

    Attributes:
        part: The service whose method it is.
        on: What the decorator said.
        group: Whose marks tell what was handled.
        name: Names the position of each of its relays.
        service: What its node listens to.
        address: Where its messages go.
    """

    def __init__(self, part: Part, method: str, on: On) -> None:
        self.part: Part = part
        self.on: On = on
        own = f"{part.name}.{method}"
        self.group: str = on.group or own
        # Methods of one group share its marks; but each hears of its own events, and comes as far as it comes.
        self.name: str = f"{on.group}/{own}" if on.group else own
        self.service: str = f"on/{self.name}"
        self.address: str = f"{self.service}.handle"
        self._method = method
        self._read = _reader(on.kind)

    async def endpoint(self, hosted: Hosted, host: Host) -> Endpoint:
        """What serves its address, on the node of its service: the inbox, and behind it the method as a unit of work.

        Raises:
            Unavailable: The store cannot be reached.
        """
        store, inbox = hosted.store, Inbox(hosted.store, self.group, host=host, ordered=self.on.ordered)
        await inbox.open()
        hosted.inboxes.append(inbox)

        async def run(context: Context, message: Message) -> None:
            async def handle(message: Message) -> None:
                # A unit of its own for each try: what an earlier one staged, its mark too, was refused as a whole.
                context.store, context.work = store, None
                unit = cast("Unit", unit_for(store))
                unit.marks.append(inbox.mark(message))
                unit.fences.extend(inbox.rests_on(message))
                await self.handle(hosted, message)
                await unit.commit()

            await inbox.consume(message, handle, attempts_max=self.on.attempts)
            context.work = None  # committed, or dropped with the message that was parked: nothing is left to the server

        return Endpoint(run=run)

    async def handle(self, hosted: Hosted, message: Message) -> None:
        """Have the method of a hosted service handle a message, in the context that is there.

        Raises:
            Malformed, Invalid: It cannot be read.
        """
        await self.handler(hosted)(self._read(_entries.decode(message.body)))

    def edited(self, message: Message, value: bytes) -> Message:
        """See `edited`."""
        return edited(self.on.kind, self.topic(), message, value)

    def handler(self, hosted: Hosted) -> Handler:
        """What is run for each."""
        return cast("Handler", getattr(hosted.instance, self._method))

    def topic(self) -> Topic:
        """What it wants of a log."""
        kind = self.on.kind
        name = collection_of(kind) if issubclass(kind, Resource) else topic_of(kind)
        emitted = issubclass(kind, Event)
        return Topic(name, emitted, self.address, topic_of(kind), str(version_of(kind)), self._key())

    @property
    def is_of_events(self) -> bool:
        """Whether it wants events; else it wants changes of rows, which no broker is told of."""
        return issubclass(self.on.kind, Event)

    def subscriber(self, hosted: Hosted, keeps: Keeps, transport: Transport, host: Host) -> Subscriber:
        """What takes to it the events that a broker keeps; what is too large to be sent on is parked beside its own."""
        deliver = deliverer(transport)
        refusals = Refusals(hosted.store, self.group, deliver, host=host, ordered=self.on.ordered)
        return Subscriber(keeps, self.name, [self.topic()], refusals.deliver, host=host)

    def relay(self, hosted: Hosted, transport: Transport, host: Host) -> Relay | None:
        """What takes to it the log of a service that may tell of it: a resource's owner, or who may emit the event."""
        if not _may_tell(hosted, self.on.kind):
            return None
        return Relay(hosted.store, self.name, [self.topic()], deliverer(transport), host=host)

    def _key(self) -> Callable[[Entry], str] | None:
        key, read = self.on.key, self._read
        if key is not None:
            return lambda entry: key(read(entry))
        return None if issubclass(self.on.kind, Event) else lambda entry: entry.id


class _OfSagas(Subscription):
    """What the sagas of a service may wait for."""

    def __init__(self, part: Part, kind: type[Event]) -> None:
        super().__init__(part, f"sagas-{topic_of(kind)}", On(kind, "", None, ATTEMPTS))

    def handler(self, hosted: Hosted) -> Handler:
        """See `Subscription.handler`."""
        assert hosted.sagas is not None
        return hosted.sagas.keep


def subscriptions_of(app: App) -> list[Subscription]:
    """All of an app, whoever hosts them."""
    reacting = [
        Subscription(part, method, reaction)
        for part in app.parts
        for method, reaction in reactions_of(part.cls).items()
        if isinstance(reaction, On)
    ]
    waiting = [
        _OfSagas(part, kind)
        for part in app.parts
        for kind in dict.fromkeys(kind for pinned in pinned_in(part.cls) for kind in pinned.events)
    ]
    return [*reacting, *waiting]


def subscriptions_by_address(app: App) -> dict[str, Subscription]:
    """All of an app, whoever hosts them, by where their messages go."""
    return {one.address: one for one in subscriptions_of(app)}


def subscriptions_by_part(app: App) -> dict[str, dict[str, Subscription]]:
    """Those of each service, by its name and their addresses."""
    found: dict[str, dict[str, Subscription]] = {part.name: {} for part in app.parts}
    for one in subscriptions_of(app):
        found[one.part.name][one.address] = one
    return found


def check_retention(app: App, retention: float) -> None:
    """Make sure that marks are kept for as long as any message may be tried.

    Raises:
        Misconfigured: They are not.
    """
    for one in subscriptions_of(app):
        needed = horizon(one.on.attempts, ACK_SECONDS)
        if retention < needed:
            raise Misconfigured(
                f"node.retention is {retention:g} s, but a message of {one.group} may be tried for {needed:g} s: "
                f"its mark would be forgotten before, and it be handled twice; expected a longer node.retention, or "
                f"@on(..., attempts={one.on.attempts}) to be less"
            )


def edited(kind: type[Event | Resource], topic: Topic, message: Message, value: bytes) -> Message:
    """A message that tells of another value, under the same id.

    Args:
        kind: What it tells of.
        topic: As whoever takes it wants it.
        message: As it is.
        value: In JSON.

    Raises:
        Malformed, Invalid: The value is not what the contract asks for, or has names that neither that nor the message
            knows: a misspelt one would be passed over, and the message be as it was.
        NotEditable: It changes what the message is in order with, or the message is of no log.
    """
    try:
        entry = _entries.decode(message.body)
    except Fault:
        raise NotEditable("its envelope cannot be read, so that no value fits it; drop it, and emit anew") from None
    if issubclass(kind, Resource):
        accepted = encode_json(shape_of(kind).decode(value))
    else:
        codec: Codec[Event] = codec_for(kind)
        accepted = encode_json(checked(codec.decode_json(value)))
    _refuse_misspelt(kind, entry.after or b"null", value)
    entry = msgspec.structs.replace(entry, after=accepted)
    key = taken(entry, topic).key
    if key != message.headers.key:
        raise NotEditable(
            f"it is in order with {message.headers.key!r}, and would be with {key!r} then; "
            f"drop it, and emit another one"
        )
    return msgspec.structs.replace(message, body=canonical(entry))


def _refuse_misspelt(kind: type[Event | Resource], told: bytes, value: bytes) -> None:
    # What the message brought along of a newer contract is nobody's mistake, and no reason to refuse.
    try:
        brought = {flaw.pointer for flaw in unknown(kind, msgspec.json.decode(told))}
    except msgspec.DecodeError:
        brought = set[str]()
    flaws = [flaw for flaw in unknown(kind, msgspec.json.decode(value)) if flaw.pointer not in brought]
    if flaws:
        names = ", ".join(flaw.pointer for flaw in flaws[:3])
        raise Invalid(f"{topic_of(kind)} has no {names}; correct the name, or leave it out", flaws[:FLAWS_MAX])


def keeping(transport: Transport, settings: NodeSettings) -> Keeps | None:
    """The broker that is to keep events; None where they wait in the logs of those who tell them.

    Raises:
        Misconfigured: The transport keeps none.
    """
    if settings.events == "log":
        return None
    if not transport.features.durable or not isinstance(transport, Keeps):
        raise Misconfigured(
            f'node.events is "broker", but {settings.transport.partition(":")[0]}: keeps no events; expected '
            f'node.transport to be nats://, redis:// or amqp://, or node.events = "log"'
        )
    return transport


def publishing(hosted: Hosted, keeps: Keeps, host: Host) -> Relay:
    """What takes all events of a service to a broker that keeps them; the log of one that lists none may hold any."""
    publisher = Publisher(keeps, host)
    topics = [published_topic(kind) for kind in hosted.part.cls.__hanse_promise__.events]
    publisher.relay = Relay(hosted.store, PUBLISHED, topics, publisher.publish, host=host)
    return publisher.relay


def published_topic(kind: type[Event]) -> Topic:
    """What a relay to a broker wants of a log; whoever takes it from there knows what it is in order with."""
    return Topic(topic_of(kind), emitted=True, version=str(version_of(kind)))


def deliverer(transport: Transport) -> Callable[[Message], Awaitable[None]]:
    """Sends an event and waits until it is acknowledged."""

    async def deliver(message: Message) -> None:
        reply = await transport.request(message)
        if reply.kind is FAULT:
            raise fault_in(reply)

    return deliver


def _may_tell(hosted: Hosted, kind: type[Event | Resource]) -> bool:
    if issubclass(kind, Resource):
        return kind in hosted.owned
    return may_emit(hosted.part.cls, kind)


def _reader(kind: type[Event | Resource]) -> Read:
    """Makes an event, or a change of a resource, of a log entry."""
    if issubclass(kind, Resource):
        shape = shape_of(kind)
        return lambda entry: change_of(entry, shape.read, cursor_of("", entry.seq))
    codec: Any = codec_for(kind)
    return lambda entry: codec.decode_json(entry.after or b"")
