"""What the suites of stores on servers are written with: a kind of such stores, and what writes to one and watches."""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Generic, TypeVar

from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.store.base import Batch, CollectionSchema, Mark, Store
from hanse.store.remote.crew import Crew
from hanse.testing.store_hooks import NOTES, ORDERS, emit, put

from .proxy import Proxy

WAIT_SECONDS = 60.0
WRITING = Path(__file__).with_name("writing.py")

S = TypeVar("S", bound=Store)


class OnServer(ABC, Generic[S]):
    """One kind of stores; its folder has the fixtures `quick_server`, `safe_server`, `url` and `safe_url`."""

    @abstractmethod
    def make(self, url: str, host: Host) -> S:
        """A store that is not open yet."""

    @abstractmethod
    def crew(self, store: S) -> Crew:
        """Who works for it."""

    def behind(self, proxy: Proxy, url: str) -> str:
        """The URL of a store by way of a proxy."""
        return proxy.url(url)

    @asynccontextmanager
    async def opened(self, url: str, *collections: CollectionSchema, host: Host | None = None) -> AsyncGenerator[S]:
        """A store, as long as it is open."""
        store = self.make(url, host or Host.system())
        await store.open(collections or (ORDERS, NOTES))
        try:
            yield store
        finally:
            await store.close()

    async def opens(self, url: str, *collections: CollectionSchema) -> None:
        """Open a store, and close it."""
        async with self.opened(url, *collections):
            pass

    async def writing(self, url: str, name: str, writers: int, commits: int) -> asyncio.subprocess.Process:
        """A process that writes, and tells each id with its positions."""
        kind = type(self.make(url, Host.system()))
        return await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                str(WRITING),
                f"{kind.__module__}:{kind.__name__}",
                url,
                name,
                str(writers),
                str(commits),
            ),
            stdout=asyncio.subprocess.PIPE,
        )

    async def written(self, url: str, name: str, writers: int, commits: int) -> list[int]:
        """The positions that a process got, from its start until it ends."""
        process = await self.writing(url, name, writers, commits)
        told, _ = await process.communicate()
        assert process.returncode == 0
        return [int(seq) for line in told.splitlines() for seq in line.split()[1:]]


def handled(id: str) -> Batch:
    """A row, an event, and a mark that lets both happen once."""
    return Batch(1.0, (put(id, expected=0), emit(id)), (Mark("test", id),))


def hasty_host() -> Host:
    """A machine on which a second is over in a fiftieth of one."""
    real = Host.system()
    return Host(
        "hasty", now=real.now, monotonic=lambda: real.monotonic() * 50, chance=real.chance, entropy=real.entropy
    )


async def at_last(commit: Callable[[], Awaitable[tuple[int, ...]]]) -> tuple[int, ...]:
    """What comes of it once the server is not away any more; nothing tells when that is noticed."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                return await commit()
            except Unavailable:
                await asyncio.sleep(0.02)


async def until(is_so: Callable[[], bool]) -> None:
    """Return when something is so that nothing tells of."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not is_so():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.001)


async def heard(one: Store, other: Store, batch: Batch) -> None:
    """One commits, and the other is woken."""
    woken = asyncio.Event()
    stop = other.listen(woken.set)
    await one.commit(batch)
    await asyncio.wait_for(woken.wait(), WAIT_SECONDS)
    stop()


class Told:
    """What became of the commits of some writers."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.refused: set[str] = set()
        self.unknown: set[str] = set()
        self.over = False
        self._awaited: list[tuple[int, asyncio.Event]] = []

    async def write(self, store: Store, writer: str) -> None:
        """Commit, again and again, until it is over."""
        number = 0
        while not self.over:
            id, number = f"{writer}-{number}", number + 1
            try:
                await store.commit(handled(id))
            except Unavailable as fault:
                (self.unknown if "not known" in str(fault) else self.refused).add(id)
                # Whoever is refused at once would otherwise never let the loop do anything else.
                await asyncio.sleep(0.01)
            else:
                self.kept.add(id)
                for count, event in self._awaited:
                    if len(self.kept) >= count:
                        event.set()

    async def more(self, count: int) -> None:
        """Wait until so many more are kept."""
        event = asyncio.Event()
        self._awaited.append((len(self.kept) + count, event))
        await asyncio.wait_for(event.wait(), WAIT_SECONDS)

    async def check(self, store: Store) -> None:
        """What is stored is what was told: each commit whole, or not at all."""
        ids = self.kept | self.refused | self.unknown
        marked = {id for id in ids if await store.marked("test", id)}
        rows = {id for id in ids if await store.load("orders", id)}
        assert self.kept <= marked
        assert not self.refused & marked
        assert rows == marked
        assert await store.head() == 2 * len(marked)


async def seen(store: Store, total: int) -> list[int]:
    """The positions of all entries, in the order in which they were found, read as soon as there are any."""
    found: list[int] = []
    woken, at = asyncio.Event(), 0
    stop = store.listen(woken.set)
    async with asyncio.timeout(WAIT_SECONDS * 3):
        while at < total:
            piece = await store.changes(at, limit=7)
            found.extend(entry.seq for entry in piece.entries)
            if piece.upto == at:
                await woken.wait()
                woken.clear()
            at = piece.upto
    stop()
    return found
