"""The relay: takes what a store's log tells and sees it handled by one group of subscribers.

The log is the outbox. Entries after the relay's position become messages, are delivered in order per key and side by
side across keys, and are delivered again until they are acknowledged. The position moves up to the lowest entry that
is not, and is saved now and then: not with each message, as that would cost a commit of its own. A crash in between
delivers some messages again; the inbox at the other end makes that once in effect. A delivery that fails keeps back its
own key only.

States of an entry: taken -> (waiting for its key) -> under way -> [resting -> under way]... -> done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import final

from hanse.delivery.courier import Courier, CourierOptions, Deliver
from hanse.delivery.outbox import Taken, Topic, taken
from hanse.delivery.pause import pause
from hanse.delivery.refusals import Refusals
from hanse.delivery.retry import next_delay
from hanse.delivery.window import Window
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Fault, Unavailable, UnknownOperation
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.kernel.tasks import Tasks
from hanse.store.base import Batch, Entry, Op, Position, Store

_log = logging.getLogger("hanse.delivery")

WINDOW_MAX = 512
"""Entries that one relay holds at once. Where one key alone has as many, the others wait for it.

So the backlog of a group is within what a node has room for by default, and is not refused and tried again."""

READ_MIN = 64
"""Room for entries that makes another look into the log worth it, so that no entry costs a read of its own."""

TASKS_MAX = 2 * WINDOW_MAX
"""Tasks of one relay: one for each entry under way, and those that have just ended."""

SAVE_EVERY = 500
"""Positions after which the relay's own is saved."""

SAVE_SECONDS = 1.0
"""How long after a message was acknowledged the position is saved at the latest; a crash before that repeats some."""

GRACE_SECONDS = 10.0
"""How long a relay that stops waits for what is under way."""

LOOK_SECONDS = 0.2
"""How often a relay that does not run looks how far the one has come that runs in its place."""


_NOBODY = (Unavailable, UnknownOperation)
"""What a delivery ends with where nobody is there to deliver to."""


class RelayOptions(CourierOptions, frozen=True):
    """Limits of a relay, or of a subscriber.

    Attributes:
        window: Entries held at once, at most `WINDOW_MAX`.
    """

    window: int = WINDOW_MAX


USUAL = RelayOptions()


