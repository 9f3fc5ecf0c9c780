"""What a node that stops had not finished at the end of its grace, told so that nobody has to guess what is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from hanse.kernel.faults import Fault

COUNT_MAX = 1_000
"""Entries of one relay that are counted; of more it is only said that there are."""

COUNT_SECONDS = 1.0
"""How long all of it is counted: a store that is away has no say about when a node stops."""


class HandsOn(Protocol):
    """A relay, as far as it is asked what it has left."""

    @property
    def name(self) -> str:
        """Of the relay."""
        ...

    @property
    def behind(self) -> bool:
        """Whether it may have something left."""
        ...

    @property
    def trouble(self) -> str:
        """What is in its way."""
        ...

    async def left(self, limit: int) -> int:
        """How many entries it has left, at most a limit."""
        ...


class LeftOver(msgspec.Struct, frozen=True):
    """What one relay had not handed on.

    Attributes:
        relay: Its name.
        count: Entries, at most `COUNT_MAX`; None where that could not be learned.
        why: What was in its way; empty where nothing was but time.
    """

    relay: str
    count: int | None
    why: str = ""


async def left_over(relays: Iterable[HandsOn]) -> list[LeftOver]:
    """What relays have not handed on yet."""
    found: list[LeftOver] = []
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            for relay in (one for one in relays if one.behind):
                # Said before it is counted, so that it is said in any case.
                found.append(LeftOver(relay.name, None, relay.trouble))
                count = await relay.left(COUNT_MAX)
                found[-1:] = [LeftOver(relay.name, count, relay.trouble)] if count else []
    except (TimeoutError, Fault):
        pass
    return found


def told_at_end(running: int, left: Sequence[LeftOver]) -> list[str]:
    """What is said of a stop that had to end before all was finished.

    Args:
        running: Operations that were being handled.
        left: What was not handed on.

    Example:
        >>> told_at_end(0, [LeftOver("mailer.receipt", 2)])[0].partition("; ")[0]
        'the relay to mailer.receipt had 2 entries to hand on at the end of the grace'
    """
    lines = [f"{running} operations were still running at the end of the grace"] if running else []
    for one in left:
        count = "entries" if one.count is None else f"{one.count} entries"
        count = f"{count} or more" if one.count == COUNT_MAX else count
        why = f" ({one.why})" if one.why else ""
        lines.append(
            f"the relay to {one.relay} had {count} to hand on at the end of the grace{why}; nothing is lost, they stay "
            f"in the log and go out after the next start"
        )
    return lines or ["something was still under way at the end of the grace, and goes on after the next start"]
