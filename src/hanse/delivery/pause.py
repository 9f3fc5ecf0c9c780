"""Waiting for a while, unless it is time to stop."""

from __future__ import annotations

import asyncio


async def pause(stopping: asyncio.Event, seconds: float) -> bool:
    """Wait some seconds, or until the event is set; whether it is.

    Example:
        >>> asyncio.run(pause(asyncio.Event(), 0.0))
        False
    """
    if seconds <= 0.0:
        await asyncio.sleep(0)
        return stopping.is_set()
    try:
        async with asyncio.timeout(seconds):
            return await stopping.wait()
    except TimeoutError:
        return False
