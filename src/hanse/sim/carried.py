"""A medium of real transports: what carries messages in production does so in a world, over simulated connections.

Nothing of an adapter is replaced. It connects, writes bytes, loses its connections and finds others as it would
outside; what lies at the other end is another node, or the twin of a broker, on a machine of its own. The clocks and
the chance are the machine's, and the network is the world's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar, final
from urllib.parse import urlsplit

import msgspec

from hanse.kernel.closing import closing
from hanse.kernel.context import ambient
from hanse.kernel.faults import CouldNotStart, Misconfigured, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Headers, Message
from hanse.kernel.route import Route
from hanse.kernel.settings import NodeSettings
from hanse.mesh.explained import Explained
from hanse.mesh.routed import Routed
from hanse.node.transports import Place, open_transport
from hanse.sim.brokers.nats_server import NatsServer
from hanse.sim.brokers.nats_streams import Storage
from hanse.sim.brokers.redis_memory import FLUSH_SECONDS, Journal
from hanse.sim.brokers.redis_server import RedisServer
from hanse.sim.chance import Draws
from hanse.sim.lane import Lane, current_lane
from hanse.sim.machine import WALL
from hanse.sim.network import Network, Port
from hanse.sim.registry import Member, Registry
from hanse.sim.sockets import Lan, Sockets
from hanse.sim.trace import Trace
from hanse.sim.twin import Appliance, Making
from hanse.transport.base import Backlog, Drains, Features, Keeps, Receiver, TellsTrouble, Transport
from hanse.transport.described import DescribedService, TellsOthers
from hanse.transport.discovery import Announcement
from hanse.transport.memory import MemoryTransport
from hanse.transport.stream.direct import StreamDirect

T = TypeVar("T")

APP: Final = "world"
"""The name under which the nodes of a world find each other."""

PORT: Final = 7421
"""Where nodes listen that connect to each other."""

ASKERS_MAX: Final = 100_000
"""Messages of which it is remembered which machine sent them, for those who look on."""


class Broker(Protocol):
    """The twin of a broker, in one life of its machine."""

    @property
    def idle(self) -> bool:
        """Whether it holds nothing that is still to be delivered."""
        ...

    async def serve(self) -> object:
        """Begin to listen, at its usual port."""
        ...


Life = Callable[[Appliance], Broker]
"""Makes the broker of each life of its machine."""


KEEPING: Final = ("nats://", "redis://", "valkey://", "amqp://")
"""Of which brokers the twins keep events, too."""


@final
class _Observed:
    """A receiver of which others hear what comes to it, and what it answers."""

    def __init__(self, twin: CarriedTwin, receiver: Receiver) -> None:
        self._twin = twin
        self._receiver = receiver

    async def serve(self, message: Message, /) -> Message:
        """See `Receiver.serve`."""
        twin = self._twin
        source = twin.begins(message)
        twin.under_way += 1
        try:
            reply = await self._receiver.serve(message)
        finally:
            twin.under_way -= 1
        twin.answers(source, reply, message)
        return reply

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        """See `Receiver.serve_stream`."""
        source = self._twin.begins(message)
        async with closing(self._receiver.serve_stream(message)) as replies:
            async for reply in replies:
                self._twin.answers(source, reply, message)
                yield reply


class CarriedTwin:
    """A real transport in one process, and what observers hear of it; see `hanse.sim.twin.Twin`.

    Attributes:
        port: Where its connections are.
        under_way: Requests that are being handled.
        native: The transport.
    """

    def __init__(self, medium: Carried, lane: Lane, sockets: Sockets, transport: Transport) -> None:
        """Take part.

        Args:
            medium: That it is a part of.
            lane: The process.
            sockets: Those of the process.
            transport: What carries its messages; not open.
        """
        self.port: Port = sockets.port
        self.under_way: int = 0
        self.native: Transport = transport
        self._medium = medium
        self._lane = lane
        self._open = self._closed = False
        self._opening: asyncio.Task[None] | None = None

    @property
    def features(self) -> Features:
        """See `Transport.features`; events are kept where the twin of the broker does that, too."""
        return msgspec.structs.replace(self.native.features, durable=False)

    def serving(self, more_than: int = 0) -> int:
        """See `Twin.serving`."""
        return 0 if self.under_way <= more_than else self.under_way

    async def open(self) -> None:
        """See `Transport.open`: on the lane of its process."""
        if self._open:
            return
        if self._opening is None:
            self._opening = self._lane.start(self.native.open(), "open transport")
        opening = self._opening
        try:
            # Others may wait for it, too.
            await asyncio.shield(opening)
            self._open, self._closed = True, False
        finally:
            if opening.done():
                self._opening = None

    async def close(self) -> None:
        """See `Transport.close`."""
        self._open, self._closed = False, True
        if self._lane.alive:
            await self._lane.start(self.native.close(), "close transport")

    def listen(self, service: str, receiver: Receiver, /) -> None:
        """See `Transport.listen`."""
        self.native.listen(service, _Observed(self, receiver))

    def leave(self, service: str, /) -> None:
        """See `Transport.leave`."""
        self.native.leave(service)

    def request(self, message: Message, /) -> Awaitable[Message]:
        """See `Transport.request`."""
        self._medium.sends(self.port.name, message)
        if self._open and current_lane.get(None) is self._lane:
            return self.native.request(message)
        return self._request_from_outside(message)

    async def stream(self, message: Message, /) -> AsyncIterator[Message]:
        """See `Transport.stream`."""
        self._medium.sends(self.port.name, message)
        if not self._open:
            await self._open_first()
        replies = self.native.stream(message)
        try:
            while (reply := await self.here(lambda: anext(replies, None))) is not None:
                yield reply
        finally:
            if isinstance(replies, AsyncGenerator) and self._lane.alive:
                await self.here(replies.aclose)

    def trouble(self) -> str:
        """See `TellsTrouble.trouble`."""
        return self.native.trouble() if isinstance(self.native, TellsTrouble) else ""

    def drain(self) -> None:
        """See `Drains.drain`."""
        if isinstance(self.native, Drains):
            self.native.drain()

    def describe(self, service: DescribedService, /) -> None:
        """See `TellsOthers.describe`."""
        if isinstance(self.native, TellsOthers):
            self.native.describe(service)

    # What observers hear.

    def begins(self, message: Message) -> str:
        """A request is here; who sent it."""
        source, is_new = self._medium.asker_of(message)
        if is_new:
            self._medium.hear(source or self.port.name, self.port, message, None)
        return source or self.port.name

    def answers(self, source: str, reply: Message, asked: Message) -> None:
        """An answer leaves."""
        self._medium.hear_answer(self.port, source, reply, asked)

    async def _request_from_outside(self, message: Message) -> Message:
        """A story asks, or a process whose transport nobody has opened: what is done for it is done on this lane.

        Otherwise two lanes would run one transport, and one of them could wait for the other without time passing.
        """
        if not self._open:
            await self._open_first()
        return await self.here(lambda: self.native.request(message))

    async def here(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have something done on the lane of this process."""
        if not self._lane.alive:
            raise Unavailable("the transport is closed")
        if current_lane.get(None) is self._lane:
            return await work()
        task = self._lane.start(_awaited(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            _ = task.cancel()
            # Nothing of a dead process ever ends.
            if self._lane.alive:
                _ = await asyncio.wait([task])
            raise

    async def _open_first(self) -> None:
        """Those that nobody opens, such as observers', open when they ask. Raises `Unavailable`."""
        if self._closed:
            return
        try:
            await self.open()
        except CouldNotStart as error:
            raise Unavailable(error.detail) from None


@final
class KeepingTwin(CarriedTwin):
    """One whose broker keeps events; see `hanse.transport.base.Keeps`."""

    def __init__(self, medium: Carried, lane: Lane, sockets: Sockets, transport: Transport) -> None:
        """Take part."""
        super().__init__(medium, lane, sockets, transport)
        assert isinstance(transport, Keeps)
        self._keeps: Keeps = transport

    @property
    def features(self) -> Features:
        """See `Transport.features`."""
        return self.native.features

    async def publish(self, messages: Sequence[Message], /) -> None:
        """See `Keeps.publish`."""
        await self.here(lambda: self._keeps.publish(messages))

    async def subscribe(self, group: str, topics: Sequence[str], /) -> Backlog:
        """See `Keeps.subscribe`."""
        return await self.here(lambda: self._keeps.subscribe(group, topics))


@final
class RoutedTwin(CarriedTwin):
    """One that chooses among instances by itself, as routes say; see `hanse.mesh.routes.TakesRoutes`."""

    def __init__(self, medium: Carried, lane: Lane, sockets: Sockets, transport: Transport) -> None:
        """Take part."""
        super().__init__(medium, lane, sockets, transport)
        assert isinstance(transport, Routed)
        self._routed: Routed = transport

    def route(self, routes: Mapping[str, Route], home: str = "") -> None:
        """See `TakesRoutes.route`."""
        self._routed.route(routes, home)

    def explain(self, address: str, headers: Headers = NO_HEADERS) -> Explained:
        """See `hanse.mesh.explained.Explains`."""
        return self._routed.explain(address, headers)


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


@final
class Carried:
    """A medium whose twins are real transports; see `hanse.sim.twin.Medium`.

    Attributes:
        lan: What connects the machines.
        appliances: The broker's, where there is one.
        broker: What runs there, or did last.
    """

    def __init__(self, url: str, network: Network, trace: Trace, seed: int, /) -> None:
        """Carry the messages of a world.

        Args:
            url: `tcp://`, or that of a broker that has a twin.
            network: Carries the bytes.
            trace: What happened.
            seed: Decides all that it leaves to chance.

        Raises:
            Misconfigured: The URL names nothing that a world can have.
        """
        scheme, name = parts_of(url)
        self.lan: Lan = Lan(network, seed)
        self.appliances: Mapping[str, Appliance] = {}
        self._network = network
        self._registry: Registry = Registry(network, seed)
        self._url = url
        self._askers: dict[str, tuple[str, bool]] = {}
        self.broker: Broker | None = None
        network.loop.internet = self.lan
        if name:
            _ = self.lan.address_of(name)
            self._url = f"{scheme}://{name}"
            make = _BROKERS[scheme](network, seed)
            self.appliances = {name: Appliance(name, lambda lane: self._begin(lane, make), network, trace)}

    @property
    def idle(self) -> bool:
        """See `Medium.idle`."""
        return self.broker is None or self.broker.idle

    def join(self, lane: Lane, settings: NodeSettings, /) -> CarriedTwin:
        """See `Medium.join`."""
        loop = self._network.loop
        context = lane.context.get(ambient) or ambient.get()
        if lane is loop.home:
            # The story's goes on by itself, and is to end with the world: not with the loop.
            lane = Lane(loop, lane.name)
            _ = lane.context.run(ambient.set, context)
            self._network.lanes.append(lane)
        sockets = self.lan.join(lane)
        transport = self._transport(context.host, sockets, settings)
        make = KeepingTwin if self._url.startswith(KEEPING) else RoutedTwin
        return make(self, lane, sockets, transport)

    def forget(self, service: str, /) -> None:
        """See `Medium.forget`: transports find that out by themselves."""

    def sends(self, machine: str, message: Message) -> None:
        """A machine asks something."""
        if len(self._askers) >= ASKERS_MAX:
            del self._askers[next(iter(self._askers))]
        self._askers[message.id] = machine, True

    def asker_of(self, message: Message) -> tuple[str, bool]:
        """Which machine sent a message last, empty where that is not known any more; and whether it came just now.

        A transport may ask elsewhere by itself, where a node has refused what it has not begun: that is no new try.
        """
        machine, is_new = self._askers.get(message.id, ("", True))
        self._askers[message.id] = machine, False
        return machine, is_new

    def hear(self, source: str, port: Port, message: Message, asked: Message | None) -> None:
        """Let whoever looks on hear of a request that came to a process."""
        if self._network.heard is not None and port.alive:
            self._network.heard(source, port.name, message, asked)

    def hear_answer(self, port: Port, to: str, message: Message, asked: Message) -> None:
        """Let whoever looks on hear of an answer that leaves a process."""
        if self._network.heard is not None and port.alive:
            self._network.heard(port.name, to, message, asked)

    def _begin(self, lane: Lane, make: Life) -> Sockets:
        sockets = self.lan.join(lane)
        broker = self.broker = make(self.appliances[lane.name])
        _ = lane.start(broker.serve(), "serve")
        return sockets

    def _transport(self, host: Host, sockets: Sockets, settings: NodeSettings) -> Transport:
        here = Announcement(f"{host.name}-{host.new_id()}", "", app=APP, release=settings.release, zone=settings.zone)
        if self.appliances:
            return open_transport(self._url, Place(here, host, NodeSettings(events="broker")))
        direct = StreamDirect(f"tcp://{sockets.address}:{PORT}", host, instance=here.instance)
        return Routed(here, MemoryTransport(), direct, Member(self._registry, sockets), host=host)


def _nats(network: Network, seed: int) -> Life:
    storage, draws, loop = Storage(), Draws(seed, "nats disk"), network.loop

    def begin(machine: Appliance) -> NatsServer:
        if machine.went_dark:
            storage.went_dark(WALL + machine.died_at, draws.draw)
        return NatsServer(machine.name, seed, machine.lives, storage=storage, clock=lambda: WALL + loop.now)

    return begin


def _redis(network: Network, seed: int) -> Life:
    journal, draws, loop = Journal(), Draws(seed, "redis"), network.loop

    def begin(machine: Appliance) -> RedisServer:
        if machine.went_dark:
            journal.lose(WALL + machine.died_at - draws.draw() * FLUSH_SECONDS)
        return RedisServer(journal.memory(), lambda: WALL + loop.now)

    return begin


def _amqp(network: Network, seed: int) -> Life:
    # Only who has the adapter has the codec that both speak with.
    from hanse.sim.brokers.amqp_queues import Storage as Queues
    from hanse.sim.brokers.amqp_server import AmqpServer

    queues, draws, loop = Queues(), Draws(seed, "amqp disk"), network.loop

    def begin(machine: Appliance) -> AmqpServer:
        if machine.went_dark:
            queues.went_dark(WALL + machine.died_at, draws.draw)
        queues.restart(WALL + machine.died_at, WALL + loop.now)
        return AmqpServer(queues, lambda: WALL + loop.now)

    return begin


_BROKERS: Mapping[str, Callable[[Network, int], Life]] = {
    "nats": _nats,
    "redis": _redis,
    "valkey": _redis,
    "amqp": _amqp,
}
"""Those that have a twin: from the network and the seed of a world, what runs in each life of the broker's machine."""


def making_of(transport: Making | str) -> Making:
    """What makes the medium of a world, from what its setup says.

    Raises:
        Misconfigured: It is a URL of nothing that a world can have.
    """
    if not isinstance(transport, str):
        return transport
    _ = parts_of(transport)
    return partial(Carried, transport)


def brokers_of(transport: Making | str) -> tuple[str, ...]:
    """The machines that it has besides those that host services.

    Raises:
        Misconfigured: It is a URL of nothing that a world can have.
    """
    name = parts_of(transport)[1] if isinstance(transport, str) else ""
    return (name,) if name else ()


def parts_of(url: str) -> tuple[str, str]:
    """The scheme of a URL, and the name of the machine that the broker is on; empty where there is none.

    Raises:
        Misconfigured: The URL names nothing that a world can have.

    Example:
        >>> parts_of("tcp://")
        ('tcp', '')
    """
    scheme = url.partition(":")[0]
    if url == "tcp://":
        return scheme, ""
    try:
        parts = urlsplit(url)
        plain = not (parts.port or parts.username or parts.path.strip("/") or parts.query or "," in parts.netloc)
    except ValueError:
        plain, parts = False, urlsplit("")
    if scheme in _BROKERS and plain and url.startswith(f"{scheme}://"):
        return scheme, parts.hostname or scheme
    known = ", ".join(["tcp://", *(f"{name}://" for name in _BROKERS)])
    raise Misconfigured(
        f"expected Setup(transport=...) to be one of {known}, with the name of the broker's machine behind it where "
        f"there is one; got {url!r}. Others have no twin: leave it out, or bring one; see hanse.sim.twin"
    )
