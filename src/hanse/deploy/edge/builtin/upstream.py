"""Connections to servers: kept while they are idle, and used again for requests that may be repeated."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from contextlib import suppress
from typing import Protocol, cast, final

from hanse.control.edge_table import Server
from hanse.deploy.edge.builtin.http1 import Event, Reading, Upgraded
from hanse.kernel.faults import Malformed

IDLE_MAX = 64
"""Idle connections that are kept of one server; one more is closed."""

IDLE_SECONDS = 30.0
"""That an idle connection is kept."""

_PIECE_BYTES = 64 * 1024


class Waiting(Protocol):
    """What waits for an answer over a connection."""

    def came(self, events: list[Event], /) -> None:
        """A part of the answer has come."""
        ...

    def garbled(self) -> None:
        """What came is no answer of HTTP."""
        ...

    def upstream_full(self, *, full: bool) -> None:
        """Whether the server takes no more for now."""
        ...

    def upstream_lost(self, /) -> None:
        """The connection is gone."""
        ...


class Switched(Protocol):
    """What is told what a server says once it speaks another protocol."""

    def down(self, data: bytes, /) -> None:
        """It says something."""
        ...

    def upstream_eof(self, /) -> bool:
        """It sends nothing more; whether its connection stays open to be written to."""
        ...


@final
class Upstream(asyncio.Protocol):
    """One connection to a server.

    Attributes:
        server: Whose.
        waiting: What uses it; None while it is idle.
        used: How many requests it had.
        idle_since: On the loop's clock.
        switched: What it speaks another protocol with by now; None while that is HTTP.
        full: Whether more cannot be written for now.
        reading: Whether it is read from.
    """

    def __init__(self, server: Server, owner: Upstreams) -> None:
        self.server: Server = server
        self.waiting: Waiting | None = None
        self.used: int = 0
        self.idle_since: float = 0.0
        self.switched: Switched | None = None
        self.full: bool = False
        self.reading: bool = True
        self.lost: bool = False
        self._owner = owner
        self._responses = owner.reading.responses()
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)

    def begin(self, waiting: Waiting, *, to_head: bool) -> None:
        """Use it for a request.

        Args:
            waiting: Told of the answer.
            to_head: Whether the request is HEAD.
        """
        self.waiting = waiting
        self.used += 1
        self._responses.to_head = to_head

    def write(self, pieces: list[bytes]) -> None:
        """Send bytes, in one piece where they are small."""
        if pieces:
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def write_eof(self) -> None:
        """Say that nothing more comes, where that can be said."""
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def read(self, *, on: bool) -> None:
        """Read from it, or leave its server waiting."""
        if on != self.reading and not self._transport.is_closing():
            self.reading = on
            if on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    @property
    def alive(self) -> bool:
        """Whether nobody is known to have closed it."""
        return not self.lost and not self._transport.is_closing()

    @property
    def between(self) -> bool:
        """Whether nothing of a next answer has come: nobody has asked for one."""
        return not self._responses.in_message

    def abort(self) -> None:
        """Close it at once."""
        self.waiting = None
        self._transport.abort()

    def close(self) -> None:
        """Close it when all is written."""
        self.waiting = None
        self._transport.close()

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        waiting = self.waiting
        if waiting is None:
            # Nothing was asked: a server that says that it hangs up, or one that cannot be understood.
            self._owner.forget(self)
            self.abort()
        elif self.switched is not None:
            self.switched.down(data)
        else:
            try:
                events = self._responses.feed(data)
            except Malformed:
                waiting.came(self._responses.taken())
                if self.waiting is waiting:
                    waiting.garbled()
                return
            self._tell(waiting, events)

    def _tell(self, waiting: Waiting, events: list[Event]) -> None:
        last = events[-1] if events else None
        rest = last.rest if isinstance(last, Upgraded) else b""
        waiting.came(events)
        if rest and self.switched is not None:
            self.switched.down(rest)

    def eof_received(self) -> bool:
        """See asyncio."""
        if self.waiting is None:
            return False
        if self.switched is not None:
            return self.switched.upstream_eof()
        self._tell(self.waiting, self._responses.eof())
        return False

    def pause_writing(self) -> None:
        """See asyncio."""
        self.full = True
        if self.waiting is not None:
            self.waiting.upstream_full(full=True)

    def resume_writing(self) -> None:
        """See asyncio."""
        self.full = False
        if self.waiting is not None:
            self.waiting.upstream_full(full=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        if exc is not None and self.waiting is not None and self.switched is None:
            self._last_words()
        self.lost = True
        self._owner.forget(self)
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            waiting.upstream_lost()

    def _last_words(self) -> None:
        """Read what the system has of an answer from a server that closed while it was written to.

        A server that refuses a body, and does not read it, resets its connection; the loop then gives the connection
        up at the first write that fails, before it has read the answer.
        """
        end = cast("socket.socket | None", self._transport.get_extra_info("socket"))
        with suppress(OSError):
            while end is not None and self.waiting is not None and (data := os.read(end.fileno(), _PIECE_BYTES)):
                self.data_received(data)


@final
class Upstreams:
    """The connections to all servers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, reading: Reading) -> None:
        """None is open.

        Args:
            loop: Whose clock tells how long one was idle.
            reading: What reads answers.
        """
        self.reading: Reading = reading
        self._loop = loop
        self._idle: dict[tuple[str, str, int], deque[Upstream]] = {}

    def take(self, server: Server, idle_max: float) -> Upstream | None:
        """An idle connection, the one that was used last; None where there is none.

        Args:
            server: Where it leads.
            idle_max: Seconds for which it may have been idle; 0 for a new one, in the place of one that is idle: else
                there would be one more with each request, and a server with a thread for each runs out of them.
        """
        idle = self._idle.get(_key(server))
        if idle and not idle_max:
            idle.popleft().close()
            return None
        while idle:
            one = idle.pop()
            if one.alive and self._loop.time() - one.idle_since <= idle_max:
                return one
            one.close()
        return None

    async def connect(self, server: Server, timeout: float) -> Upstream:
        """A new connection.

        Raises:
            OSError, TimeoutError: It is not taken.
        """
        async with asyncio.timeout(timeout):
            _, upstream = await self._loop.create_connection(lambda: Upstream(server, self), server.host, server.port)
        return upstream

    def park(self, upstream: Upstream) -> None:
        """Keep a connection whose answer is whole."""
        upstream.waiting = None
        idle = self._idle.setdefault(_key(upstream.server), deque())
        if not upstream.alive or len(idle) >= IDLE_MAX:
            upstream.close()
            return
        upstream.idle_since = self._loop.time()
        upstream.read(on=True)
        idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        """A connection is gone."""
        idle = self._idle.get(_key(upstream.server))
        if idle and upstream in idle:
            idle.remove(upstream)

    def only(self, servers: set[tuple[str, str, int]]) -> None:
        """Close the idle connections to all others than these: ids, hosts and ports."""
        for key in [key for key in self._idle if key not in servers]:
            for one in self._idle.pop(key):
                one.close()

    def sweep(self, now: float) -> None:
        """Close those that have been idle for long."""
        for idle in self._idle.values():
            while idle and now - idle[0].idle_since > IDLE_SECONDS:
                idle.popleft().close()


def _key(server: Server) -> tuple[str, str, int]:
    return server.id, server.host, server.port
