"""A network within one process: nodes that reach each other as over a wire, and that can be killed. For tests.

What is sent is encoded and decoded, handlers run in tasks of the node that serves them, and a node that is killed tells
nobody: whoever was connected to it notices. There is no latency, and nothing is lost but by who dies.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from typing import final

import msgspec

from hanse.kernel.closing import closing
from hanse.kernel.faults import CouldNotStart, DeadlineExceeded, Unavailable
from hanse.kernel.message import ITEM, STREAM, Message
from hanse.kernel.tasks import Tasks
from hanse.transport.base import Features, Receiver
from hanse.transport.direct import NotSent
from hanse.transport.discovery import Announcement

AHEAD_MAX = 16
"""Items of a stream that are made before they are taken."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


@final
class LocalNetwork:
    """What nodes of one process are connected by.

    Example:
        >>> network = LocalNetwork()
        >>> network.direct("one").address
        'local:one'
    """

    def __init__(self) -> None:
        self._directs: dict[str, LocalDirect] = {}
        self._discoveries: dict[str, LocalDiscovery] = {}

    def direct(self, name: str) -> LocalDirect:
        """One more node's way to others.

        Args:
            name: Its address is made of this.
        """
        return LocalDirect(self._directs, f"local:{name}")

    def discovery(self) -> LocalDiscovery:
        """One more node's way to hear of others: at once."""
        return LocalDiscovery(self._discoveries)


@final
class LocalDirect:
    """The end that one node has of a `LocalNetwork`; see `hanse.transport.direct.Direct`."""

    features: Features = Features(durable=False, balances=False)

    def __init__(self, network: dict[str, LocalDirect], address: str) -> None:
        """Be reachable, once it is open; `LocalNetwork.direct` is the usual way to one."""
        self.address: str = address
        self.asked: list[str] = []
        """Addresses of what was asked of it, in order."""
        self._network = network
        self._receiver: Receiver | None = None
        self._lost: Callable[[str], None] = _ignore
        self._tasks = Tasks(_raise)
        self._connected_to: set[str] = set()
        self._serving: dict[asyncio.Task[None], None] = {}
        self._waiting: dict[_Waiting, None] = {}

    @property
    def native(self) -> object:
        """See `Direct.native`."""
        return self._network

    async def open(self, receiver: Receiver, lost: Callable[[str], None], /) -> None:
        """See `Direct.open`."""
        if self.address in self._network:
            raise CouldNotStart(f"{self.address} is taken")
        self._network[self.address] = self
        self._receiver, self._lost = receiver, lost

    async def close(self) -> None:
        """See `Direct.close`."""
        self.kill()
        await self._tasks.cancel()

    def kill(self) -> None:
        """Be gone from one moment to the next: nobody is told, and everybody notices."""
        if self._network.get(self.address) is not self:
            return
        del self._network[self.address]
        for waiting in list(self._waiting):
            waiting.end("the transport is closed")
        for other in list(self._network.values()):
            other.broke(self.address)
        for task in list(self._serving):
            _ = task.cancel()

    def broke(self, address: str) -> None:
        """The connection to an address broke."""
        for waiting in [waiting for waiting in self._waiting if waiting.to == address]:
            waiting.end(f"{address} went away while it was asked")
        if address in self._connected_to:
            self._connected_to.remove(address)
            self._lost(address)

    async def request(self, message: Message, to: str, /) -> Message:
        """See `Direct.request`."""
        with self._connected(message, to) as waiting:
            return await self._in_time(message, waiting)

    async def stream(self, message: Message, to: str, /) -> AsyncIterator[Message]:
        """See `Direct.stream`."""
        with self._connected(message, to) as waiting:
            while True:
                reply = await self._in_time(message, waiting)
                yield reply
                if reply.kind is not ITEM:
                    return

    @contextmanager
    def _connected(self, message: Message, to: str) -> Generator[_Waiting]:
        other = self._network.get(to)
        if self._network.get(self.address) is not self:
            raise Unavailable("the transport is closed")
        if other is None:
            raise NotSent(f"nobody listens at {to}")
        self._connected_to.add(to)
        waiting = _Waiting(to)
        self._waiting[waiting] = None
        task = other.serve(_encode(message), waiting)
        try:
            yield waiting
        finally:
            del self._waiting[waiting]
            _ = task.cancel()

    @staticmethod
    async def _in_time(message: Message, waiting: _Waiting) -> Message:
        if waiting.why and waiting.replies.empty():
            raise Unavailable(waiting.why)
        try:
            async with asyncio.timeout(message.timeout or None):
                reply = await waiting.replies.get()
        except TimeoutError:
            raise DeadlineExceeded(message.address) from None
        if reply is None:
            raise Unavailable(waiting.why)
        return _decode(reply)

    def serve(self, body: bytes, waiting: _Waiting) -> asyncio.Task[None]:
        """Handle what another node sent, in a task of this one."""
        # What the caller's code has in its context stays there, as it would in another process.
        task = contextvars.Context().run(self._tasks.start, self._serve(_decode(body), waiting))
        self._serving[task] = None
        task.add_done_callback(self._served)
        return task

    def _served(self, task: asyncio.Task[None]) -> None:
        del self._serving[task]

    async def _serve(self, message: Message, waiting: _Waiting) -> None:
        self.asked.append(message.address)
        receiver = self._receiver
        assert receiver is not None
        if message.kind is not STREAM:
            await waiting.replies.put(_encode(await receiver.serve(message)))
            return
        async with closing(receiver.serve_stream(message)) as replies:
            async for reply in replies:
                await waiting.replies.put(_encode(reply))


