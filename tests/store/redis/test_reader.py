"""The connection for reads: what becomes of it and of reads when it breaks, or the store is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.store.proxy import between

from hanse.kernel.faults import Overloaded, Unavailable
from hanse.kernel.host import Host
from hanse.store.redis.link import Dialer
from hanse.store.redis.reader import READS_MAX, Reader
from hanse.store.redis.url import parse_url

from .server import Server

pytestmark = pytest.mark.timeout(60)


@asynccontextmanager
async def reading(url: str) -> AsyncGenerator[Reader]:
    reader = Reader(Dialer(parse_url(url), Host.system()))
    try:
        yield reader
    finally:
        await reader.close()


async def test_where_the_server_is_gone_as_well_reads_say_so(url: str, quick_server: Server) -> None:
    async with between(quick_server.port) as proxy, reading(proxy.url(url)) as reader:
        assert await reader.ask(b"PING") == b"PONG"
        proxy.cut_all()
        assert await reader.ask(b"PING") == b"PONG"
        proxy.refuses = True
        proxy.cut_all()
        with pytest.raises(Unavailable, match="is away"):
            await reader.ask(b"PING")


async def test_after_the_store_was_closed_nothing_is_read(url: str) -> None:
    async with reading(url) as reader:
        await reader.close()
        with pytest.raises(Unavailable, match="open it first"):
            await reader.ask(b"PING")


async def test_a_connection_that_is_made_while_the_store_is_closed_is_not_left_open(url: str) -> None:
    async with reading(url) as reader:
        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(refusal(reader)) for _ in range(2)]
            await asyncio.sleep(0)
            assert reader._link is None
            await reader.close()
        assert [task.result() for task in asking] == ["the store is closed: open it first"] * 2
        assert reader._link is None


async def refusal(reader: Reader) -> str:
    with pytest.raises(Unavailable) as told:
        await reader.ask(b"PING")
    return told.value.detail


async def test_more_reads_than_may_be_under_way_are_refused(url: str) -> None:
    async with reading(url) as reader:
        # As if they were: to have them be so would take longer than all other tests of it.
        reader._under_way = READS_MAX
        with pytest.raises(Overloaded, match="reads under way"):
            await reader.ask(b"PING")
