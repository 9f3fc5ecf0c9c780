from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from hanse.control.edge_figures import Figures
from hanse.control.edge_mirror import Pairs
from hanse.control.edge_table import Table
from hanse.deploy.edge.base import Engine, Features
from hanse.deploy.edge_seat import EdgeSeat
from hanse.kernel.faults import CouldNotStart, Misconfigured, Unavailable
from hanse.kernel.tasks import Tasks


class Fake:
    """An engine that does what a test says."""

    features = Features()

    def __init__(self) -> None:
        self.there = False
        self.startable = True
        self.starts = 0
        self.tables: list[int] = []
        self.refused: set[int] = set()

    async def start(self) -> str:
        if not self.startable:
            self.startable = True
            raise CouldNotStart("its port is taken")
        self.there = True
        self.starts += 1
        return f"http://edge:{self.starts}"

    async def apply(self, table: Table) -> None:
        if not self.there:
            raise Unavailable("gone")
        if table.revision in self.refused:
            raise Misconfigured("it does not fit")
        self.tables.append(table.revision)

    async def figures(self) -> Figures:
        raise Unavailable("gone")

    async def pairs(self) -> Pairs:
        raise Unavailable("gone")

    async def drained(self, server: str, timeout: float) -> bool:
        if not self.there:
            raise Unavailable("gone")
        return server == "idle"

    async def cut(self, server: str) -> int:
        return 0

    async def stop(self, grace: float) -> None:
        self.there = False


class Seats:
    def __init__(self, engine: Engine | None) -> None:
        self.seen: asyncio.Queue[int] = asyncio.Queue()
        self.said: asyncio.Queue[str] = asyncio.Queue()
        self.seat = EdgeSeat(engine, self.seen.put_nowait, self.said.put_nowait)


@asynccontextmanager
async def kept(engine: Engine | None) -> AsyncGenerator[Seats]:
    seats = Seats(engine)
    await seats.seat.start()
    async with Tasks(print) as tasks:
        _ = tasks.start(seats.seat.keep())
        yield seats


async def test_a_table_that_does_not_fit_is_told_once_and_the_next_one_is_shown() -> None:
    fake = Fake()
    fake.refused = {1, 2}
    async with kept(fake) as seats:
        for revision in (1, 2):
            seats.seat.show(Table(revision=revision))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert await seats.said.get() == "edge: it does not fit"
        seats.seat.show(Table(revision=3))
        assert await seats.seen.get() == 3
        assert seats.said.empty()


async def test_an_edge_that_has_gone_is_started_anew_and_shown_the_table() -> None:
    fake = Fake()
    async with kept(fake) as seats:
        seats.seat.show(Table(revision=1))
        assert await seats.seen.get() == 1
        fake.there = fake.startable = False
        seats.seat.again()
        assert await seats.said.get() == "edge: its port is taken"
        assert await seats.seen.get() == 1
        assert (fake.starts, fake.tables, seats.seat.url) == (2, [1, 1], "http://edge:2")


async def test_what_is_in_flight_is_what_the_edge_says_and_nothing_where_it_has_gone() -> None:
    fake = Fake()
    async with kept(fake) as seats:
        assert await seats.seat.idle("idle", 1.0)
        assert not await seats.seat.idle("busy", 1.0)
        await seats.seat.stop(0.0)
        assert await seats.seat.idle("busy", 1.0)


async def test_without_an_edge_every_table_is_in_force_at_once() -> None:
    async with kept(None) as seats:
        seats.seat.show(Table(revision=4))
        assert await seats.seen.get() == 4
        assert await seats.seat.idle("any", 1.0)
        await seats.seat.stop(0.0)
        assert seats.seat.url == ""