@final
class LocalDiscovery:
    """Has the nodes of a `LocalNetwork` hear of each other; see `hanse.transport.discovery.Discovery`."""

    def __init__(self, network: dict[str, LocalDiscovery]) -> None:
        """Take part, once it is open; `LocalNetwork.discovery` is the usual way to one."""
        self.suspected: list[str] = []
        """Instances that somebody suspected, in order."""
        self._network = network
        self._here = Announcement("", "")
        self._told: Callable[[Announcement], None] = _ignore
        self._gone: Callable[[str], None] = _ignore

    async def open(
        self, here: Announcement, told: Callable[[Announcement], None], gone: Callable[[str], None], /
    ) -> None:
        """See `Discovery.open`."""
        self._told, self._gone = told, gone
        self.announce(here)
        for other in list(self._network.values()):
            if other is not self:
                told(other.here)

    @property
    def here(self) -> Announcement:
        """What its node says of itself."""
        return self._here

    def announce(self, here: Announcement, /) -> None:
        """See `Discovery.announce`."""
        self._here = here
        self._network[here.instance] = self
        for other in list(self._network.values()):
            if other is not self:
                other.hear(here)

    def hear(self, said: Announcement) -> None:
        """Another node says something of itself."""
        self._told(said)

    def suspect(self, instance: str, /) -> None:
        """See `Discovery.suspect`; whether it lives is for the test to say, with `bury` and `hear`."""
        self.suspected.append(instance)

    def bury(self, instance: str) -> None:
        """Another node is dead, as far as this one can know."""
        self._gone(instance)

    async def close(self) -> None:
        """See `Discovery.close`."""
        if self._network.pop(self._here.instance, None) is not None:
            for other in list(self._network.values()):
                other.bury(self._here.instance)


@final
class _Waiting:
    """Somebody who waits for what another node answers."""

    def __init__(self, to: str) -> None:
        self.to = to
        self.why: str = ""
        self.replies: asyncio.Queue[bytes | None] = asyncio.Queue(AHEAD_MAX)

    def end(self, why: str) -> None:
        """Nothing more comes, but for what is on its way already."""
        self.why = why
        if not self.replies.full():
            self.replies.put_nowait(None)


def _ignore(_: object) -> None:
    """Nobody listens."""


def _raise(error: BaseException) -> None:
    raise error
