"""What the transport suite asks of whoever runs it: how nodes join a medium, and how the medium is broken."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import pytest

from hanse.kernel.closing import closing
from hanse.kernel.faults import Fault
from hanse.kernel.message import NO_HEADERS, Headers, Kind, Message
from hanse.kernel.tasks import Tasks
from hanse.testing.transport_things import WAIT_SECONDS, Things, body_of
from hanse.transport.base import Receiver, Transport

LONG_SECONDS = 240.0
"""Time that the suite's messages have: what ends sooner has not waited for it."""

RECOVER_SECONDS = 120.0
"""How long a broken medium may take until calls go through again."""

POLL_SECONDS = 0.05
"""How often it is tried whether they do."""

_ids = map("suite-%d".__mod__, itertools.count(1))


def call(
    operation: str,
    body: bytes = b"",
    *,
    kind: Kind = Kind.CALL,
    timeout: float = LONG_SECONDS,
    headers: Headers = NO_HEADERS,
    id: str = "",
) -> Message:
    """A message to an operation of `things`, or to a whole address."""
    address = operation if "." in operation else f"things.{operation}"
    return Message(kind, id or next(_ids), address, timeout, headers, body)


def stream(operation: str, body: bytes = b"", *, timeout: float = LONG_SECONDS) -> Message:
    """A message that wants items."""
    return call(operation, body, kind=Kind.STREAM, timeout=timeout)


async def ask(node: Transport, message: Message, *, limit: float = WAIT_SECONDS) -> bytes:
    """Send a request; what it was answered with, or the fault that it came to."""
    async with asyncio.timeout(limit):
        reply = await node.request(message)
    return body_of(reply)


async def fate(node: Transport, message: Message, *, limit: float = WAIT_SECONDS) -> bytes | Fault:
    """Send a request; what it was answered with, or the fault that it came to, as a value."""
    try:
        return await ask(node, message, limit=limit)
    except Fault as fault:
        return fault


async def read(
    node: Transport, message: Message, into: list[bytes] | None = None, *, limit: float = WAIT_SECONDS
) -> list[bytes]:
    """All items of a stream; raises the fault that it came to. `into` has those that came before."""
    items = [] if into is None else into
    async with asyncio.timeout(limit), closing(node.stream(message)) as replies:
        async for reply in replies:
            if reply.kind is not Kind.ITEM:
                _ = body_of(reply)
                assert reply.kind is Kind.END
                return items
            items.append(reply.body)
    raise AssertionError("expected the stream to close with an END or FAULT message; it just stopped")


def unheard() -> Tasks:
    """Owns what runs beside a test, and cancels it in the end; what becomes of it is looked at by the test alone."""
    return Tasks(lambda _: None, limit=20_000)


class Pair(NamedTuple):
    """Two nodes on one medium; the other serves `things`."""

    one: Transport
    other: Transport
    things: Things


class TransportHooks:
    """Subclass `hanse.testing.transport.TransportSuite` and say how nodes come to your medium.

    pytest finds the tests of the suite in your subclass, whose name has to start with `Test`, and makes a new instance
    of it for each test: what one test joins is a medium of its own.

    Attributes:
        title: What the medium is called in tables, such as `nats://`; by default the name of the class.
        ahead_max: Items of a stream that may have been made before they are taken, at most.
        crowd: Calls under way at once that it has to bear; further ones it may refuse with `Overloaded`.
        notice_seconds: How long it takes at most until what was asked of a node that was killed has ended.
    """

    pytestmark: pytest.MarkDecorator = pytest.mark.asyncio

    title: str = ""
    ahead_max: int = 1_024
    crowd: int = 10_000
    notice_seconds: float = WAIT_SECONDS

    async def join(self) -> Transport:
        """One more node on the medium of this test: a transport that has not been opened."""
        raise NotImplementedError

    async def settle(self, nodes: Sequence[Transport]) -> None:
        """Return when each of the open nodes knows what the others serve; asked after `listen` and `leave`.

        By default they are taken to know at once. Wait for an event with a limit, such as an answer of the broker to
        what each node sent last.
        """
        del nodes

    async def sever(self, node: Transport) -> None:
        """Break the connections of a node as a cable does that is pulled; it may connect again by itself."""
        del node
        pytest.skip("no connections to break: the suite's subclass has no `sever`")

    async def kill(self, node: Transport) -> None:
        """End a node as kill -9 does: without a goodbye, and nothing of it runs any more."""
        del node
        pytest.skip("no node can be killed: the suite's subclass has no `kill`")

    async def restart(self) -> None:
        """Kill what lies between the nodes, such as the broker, and start it again; return when it is back."""
        pytest.skip("nothing lies between the nodes: the suite's subclass has no `restart`")

    @asynccontextmanager
    async def nodes(self, number: int) -> AsyncGenerator[list[Transport]]:
        """So many open nodes on the test's medium, closed in the end."""
        async with AsyncExitStack() as opened:
            nodes: list[Transport] = []
            for _ in range(number):
                node = await self.join()
                await node.open()
                _ = opened.push_async_callback(node.close)
                nodes.append(node)
            yield nodes

    @asynccontextmanager
    async def pair(self) -> AsyncGenerator[Pair]:
        """A node that asks, and one that serves `things`."""
        async with self.nodes(2) as (one, other):
            things = Things()
            await self.listen([one, other], {"things": things.server}, at=other)
            yield Pair(one, other, things)

    async def listen(self, nodes: Sequence[Transport], services: dict[str, Receiver], *, at: Transport) -> None:
        """Have a node serve something, and all know of it."""
        for service, receiver in services.items():
            at.listen(service, receiver)
        await self.settle(nodes)

    async def instances(self, nodes: Sequence[Transport]) -> tuple[Things, Things]:
        """Have the second and the third of three nodes serve `things`."""
        self.apart(nodes[0])
        first = Things()
        second = Things(beside=first)
        await self.listen(nodes, {"things": first.server}, at=nodes[1])
        await self.listen(nodes, {"things": second.server}, at=nodes[2])
        return first, second

    async def recovered(self, node: Transport, operation: str = "echo") -> None:
        """Wait until calls go through again."""
        async with asyncio.timeout(RECOVER_SECONDS):
            while await fate(node, call(operation, b"again", timeout=1.0)) != b"again":  # noqa: ASYNC110
                await asyncio.sleep(POLL_SECONDS)  # nothing tells of it but a call that goes through

    def apart(self, node: Transport) -> None:
        """Skip what a transport within one process cannot promise."""
        if node.features.local:
            pytest.skip("the transport's features say that it is within one process")
