"""The inbox: whatever is delivered twice takes effect once, and what cannot be handled is parked, in order.

A group's mark under the message's id is committed with the handler's effects, or with the dead letter; whichever comes
first, a second one is refused by the store. The decision what becomes of a failure is pure (`hanse.delivery.retry`);
the inbox carries it out.

What becomes of a message: handled (a repeat is not run again) | tried again (`HandlerFailed`) | tried again without
counting, because something was away (`OUTAGES`) | parked, because it failed for good | parked behind another of its key
that was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import final

import msgspec

from hanse.delivery.deadletter import (
    DEAD_LETTERS,
    DeadLetter,
    failed_letter,
    letter_in,
    letter_json,
    waiting_letter,
)
from hanse.delivery.retry import ATTEMPTS_MAX, HandlerFailed, is_final
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import DeadlineExceeded, Fault, Overloaded, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.store.base import AlreadyHandled, Batch, Mark, Put, Store
from hanse.store.query import PAGE_MAX, And, Compare, Query

_log = logging.getLogger("hanse.delivery")

PARKED_KEYS_MAX = 100_000
"""Keys of one group that have dead letters. At the limit nothing more is parked: messages wait in their log instead."""

FULL_SECONDS = 60.0
"""When to come again with a message that cannot be parked."""

HANDLER_SHARE = 0.9
"""Part of a message's time that its handler has; the rest is for parking it and for the answer."""


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

    def __init__(self, store: Store, group: str, *, host: Host, keys_max: int = PARKED_KEYS_MAX) -> None:
        """Get ready; `open` reads what was parked before.

        Args:
            store: Of the service, opened with the collection of `DeadLetter`.
            group: Name of the subscribers that share the work; scope of the marks.
            host: Clocks and ids.
            keys_max: Keys with dead letters, at most.
        """
        self.group: str = group
        self._store = store
        self._host = host
        self._keys_max = keys_max
        self._parked_keys: set[str] = set()

    async def open(self) -> None:
        """Read which keys have dead letters.

        Raises:
            Unavailable: The store cannot be reached.
        """
        cursor: str | None = None
        while True:
            of_group = Compare("eq", ("group",), self.group)
            found = await self._store.find(DEAD_LETTERS, Query(of_group, limit=PAGE_MAX, cursor=cursor))
            self._parked_keys.update(key for row in found.rows if (key := letter_in(row).key))
            cursor = found.next
            if cursor is None:
                return

    def mark(self, message: Message) -> Mark:
        """What has to be committed together with the effects of a message."""
        return Mark(self.group, message.id)

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
        if await self._store.marked(self.group, message.id) is not None:
            return
        blocker = await self._blocker(message.headers.key)
        if blocker is not None:
            await self._park(message, self._waiting(message, blocker))
            return
        fault_point("inbox.before_handler")
        error = await self._run(message, run)
        if error is None:
            fault_point("inbox.after_handler")
            return
        if isinstance(error, OUTAGES):
            raise error
        if not is_final(message.headers.attempt, error, attempts_max):
            raise self._failed(error) from error
        _log.error("%s parks %s %s", self.group, message.headers.type, message.id, exc_info=error)
        letter = failed_letter(self.group, message, error, id=self._host.new_id(), now=self._host.now())
        await self._park(message, letter)

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
        return waiting_letter(self.group, message, blocker.id, id=self._host.new_id(), now=self._host.now())

    async def _blocker(self, key: str) -> DeadLetter | None:
        """The oldest dead letter of the key. Once the last is gone, the key is in order again."""
        if not key or key not in self._parked_keys:
            return None
        of_key = And((Compare("eq", ("group",), self.group), Compare("eq", ("key",), key)))
        found = await self._store.find(DEAD_LETTERS, Query(of_key, limit=1))
        if not found.rows:
            self._parked_keys.discard(key)
            return None
        return letter_in(found.rows[0])

    async def _park(self, message: Message, letter: DeadLetter) -> None:
        if letter.key and letter.key not in self._parked_keys and len(self._parked_keys) >= self._keys_max:
            raise Overloaded(f"the limit of {self._keys_max} keys of {self.group} with dead letters", FULL_SECONDS)
        write = Put(DEAD_LETTERS, letter.id, letter_json(letter), self._host.new_id(), expected=0)
        headers = msgspec.structs.replace(message.headers, causation_id=message.id, attempt=1)
        batch = Batch(self._host.now(), writes=(write,), marks=(self.mark(message),), headers=headers)
        fault_point("inbox.before_park")
        try:
            await self._store.commit(batch)
        except AlreadyHandled:
            # It was handled after all: its commit outlived the handler that was given up.
            return
        fault_point("inbox.after_park")
        if letter.key:
            self._parked_keys.add(letter.key)
