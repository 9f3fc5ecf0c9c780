"""What a durable event costs from one process to another through a broker: shared by the cases of all brokers.

The script of a broker is run as `events_BROKER.py CASE SECONDS`; it measures, and publishes. It starts the broker, and
itself once more as the subscriber, which says when it has handled as many events as were published. CPU is that of all
three.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass

import meter
import msgspec
from calls import spent
from shop import Order

BATCH = 64
"""Events that are published at once, or one beside the other where a client has no word for many."""

TAKEN = 256
"""Events that are taken at once."""

AHEAD_MAX = 50_000
"""Events that the publisher is ahead at most: it waits for the subscriber now and then."""

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Order).decode

Publish = Callable[[], Awaitable[object]]
Publishing = Callable[[str], AbstractAsyncContextManager[Publish]]


class Count:
    """Counts what was handled."""

    def __init__(self) -> None:
        self.done = 0
        self._moved = asyncio.Event()

    def add(self, events: int = 1) -> None:
        self.done += events
        self._moved.set()

    async def until(self, events: int) -> None:
        while self.done < events:
            self._moved.clear()
            await self._moved.wait()


Subscribing = Callable[[str, Count, asyncio.Event], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Broker:
    """How a broker is used.

    Attributes:
        start: Starts one; gives its URL and the id of its process. None where it cannot be had.
        publish: For each case, what publishes `BATCH` events, ready to be awaited again and again.
        subscribe: For each case, what handles events for ever, and says by the event when it begins to.
    """

    start: Callable[[], AbstractContextManager[tuple[str, int]]] | None
    publish: dict[str, Publishing]
    subscribe: dict[str, Subscribing]


async def _subscriber(broker: Broker, case: str, url: str) -> None:
    count, ready = Count(), asyncio.Event()
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        handling = tasks.create_task(_as_task(broker.subscribe[case](url, count, ready)))
        await ready.wait()
        print("ready", flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            await count.until(int(line))
            print("done", flush=True)
        handling.cancel()


async def _as_task(handling: Awaitable[None]) -> None:
    await handling


class _Peer:
    """The process that subscribes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.published = 0
        self._known = 0

    async def handled(self) -> None:
        """Wait until it has handled all that was published."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(self.published, file=self.process.stdin, flush=True)
        said = await asyncio.get_running_loop().run_in_executor(None, self.process.stdout.readline)
        assert said == "done\n", said
        self._known = self.published

    async def publish(self, publish: Publish, seconds: float) -> int:
        """Publish for a while, and wait until all is handled; how many those were."""
        before, end = self.published, time.perf_counter() + seconds
        while time.perf_counter() < end:
            if self.published - self._known >= AHEAD_MAX:
                await self.handled()
            await publish()
            self.published += BATCH
        await self.handled()
        return self.published - before


async def _measure(publishing: AbstractAsyncContextManager[Publish], peer: _Peer, seconds: float, broker: int) -> None:
    pids = (peer.process.pid, broker)
    async with publishing as publish:
        await peer.publish(publish, meter.WARM_UP_SECONDS)
        used, theirs, began = time.process_time(), [spent(pid) for pid in pids], time.perf_counter()
        done = await peer.publish(publish, seconds)
        took = time.perf_counter() - began
        ours = time.process_time() - used
        subscriber, server = (spent(pid) - before for pid, before in zip(pids, theirs, strict=True))
    meter.tell(
        cpu_us=(ours + subscriber + server) / done * 1e6,
        publisher_us=ours / done * 1e6,
        subscriber_us=subscriber / done * 1e6,
        broker_us=server / done * 1e6,
        per_second=done / took,
    )


def main(broker: Broker) -> None:
    if sys.argv[1] == "subscribe":
        meter.run(_subscriber(broker, sys.argv[2], sys.argv[3]))
        return
    case, seconds = sys.argv[1], float(sys.argv[2])
    if broker.start is None:
        meter.tell(skipped="there is no wheel of the broker for this machine")
        return
    with broker.start() as (url, pid):
        command = [sys.executable, sys.argv[0], "subscribe", case, url]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ) as subscriber:
            try:
                assert subscriber.stdout is not None
                assert subscriber.stdout.readline() == "ready\n"
                meter.run(_measure(broker.publish[case](url), _Peer(subscriber), seconds, pid))
            finally:
                subscriber.kill()
