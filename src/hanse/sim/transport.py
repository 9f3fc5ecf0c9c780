"""The twin of a transport: the real port, over the simulated network.

It balances by itself, as a broker does: a request goes to one of those who serve the address. Requests are packets
that may get lost, and then end at their time; a request whose server is killed ends with `Unavailable` as soon as the
caller can know. Events may arrive twice; calls do not, as no transport of ours repeats them. A stream is a connection:
in order, without loss, until it breaks.

Twins of particular brokers, with their own documented faults, come in by `Setup(transport=...)`; see `hanse.sim.twin`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping
from functools import partial
from typing import Any, cast, final

import msgspec

from hanse.kernel.closing import closing
from hanse.kernel.faults import DeadlineExceeded, Unavailable, UnknownOperation
from hanse.kernel.message import EVENT, ITEM, Kind, Message
from hanse.kernel.settings import NodeSettings
from hanse.mesh.fault import fault_message
from hanse.sim.lane import Lane
from hanse.sim.network import Network, Port
from hanse.sim.trace import Trace
from hanse.sim.twin import Appliance
from hanse.transport.base import Features, Receiver, service_of

AHEAD_MAX = 128
"""Items of a stream that are under way at once; the next waits until some were taken."""

TAKEN_TOLD = 32
"""Items that a reader takes until it says so, which makes room for as many more."""

SEEN_MAX = 10_000
"""Calls that a port remembers, to tell a repeated packet."""

# By number: to ask an enumeration for the name of its member costs more (CPython 3.11).
_WORDS = ("", *(kind.name.lower() for kind in sorted(Kind)))
_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode = msgspec.msgpack.Decoder(Message).decode
_NOTHING = b""


class _Waiting(msgspec.Struct):
    """A request that waits for its answer."""

    target: Port
    reply: asyncio.Future[Message]


@final
class _Reading:
    """The reading end of a stream: what has come, in order, and who waits for it."""

    def __init__(self, target: Port) -> None:
        self.target = target
        self.early: dict[int, Message] = {}
        self.items: deque[Message] = deque()
        self.next: int = 0
        self.broken: bool = False
        self.waiter: asyncio.Future[None] | None = None

    def put(self, index: int, message: Message) -> None:
        """An item came; what was held back while others were resent takes its place."""
        self.early[index] = message
        while self.next in self.early:
            self.items.append(self.early.pop(self.next))
            self.next += 1
        self.wake()

    def wake(self) -> None:
        """Let the reader look."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def take(self) -> Message:
        """The next item. Raises `Unavailable` where the connection broke."""
        while not self.items:
            if self.broken:
                raise Unavailable("the connection broke; ask again where the stream stopped")
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        return self.items.popleft()


@final
class _Writing:
    """The writing end of a stream: how many more items may go."""

    def __init__(self, target: Port) -> None:
        self.target = target
        self.room: int = AHEAD_MAX
        self.task: asyncio.Task[None] | None = None
        self.waiter: asyncio.Future[None] | None = None

    def taken(self, _: bytes) -> None:
        """The reader took some more."""
        self.room += TAKEN_TOLD
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def end(self) -> None:
        """Nobody reads any more."""
        if self.task is not None:
            self.task.cancel()

    async def wait(self) -> None:
        """Wait for room."""
        while self.room <= 0:
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        self.room -= 1


