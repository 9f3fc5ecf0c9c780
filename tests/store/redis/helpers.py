"""What the tests of this folder open stores with, and say to their server by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.store.on_server import OnServer
from tests.transport.process import ServerProcess

from hanse.kernel.host import Host
from hanse.kernel.resp import Wire
from hanse.store.redis import RedisStore
from hanse.store.redis.link import Dialer, Link
from hanse.store.redis.url import parse_url
from hanse.store.remote.crew import Crew


class OnRedis(OnServer[RedisStore]):
    def make(self, url: str, host: Host) -> RedisStore:
        return RedisStore(parse_url(url), host=host)

    def crew(self, store: RedisStore) -> Crew:
        return store._crew


opened = OnRedis().opened
opens = OnRedis().opens


@asynccontextmanager
async def linked(url: str) -> AsyncGenerator[tuple[Link, Dialer]]:
    dialer = Dialer(parse_url(url), Host.system())
    link = await dialer.dial()
    try:
        yield link, dialer
    finally:
        link.give_up("the test is over")


@asynccontextmanager
async def wired(server: ServerProcess) -> AsyncGenerator[Wire]:
    """A connection to a server as it is, whether stores would do with it or not."""
    wire = Wire(lambda _: None, asyncio.Event())
    _ = await asyncio.get_running_loop().create_connection(lambda: wire, "127.0.0.1", server.port)
    try:
        yield wire
    finally:
        wire.abort("the test is over")
