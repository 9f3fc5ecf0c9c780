"""A broker that is away while events go on being told: they wait in the outbox, and go to it as soon as it is back."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from hanse import App, Collection, Event, Node, Resource, Service, Settings, on, rpc
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings

from .amount import Amount
from .places import Place, Site, site_of

BATCH = 100
DRAIN_SECONDS_MAX = 600.0
CLOCK = Host.system()


class Sold(Event):
    number: int


class Line(Resource):
    number: int


class Till(Service, events=(Sold,)):
    @rpc
    async def sell(self, first: int, end: int) -> None:
        await self.emit(*(Sold(number=number) for number in range(first, end)))


class Book(Service):
    lines: Collection[Line]

    @on(Sold)
    async def write(self, sold: Sold) -> None:
        _ = await self.lines.create(Line(number=sold.number))


APP = App("backlog", Till, Book)


async def away(place: Place, folder: Path, seconds: float, events: int) -> Amount:
    """Kill a broker for so many seconds, tell so many events meanwhile, and see each of them handled once.

    Raises:
        AssertionError: One was lost, or handled twice.
        Fault: One could not be told while the broker was away.
    """
    (folder / "data").mkdir()
    with site_of(place, folder) as site:
        till = Node(APP, _settings(site, folder, "till"))
        await till.start()
        try:
            # It was well connected before, and so it finds out by itself that the broker has gone.
            await till.client(Till).sell(0, BATCH)
            await till.settle()
            for server in site.brokers:
                await asyncio.to_thread(server.kill)
            await _told(till, seconds, events)
            for server in site.brokers:
                server.start()
            for server in site.brokers:
                await asyncio.to_thread(server.wait_ready)
            back = CLOCK.monotonic()
            async with asyncio.timeout(DRAIN_SECONDS_MAX):
                await till.settle()
            took = CLOCK.monotonic() - back
            handled = await _handled(site, folder)
        finally:
            await till.stop()
    wrong = [number for number in range(BATCH + events) if handled[number] != 1]
    assert wrong == [], f"{len(wrong)} of {BATCH + events} were not handled once, {wrong[:5]} among them"
    return Amount("away", place.title, {"seconds": seconds, "events": events, "per_second": round(events / took)})


async def _told(till: Node, seconds: float, events: int) -> None:
    """Tell of so many, spread over so long."""
    began = CLOCK.monotonic()
    for first in range(0, events, BATCH):
        await till.client(Till).sell(BATCH + first, BATCH + min(first + BATCH, events))
        left = began + seconds * (first + BATCH) / events - CLOCK.monotonic()
        await asyncio.sleep(max(0.0, left))  # it is away for as long as that


async def _handled(site: Site, folder: Path) -> Counter[int]:
    """How often each was."""
    async with Node(APP, _settings(site, folder, "book")) as book, asyncio.timeout(DRAIN_SECONDS_MAX):
        await book.settle()
        return Counter([line.number async for line in book.collection(Line).scan()])


def _settings(site: Site, folder: Path, service: str) -> Settings:
    given = dict(zip(site.options[::2], site.options[1::2], strict=True))
    store = given["--store"].replace("sqlite:///", f"sqlite:///{folder}/")
    return Settings(
        node=NodeSettings(services=(service,), store=store, events="broker", transport=given["--transport"])
    )
