"""Events that a Redis keeps: published into the stream of the app, and taken from there by one of each group at a time.

A server that is killed may have lost what it took in the last few seconds, though it said that it has it: with
`appendfsync everysec` it puts off its writes while the disk is slow, and one that follows it is always a little behind.
So what was published lately is held here too, and published again when there is a connection again; what is there
already is known by its id.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple, final

from hanse.kernel.faults import Misconfigured, TooLarge, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.resp import ReplyError, Wire
from hanse.kernel.tasks import Tasks
from hanse.transport.brokered.frames import MESSAGE, encode
from hanse.transport.redis.backlog import RedisBacklog, Turn
from hanse.transport.redis.connection import Connection
from hanse.transport.redis.judge import distrust
from hanse.transport.redis.keep_scripts import OPEN, PUBLISH
from hanse.transport.redis.names import Names
from hanse.transport.redis.options import Options
from hanse.transport.redis.scripts import run

_log = logging.getLogger("hanse.transport.redis")

PIECE_MAX = 256
PIECE_BYTES_MAX = 1_048_576
"""Of events that a server keeps in one step, as others wait for it meanwhile; one alone may be a little larger."""

RECENT_SECONDS = 5.0
"""For which events are held that a server has said to have: it writes each second, and may be late by two."""

RECENT_BYTES_MAX = 16 * 1_048_576
"""Of such events; beyond, the oldest are not held any more."""


class Piece(NamedTuple):
    """Events that are kept in one step.

    Attributes:
        parts: Id, topic and payload of each.
        size: Bytes of all.
    """

    parts: list[bytes]
    size: int


def pieces(messages: Sequence[Message], connection: Connection) -> Iterator[Piece]:
    """Events in pieces that a server takes at once. Raises `TooLarge`."""
    parts: list[bytes] = []
    size = 0
    for message in messages:
        payload = MESSAGE + encode(message)
        if limit := connection.over(message, len(payload)):
            raise TooLarge(f"the event {message.id}", limit)
        if parts and (len(parts) >= 3 * PIECE_MAX or size + len(payload) > PIECE_BYTES_MAX):
            yield Piece(parts, size)
            parts, size = [], 0
        parts += (message.id.encode(), message.headers.type.encode(), payload)
        size += len(payload)
    if parts:
        yield Piece(parts, size)


@final
class Keeping:
    """The part of a transport that keeps events.

    Attributes:
        trouble: Why the server keeps none at the moment; empty where it does, as far as is known.
    """

    def __init__(self, connection: Connection, names: Names, host: Host, options: Options) -> None:
        """Have nothing published, and nothing taken.

        Args:
            connection: To the server.
            names: Of keys.
            host: Its clock.
            options: How long events are kept.
        """
        self.trouble: str = ""
        self._connection = connection
        self._names = names
        self._host = host
        self._options = options
        self._tasks = Tasks(self._failed)
        self._backlogs: dict[RedisBacklog, None] = {}
        self._over: dict[bytes, bytes] = {}
        self._tokens = itertools.count(1)
        self._recent: deque[tuple[float, Piece]] = deque()
        self._recent_bytes = 0
        self._behind = False
        self._repeating = asyncio.Lock()

    async def publish(self, messages: Sequence[Message]) -> None:
        """See `Keeps.publish`. Raises `Misconfigured` too, where the server may not be trusted."""
        cut = list(pieces(messages, self._connection))
        wire = await self._wire()
        try:
            await self._repeat(wire)
            for piece in cut:
                await self._keep(wire, piece)
        except Unavailable as fault:
            self.trouble = f"events are not kept: {fault.detail}"
            raise
        self.trouble = ""

    async def subscribe(self, group: str, topics: Sequence[str]) -> RedisBacklog:
        """See `Keeps.subscribe`."""
        wire, name, names = await self._wire(), group.encode(), self._names
        self._connection.follow(names.events, self._told)
        try:
            await self._connection.flush()  # from here on nothing is published that it is not told of
        except ConnectionError as error:
            raise Unavailable(f"the connection to Redis broke: {error}") from None
        _ = await run(wire, OPEN, [names.events], [name])
        token = b"%b.%d" % (names.node, next(self._tokens))
        keys = (names.events, names.turn(group), names.trimmed)
        turn = Turn(name, keys, token, self._over.pop(name, b""), self._options)
        backlog = RedisBacklog(wire, turn, topics, self._tasks, self._left)
        self._backlogs[backlog] = None
        return backlog

    async def close(self) -> None:
        """End all turns, as long as there is a server to tell."""
        await asyncio.gather(*[backlog.close() for backlog in list(self._backlogs)])
        await self._tasks.cancel()

    def lost(self, why: str) -> None:
        """The connection broke."""
        self._behind = bool(self._recent)
        for backlog in list(self._backlogs):
            backlog.lost(why)

    def back(self) -> None:
        """There is a connection again."""
        if self._behind:
            _ = self._tasks.start(self._catch_up())

    async def _wire(self) -> Wire:
        """The socket to a server that may be trusted with events. Raises `Unavailable` or `Misconfigured`."""
        try:
            wire = await self._connection.events()
        except (OSError, TimeoutError, ReplyError) as error:
            raise Unavailable(f"there is no connection for events: {str(error) or 'Redis was too slow'}") from None
        if problem := distrust(self._connection.told):
            raise Misconfigured(problem)
        return wire

    async def _keep(self, wire: Wire, piece: Piece) -> None:
        _ = await run(wire, PUBLISH, [self._names.events, self._names.ids], piece.parts)
        now, recent = self._host.monotonic(), self._recent
        recent.append((now, piece))
        self._recent_bytes += piece.size
        while recent[0][0] < now - RECENT_SECONDS or self._recent_bytes > RECENT_BYTES_MAX:
            self._recent_bytes -= recent.popleft()[1].size

    async def _repeat(self, wire: Wire) -> None:
        """Publish again what a server may have lost, before anything that comes after it."""
        if not self._behind:
            return
        async with self._repeating:
            if self._behind:
                held = [piece for _, piece in self._recent]
                for piece in held:
                    _ = await run(wire, PUBLISH, [self._names.events, self._names.ids], piece.parts)
                now = self._host.monotonic()
                self._recent = deque((now, piece) for piece in held)
                self._behind = False

    async def _catch_up(self) -> None:
        try:
            await self._repeat(await self._wire())
        except (Unavailable, Misconfigured) as fault:
            _log.warning("what was published lately could not be published again: %s; it is tried again", fault)

    def _told(self, said: bytes) -> None:
        for backlog in self._backlogs:
            backlog.hear(said)

    def _left(self, backlog: RedisBacklog) -> None:
        self._backlogs.pop(backlog, None)
        if backlog.holds:
            # Whoever is next in this process need not wait until the server notices.
            self._over[backlog.turn.group] = backlog.turn.token

    @staticmethod
    def _failed(error: BaseException) -> None:
        _log.error("the keeping of events failed", exc_info=error)
