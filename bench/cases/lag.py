"""How late a follower of a change feed sees what is written, in an open loop: `lag.py here|remote WHERE SECONDS`.

Writes are begun at a steady rate, however long they take; what is told is from that moment to the moment at which the
follower has the row, typed. `remote` follows in a process of its own, which has no part in the writing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import durable
import meter

from hanse import App, Collection, Node, Resource, Service, Settings, rpc
from hanse.kernel.settings import NodeSettings
from hanse.service.change import Created, Ready

RATE = 200
"""Writes a second: what a busy service writes, and far from what it could."""

WARM_UP_SECONDS = 1.0
LATE_SECONDS_MAX = 10.0


class Beat(Resource):
    """A row that knows when it was begun: on the clock that all processes of a machine share."""

    at: float


class Heart(Service):
    beats: Collection[Beat]

    @rpc
    async def beat(self, at: float) -> None:
        await self.beats.create(Beat(at=at))


class Doctor(Service):
    """Has nothing to do with the writing."""


APP = App("heart", Heart, Doctor)


def settings(where: str, place: str, service: str, transport: str) -> Settings:
    stores = {"sqlite": f"sqlite:///{place}", "postgresql": place}
    return Settings(node=NodeSettings(store=stores[where], services=(service,), transport=transport))


async def seen(node: Node, ready: Callable[[], object]) -> AsyncIterator[float]:
    """How late each beat is; `ready` is called when there is nothing from before."""
    async for item in node.collection(Beat).follow():
        if isinstance(item, Ready):
            ready()
        elif isinstance(item, Created):
            yield time.perf_counter() - item.after.at


async def follow(node: Node, lags: list[float], ready: Callable[[], object]) -> None:
    async for lag in seen(node, ready):
        lags.append(lag)  # noqa: PERF401 - it has to be seen while it grows


async def write(node: Node, seconds: float) -> float:
    """The median of what the writes themselves took."""
    beat, began = node.client(Heart).beat, time.perf_counter()
    took: list[float] = []

    async def one(at: float) -> None:
        await beat(at)
        took.append(time.perf_counter() - at)

    async with asyncio.TaskGroup() as tasks:
        for number in range(int(RATE * seconds)):
            at = began + number / RATE
            await asyncio.sleep(max(0.0, at - time.perf_counter()))
            tasks.create_task(one(at))
    return statistics.median(took)


def figures(lags: list[float], wanted: int) -> dict[str, float]:
    # What was seen while it warmed up does not count.
    counted = lags[-wanted:]
    cuts = statistics.quantiles(counted, n=100)
    return {"median_ms": cuts[49] * 1e3, "p99_ms": cuts[98] * 1e3, "most_ms": max(counted) * 1e3}


async def here(where: str, place: str, seconds: float) -> None:
    lags: list[float] = []
    ready = asyncio.Event()
    async with Node(APP, settings(where, place, "heart", "memory:")) as node:
        following = asyncio.create_task(follow(node, lags, ready.set))
        await ready.wait()
        wrote = await write(node, WARM_UP_SECONDS + seconds)
        async with asyncio.timeout(LATE_SECONDS_MAX):
            # The follower is not to be slowed by telling.
            while len(lags) < int(RATE * (WARM_UP_SECONDS + seconds)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
    meter.tell(**figures(lags, int(RATE * seconds)), write_ms=wrote * 1e3)


async def remote(where: str, place: str, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        transport = f"unix:{folder}"
        with other(seconds, transport) as process:
            async with Node(APP, settings(where, place, "heart", transport)) as node:
                loop = asyncio.get_running_loop()
                assert process.stdout is not None
                assert await loop.run_in_executor(None, process.stdout.readline) == "ready\n"
                wrote = await write(node, WARM_UP_SECONDS + seconds)
                told = json.loads(await loop.run_in_executor(None, process.stdout.readline))
                meter.tell(**told, write_ms=wrote * 1e3)


@contextlib.contextmanager
def other(seconds: float, transport: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).resolve()), "follower", str(seconds), transport]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


async def follower(seconds: float, transport: str) -> None:
    lags: list[float] = []
    # It has stores of its own, and asks the node that writes.
    with tempfile.TemporaryDirectory() as folder:
        async with Node(APP, settings("sqlite", folder, "doctor", transport)) as node:
            async for lag in seen(node, lambda: print("ready", flush=True)):
                lags.append(lag)
                if len(lags) == int(RATE * (WARM_UP_SECONDS + seconds)):
                    break
    meter.tell(**figures(lags, int(RATE * seconds)))


if __name__ == "__main__":
    if sys.argv[1] == "follower":
        meter.run(follower(float(sys.argv[2]), sys.argv[3]))
    else:
        with durable.database(sys.argv[2]) as (place, _):
            meter.run({"here": here, "remote": remote}[sys.argv[1]](sys.argv[2], place, float(sys.argv[3])))
