"""What has to hold around a loop for one seed to do one thing."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from hanse.sim.loop import Loop

_awaitable: Any = asyncio.ensure_future  # noqa: TID251 - this is what owns the tasks here


@contextmanager
def steady() -> Generator[None]:
    """What else has to hold for one seed to do one thing: no collection of garbage, and sets in the order they came.

    `asyncio.as_completed` puts the coroutines it is given into a set, which goes by their addresses. Here they become
    tasks first, in order. What `asyncio.gather` returns is no future of the loop's making; here it is counted as well.

    What the program froze before stays frozen: a large one, as of thousands of tests, would be searched each time.
    """
    original = asyncio.as_completed
    gathering = getattr(asyncio.tasks, "_GatheringFuture")  # noqa: B009 - no type checker knows of it

    def as_completed(aws: Any, **options: Any) -> Any:  # noqa: ANN401 - as asyncio has it
        return original([_awaitable(one) for one in aws], **options)

    collecting, hashed = gc.isenabled(), "__hash__" in vars(gathering)
    frozen = gc.get_freeze_count()
    if frozen:
        # What is garbage by now would be kept for ever; there is not much to search besides what is frozen.
        _ = gc.collect()
    gc.freeze()
    gc.disable()
    asyncio.as_completed = as_completed  # type: ignore[assignment]
    gathering.__hash__ = _counted
    try:
        yield
    finally:
        asyncio.as_completed = original
        if not hashed:
            del gathering.__hash__
        if not frozen:
            gc.unfreeze()
        if collecting:
            gc.enable()


def _counted(future: asyncio.Future[Any]) -> int:
    """The place in a set of a future that the loop did not make: by the count of those, from the first time on."""
    loop, number = future.get_loop(), getattr(future, "number", 0)
    if not isinstance(loop, Loop):
        return object.__hash__(future)
    if not number:
        number = loop.futures_made = loop.futures_made + 1
        setattr(future, "number", number)  # noqa: B010 - asyncio's class knows of no such attribute
    return number
