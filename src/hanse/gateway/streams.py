"""Streams to the outside: kept alive while quiet, ended with a hint when the node drains, cut when nobody reads.

A stream is four tasks in one group: one pumps items into the socket, as fast as it takes them; one keeps it alive while
it is quiet; one waits for the client to go; one for the drain, or for the client to have stopped reading. The first to
end ends the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing, contextmanager

import msgspec

from hanse.gateway.asgi import Header, Request
from hanse.gateway.limits import Limits
from hanse.gateway.problem import Problem, known, problem_of
from hanse.kernel.faults import Fault, Overloaded, Unavailable
from hanse.kernel.host import Host

SETTLE_SECONDS = 0.1
"""How long a stream's first item is waited for, so that a fault at its beginning is told by a status."""

FAREWELL_SECONDS = 1.0
"""For the last words to be taken by a client that has not read for long."""

ABORT = "hanse.abort"
"""Name of the ASGI extension by which our server lends the power to cut a connection."""


class Form(msgspec.Struct, frozen=True):
    """How a kind of stream looks on the wire.

    Attributes:
        type: Media type.
        fault: What a fault amid the items looks like.
        opening: First bytes.
        beat: A sign of life; empty for none.
        farewell: Last bytes when the node drains.
        end: Last bytes when the items have ended.
    """

    type: str
    fault: Callable[[Problem], bytes]
    opening: bytes = b""
    beat: bytes = b""
    farewell: bytes = b""
    end: bytes = b""


class Streams:
    """The streams that are open, and their common end."""

    def __init__(self, limits: Limits, host: Host) -> None:
        self.limits: Limits = limits
        self.host: Host = host
        self.faults: frozenset[type[Fault]] = frozenset()
        """Those that something exposed lists: what they carry is public."""
        self._ends: dict[object, Callable[[], None]] = {}
        self._draining = False
        self._none = asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        return len(self._ends)

    @contextmanager
    def opened(self, end: Callable[[], None] = lambda: None) -> Generator[None]:
        """Hold a place among the streams.

        Args:
            end: Called, once, when it has to end; by default it ends by itself.

        Raises:
            Unavailable: The node drains.
            Overloaded: There are as many as there may be.
        """
        if self._draining:
            raise Unavailable("this node is stopping; come again in a moment")
        if len(self._ends) >= self.limits.streams:
            raise Overloaded(f"the limit of {self.limits.streams} streams")
        place = object()
        self._ends[place] = end
        self._none.clear()
        try:
            yield
        finally:
            del self._ends[place]
            if not self._ends:
                self._none.set()

    async def drain(self) -> None:
        """Tell every stream to end, and wait until they have; bound it with a timeout.

        Event streams end at once. Sockets answer what they were asked before, which ends with the deadlines of calls.
        """
        self._draining = True
        for end in list(self._ends.values()):
            end()
        _ = await self._none.wait()


async def first_of(*works: Coroutine[object, object, None]) -> None:
    """Run several, end all with the first; what it raised is raised."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_quiet(work)) for work in works]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            _ = task.cancel()
    for task in done:
        if (error := task.result()) is not None:
            raise error


async def _quiet(work: Coroutine[object, object, None]) -> Exception | None:
    """A group wraps what its members raise; as a value it stays what it is."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - raised again by `first_of`
        return error
    return None


class Unread:
    """What was given to the socket and not taken yet; several tasks may be giving."""

    __slots__ = ("_now", "_pending", "_since")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._pending = 0
        self._since = now()

    @contextmanager
    def giving(self) -> Generator[None]:
        """Round each write."""
        if not self._pending:
            self._since = self._now()
        self._pending += 1
        try:
            yield
        finally:
            self._pending -= 1
            self._since = self._now()

    def __bool__(self) -> bool:
        return self._pending > 0

    @property
    def seconds(self) -> float:
        """How long nothing has been taken, or given."""
        return self._now() - self._since


class HttpStream:
    """One answer that goes on: writes pieces of it, and knows whether the client takes them."""

    def __init__(self, request: Request, streams: Streams, form: Form, headers: tuple[Header, ...]) -> None:
        self._request = request
        self._streams = streams
        self._form = form
        self._headers = headers
        self._unread = Unread(streams.host.monotonic)
        self._cut = False
        self.started: bool = False

    async def run(self, items: AsyncGenerator[bytes, None]) -> None:
        """Send the items until they end, the client goes, or the node drains.

        Raises:
            Fault: The items failed before the answer began.
        """
        end = asyncio.Event()
        with self._streams.opened(end.set):
            try:
                await first_of(self._pump(items), self._beat(), self._watch(), self._until(end))
            except Exception as error:
                if not self.started:
                    raise
                fault = known(error, self._streams.host)
                listed = type(fault) in self._streams.faults
                problem = problem_of(fault, self._request.trace_id, listed=listed)
                await self._finish(self._form.fault(problem))
            else:
                await self._finish(self._form.farewell if end.is_set() else self._form.end)

    async def _pump(self, items: AsyncGenerator[bytes, None]) -> None:
        async with aclosing(items):
            async for item in items:
                await self._write(item)

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._cut = True

    async def _beat(self) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        if not self.started:
            await self._write(b"")
        interval = self._streams.limits.heartbeat_seconds
        while True:
            await asyncio.sleep(interval - self._unread.seconds if self._form.beat and not self._unread else interval)
            if self._form.beat and not self._unread and self._unread.seconds >= interval:
                await self._write(self._form.beat)

    async def _until(self, end: asyncio.Event) -> None:
        stalled = await until(end, self._unread, self._streams.limits.stalled_seconds)
        if stalled or self._unread:
            self._cut = True  # what it does not read it would not read as a farewell either
            abort(self._request)

    async def _write(self, piece: bytes) -> None:
        with self._unread.giving():
            await self._start()
            await self._request.send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _start(self) -> None:
        if self.started:
            return
        self.started = True
        headers = [
            (b"content-type", self._form.type.encode()),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            *self._headers,
        ]
        self._request.begun = 200
        await self._request.send({"type": "http.response.start", "status": 200, "headers": headers})
        if self._form.opening:
            await self._request.send({"type": "http.response.body", "body": self._form.opening, "more_body": True})

    async def _finish(self, last: bytes) -> None:
        if self._cut:
            return
        try:
            async with asyncio.timeout(self._streams.limits.stalled_seconds):
                await self._start()
                await self._request.send({"type": "http.response.body", "body": last, "more_body": False})
        except TimeoutError:
            abort(self._request)


def abort(request: Request) -> None:
    """Cut the connection, where our server runs it: closing it in order would wait for a client that does not read."""
    cut: Callable[[], None] | None = request.extensions.get(ABORT)
    if cut is not None:
        cut()


async def until(end: asyncio.Event, unread: Unread, stalled_seconds: float) -> bool:
    """Wait for the drain, or for a client that stops reading; whether it was the latter."""
    while True:
        left = stalled_seconds - unread.seconds if unread else stalled_seconds / 2
        try:
            async with asyncio.timeout(max(left, 0)):
                _ = await end.wait()
        except TimeoutError:
            if unread and unread.seconds >= stalled_seconds:
                return True
        else:
            return False
