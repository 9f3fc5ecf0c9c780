"""The inbox: whatever is delivered twice takes effect once, and what cannot be handled is parked, in order.

A group's mark under the message's id is committed with the handler's effects, or with the dead letter; whichever comes
first, a second one is refused by the store. The decision what becomes of a failure is pure (`hanse.delivery.retry`);
the inbox carries it out.

What becomes of a message: handled (a repeat is not run again) | tried again (`HandlerFailed`) | tried again without
counting, because something was away (`OUTAGES`), or because everything fails (`Braked`) | parked, because it failed for
good | parked behind another of its key that was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import final

import msgspec

from hanse.delivery.brake import Brake, Braked
from hanse.delivery.deadletter import DEAD_LETTERS, DeadLetter, failed_letter, letter_json, waiting_letter
from hanse.delivery.drawers import Drawer, Drawers, drawer_of, is_moved
from hanse.delivery.retry import ATTEMPTS_MAX, HOPELESS, HandlerFailed, is_final
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import DeadlineExceeded, Fault, Overloaded, PreconditionFailed, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.store.base import AlreadyHandled, Batch, Expect, Mark, Put, Store
from hanse.store.query import And, Compare, Query

_log = logging.getLogger("hanse.delivery")

PARKED_MAX = 1_000_000
"""Messages of one group that failed and are parked. At the limit no more are: they wait in their log instead."""

FULL_SECONDS = 60.0
"""When to come again with a message that cannot be parked."""

HANDLER_SHARE = 0.9
"""Part of a message's time that its handler has; the rest is for parking it and for the answer."""

STACK_SECONDS = 60.0
"""From one stack in the log to the next of messages that are parked for the same; between them there are only lines."""

STACKS_MAX = 100
"""Reasons that are remembered for that."""

RACES_MAX = 10
"""How often a message is looked at anew because something was parked under its key, or near it, in between."""

OUTAGES = (Unavailable, Overloaded)
"""Faults that say nothing about the message: whatever it needed is away, and it waits for as long as that takes. They
count as no attempt, so that an outage, of the handler's own store or of a service that it calls, parks nothing."""


