"""Disks that are full: one that SQLite has its files on, and one that PostgreSQL has all that it keeps on."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from tests.store.postgresql.server import started

from .disk import SmallDisk, small_disk
from .places import PLACES, Place
from .sweep import PARTS, Shop, opened
from .troubles import ORDERS, Told, noticed

TIMES = 5
REFUSED = 3
"""Orders that are refused until a disk is taken to be full."""

REFUSED_SECONDS_MAX = 60.0
LOOK_SECONDS = 0.1

DATABASE_MB = 192
"""What a new PostgreSQL takes, and some room."""

SMALL_LOG = ("max_wal_size=32MB", "min_wal_size=32MB", "max_connections=40", "autovacuum=off")
"""What it writes ahead is kept short, that a disk so small is not full of that alone."""


class Full(NamedTuple):
    """A disk that is full.

    Attributes:
        title: For people.
        place: Where.
        opened: A shop there that runs, and the disk.
    """

    title: str
    place: Place
    opened: Callable[[Place, Path], AbstractAsyncContextManager[tuple[Shop, SmallDisk]]]


@asynccontextmanager
async def of_sqlite(place: Place, folder: Path) -> AsyncGenerator[tuple[Shop, SmallDisk]]:
    """The parts of the shop are led to where their files are."""
    (folder / "data").mkdir()
    with small_disk(folder / "data") as small:
        async with opened(place, folder, within=dict.fromkeys(PARTS, small.within)) as shop:
            yield shop, small


@asynccontextmanager
async def of_postgresql(place: Place, folder: Path) -> AsyncGenerator[tuple[Shop, SmallDisk]]:
    """The server is led there; who is connected to it sees no more of the disk than that."""
    # Not in the folder of a test, into which the server's own user cannot go.
    at = Path(tempfile.mkdtemp(prefix="hanse-postgresql-"))
    with small_disk(at, DATABASE_MB) as small:
        server = started(*SMALL_LOG, folder=at, within=small.within)
        try:
            async with opened(place, folder, database=server) as shop:
                yield shop, small
        finally:
            server.remove()


FULL: Mapping[str, Full] = {
    "sqlite": Full("the disk that SQLite has its files on is full, until somebody makes room", PLACES[0], of_sqlite),
    "postgresql": Full(
        "the disk that PostgreSQL has all that it keeps on is full, until somebody makes room",
        PLACES[1],
        of_postgresql,
    ),
}


async def disk_full(name: str, folder: Path, times: int) -> Told:
    """Take all room that is left on a disk, until that is noticed, and give it back."""
    full = FULL[name]
    async with full.opened(full.place, folder) as (shop, small):
        async with shop.customer.ordering():
            for _ in range(times):
                await shop.customer.more(ORDERS)
                small.fill()
                await _refused(shop)
                small.free()
                if shop.site.database is not None:
                    # One that cannot write ahead ends itself; somebody starts it again, once there is room.
                    await asyncio.to_thread(shop.site.database.wait_ready)
            await shop.customer.more(ORDERS)
        effects = await shop.customer.effects()
    return Told(f"disk of {name}", full.place.title, times, effects, noticed(shop))


async def _refused(shop: Shop) -> None:
    """Return when a store has noticed that its disk is full."""
    known = shop.customer.refused
    async with asyncio.timeout(REFUSED_SECONDS_MAX):
        while shop.customer.refused < known + REFUSED:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)  # nothing else tells of it
