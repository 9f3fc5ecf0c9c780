"""What the cases of durable work share: databases to keep it in, and the CPU of servers with all their children."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import meter

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.store.postgresql.server import started, why_not

WARM_UP_SECONDS = 1.0
WARM_SECONDS_MAX = 30.0

Operation = Callable[[], Awaitable[object]]


@contextlib.contextmanager
def database(kind: str) -> Iterator[tuple[str, int]]:
    """A place for durable work: `sqlite`, or a PostgreSQL server of its own that flushes each commit.

    Yields:
        The folder of the files, or the URL of the server; and the id of its process, 0 for none.
    """
    if kind.startswith("sqlite"):
        with tempfile.TemporaryDirectory() as folder:
            yield folder, 0
        return
    if why := why_not():
        meter.tell(skipped=why)
        sys.exit()
    one = started("shared_buffers=64MB", "max_connections=200")
    try:
        yield one.store(), one.pid
    finally:
        one.remove()


def spent(*roots: int) -> float:
    """Seconds of CPU that processes have used, and those that they have started; 0 stands for none."""
    used, pids = 0, [pid for pid in roots if pid]
    for one in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{one}/task").iterdir():
                used += int((task / "schedstat").read_text().split()[0])
                pids += map(int, (task / "children").read_text().split())
    return used / 1e9


async def crowd(operation: Operation, seconds: float, at_once: int) -> int:
    """So many of them under way, again and again; how many were done."""
    end, done = time.perf_counter() + seconds, itertools.count()

    async def work() -> None:
        while time.perf_counter() < end:
            await operation()
            next(done)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(work())
    return next(done)


async def measure(operation: Operation, seconds: float, at_once: int, *, each: int, server: int) -> None:
    """Tell what one of `each` parts of an operation costs this process and a server."""
    await crowd(operation, WARM_UP_SECONDS, at_once)
    used, theirs, began = time.process_time(), spent(server), time.perf_counter()
    done = await crowd(operation, seconds, at_once) * each
    took, ours = time.perf_counter() - began, time.process_time() - used
    of_server = spent(server) - theirs
    told = {"server_us": of_server / done * 1e6} if server else {}
    meter.tell(cpu_us=(ours + of_server) / done * 1e6, ours_us=ours / done * 1e6, **told, per_second=done / took)


class Handled:
    """Counts what was handled, and tells how it goes while there is a backlog."""

    def __init__(self) -> None:
        self.done = 0

    def add(self) -> None:
        self.done += 1

    async def measure(self, seconds: float, backlog: int, *, servers: tuple[int, ...] = (), workers: int = 0) -> None:
        """Tell what one costs this process, its workers and a server, once it goes well."""
        await self._until(backlog // 20)
        processes = time.process_time() + spent(workers)
        begun, theirs, began = self.done, spent(*servers), time.perf_counter()
        await asyncio.sleep(seconds)
        done, took = self.done - begun, time.perf_counter() - began
        ours, of_server = time.process_time() + spent(workers) - processes, spent(*servers) - theirs
        if not done or self.done >= backlog:
            raise RuntimeError(
                f"{self.done} of {backlog} were handled, {done} of them in {took:.1f} s; wait for others"
            )
        told = {"server_us": of_server / done * 1e6} if any(servers) else {}
        meter.tell(cpu_us=(ours + of_server) / done * 1e6, ours_us=ours / done * 1e6, **told, per_second=done / took)

    async def _until(self, count: int) -> None:
        until = time.perf_counter() + WARM_SECONDS_MAX
        while self.done < count:
            if time.perf_counter() > until:
                raise RuntimeError(f"{self.done} were handled in {WARM_SECONDS_MAX} s; {count} were to warm up")
            await asyncio.sleep(0.02)
