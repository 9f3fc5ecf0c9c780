"""Connections for reads: what becomes of them when reads are cancelled, take too long, break, or the pool is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.store.proxy import between

from hanse.kernel.faults import Overloaded, Unavailable
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks
from hanse.store.postgresql.link import Dialer, Link
from hanse.store.postgresql.pool import READS_MAX, Pool
from hanse.store.postgresql.url import parse_url

from .helpers import linked
from .server import Server

pytestmark = pytest.mark.timeout(120)

SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '/* {} */ SELECT pg_sleep%'"


@asynccontextmanager
async def pooled(url: str, limit: int = 2) -> AsyncGenerator[Pool]:
    pool = Pool(Dialer(parse_url(url), Host.system()), limit)
    try:
        yield pool
    finally:
        await pool.close()


async def asleep(link: Link, name: str, sleepers: int) -> None:
    """Return when so many connections are asleep; nothing tells of it."""
    async with asyncio.timeout(30):
        while (await link.fetch(SLEEPING.format(name)))[0][0] != sleepers:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.01)


def sleep(name: str) -> str:
    return f"/* {name} */ SELECT pg_sleep(100)"


async def test_a_read_that_is_cancelled_is_stopped_and_its_connection_is_used_by_nobody(url: str) -> None:
    async with linked(url) as (link, name), pooled(url, 1) as pool:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(pool.fetch(sleep(name)))
            await asleep(link, name, 1)
            _ = reading.cancel()
        assert [row[0] for row in await pool.fetch("SELECT $1::text", ("next",))] == ["next"]
        await asleep(link, name, 0)


async def test_a_read_that_takes_too_long_is_stopped_and_not_tried_again(url: str) -> None:
    async with linked(url) as (link, name), pooled(url, 1) as pool:
        # Over a connection that was idle: where that broke, it would be.
        _ = await pool.fetch("SELECT 1")
        with pytest.raises(Unavailable, match="is away: TimeoutError"):
            _ = await pool.fetch(sleep(name), seconds=0.05)
        assert [row[0] for row in await pool.fetch("SELECT 2")] == [2]
        await asleep(link, name, 0)


async def test_where_one_connection_broke_all_that_were_idle_are_taken_to_be_broken(
    url: str, quick_server: Server
) -> None:
    async with between(quick_server.port) as proxy, pooled(proxy.url(url), 4) as pool:
        _ = await asyncio.gather(*(pool.fetch("SELECT pg_sleep(0.05)") for _ in range(4)))
        proxy.cut_all()
        assert [row[0] for row in await pool.fetch("SELECT 1")] == [1]
        _ = await asyncio.gather(*(pool.fetch("SELECT pg_sleep(0.05)") for _ in range(4)))
        proxy.refuses = True
        proxy.cut_all()
        with pytest.raises(Unavailable, match="is away"):
            _ = await pool.fetch("SELECT 1")


async def test_whoever_closes_the_pool_ends_reads_that_are_under_way(url: str) -> None:
    async with linked(url) as (link, name), pooled(url) as pool:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(_refusal(pool, sleep(name)))
            await asleep(link, name, 1)
            await pool.close()
        assert "is away" in reading.result()
        # The server goes on by itself, until it has something to say.
        ended = SLEEPING.replace("count(*)", "pg_terminate_backend(pid)")
        _ = await link.fetch(ended.format(name))
        assert await _refusal(pool, "SELECT 1") == "the store is closed: open it first"


async def _refusal(pool: Pool, statement: str) -> str:
    with pytest.raises(Unavailable) as told:
        _ = await pool.fetch(statement)
    return told.value.detail


async def test_a_connection_that_is_made_while_the_pool_is_closed_is_not_left_open(url: str) -> None:
    async with pooled(url) as pool, asyncio.TaskGroup() as group:
        reading = group.create_task(pool.fetch("SELECT 1"))
        await asyncio.sleep(0)
        assert not pool._busy
        await pool.close()
    assert [row[0] for row in reading.result()] == [1]
    assert (pool._busy, pool._idle) == (set(), [])


async def test_where_too_many_reads_are_given_up_at_once_their_connections_are_cut(url: str) -> None:
    async with pooled(url) as pool:
        pool._leaving = Tasks(lambda _: None, limit=0)
        with pytest.raises(Unavailable, match="is away: TimeoutError"):
            _ = await pool.fetch("SELECT pg_sleep(1)", seconds=0.05)
        assert (pool._busy, pool._idle) == (set(), [])


async def test_more_reads_than_may_wait_are_refused(url: str) -> None:
    async with pooled(url) as pool:
        # As if they waited: to have them do so would take longer than all other tests of it.
        pool._waiting = READS_MAX
        with pytest.raises(Overloaded, match="reads waiting for the store"):
            _ = await pool.fetch("SELECT 1")
