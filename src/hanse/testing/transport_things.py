"""The service that the transport suite calls: the mesh's real server, with operations that tests hold up and watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import final

import msgspec

from hanse.kernel.closing import closing
from hanse.kernel.context import Context, ambient
from hanse.kernel.faults import Flaw, Invalid, NotFound
from hanse.kernel.host import Host
from hanse.kernel.message import Kind, Message
from hanse.mesh.fault import fault_in
from hanse.mesh.server import Endpoint, Server
from hanse.transport.base import Transport

WAIT_SECONDS = 60.0
"""How long the suite waits for what has to happen; only a failing transport makes it wait so long."""

CALLS_MAX = 20_000
"""Calls that the suite's server takes at once: more than any test makes, so that limits are the transport's."""

_WALL = 1_700_000_000.0
_SEED = 7


FLAWS = [Flaw("/sku", "choice", "expected a tea, got 'grüner Kaffee'"), Flaw("/left", "range", "got -1")]
"""What the fault of `refuse` holds: data that has to come as what it is, not as a text."""


@final
class Things:
    """Serves `echo`, `wait`, `hold` and their like, and notes what becomes of each.

    Attributes:
        server: What a transport listens with.
        came: Messages that reached a handler, in order.
        running: Calls that are being handled.
        cancelled: Operations that were cancelled.
        made: Items that streams have made.
        closed: Streams that have ended, whoever ended them.
        gate: What `wait` and `pass_on` wait for.
        back: How `forward` goes on; set by tests that need it.
        changed: Set whenever anything becomes of a message.
    """

    def __init__(self, service: str = "things", *, calls_max: int = CALLS_MAX, beside: Things | None = None) -> None:
        """Serve in the running loop, by its clock, which may be virtual.

        Args:
            service: What it is called.
            calls_max: Calls that it takes at once.
            beside: Another instance: who waits for something of one notices what becomes of either.
        """
        fixed = Host.fixed(wall=_WALL, seed=_SEED)
        clock = asyncio.get_running_loop().time
        host = Host("suite", now=fixed.now, monotonic=clock, chance=fixed.chance, entropy=fixed.entropy)
        self.server: Server = Server(host, calls_max=calls_max)
        self.came: list[Message] = []
        self.running: int = 0
        self.cancelled: list[str] = []
        self.made: int = 0
        self.closed: int = 0
        self.gate: asyncio.Event = asyncio.Event()
        self.back: Transport | None = None
        self.changed: asyncio.Event = asyncio.Event() if beside is None else beside.changed
        for run in (self.echo, self.wait, self.hold, self.refuse, self.fail, self.grow, self.forward):
            self.server.add(f"{service}.{run.__name__}", Endpoint(run=partial(self._noted, run), encode=_as_it_is))
        for stream in (self.count, self.hang, self.snap, self.swell):
            self.server.add(f"{service}.{stream.__name__}", Endpoint(stream=partial(self._streamed, stream)))

    async def until(self, true: Callable[[], bool], *, limit: float = WAIT_SECONDS) -> None:
        """Wait until something is so; it is looked at whenever anything becomes of a message."""
        async with asyncio.timeout(limit):
            while not true():
                self.changed.clear()
                await self.changed.wait()

    async def begun(self) -> None:
        """Wait until the first message is there."""
        await self.until(lambda: len(self.came) > 0)

    # The operations.

    async def echo(self, message: Message) -> bytes:
        """Answers with what it was given."""
        return message.body

    async def wait(self, message: Message) -> bytes:
        """Answers with what it was given once the gate is open."""
        await self.gate.wait()
        return message.body

    async def hold(self, message: Message) -> bytes:
        """Never answers."""
        await asyncio.Event().wait()
        return message.body

    async def refuse(self, message: Message) -> bytes:
        """Raises a fault of its contract."""
        del message
        raise Invalid("2 values are wrong", FLAWS)

    async def fail(self, message: Message) -> bytes:
        """Raises what no contract knows."""
        del message
        raise RuntimeError("the password is swordfish")

    async def grow(self, message: Message) -> bytes:
        """Answers with as many bytes as it was told."""
        return bytes(int(message.body))

    async def forward(self, message: Message) -> bytes:
        """Calls the address that its body names, with the time that is left, and answers with what came."""
        assert self.back is not None
        address, _, body = message.body.decode().partition(" ")
        onward = Message(
            Kind.CALL, f"{message.id}+", address, ambient.get().time_left(), message.headers, body.encode()
        )
        return body_of(await self.back.request(onward))

    async def count(self, message: Message) -> AsyncIterator[bytes]:
        """So many numbers."""
        for n in range(int(message.body)):
            yield b"%d" % n

    async def hang(self, message: Message) -> AsyncIterator[bytes]:
        """So many numbers, and then nothing, not even an end."""
        for n in range(int(message.body)):
            yield b"%d" % n
        await asyncio.Event().wait()

    async def snap(self, message: Message) -> AsyncIterator[bytes]:
        """So many numbers, and then a fault."""
        for n in range(int(message.body)):
            yield b"%d" % n
        raise NotFound("tea", "green")

    async def swell(self, message: Message) -> AsyncIterator[bytes]:
        """Items of the sizes that its body lists."""
        for size in message.body.split():
            yield bytes(int(size))

    async def _noted(self, run: Callable[[Message], Awaitable[bytes]], context: Context, message: Message) -> bytes:
        del context
        self.came.append(message)
        self.running += 1
        self.changed.set()
        try:
            return await run(message)
        except asyncio.CancelledError:
            self.cancelled.append(message.address)
            raise
        finally:
            self.running -= 1
            self.changed.set()

    async def _streamed(
        self, stream: Callable[[Message], AsyncIterator[bytes]], context: Context, message: Message
    ) -> AsyncIterator[bytes]:
        del context
        self.came.append(message)
        try:
            async with closing(stream(message)) as items:
                async for item in items:
                    self.made += 1
                    self.changed.set()
                    yield item
        finally:
            self.closed += 1
            self.changed.set()


@final
class Deaf:
    """A receiver that never answers, and does not hear that it is to end, until `over` is set."""

    def __init__(self) -> None:
        self.over: asyncio.Event = asyncio.Event()
        self.began: asyncio.Event = asyncio.Event()

    async def serve(self, message: Message, /) -> Message:
        """See `Receiver.serve`."""
        self.began.set()
        while not self.over.is_set():
            with suppress(asyncio.CancelledError):
                await self.over.wait()
        return Message(Kind.REPLY, message.id, "", body=b"too late")

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        """See `Receiver.serve_stream`."""
        yield await self.serve(message)


def _as_it_is(answer: object) -> bytes:
    assert isinstance(answer, bytes)
    return answer


def body_of(reply: Message) -> bytes:
    """What a reply holds; a fault is raised."""
    if reply.kind is Kind.FAULT:
        raise fault_in(reply)
    return reply.body


def told(message: Message) -> Message:
    """A message without the time that is left, which passes."""
    return msgspec.structs.replace(message, timeout=0.0)