@final
class Inbox:
    """What one group of subscribers has handled and parked, in the store of its service.

    Example:
        >>> async def main(store: Store, message: Message) -> None:
        ...     inbox = Inbox(store, "mailer.receipt", host=Host.system())
        ...     await inbox.open()
        ...     async def run(message: Message) -> None:
        ...         await store.commit(Batch(0.0, marks=(inbox.mark(message),)))
        ...     await inbox.consume(message, run)
    """

    def __init__(
        self, store: Store, group: str, *, host: Host, ordered: bool = True, parked_max: int = PARKED_MAX
    ) -> None:
        """Get ready; `open` counts what was parked before.

        Args:
            store: Of the service, opened with the collection of `DeadLetter`.
            group: Name of the subscribers that share the work; scope of the marks.
            host: Clocks and ids.
            ordered: Whether messages of a key wait behind one of it that was parked.
            parked_max: Messages that failed and are parked, at most.
        """
        self.group: str = group
        self.handled: int = 0
        """Messages that were handled at the first try, since it is there."""
        self.failed: int = 0
        """Those that failed at the first try."""
        self.letters: int = 0
        """Those that were parked as they failed, by this inbox."""
        self._store = store
        self._host = host
        self._ordered = ordered
        self._parked_max = parked_max
        self._parked = 0
        self._drawers = Drawers(store, group)
        self._brake = Brake()
        self._stacks: dict[str, float] = {}

    @property
    def held(self) -> bool:
        """Whether so many messages have failed in a row that only one at a time is tried."""
        return self._brake.held

    @property
    def parked(self) -> int:
        """Messages that failed and are parked, as far as it knows; those that wait behind them do not count."""
        return self._parked

    async def open(self) -> None:
        """Count what is parked; which keys that is about is read when it is wanted, as it may be much.

        Raises:
            Unavailable: The store cannot be reached.
        """
        self._parked = await self._count()

    def mark(self, message: Message) -> Mark:
        """What has to be committed together with the effects of a message."""
        return Mark(self.group, message.id)

    def rests_on(self, message: Message) -> tuple[Expect, ...]:
        """What that commit rests on: that nothing of the message's key was parked since.

        Ask when the handler begins, before anything is waited for.
        """
        key = self._key(message)
        return (self._drawers.known(key).rests_on,) if key else ()

    async def consume(
        self, message: Message, run: Callable[[Message], Awaitable[None]], *, attempts_max: int = ATTEMPTS_MAX
    ) -> None:
        """Handle a message once in effect; when this returns, it may be acknowledged.

        Args:
            message: What came, for the first time or again.
            run: Handles it, and commits `mark(message)` with its effects.
            attempts_max: How often it is tried before it is parked.

        Raises:
            HandlerFailed: The handler failed; deliver it again, as the next attempt.
            Overloaded: There are too many dead letters, or something that the handler needed is overloaded; deliver
                it again later, as the same attempt.
            Unavailable: The store cannot be reached, or something that the handler needed; deliver it again later, as
                the same attempt.
        """
        for _ in range(RACES_MAX):
            if await self._store.marked(self.group, message.id) is not None:
                return
            if await self._consume(message, run, attempts_max):
                return
            self._drawers.forget(message.headers.key)
        raise self._too_fast(message.headers.key)

    async def waits(self, message: Message) -> bool:
        """Keep a message behind the dead letters of its key; False where there are none.

        Raises:
            Unavailable: The store cannot be reached.
        """
        key = self._key(message)
        if not key:
            return False
        for _ in range(RACES_MAX):
            drawer, blocker = await self._drawers.blocker(key)
            if blocker is None:
                return False
            if await self._park(message, self._waiting(message, blocker), drawer):
                return True
            self._drawers.forget(key)
        raise self._too_fast(key)

    async def refuse(self, message: Message, error: Exception) -> None:
        """Keep a message that no handler can be given; behind others of its key, where there are dead letters of it.

        Args:
            message: What can be delivered to nobody.
            error: Why.

        Raises:
            Overloaded: There are too many dead letters.
            Unavailable: The store cannot be reached.
        """
        for _ in range(RACES_MAX):
            if await self._store.marked(self.group, message.id) is not None:
                return
            if await self.waits(message) or await self._park_failed(message, error):
                return
        raise self._too_fast(message.headers.key)

    async def _consume(self, message: Message, run: Callable[[Message], Awaitable[None]], attempts_max: int) -> bool:
        """Handle a message, or park it; False where somebody else's dead letters came in between."""
        key = self._key(message)
        if key:
            drawer, blocker = await self._drawers.blocker(key)
            if blocker is not None:
                return await self._park(message, self._waiting(message, blocker), drawer)
        if (seconds := self._brake.wait(message.id, now=self._host.monotonic())) > 0.0:
            raise Braked(f"{self.group} fails at everything that it is given; one at a time is tried", seconds)
        try:
            error = await self._try(message, run)
        finally:
            self._brake.left(message.id)
        first = message.headers.attempt == 1
        if error is None:
            self.handled += first
            fault_point("inbox.after_handler")
            return True
        if is_moved(error, self.group, key):
            return False
        if isinstance(error, OUTAGES):
            raise error
        self.failed += first
        if not is_final(message.headers.attempt, error, attempts_max):
            raise self._failed(error) from error
        return await self._park_failed(message, error)

    async def _try(self, message: Message, run: Callable[[Message], Awaitable[None]]) -> Exception | None:
        fault_point("inbox.before_handler")
        error = await self._run(message, run)
        if error is None:
            self._brake.succeeded()
        elif not isinstance(error, HOPELESS) and not is_moved(error, self.group, self._key(message)):
            self._brake.failed(message.id, now=self._host.monotonic())
        return error

    async def _run(self, message: Message, run: Callable[[Message], Awaitable[None]]) -> Exception | None:
        """Run the handler within its time; what it failed with, None for success."""
        timer = asyncio.timeout(message.timeout * HANDLER_SHARE if message.timeout else None)
        try:
            async with timer:
                await run(message)
        except TimeoutError as error:
            return DeadlineExceeded(self.group) if timer.expired() else error
        except AlreadyHandled as fault:
            # The commit of another delivery of the same message was first: it is handled. A mark of the handler's own
            # making is a failure like any other.
            return None if (fault.scope, fault.key) == (self.group, message.id) else fault
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is the message's failure
            return error
        return None

    def _failed(self, error: Exception) -> HandlerFailed:
        if isinstance(error, Fault):
            return HandlerFailed(self.group, error.code, error.detail, error.retry_after or 0.0)
        # What a stranger may not be told stays in the log of the service that failed.
        _log.warning("%s failed and will be tried again", self.group, exc_info=error)
        return HandlerFailed(self.group, type(error).__qualname__, "an unexpected error, which its log has")

    def _waiting(self, message: Message, blocker: DeadLetter) -> DeadLetter:
        return waiting_letter(self.group, message, blocker, id=self._host.new_id(), now=self._host.now())

    def _too_fast(self, key: str) -> Unavailable:
        return Unavailable(f"the dead letters near {key!r} of {self.group} change too fast")

    def _key(self, message: Message) -> str:
        """What a message is kept in order with, behind dead letters too; empty for nothing."""
        return message.headers.key if self._ordered else ""

    async def _count(self) -> int:
        failed = And((Compare("eq", ("group",), self.group), Compare("eq", ("waits_for",), "")))
        return await self._store.count(DEAD_LETTERS, Query(failed))

    async def _check_room(self) -> None:
        """Raise `Overloaded` where no more may be parked; some may have been taken out meanwhile."""
        if self._parked >= self._parked_max:
            self._parked = await self._count()
        if self._parked >= self._parked_max:
            raise Overloaded(f"the limit of {self._parked_max} dead letters of {self.group}", FULL_SECONDS)

    async def _park_failed(self, message: Message, error: Exception) -> bool:
        """Keep a message that failed for good; False where another of its key was kept before it."""
        await self._check_room()
        key = self._key(message)
        letter = failed_letter(self.group, message, error, id=self._host.new_id(), now=self._host.now())
        self._tell(letter, error)
        parked = False
        while not parked:
            drawer, blocker = await self._drawers.blocker(key) if key else (None, None)
            if blocker is not None:
                return False
            parked = await self._park(message, letter, drawer)
            self._drawers.forget(key)
        self._parked += 1
        self.letters += 1
        return True

    def _tell(self, letter: DeadLetter, error: Exception) -> None:
        """Where thousands fail in one way, their stacks would hide all else that the log says."""
        now = self._host.monotonic()
        is_new = now - self._stacks.get(letter.fingerprint, -STACK_SECONDS) >= STACK_SECONDS
        if is_new:
            if len(self._stacks) >= STACKS_MAX:
                self._stacks.clear()
            self._stacks[letter.fingerprint] = now
        text = "%s parks %s %s: %s: %s"
        told = (self.group, letter.topic, letter.message_id, letter.code, letter.text)
        _log.error(text, *told, exc_info=error if is_new else None)

    async def _park(self, message: Message, letter: DeadLetter, drawer: Drawer | None) -> bool:
        """Keep a dead letter in place of the message's effects; False where its drawer has moved."""
        order = await self._store.head()
        letter = msgspec.structs.replace(letter, order=order, drawer=drawer_of(letter.key) if drawer else -1)
        write = Put(DEAD_LETTERS, letter.id, letter_json(letter), self._host.new_id(), expected=0)
        headers = msgspec.structs.replace(message.headers, causation_id=message.id, attempt=1)
        expects = (drawer.rests_on,) if drawer else ()
        # What waits moves nothing: its key is known to have dead letters.
        positions = (drawer.moved,) if drawer and not letter.waits_for else ()
        batch = Batch(self._host.now(), (write,), (self.mark(message),), positions, headers, expects)
        fault_point("inbox.before_park")
        try:
            _ = await self._store.commit(batch)
        except AlreadyHandled:
            # It was handled after all: its commit outlived the handler that was given up.
            return True
        except PreconditionFailed as fault:
            if not is_moved(fault, self.group, letter.key):
                raise
            return False
        fault_point("inbox.after_park")
        return True