@final
class Relay:
    """Delivers the wanted entries of one log to one group.

    Example:
        >>> async def main(store: Store, deliver: Callable[[Message], Awaitable[None]], tasks: Tasks) -> None:
        ...     topic = Topic("order_placed", emitted=True, address="on/mailer.receipt")
        ...     relay = Relay(store, "mailer.receipt", [topic], deliver, host=Host.system())
        ...     tasks.start(relay.run())
        ...     await relay.flush()
        ...     await relay.stop()
    """

    def __init__(
        self,
        store: Store,
        name: str,
        topics: Sequence[Topic],
        deliver: Deliver,
        *,
        host: Host,
        options: RelayOptions = USUAL,
    ) -> None:
        """Get ready; `run` does the work.

        Args:
            store: Whose log it is, and where the position is kept.
            name: Names the position, so no other reader of this log has it: usually the group's.
            topics: What is wanted; empty for every event.
            deliver: Sees one message handled: returns when its effects are committed (or it is parked), raises
                `HandlerFailed` where its handler failed, `TooLarge` where it can be sent to nobody (it is parked then),
                any other fault where it did not get there. Keeps to the message's `timeout`.
            host: Clocks and chance.
            options: Limits.
        """
        self.name: str = name
        self.gaps: int = 0
        """How often entries were trimmed away before they were delivered."""
        self._store = store
        self._topics = {(topic.emitted, topic.name): topic for topic in topics}
        self._names = sorted({topic.name for topic in topics}) or None
        self._host = host
        self._options = options
        self._moved = asyncio.Event()
        self._stopping = asyncio.Event()
        self._refusals = Refusals(store, name, deliver, host=host)
        self.courier: Courier = Courier(
            f"relay {name}",
            self._refusals.deliver,
            host=host,
            options=options,
            changed=self._moved.set,
            stopping=self._stopping,
        )
        """Delivers for it."""
        self._window = self._window_from(0)
        self._taken: dict[int, Taken] = {}
        self._tasks = Tasks(self._broke, limit=TASKS_MAX)
        self._saved = 0
        self._save_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._grace = GRACE_SECONDS
        self._fresh = True
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._running = False

    @property
    def position(self) -> int:
        """Everything up to here is acknowledged; nothing after it may be trimmed."""
        return self._window.position

    @property
    def behind(self) -> bool:
        """Whether something that it wants is not acknowledged, as far as it knows; its position may be old then too."""
        return self._fresh or bool(self._window)

    @property
    def trouble(self) -> str:
        """Why it cannot deliver at the moment; empty where it can, as far as it knows."""
        return self.courier.trouble

    @property
    def retries(self) -> int:
        """Deliveries that failed and were tried again."""
        return self.courier.retries

    async def run(self) -> None:
        """Deliver until `stop`, as a task of whoever owns the relay; begins with the position in the store."""
        self._running = True
        self._window, self._fresh = self._window_from(0), True
        self._taken.clear()
        self._ended.clear()
        self._moved.set()
        unlisten = self._store.listen(self._hear, names=self._names)
        try:
            async with self._tasks:
                await self._follow()
                await self._tasks.wait(self._grace)
                await self._save_last()
        finally:
            unlisten()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._running, self.courier.away = False, None
            self._ended.set()
            self._moved.set()

    async def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Take nothing new, wait up to `grace` seconds for what is under way, and save the position."""
        self._grace = grace
        self._stopping.set()
        self._wake.set()
        if self._running:
            await self._ended.wait()

    async def flush(self, *, insist: bool = True) -> None:
        """Wait until all that the log holds now is acknowledged, and save how far that is; bound it with a timeout.

        While it does not run, it waits for the one that runs in its place.

        Args:
            insist: Whether to wait also while nobody is there to deliver to; what is left stays in the log.

        Raises:
            Unavailable: The relay stopped before.
        """
        target = await self._store.head()
        self._hear()
        while self._window.position < target and (insist or not isinstance(self.courier.away, _NOBODY)):
            if self._running:
                self._moved.clear()
                await self._moved.wait()
            elif self._stopping.is_set():
                raise Unavailable(f"the relay {self.name} has stopped; what is left waits for its next start")
            else:
                await self._look_again(target)
        if self._running:
            await self._save_last()

    async def send(self, message: Message) -> None:
        """See a message handled that was parked as it could not be sent; see `Refusals.send`."""
        await self._refusals.send(message)

    async def left(self, limit: int) -> int:
        """How many entries that it wants are not acknowledged, as far as that is known; no more than a limit."""
        count, reached, more = 0, self._window.position, True
        while more and count < limit:
            piece = await self._store.changes(reached, limit=READ_MIN, names=self._names)
            fresh = (entry for entry in piece.entries if entry.seq in self._taken or entry.seq > self._window.reached)
            count += sum(self._topic_of(entry) is not None for entry in fresh)
            reached, more = piece.upto, piece.more
        return min(count, limit)

    async def look(self) -> None:
        """Learn from the store how far the one has come that runs in its place; one that runs knows by itself."""
        reached, behind, more = await self._store.position(self.name), False, True
        while more and not behind and not self._running:
            piece = await self._store.changes(reached, limit=READ_MIN, names=self._names)
            wanted = next((entry.seq for entry in piece.entries if self._topic_of(entry) is not None), 0)
            behind, more = wanted > 0, piece.more
            reached = wanted - 1 if behind else max(reached, piece.upto)
        if not self._running:
            self._window, self._fresh = self._window_from(reached), behind

    async def _look_again(self, target: int) -> None:
        """Look how far the one in its place has come, and wait a while if that is not far enough."""
        self._moved.clear()
        await self.look()
        if self._window.position < target:
            _ = await pause(self._moved, LOOK_SECONDS)

    def _window_from(self, position: int) -> Window:
        return Window(position, limit=min(self._options.window, WINDOW_MAX))

    def _topic_of(self, entry: Entry) -> Topic | None:
        emitted = entry.op is Op.EMITTED
        if emitted and not self._topics:
            return Topic(entry.name, emitted=True)
        return self._topics.get((emitted, entry.name))

    def _hear(self) -> None:
        self._fresh = True
        self._wake.set()

    async def _follow(self) -> None:
        failures = 0
        started = False
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                if not started:
                    await self._start()
                    started = True
                if not await self._step():
                    await self._wake.wait()
                failures = 0
            except Exception as error:  # noqa: BLE001 - whatever is in the way of the log, it is read again
                failures += 1
                unforeseen = None if isinstance(error, Fault) else error
                said = "the relay %s cannot read its log: %s; it tries again"
                _log.warning(said, self.name, error, exc_info=unforeseen)
                await pause(self._stopping, next_delay(failures + 1, error, self._host.chance.random()))

    async def _start(self) -> None:
        await self._refusals.open()
        self._saved = await self._store.position(self.name)
        self._window.skip_to(self._saved)

    async def _step(self) -> bool:
        """Take from the log what there is room for, and save what is worth it; whether there may be more to take."""
        before, room, more = self._window.reached, self._window.room, False
        if self._fresh and room >= min(READ_MIN, self._window.limit):
            self._fresh = False
            piece = await self._store.changes(before, limit=room, names=self._names)
            if piece.trimmed:
                self._tell_gap(before)
            for entry in piece.entries:
                self._take(entry)
            self._window.skip_to(piece.upto)
            self._moved.set()
            more = piece.more
        self._fresh = self._fresh or more
        if self._save_due or self._window.position - self._saved >= SAVE_EVERY:
            await self._save()
        return more

    def _tell_gap(self, position: int) -> None:
        if position == 0:
            _log.info("the relay %s is new; it starts with the oldest entry that is left", self.name)
            return
        self.gaps += 1
        _log.error(
            "entries after position %d were trimmed away before the relay %s had delivered them: they are lost to it, "
            "and it goes on with the oldest that is left; keep the log longer than the longest stop of a subscriber",
            position,
            self.name,
        )

    def _take(self, entry: Entry) -> None:
        topic = self._topic_of(entry)
        if topic is None:
            return
        wanted = self._taken[entry.seq] = taken(entry, topic)
        fault_point("relay.taken")
        if self._window.take(entry.seq, wanted.key):
            self._tasks.start(self._carry(entry.seq))

    async def _carry(self, first: int) -> None:
        """Deliver an entry, and those that wait behind it by then."""
        seq: int | None = first
        while seq is not None and await self.courier.see_through(self._taken[seq]):
            del self._taken[seq]
            seq = self._window.done(seq)
            self._move_on()

    def _move_on(self) -> None:
        """An entry is done: the position may have moved, and there is room for one more."""
        self._moved.set()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SAVE_SECONDS, self._fall_due)
        if self._fresh or self._window.position - self._saved >= SAVE_EVERY:
            self._wake.set()

    def _fall_due(self) -> None:
        self._timer = None
        self._save_due = True
        self._wake.set()

    async def _save(self) -> None:
        """Save the position. Losing it costs repeats only, so that it may wait for the store."""
        position = self._window.position
        self._save_due = False
        if position > self._saved:
            fault_point("relay.before_save")
            await self._store.commit(Batch(self._host.now(), positions=(Position(self.name, position),)))
            fault_point("relay.after_save")
            self._saved = position

    async def _save_last(self) -> None:
        try:
            await self._save()
        except Exception as error:  # noqa: BLE001 - it costs repeats only, which are known by their marks
            _log.warning("the relay %s could not save its position: %s; it may repeat some messages", self.name, error)

    def _broke(self, error: BaseException) -> None:
        _log.error("the relay %s broke", self.name, exc_info=error)
