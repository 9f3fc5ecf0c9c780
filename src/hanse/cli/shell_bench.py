"""`bench` of the shell: how long calls of something take, and how much of the processor."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import cast

import msgspec

from hanse.kernel.host import Host

WARM_UP_MAX = 100
"""Calls before those that are counted: whatever is made at the first call is made by then."""

CALLS_MAX = 10_000_000
"""Of one bench."""


class Bench(msgspec.Struct, frozen=True):
    """What came of a bench; all in seconds.

    Attributes:
        calls: How many were counted.
        total: From the first to the last.
        cpu: Of this process, for all of them.
        p50, p90, p99, most: How long one took: at most so long for half of them, and so on.
    """

    calls: int
    total: float
    cpu: float
    p50: float
    p90: float
    p99: float
    most: float

    def __repr__(self) -> str:
        rate = self.calls / self.total if self.total else math.inf
        each = self.cpu / self.calls
        told = ", ".join(
            f"{name} {span(seconds)}"
            for name, seconds in (("p50", self.p50), ("p90", self.p90), ("p99", self.p99), ("max", self.most))
        )
        return f"{self.calls} calls, {rate:,.0f}/s, CPU here {span(each)} each; {told}"


def span(seconds: float) -> str:
    """A short time as people read it.

    Example:
        >>> span(0.0000123), span(0.0042), span(1.5)
        ('12.3 us', '4.20 ms', '1.50 s')
    """
    if seconds < 1e-3:  # noqa: PLR2004 - a millisecond
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def percentile(ordered: Sequence[float], share: float) -> float:
    """The least value that so many are at most, of values in order.

    Example:
        >>> [percentile([1.0, 2.0, 3.0, 4.0], share) for share in (0.5, 0.9, 1.0)]
        [2.0, 4.0, 4.0]
    """
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


async def bench(function: Callable[..., object], /, *args: object, n: int = 1000, **kwargs: object) -> Bench:
    """Call something again and again, one call after the other, and tell how long it took.

    Args:
        function: An operation of a client, or any function.
        args: What it is called with.
        n: How often, after a warm-up of a tenth of it.
        kwargs: What it is called with by name.

    Raises:
        ValueError: `n` is out of range.
    """
    if not 1 <= n <= CALLS_MAX:
        raise ValueError(f"expected n between 1 and {CALLS_MAX}, got {n}")
    for _ in range(min(WARM_UP_MAX, n // 10)):
        await _called(function, args, kwargs)
    now = Host.system().monotonic
    taken: list[float] = []
    cpu, begun = time.process_time(), now()
    for _ in range(n):
        before = now()
        await _called(function, args, kwargs)
        taken.append(now() - before)
    total, used = now() - begun, time.process_time() - cpu
    taken.sort()
    shares = (percentile(taken, 0.5), percentile(taken, 0.9), percentile(taken, 0.99))
    return Bench(n, total, used, *shares, taken[-1])


async def _called(function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    result = function(*args, **kwargs)
    if inspect.isawaitable(result):
        await cast("Awaitable[object]", result)
    elif hasattr(result, "__aiter__"):
        async for _ in cast("AsyncIterator[object]", result):
            pass
