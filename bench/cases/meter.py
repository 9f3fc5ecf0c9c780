"""Repeats an operation for a while, and prints what one of them cost, in microseconds of CPU."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine

Operation = Callable[[], Awaitable[object]]

IN_FLIGHT = 64
WARM_UP_SECONDS = 0.3
LONG_WARM_UP_SECONDS = 1.0


def tell(**figures: float | str) -> None:
    """Print the figures, or `skipped=reason`."""
    print(json.dumps(figures), flush=True)


async def one_by_one(operation: Operation, seconds: float, *, batch: int = 500, each: int = 1) -> None:
    """Await the operation again and again; the median of batches, which a disturbed one does not move.

    Args:
        operation: What is measured.
        seconds: How long.
        batch: Operations between two looks at the clock.
        each: Units that one operation stands for, such as the items of a stream.
    """
    costs: list[float] = []
    begin = time.perf_counter() + WARM_UP_SECONDS
    while (now := time.perf_counter()) < begin + seconds:
        used = time.process_time()
        for _ in range(batch):
            await operation()
        if now >= begin:
            costs.append((time.process_time() - used) / batch / each)
    tell(cpu_us=statistics.median(costs) * 1e6)


async def in_flight(operation: Operation, seconds: float) -> None:
    """Keep 64 operations under way."""
    await crowd(operation, WARM_UP_SECONDS)
    used = time.process_time()
    done = await crowd(operation, seconds)
    tell(cpu_us=(time.process_time() - used) / done * 1e6)


async def at_once(operation: Operation, seconds: float, count: int) -> None:
    """Keep so many operations under way that wait for a server: what one takes, and what it costs this process."""
    await crowd(operation, LONG_WARM_UP_SECONDS, count)
    used, begin = time.process_time(), time.perf_counter()
    done = await crowd(operation, seconds, count)
    spent, took = time.process_time() - used, time.perf_counter() - begin
    tell(took_us=took / done * 1e6, cpu_us=spent / done * 1e6, per_second=done / took)


def runs(operation: Callable[[], object], seconds: float, *, each: int) -> None:
    """Call a plain function again and again; the median of the calls, of one of the units that each stands for."""
    costs: list[float] = []
    begin = time.perf_counter() + WARM_UP_SECONDS
    while (now := time.perf_counter()) < begin + seconds or not costs:
        used = time.process_time()
        operation()
        if now >= begin:
            costs.append((time.process_time() - used) / each)
    cost = statistics.median(costs)
    tell(cpu_us=cost * 1e6, per_second=1 / cost)


async def crowd(operation: Operation, seconds: float, count: int = IN_FLIGHT) -> int:
    done = 0
    end = time.perf_counter() + seconds

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await operation()
            done += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(work())
    return done


def run(main: Coroutine[object, object, None]) -> None:
    """Run on uvloop, as `hanse run` does where it is installed."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
