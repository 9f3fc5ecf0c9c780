"""The events of one group, while this process has its turn, or waits for it.

Whose turn it is stands on the server under a token, which lives a few seconds longer than whoever holds it. One that
was paused for longer finds out at the next thing it asks for, and has changed nothing by then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast, final

from hanse.kernel.faults import Malformed, Unavailable
from hanse.kernel.message import Message
from hanse.kernel.resp import Wire
from hanse.kernel.tasks import Tasks
from hanse.transport.base import Kept
from hanse.transport.brokered.frames import MESSAGE, message_in
from hanse.transport.redis.keep_scripts import DONE, HOLD, LEAVE, LEFT, LOST, OTHERS, TAKE, TRIM_SECONDS, TURN_SECONDS
from hanse.transport.redis.options import Options
from hanse.transport.redis.scripts import run

_log = logging.getLogger("hanse.transport.redis")

DONE_MAX = 1_000
"""Events that are acknowledged at once."""

LOOK_SECONDS = 5.0
"""After which a taker looks whether there is something, though it was not told."""

CLOSE_SECONDS = 2.0
"""For which a server has the time to take what was acknowledged last."""

_TURN_MS = b"%d" % (TURN_SECONDS * 1_000)
_OLDEST = b"0"


class Turn(NamedTuple):
    """Whose turn is wanted.

    Attributes:
        group: Of subscribers.
        keys: The stream of events, what says whose turn it is, and what says that old ones were let go.
        token: Stands for who wants it; no two have the same.
        before: A token that stood for this process, and does not any more.
        options: How long events are kept.
    """

    group: bytes
    keys: tuple[bytes, bytes, bytes]
    token: bytes
    before: bytes
    options: Options


@final
class RedisBacklog:
    """See `hanse.transport.base.Backlog`.

    Attributes:
        turn: Whose turn it wants.
        holds: Whether the server takes its turn to go on, though it may be over.
    """

    def __init__(
        self, wire: Wire, turn: Turn, topics: Sequence[str], tasks: Tasks, left: Callable[[RedisBacklog], None]
    ) -> None:
        """Take nothing yet.

        Args:
            wire: Through which all goes; when that ends, this is over.
            turn: Whose turn it wants.
            topics: What the group wants.
            tasks: Own what it does by itself.
            left: Told once that it is over.
        """
        self.turn: Turn = turn
        self.holds: bool = False
        self._wire = wire
        self._topics = [topic.encode() for topic in topics]
        self._tasks = tasks
        self._left = left
        self._cursor = _OLDEST
        self._more = False
        self._why = ""
        self._number = 0
        self._ready: deque[Kept] = deque()
        self._entries: dict[int, bytes] = {}
        self._handled: list[bytes] = []
        self._stir = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._holding: asyncio.Task[None] | None = None

    async def take(self, count: int) -> list[Kept]:
        """See `Backlog.take`."""
        while not self._ready and not self._why:
            # A take that is cancelled has asked already: what comes is for the next.
            _ = await asyncio.wait([self._ask(count)])
        if self._why:
            raise Unavailable(self._why)
        taken = [self._ready.popleft() for _ in range(min(count, len(self._ready)))]
        if self._more and not self._ready:
            _ = self._ask(count)  # the server looks while these are handled
        return taken

    def done(self, kept: Kept) -> None:
        """See `Backlog.done`."""
        entry = self._entries.pop(kept.number, None)
        if entry is None or self._why:
            return  # it was acknowledged, or will come again
        self._handled.append(entry)
        if self._telling is None or self._telling.done():
            self._telling = self._tasks.start(self._tell())

    async def left(self) -> int:
        """See `TellsLeft.left`; events of other topics count until somebody has looked at them."""
        if self._why:
            raise Unavailable(self._why)
        if self._telling is not None:
            _ = await asyncio.wait([self._telling])
        return cast("int", await run(self._wire, LEFT, self.turn.keys[:1], [self.turn.group]))

    async def close(self) -> None:
        """See `Backlog.close`."""
        if self._why:
            return
        self._stop("it is closed")
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if self._telling is not None:
                    _ = await asyncio.wait([self._telling])
                _ = await run(self._wire, LEAVE, self.turn.keys[:2], [self.turn.group, self.turn.token])
                self.holds = False
        except (TimeoutError, Unavailable) as error:
            _log.warning("Redis was not told that a turn is over: %s", str(error) or "it was too slow")
        finally:
            self._left(self)

    def hear(self, said: bytes) -> None:
        """Something was said of the events of the app: there are more, or the turn of a group has ended."""
        if (said[1:] == self.turn.group and not self.holds) if said else self.holds:
            self._stir.set()

    def lost(self, why: str) -> None:
        """The connection broke."""
        self._end(f"the connection to Redis broke: {why}")

    # What it does by itself.

    def _ask(self, count: int) -> asyncio.Task[None]:
        if self._asking is None or self._asking.done():
            self._asking = self._tasks.start(self._look(count))
        return self._asking

    async def _look(self, count: int) -> None:
        """Wait for the turn, and for events."""
        while not self._ready and not self._why:
            self._stir.clear()
            try:
                wait = await self._try(count)
            except Unavailable as fault:
                self._end(fault.detail)
                return
            if wait and not self._ready:
                try:
                    async with asyncio.timeout(wait):
                        _ = await self._stir.wait()
                except TimeoutError:
                    continue

    async def _try(self, count: int) -> float:
        """Take what is there; how long to wait until it is worth to look again."""
        turn = self.turn
        given = [turn.group, turn.token, _TURN_MS, b"1" if self.holds else b"0", turn.before, self._cursor]
        reply = await run(self._wire, TAKE, turn.keys[:2], [*given, b"%d" % count, *self._topics])
        whose, *rest = cast("list[object]", reply)
        if self._why:
            return 0.0
        if whose == LOST:
            self._overtaken()
            return 0.0
        if whose == OTHERS:
            left = cast("int", rest[0])
            return min(max(left, 1) / 1_000, LOOK_SECONDS) if left >= 0 else LOOK_SECONDS
        self._begin()
        self._cursor, looked, gone, taken = cast("tuple[bytes, int, int, list[bytes]]", tuple(rest))
        self._more = looked > 0
        self._come(taken, gone)
        return 0.0 if looked else LOOK_SECONDS

    def _begin(self) -> None:
        if not self.holds:
            self.holds = True
            self._holding = self._tasks.start(self._hold())

    def _come(self, taken: list[bytes], gone: int) -> None:
        if gone:
            _log.error(
                "%d events that the group %s had taken and not handled were let go, as they were too old: they are "
                "lost to it",
                gone,
                _shown(self.turn.group),
            )
        for entry, payload in zip(taken[::2], taken[1::2], strict=True):
            try:
                message = _message(payload)
            except Malformed as fault:
                said = "the event %s for the group %s is left, for a version of Hanse that can read it: %s"
                _log.error(said, _shown(entry), _shown(self.turn.group), fault.detail)
                continue
            self._number += 1
            self._entries[self._number] = entry
            self._ready.append(Kept(self._number, message))

    async def _tell(self) -> None:
        """Acknowledge what was handled, until nothing is left."""
        turn = self.turn
        while self._handled:
            entries = self._handled[:DONE_MAX]
            del self._handled[:DONE_MAX]
            try:
                if await run(self._wire, DONE, turn.keys[:2], [turn.group, turn.token, *entries]) == LOST:
                    self._overtaken()
            except Unavailable as fault:
                self._end(fault.detail)

    async def _hold(self) -> None:
        """Be heard of, so that the turn lasts, and let go what may go."""
        turn, options = self.turn, self.turn.options
        limits = [b"%d" % options.handled, b"%d" % options.kept, b"%d" % options.handled_max]
        while not self._why:
            await asyncio.sleep(TRIM_SECONDS)
            try:
                reply = await run(self._wire, HOLD, turn.keys, [turn.group, turn.token, _TURN_MS, *limits])
            except Unavailable as fault:
                self._end(fault.detail)
                return
            whose, *rest = cast("tuple[int, *tuple[list[bytes], ...]]", reply)
            if whose == LOST:
                self._overtaken()
            elif rest:
                self._say(*rest)

    def _say(self, told: list[bytes], forgotten: list[bytes]) -> None:
        days = self.turn.options.kept / 86_400
        for group in told:
            said = "events older than %g days were let go that the group %s has not handled: they are lost to it"
            _log.error(said, days, _shown(group))
        for group in forgotten:
            said = "the group %s has taken no events for %g days: it is forgotten, and what waits for it alone goes"
            _log.error(said, _shown(group), days)

    def _overtaken(self) -> None:
        self.holds = False
        self._end("it was not heard of for too long: the turn to take these events is somebody else's")

    def _end(self, why: str) -> None:
        if not self._why:
            self._stop(why)
            self._handled.clear()
            self._left(self)

    def _stop(self, why: str) -> None:
        self._why = why
        self._ready.clear()
        self._stir.set()
        if self._holding is not None and self._holding is not asyncio.current_task():
            _ = self._holding.cancel()


def _message(payload: bytes) -> Message:
    if payload[:1] != MESSAGE:
        raise Malformed(f"expected version {MESSAGE!r}, got {payload[:1]!r}")
    return message_in(payload)


def _shown(name: bytes) -> str:
    return name.decode(errors="replace")
