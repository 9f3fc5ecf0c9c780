"""How one process hears of what others commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.store.postgresql.proxy import between

from hanse.kernel.host import Host
from hanse.store.mongodb.store import MongodbStore
from hanse.store.mongodb.url import parse_url
from hanse.testing.store_hooks import NOTES, ORDERS, batch, put

from .server import Server

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("spilled")]

WAIT_SECONDS = 30.0


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[MongodbStore]:
    store = MongodbStore(parse_url(url), host=Host.system())
    await store.open((ORDERS, NOTES))
    try:
        yield store
    finally:
        await store.close()


class _Warned(logging.Handler):
    def __init__(self, event: asyncio.Event) -> None:
        super().__init__(logging.WARNING)
        self._event = event

    def emit(self, record: logging.LogRecord) -> None:
        if "no news of the store" in record.getMessage():
            self._event.set()


@pytest.fixture
async def warned() -> AsyncGenerator[asyncio.Event]:
    """Set when it is told that there are no news."""
    event, log = asyncio.Event(), logging.getLogger("hanse.store.mongodb")
    handler = _Warned(event)
    log.addHandler(handler)
    yield event
    log.removeHandler(handler)


async def heard(one: MongodbStore, other: MongodbStore, id: str) -> None:
    """One commits, and the other is woken."""
    woken = asyncio.Event()
    stop = other.listen(woken.set)
    await one.commit(batch(put(id)))
    await asyncio.wait_for(woken.wait(), WAIT_SECONDS)
    stop()


async def test_commits_of_others_are_heard_of_also_after_the_stream_broke(
    url: str, mongodb: Server, warned: asyncio.Event
) -> None:
    async with between(mongodb.port) as proxy, opened(url) as store:
        behind = f"{proxy.url(url)}&directConnection=true&serverSelectionTimeoutMS=300"
        async with opened(behind) as other:
            await heard(store, other, "1")
            proxy.cut_once_asked(b"getMore", 1)
            await store.commit(batch(put("2")))
            # Nothing but the log tells that the driver has given up to go on with the stream.
            await asyncio.wait_for(warned.wait(), WAIT_SECONDS)
            proxy.refuses = False
            await heard(store, other, "3")
            await heard(other, store, "4")


async def test_who_commits_is_not_woken_twice_by_its_own_news(url: str) -> None:
    wakes: list[str] = []
    async with opened(url) as store, opened(url) as other:
        store.listen(lambda: wakes.append("store"))
        await heard(store, other, "1")
        await heard(store, other, "2")
        await heard(other, store, "3")
    # A look may come between a commit and the news of it.
    assert 3 <= len(wakes) <= 5