@final
class SimTransport:
    """One life of one machine on the network; see `hanse.transport.base.Transport` for what its verbs promise."""

    features: Features = Features(durable=False, balances=True)

    def __init__(self, network: Network, lane: Lane) -> None:
        """Take part in a network.

        Args:
            network: Carries the packets.
            lane: The process that this is a part of.
        """
        self.port: Port = Port(lane, self)
        self._network = network
        self._lane = lane
        self._receivers: dict[str, Receiver] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._readings: dict[int, _Reading] = {}
        self._writings: dict[tuple[Port, int], _Writing] = {}
        self._serving: dict[tuple[Port, int], list[asyncio.Task[None]]] = {}
        self._seen: dict[tuple[Port, int], None] = {}
        self._count = 0
        network.join(self.port)

    def serving(self, more_than: int = 0) -> int:
        """See `Twin.serving`."""
        if len(self._serving) <= more_than:
            return 0
        tasks = [task for tasks in self._serving.values() for task in tasks]
        return sum(inspect.getcoroutinestate(_coroutine_of(task)) == inspect.CORO_SUSPENDED for task in tasks)

    async def open(self) -> None:
        """See `Transport.open`."""
        self.port.open = True
        self._network.join(self.port)

    async def close(self) -> None:
        """See `Transport.close`."""
        self.port.open = False
        self._network.left(self.port)
        for waiting in list(self._waiting.values()):
            _refuse(waiting, "the transport is closed")
        for reading in list(self._readings.values()):
            reading.broken = True
            reading.wake()
        for writing in list(self._writings.values()):
            writing.end()

    def listen(self, service: str, receiver: Receiver, /) -> None:
        """See `Transport.listen`."""
        self._receivers[service] = receiver
        self._network.listen(service, self.port)

    def leave(self, service: str, /) -> None:
        """See `Transport.leave`."""
        _ = self._receivers.pop(service, None)
        self._network.leave(service, self.port)

    async def request(self, message: Message, /) -> Message:
        """See `Transport.request`."""
        target = await self._target(message)
        self._count += 1
        id = self._count
        loop = self._network.loop
        waiting = self._waiting[id] = _Waiting(target, loop.create_future())
        what = f"{_WORDS[message.kind]} {message.address}"
        arrive = partial(self._peer(target).serve, self, id)
        self._say(target, message)
        self._network.send(self.port, target, what, _encode(message), arrive, repeats=message.kind is EVENT)
        timer = loop.call_later(message.timeout, _expire, waiting, message.address) if message.timeout else None
        try:
            return await waiting.reply
        except asyncio.CancelledError:
            self._network.send(
                self.port, target, f"cancel {message.address}", _NOTHING, partial(self._cancel_at, target, id)
            )
            raise
        finally:
            if timer is not None:
                timer.cancel()
            del self._waiting[id]

    async def stream(self, message: Message, /) -> AsyncIterator[Message]:
        """See `Transport.stream`."""
        target = await self._target(message)
        self._count += 1
        id = self._count
        reading = self._readings[id] = _Reading(target)
        peer = self._peer(target)
        self._say(target, message)
        self._carry(target, f"stream {message.address}", _encode(message), partial(peer.serve_stream, self, id))
        ended, taken = False, 0
        try:
            while not ended:
                reply = await reading.take()
                ended, taken = reply.kind is not ITEM, taken + 1
                if taken % TAKEN_TOLD == 0 and not ended:
                    self._carry(target, f"more {message.address}", _NOTHING, partial(peer.more, self, id))
                yield reply
        finally:
            del self._readings[id]
            if not ended and not reading.broken:
                self._carry(target, f"close {message.address}", _NOTHING, partial(peer.end, self, id))

    # What arrives; called on the wire's own lane, so that user code runs in tasks of the machine's.

    def serve(self, caller: SimTransport, id: int, body: bytes) -> None:
        """A request came."""
        message = _decode(body)
        key = (caller.port, id)
        if key in self._seen and message.kind is not EVENT:
            return
        self._seen[key] = None
        if len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        task = self._lane.start(self._answer(caller, id, message), message.address)
        # An event that came twice is handled twice.
        self._serving.setdefault(key, []).append(task)
        task.add_done_callback(partial(self._served, key), context=self._lane.context)

    def _served(self, key: tuple[Port, int], task: asyncio.Task[None]) -> None:
        tasks = self._serving[key]
        tasks.remove(task)
        if not tasks:
            del self._serving[key]

    async def _answer(self, caller: SimTransport, id: int, message: Message) -> None:
        receiver = self._receivers.get(service_of(message.address))
        reply = _gone(message) if receiver is None else await receiver.serve(message)
        what = f"{_WORDS[reply.kind]} {message.address}"
        self._say(caller.port, reply, message)
        self._network.send(self.port, caller.port, what, _encode(reply), partial(caller.answered, id))

    def answered(self, id: int, body: bytes) -> None:
        """A reply came; nobody may wait for it any more."""
        waiting = self._waiting.get(id)
        if waiting is not None and not waiting.reply.done():
            waiting.reply.set_result(_decode(body))

    def cancel(self, caller: SimTransport, id: int) -> None:
        """Whoever asked gave up."""
        for task in self._serving.get((caller.port, id), ()):
            task.cancel()

    def serve_stream(self, caller: SimTransport, id: int, body: bytes) -> None:
        """Somebody wants items."""
        writing = self._writings[caller.port, id] = _Writing(caller.port)
        message = _decode(body)
        writing.task = self._lane.start(self._items(caller, id, message, writing), message.address)
        writing.task.add_done_callback(partial(self._written, (caller.port, id)), context=self._lane.context)

    def _written(self, key: tuple[Port, int], _: asyncio.Task[None]) -> None:
        del self._writings[key]

    async def _items(self, caller: SimTransport, id: int, message: Message, writing: _Writing) -> None:
        receiver = self._receivers.get(service_of(message.address))
        if receiver is None:
            self._carry(caller.port, "fault", _encode(_gone(message)), partial(caller.came, id, 0))
            return
        index = 0
        async with closing(receiver.serve_stream(message)) as replies:
            async for reply in replies:
                await writing.wait()
                what = f"{_WORDS[reply.kind]} {message.address}"
                self._say(caller.port, reply, message)
                self._carry(caller.port, what, _encode(reply), partial(caller.came, id, index))
                index += 1

    def came(self, id: int, index: int, body: bytes) -> None:
        """An item of a stream came."""
        reading = self._readings.get(id)
        if reading is not None:
            reading.put(index, _decode(body))

    def more(self, caller: SimTransport, id: int, body: bytes) -> None:
        """A reader took some more items."""
        writing = self._writings.get((caller.port, id))
        if writing is not None:
            writing.taken(body)

    def end(self, caller: SimTransport, id: int, body: bytes) -> None:
        """A reader has enough."""
        del body
        writing = self._writings.get((caller.port, id))
        if writing is not None:
            writing.end()

    # The ways out.

    async def _target(self, message: Message) -> Port:
        """Who is asked; it takes a moment to learn that nobody is there."""
        if not self.port.open:
            raise Unavailable("the transport is closed")
        service = service_of(message.address)
        target = self._network.choose(service, self.port.name)
        if target is not None:
            return target
        await asyncio.sleep(self._network.latency_low)
        if service in self._network.services:
            raise Unavailable(f"nobody serves {service!r} at the moment")
        raise UnknownOperation(f"nobody serves {service!r}; there are {', '.join(sorted(self._network.services))}")

    def _say(self, target: Port, message: Message, asked: Message | None = None) -> None:
        """Let whoever looks on hear of a message that leaves."""
        heard = self._network.heard
        if heard is not None and self.port.alive:
            heard(self.port.name, target.name, message, asked)

    @staticmethod
    def _peer(target: Port) -> SimTransport:
        return cast("SimTransport", target.end)

    def _cancel_at(self, target: Port, id: int, body: bytes) -> None:
        del body
        self._peer(target).cancel(self, id)

    def _carry(self, target: Port, what: str, body: bytes, arrive: partial[None]) -> None:
        self._network.carry(self.port, target, what, body, arrive)

    def lost(self, port: Port, /) -> None:
        """See `End.lost`."""
        for waiting in list(self._waiting.values()):
            if waiting.target is port and not port.alive:
                _refuse(waiting, f"{port.name} went away while it was asked")
        for reading in list(self._readings.values()):
            if reading.target is port:
                reading.broken = True
                reading.wake()
        for writing in list(self._writings.values()):
            if writing.target is port:
                writing.end()


