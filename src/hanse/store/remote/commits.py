"""What becomes of a group of commits, as it is told: whatever fails, each waiter gets an answer that is true.

A connection that breaks while a group is under way leaves open whether that was committed. That is found out as soon as
the server is back, in the words of that server. Only where it stays away is whoever waits told that nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

from hanse.kernel.faults import Unavailable
from hanse.store.base import Batch
from hanse.store.group import Outcome
from hanse.store.remote.reach import Reach
from hanse.store.waiting import Apply

T = TypeVar("T")

DECIDE_SECONDS = 5.0
"""For which the server has the time to come back, and to tell whether a group was committed."""

AGAIN_SECONDS = 0.01
"""Between two questions at the least."""

Heard = Callable[[Sequence[Batch], int], None]
"""Told of the batches of a group that wrote entries, and of the newest position since."""


class Errors(NamedTuple):
    """What errors mean, as the failures of a server have it.

    Attributes:
        is_of_value: Whether a value was refused; nothing was done then.
        meaning: What to tell in place of an error, given which store it is of.
    """

    is_of_value: Callable[[BaseException], bool]
    meaning: Callable[[Exception, str], Exception]


async def applied(batches: Sequence[Batch], write: Apply, errors: Errors, place: str) -> Sequence[Outcome]:
    """What becomes of some batches; raises nothing but cancellation.

    Args:
        batches: To be committed together.
        write: Commits them; may raise.
        errors: What that means.
        place: Which store, without secrets.
    """
    try:
        return await write(batches)
    except Exception as error:  # noqa: BLE001 - each waiter is told, and the next group is written
        if len(batches) > 1 and errors.is_of_value(error):
            # One of them holds what cannot be stored. It must not take its neighbours along.
            return [outcome for batch in batches for outcome in await applied((batch,), write, errors, place)]
        meant = errors.meaning(error, place)
        return [meant for _ in batches]


async def found_out(ask: Callable[[], Awaitable[T]], reach: Reach, error: Exception) -> T:
    """What became of a group amid which the connection broke.

    Args:
        ask: Asks the server, and sees to it that what was sent takes no effect later. May raise, and is asked again.
        reach: To the server.
        error: What broke.

    Raises:
        Unavailable: The server stays away.
    """
    until = reach.host.monotonic() + DECIDE_SECONDS
    while (left := until - reach.host.monotonic()) > 0:
        with suppress(Exception):
            async with asyncio.timeout(left):
                return await ask()
        # It is not back yet.
        await asyncio.sleep(max(reach.pause(), AGAIN_SECONDS))
    raise Unavailable(
        f"the store {reach.place} went away amid a commit ({error}), and it is not known whether that took effect; a "
        "repeat with the same idempotency key or mark is safe"
    ) from error
