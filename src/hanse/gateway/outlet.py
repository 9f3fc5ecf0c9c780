"""The way out to one client: takes bytes without ever waiting, and says when it has been given more than is taken.

Where the server lends its connection (`hanse.gateway.wire`), bytes go there at once. Elsewhere they wait for ASGI's
`send`, in a task that is there only as long as something waits.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, final

from hanse.gateway.wire import Wire
from hanse.kernel.tasks import Tasks

FULL_BYTES = 64 * 1024
"""Waiting for ASGI's `send` from which on an outlet is full; wires have the marks of their transport."""


class Owner(Protocol):
    """Whoever gives an outlet what to write."""

    def waits(self) -> None:
        """Something waits to be taken; somebody should see to it that it does not for ever."""

    def filled(self) -> None:
        """More was given than is taken; to give more all the same costs memory."""

    def emptied(self) -> None:
        """There is room again."""


class Outlet(ABC):
    """See the module.

    Attributes:
        full: Whether it has been given more than is taken.
        gone: Whether the connection is lost: what is written goes nowhere.
    """

    __slots__ = ("_owner", "_room", "full", "gone")

    def __init__(self, owner: Owner) -> None:
        self.full: bool = False
        self.gone: bool = False
        self._owner = owner
        self._room: asyncio.Future[None] | None = None

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Write; never waits."""

    @property
    @abstractmethod
    def left(self) -> int:
        """Bytes that were given, and not taken yet."""

    @abstractmethod
    def cut(self) -> None:
        """Cut the connection: who does not read would not read a farewell either."""

    @abstractmethod
    def close(self) -> None:
        """Hear nothing of the connection any more."""

    async def settled(self) -> None:
        """Wait until something more may be written that has to arrive, such as a farewell."""
        await self.room()

    async def room(self) -> None:
        """Wait until there is room."""
        while self.full and not self.gone:
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)

    def filled(self) -> None:
        """More was given than is taken."""
        if not self.full:
            self.full = True
            self._owner.waits()
            self._owner.filled()

    def emptied(self) -> None:
        """There is room again."""
        if self.full:
            self.full = False
            self._wake()
            self._owner.emptied()

    def parted(self) -> None:
        """The connection is lost."""
        self.gone = True
        self._wake()

    def _wake(self) -> None:
        if self._room is not None:
            self._room.set_result(None)
            self._room = None


@final
class WireOutlet(Outlet):
    """Over a connection that our server lends."""

    __slots__ = ("_wire",)

    def __init__(self, owner: Owner, wire: Wire) -> None:
        super().__init__(owner)
        self._wire = wire
        wire.listener = self

    def write(self, data: bytes) -> None:
        """See `Outlet.write`."""
        self._wire.write(data)

    @property
    def left(self) -> int:
        """See `Outlet.left`."""
        return self._wire.left

    def cut(self) -> None:
        """See `Outlet.cut`."""
        self._wire.abort()

    def close(self) -> None:
        """See `Outlet.close`."""
        self._wire.listener = None


@final
class SendOutlet(Outlet):
    """Over ASGI's `send`."""

    __slots__ = ("_abort", "_pieces", "_send", "_size", "_task", "_tasks")

    def __init__(
        self, owner: Owner, send: Callable[[bytes], Awaitable[None]], abort: Callable[[], None], tasks: Tasks
    ) -> None:
        """Take what sends.

        Args:
            owner: Hears how it goes.
            send: Sends bytes, and waits until they are taken.
            abort: Cuts the connection, where the server lends the power to.
            tasks: Where the one that sends runs.
        """
        super().__init__(owner)
        self._send = send
        self._abort = abort
        self._tasks = tasks
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._task: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        """See `Outlet.write`."""
        if self.gone:
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._task is None:
            self._task = self._tasks.start(self._drain())
            self._owner.waits()
        if self._size >= FULL_BYTES:
            self.filled()

    @property
    def left(self) -> int:
        """See `Outlet.left`."""
        return self._size

    def cut(self) -> None:
        """See `Outlet.cut`."""
        self.close()
        self._abort()

    def close(self) -> None:
        """See `Outlet.close`."""
        self.parted()
        self._pieces.clear()
        if self._task is not None:
            _ = self._task.cancel()

    async def settled(self) -> None:
        """See `Outlet.settled`: what is sent past it must not overtake."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _drain(self) -> None:
        try:
            while self._pieces:
                piece = self._pieces.popleft()
                await self._send(piece)
                self._size -= len(piece)
                if self._size < FULL_BYTES // 2:
                    self.emptied()
        except OSError:
            self.parted()  # whoever reads from the client is told, and ends it all
        finally:
            self._task = None