@final
class SimMedium:
    """Has every process reach every other by itself; see `hanse.sim.twin.Medium`."""

    def __init__(self, network: Network, trace: Trace, seed: int, /) -> None:
        """Carry the messages of a world; see `hanse.sim.twin.Making`."""
        del trace, seed
        self.appliances: Mapping[str, Appliance] = {}
        self.idle: bool = True
        self._network = network

    def join(self, lane: Lane, settings: NodeSettings, /) -> SimTransport:
        """See `Medium.join`; who shares calls among releases does that by their names."""
        del settings
        return SimTransport(self._network, lane)

    def forget(self, service: str, /) -> None:
        """See `Medium.forget`."""
        self._network.forget(service)


def _refuse(waiting: _Waiting, why: str) -> None:
    if not waiting.reply.done():
        waiting.reply.set_exception(Unavailable(why))


def _expire(waiting: _Waiting, address: str) -> None:
    if not waiting.reply.done():
        waiting.reply.set_exception(DeadlineExceeded(address))


def _coroutine_of(task: asyncio.Task[None]) -> Coroutine[Any, Any, None]:
    return cast("Coroutine[Any, Any, None]", task.get_coro())


def _gone(message: Message) -> Message:
    return fault_message(Unavailable(f"{service_of(message.address)!r} is not served here any more"), message.id)
