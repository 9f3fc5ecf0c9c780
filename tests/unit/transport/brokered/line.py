"""A broker in one process, through which nodes speak: what one turn of the loop says comes in the next one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from hanse.kernel.host import Host
from hanse.kernel.message import NO_HEADERS, Headers, Kind, Message
from hanse.transport.brokered.frames import CONTROL
from hanse.transport.brokered.station import Station, Verbs
from hanse.transport.nats.login import Options
from hanse.transport.nats.names import Names


class Line:
    """Gives each request to the node that serves it.

    Attributes:
        ends: All nodes, by name.
        said: Tokens and first bytes of what nodes were told, but for how they fare.
    """

    def __init__(self) -> None:
        self.ends: dict[bytes, End] = {}
        self.said: list[tuple[bytes, bytes]] = []

    def carry(self, what: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(what)

    def server_of(self, subject: bytes) -> End | None:
        service = subject.split(b".")[3].decode()
        return next((end for end in self.ends.values() if end.is_up and service in end.station.served.receivers), None)


class End:
    """The connection of one node to the line.

    Attributes:
        station: The node.
        there: Whether it is connected.
        free: Whether the line takes what is said.
    """

    broker: str = "the line"
    trouble: str = "there is no line"

    def __init__(self, line: Line, name: str, body_bytes_max: int = 1_000_000) -> None:
        self.line: Line = line
        self.names: Names = Names("shop", name)
        self.there: asyncio.Event = asyncio.Event()
        self.there.set()
        self.body_bytes_max: int = body_bytes_max
        self.free: asyncio.Event = asyncio.Event()
        self.free.set()
        verbs = Verbs(self._call, lambda _: None, lambda _: None)
        self.station: Station = Station(self, verbs, self.names, Host.system(), Options(app="shop"), None)
        line.ends[self.names.node] = self

    @property
    def is_up(self) -> bool:
        return self.there.is_set()

    def publish(self, subject: bytes, reply: bytes, payload: bytes, lead: bytes = b"") -> bool:
        del reply
        node, token = self.names.asker(subject)
        if lead != CONTROL:
            self.line.said.append((token, lead))
        other = self.line.ends[node]
        if self.is_up and other.is_up:
            self.line.carry(lambda: other.station.calls.told(token, lead + payload))
        return self.is_up

    def push(self) -> None:
        """All goes out in the next turn."""

    def has_room(self, body: bytes) -> bool:
        del body
        return self.free.is_set()

    async def writable(self) -> None:
        await self.free.wait()

    def over(self, message: Message, size: int) -> str | None:
        del message
        return f"{self.body_bytes_max} bytes" if size > self.body_bytes_max else None

    async def up(self) -> None:
        await self.there.wait()

    async def flush(self) -> None:
        """All that was said has come in the next turn."""

    def lose(self) -> None:
        """Be cut off from the line."""
        self.there.clear()
        self.station.lost("somebody fell over the cable")

    def _call(self, address: str, token: bytes, head: bytes, rest: bytes) -> bool:
        subject, reply = self.names.call(address), self.names.here + token

        def come() -> None:
            if (server := self.line.server_of(subject)) is None:
                self.station.nobody(token)
            else:
                server.station.served.take(subject, reply, head + rest, b"")

        if self.free.is_set():
            self.line.carry(come)
        return self.free.is_set()


@asynccontextmanager
async def ends(*names: str) -> AsyncGenerator[list[End]]:
    """Nodes that are open, on one line."""
    line = Line()
    made = [End(line, name) for name in names]
    for end in made:
        end.station.open()
    try:
        yield made
    finally:
        for end in made:
            end.station.close()
            await end.station.end()


def call(operation: str, body: bytes = b"", *, timeout: float = 60.0, headers: Headers = NO_HEADERS) -> Message:
    return Message(Kind.CALL, "1", f"desk.{operation}", timeout, headers, body)
