"""What the tests of this folder open stores with, and say to their server by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from hanse.kernel.faults import Unavailable
from hanse.kernel.host import Host
from hanse.kernel.resp import Wire
from hanse.store.base import Batch, CollectionSchema, Mark
from hanse.store.redis import RedisStore
from hanse.store.redis.link import Dialer, Link
from hanse.store.redis.url import parse_url
from hanse.testing.store_hooks import NOTES, ORDERS, emit, put

from .server import Server

WAIT_SECONDS = 60.0


@asynccontextmanager
async def opened(url: str, *collections: CollectionSchema, host: Host | None = None) -> AsyncGenerator[RedisStore]:
    store = RedisStore(parse_url(url), host=host or Host.system())
    await store.open(collections or (ORDERS, NOTES))
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def linked(url: str) -> AsyncGenerator[tuple[Link, Dialer]]:
    dialer = Dialer(parse_url(url), Host.system())
    link = await dialer.dial()
    try:
        yield link, dialer
    finally:
        link.give_up("the test is over")


@asynccontextmanager
async def wired(server: Server) -> AsyncGenerator[Wire]:
    """A connection to a server as it is, whether stores would do with it or not."""
    wire = Wire(lambda _: None, asyncio.Event())
    _ = await asyncio.get_running_loop().create_connection(lambda: wire, "127.0.0.1", server.port)
    try:
        yield wire
    finally:
        wire.abort("the test is over")


def handled(id: str) -> Batch:
    return Batch(1.0, (put(id, expected=0), emit(id)), (Mark("test", id),))


async def at_last(store: RedisStore, batch: Batch) -> tuple[int, ...]:
    """What comes of a commit once the server is not away any more; nothing tells when that is noticed."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                return await store.commit(batch)
            except Unavailable:
                await asyncio.sleep(0.02)
