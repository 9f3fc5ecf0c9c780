"""Hedging: a call that takes longer than nearly all others is made once more, elsewhere, and the first answer counts.

For operations that may be repeated, where the caller wants it. A slow instance then costs its callers little; what it
costs the others comes out of the budget for retries, so that no more than a tenth is added to the load. Source:
Dean and Barroso, "The Tail at Scale", Communications of the ACM, 2013.
"""

from __future__ import annotations

import asyncio
from collections import deque

from hanse.kernel.context import FOREVER
from hanse.kernel.faults import Fault, Overloaded
from hanse.kernel.host import Host
from hanse.kernel.message import Message
from hanse.mesh.breaker import COUNTED
from hanse.mesh.chain import Handler, Middleware, again
from hanse.mesh.fault import FAULT
from hanse.mesh.retry import Budget

LATENCIES_MAX = 200
"""Answers whose latencies are kept, for one operation."""

LATENCIES_MIN = 20
"""Answers before which nothing is known of what is slow."""

LATENCIES_LOOKED = 20
"""Answers after which is looked again at what is slow."""

SLOW_SHARE = 0.95
"""Share of the answers that come sooner than what is slow."""

_WORTH_WAITING = COUNTED | {Overloaded.code}
"""Codes of faults after which the other one of two is waited for."""

_Outcome = Message | Fault


class Pace:
    """How fast one operation answers lately.

    Example:
        >>> pace = Pace()
        >>> for milliseconds in range(LATENCIES_MIN):
        ...     pace.answered(milliseconds / 1000)
        >>> pace.slow
        0.019
    """

    __slots__ = ("_latencies", "_until_look", "slow")

    def __init__(self) -> None:
        self.slow: float | None = None
        """Seconds after which a call is slow; None where too few have been answered."""
        self._latencies: deque[float] = deque(maxlen=LATENCIES_MAX)
        self._until_look = LATENCIES_MIN

    def answered(self, took: float) -> None:
        """A call was answered in so many seconds."""
        self._latencies.append(took)
        self._until_look -= 1
        if not self._until_look:
            self._until_look = LATENCIES_LOOKED
            self.slow = sorted(self._latencies)[int(SLOW_SHARE * len(self._latencies))]


def hedging(pace: Pace, budget: Budget, host: Host, *, earns: bool = False) -> Middleware:
    """Make a call that is slow once more: see `hanse.mesh.hedge`.

    Args:
        pace: How fast the operation is lately.
        budget: What a second call is paid from.
        host: Its clock.
        earns: Whether first calls pay into the budget here; where they are retried too, they do so there.
    """

    def wrap(handler: Handler) -> Handler:
        async def call(message: Message) -> Message:
            if earns:
                budget.earn()
            begun, slow = host.monotonic(), pace.slow
            if slow is None or 0 < message.timeout <= slow:
                reply = await handler(message)
            else:
                reply = _given(await _raced(handler, message, slow, budget))
            if reply.kind is not FAULT:
                pace.answered(host.monotonic() - begun)
            return reply

        return call

    return wrap


async def _raced(handler: Handler, message: Message, slow: float, budget: Budget) -> _Outcome:
    """What the first of a call and, if that is slow, its like came to; the other one is cancelled."""
    async with asyncio.TaskGroup() as group:
        first = group.create_task(_outcome(handler, message))
        _ = await asyncio.wait([first], timeout=slow)
        if first.done() or not budget.spend():
            return await first
        left = message.timeout - slow if message.timeout else FOREVER
        second = group.create_task(_outcome(handler, again(message, left)))
        _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        sooner, later = (first, second) if first.done() else (second, first)
        if not _is_answer(await sooner):
            return await later
        _ = later.cancel()
        return await sooner


async def _outcome(handler: Handler, message: Message) -> _Outcome:
    """A fault as a value: one that is raised would end the other of the two."""
    try:
        return await handler(message)
    except Fault as fault:
        return fault


def _is_answer(outcome: _Outcome) -> bool:
    code = outcome.code if isinstance(outcome, Fault) else outcome.headers.type if outcome.kind is FAULT else ""
    return code not in _WORTH_WAITING


def _given(outcome: _Outcome) -> Message:
    if isinstance(outcome, Fault):
        raise outcome
    return outcome
