"""The subscriber: takes what a broker keeps for a group, and sees it handled.

It stands where a relay would that reads a log here: order per key, side by side across keys, again until it is
acknowledged. The broker hands events to one of those who have a group's backlog open. Where it takes them away, what is
under way is broken off, as another may have it by now; what had taken effect is known by its mark.

States: opening -> taking <-> waiting for room -> (lost -> opening) | ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import final

from hanse.delivery.courier import Courier, Deliver
from hanse.delivery.outbox import Taken, Topic, taken
from hanse.delivery.pause import pause
from hanse.delivery.relay import GRACE_SECONDS, READ_MIN, TASKS_MAX, USUAL, WINDOW_MAX, RelayOptions
from hanse.delivery.retry import next_delay
from hanse.delivery.window import Window
from hanse.kernel.codec import codec_for
from hanse.kernel.faults import Fault, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks
from hanse.store.base import Entry, Op
from hanse.transport.base import Backlog, Keeps, Kept, TellsLeft

_log = logging.getLogger("hanse.delivery")

LOOK_SECONDS = 0.2
"""How often one who waits until nothing is left asks the broker."""

ASK_SECONDS = 1.0
"""For which it has the time to say so."""

_entries = codec_for(Entry)


@final
class Subscriber:
    """Sees the events handled that a broker keeps for one group.

    Example:
        >>> async def main(keeps: Keeps, deliver: Deliver, tasks: Tasks) -> None:
        ...     topic = Topic("order_placed", emitted=True, address="on/mailer.receipt")
        ...     subscriber = Subscriber(keeps, "mailer.receipt", [topic], deliver, host=Host.system())
        ...     tasks.start(subscriber.run())
        ...     await subscriber.flush()
        ...     await subscriber.stop()
    """

    def __init__(
        self,
        keeps: Keeps,
        name: str,
        topics: Sequence[Topic],
        deliver: Deliver,
        *,
        host: Host,
        options: RelayOptions = USUAL,
    ) -> None:
        """Get ready; `run` does the work.

        Args:
            keeps: The broker.
            name: Of the group.
            topics: What it wants.
            deliver: See `Deliver`.
            host: Clock and chance.
            options: Limits.
        """
        self.name: str = name
        self._keeps = keeps
        self._topics = {topic.name: topic for topic in topics}
        self._host = host
        self._limit = min(options.window, WINDOW_MAX)
        self._stopping = asyncio.Event()
        self._moved = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False
        self._grace = GRACE_SECONDS
        self._why = ""
        self._left = 0
        self._backlog: Backlog | None = None
        self._window = Window(-1, limit=self._limit)
        self._held: dict[int, tuple[Kept, Taken]] = {}
        self._work = Tasks(self._broke, limit=TASKS_MAX)
        self._courier = Courier(
            f"subscriber {name}",
            deliver,
            host=host,
            stopping=self._stopping,
            changed=self._moved.set,
            options=options,
        )

    @property
    def lag(self) -> int:
        """Events for its group that are not known to be handled, as far as it knows; see `look`."""
        return max(len(self._window), self._left)

    @property
    def retries(self) -> int:
        """Deliveries that failed and were tried again."""
        return self._courier.retries

    @property
    def trouble(self) -> str:
        """Why it is handed nothing, or cannot deliver; empty where it can, as far as it knows."""
        return self._why or self._courier.trouble

    async def run(self) -> None:
        """Take and deliver until `stop`, as a task of whoever owns it."""
        self._running = True
        self._ended.clear()
        try:
            # One that was broken off again while it let go has left some of it, which nobody would deliver any more.
            await self._let_go()
            async with Tasks(self._broke) as scope:
                following = scope.start(self._follow(), name=f"subscriber {self.name}")
                _ = await self._stopping.wait()
                _ = following.cancel()
                _ = await asyncio.wait([following])
                _ = await self._work.wait(self._grace)
        finally:
            try:
                await self._let_go()
            finally:
                self._running, self._why, self._courier.away = False, "", None
                self._ended.set()
                self._moved.set()

    async def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Take nothing new, wait up to `grace` seconds for what is under way, and let others go on."""
        self._grace = grace
        self._stopping.set()
        if self._running:
            _ = await self._ended.wait()

    async def look(self) -> bool:
        """Learn from the broker how much is left, if that can tell; whether it has."""
        if not isinstance(self._backlog, TellsLeft):
            return False
        try:
            async with asyncio.timeout(ASK_SECONDS):
                self._left = await self._backlog.left()
        except (Fault, TimeoutError):
            return False  # the backlog is lost, and opened again
        return True

    async def flush(self, *, insist: bool = True) -> None:
        """Wait until all that the broker keeps for the group by now is handled; bound it with a timeout.

        Where the broker cannot tell what is left, it waits for what was taken.

        Args:
            insist: Whether to wait at all; what is left stays with the broker.

        Raises:
            Unavailable: It stopped before.
        """
        while insist and not await self._is_done():
            if self._stopping.is_set():
                raise Unavailable(f"the subscriber {self.name} has stopped; what is left waits for its next start")
            self._moved.clear()
            _ = await pause(self._moved, LOOK_SECONDS)

    async def _is_done(self) -> bool:
        if not self._running:
            return await self._is_done_elsewhere()
        backlog = self._backlog
        if backlog is None or self._window:
            return False
        return not isinstance(backlog, TellsLeft) or (await self.look() and not self._left)

    async def _is_done_elsewhere(self) -> bool:
        """Whether nothing is left for the group, where another instance takes its events, or none does."""
        try:
            backlog = await self._keeps.subscribe(self.name, list(self._topics))
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    return not isinstance(backlog, TellsLeft) or not await backlog.left()
            finally:
                await backlog.close()
        except (Fault, TimeoutError):
            return False  # the broker is away, or slow: it is asked again

    async def _follow(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                self._backlog = await self._keeps.subscribe(self.name, list(self._topics))
                while True:
                    await self._take(self._backlog)
                    failures = 0
                    self._well()
            except Exception as error:  # noqa: BLE001 - whatever is in the way of the broker, it is asked again
                failures += 1
                self._note(error)
                await self._let_go()
                await pause(self._stopping, next_delay(failures + 1, error, self._host.chance.random()))

    async def _take(self, backlog: Backlog) -> None:
        while self._window.room < min(READ_MIN, self._limit):
            self._moved.clear()
            _ = await self._moved.wait()
        for kept in await backlog.take(self._window.room):
            wanted = self._taken(kept.message)
            self._held[kept.number] = kept, wanted
            if self._window.take(kept.number, wanted.key):
                _ = self._work.start(self._carry(backlog, kept.number))

    def _taken(self, message: Message) -> Taken:
        """An event as a log tells of it; what is none is handed on as the event, which its handler may refuse."""
        topic = self._topics.get(message.headers.type)
        topic = next(iter(self._topics.values())) if topic is None else topic
        try:
            entry = _entries.decode(message.body)
        except Fault:
            entry = _foreign(message, topic.name, self._host.now())
        return taken(entry, topic)

    async def _carry(self, backlog: Backlog, first: int) -> None:
        """Deliver an event, and those that wait behind it by then."""
        number: int | None = first
        while number is not None and await self._courier.see_through(self._held[number][1]):
            backlog.done(self._held.pop(number)[0])
            number = self._window.done(number)
            self._moved.set()

    async def _let_go(self) -> None:
        """Break off what is under way, and let whoever is next go on."""
        await self._work.cancel()
        backlog, self._backlog = self._backlog, None
        if backlog is not None:
            with suppress(Fault):
                await backlog.close()
        self._window = Window(-1, limit=self._limit)
        self._held.clear()

    def _note(self, error: Exception) -> None:
        # Told once, not for each try: an outage would drown the log.
        if not self._why:
            unforeseen = None if isinstance(error, Fault) else error
            said = "the subscriber %s is handed no events: %s; it tries again until it is"
            _log.warning(said, self.name, error, exc_info=unforeseen)
        self._why = f"it is handed no events: {error}"
        self._moved.set()

    def _well(self) -> None:
        if self._why:
            self._why = ""
            _log.info("the subscriber %s is handed events again", self.name)

    def _broke(self, error: BaseException) -> None:
        _log.error("the subscriber %s broke", self.name, exc_info=error)


def _foreign(message: Message, topic: str, now: float) -> Entry:
    """What somebody else has published, as JSON."""
    return Entry(0, now, Op.EMITTED, topic, "", message.id, None, message.body, 0, message.headers)
