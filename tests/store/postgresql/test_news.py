"""How processes hear of each other's commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.store.postgresql import PostgresqlStore
from hanse.store.postgresql.url import parse_url
from hanse.testing.store_hooks import NOTES, ORDERS, batch, put

from .proxy import between
from .server import Server

pytestmark = pytest.mark.timeout(120)

WAIT_SECONDS = 30.0


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[PostgresqlStore]:
    store = PostgresqlStore(parse_url(url), host=Host.system())
    await store.open((ORDERS, NOTES))
    try:
        yield store
    finally:
        await store.close()


async def heard(one: PostgresqlStore, other: PostgresqlStore, id: str) -> None:
    """One commits, and the other is woken."""
    woken = asyncio.Event()
    stop = other.listen(woken.set)
    await one.commit(batch(put(id)))
    await asyncio.wait_for(woken.wait(), WAIT_SECONDS)
    stop()


async def test_commits_are_heard_of_where_a_pooler_swallows_news(url: str, quick_server: Server) -> None:
    async with between(quick_server.port) as proxy:
        proxy.swallows_news = True
        async with opened(url) as store, opened(f"{proxy.url(url)}&sslmode=disable") as other:
            for number in range(3):
                await heard(store, other, str(number))


async def test_commits_are_heard_of_again_after_connections_broke(safe_server: Server, safe_url: str) -> None:
    async with opened(safe_url) as store, opened(safe_url) as other:
        await heard(store, other, "1")
        await asyncio.to_thread(safe_server.restart)
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                try:
                    await heard(store, other, "2")
                    break
                except Unavailable:
                    # Nothing tells when it is noticed that the server is back.
                    await asyncio.sleep(0.05)
        await heard(other, store, "3")


async def test_who_commits_is_not_woken_twice_by_its_own_news(url: str) -> None:
    wakes: list[str] = []
    async with opened(url) as store, opened(url) as other:
        store.listen(lambda: wakes.append("store"))
        await heard(store, other, "1")
        await heard(store, other, "2")
        await heard(other, store, "3")
    # A look may come between a commit and the news of it.
    assert 3 <= len(wakes) <= 4
