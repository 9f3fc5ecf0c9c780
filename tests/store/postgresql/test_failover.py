"""Several servers of PostgreSQL: the store is on the one that writes, whichever that is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.store.on_server import Told, handled, heard
from tests.transport.process import free_port

from hanse.kernel.faults import CouldNotStart, Unavailable

from .helpers import opened, opens
from .server import Server, started, why_not

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    """A server, and one that follows it and has what it acknowledges."""
    if why := why_not():
        pytest.skip(why)
    with ExitStack() as stack:
        first = started("shared_buffers=16MB", "synchronous_standby_names=*")
        stack.callback(first.remove)
        second = started("shared_buffers=16MB", copy_of=first)
        stack.callback(second.remove)
        yield first, second


def on_all(*servers: int, **options: str) -> str:
    """A store on whichever of some ports has a server that writes."""
    places = ",".join(f"127.0.0.1:{port}" for port in servers)
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"postgresql://hanse@{places}/postgres?schema=moved&{query}"


async def test_where_a_replica_is_promoted_commits_go_on_there_and_none_is_lost(pair: tuple[Server, Server]) -> None:
    first, second = pair
    url, told = on_all(free_port(), second.port, first.port), Told()
    with pytest.raises(CouldNotStart, match="name the primary in the URL"):
        await opens(on_all(second.port, first.port, target_session_attrs="any"))
    async with opened(url) as store, opened(url) as other, asyncio.TaskGroup() as group:
        for writer in range(4):
            group.create_task(told.write(store, str(writer)))
        await told.more(40)
        await asyncio.to_thread(first.kill)
        with pytest.raises(Unavailable, match=f"127.0.0.1:{second.port}: it only reads, as one does that follows"):
            await opens(url)
        await asyncio.to_thread(second.promote)
        # It takes commits again, by itself, and they are heard of.
        await told.more(40)
        await heard(store, other, handled("heard"))
        told.kept.add("heard")
        told.over = True
    async with opened(url) as again:
        await told.check(again)
        assert again.log_id == store.log_id == other.log_id


async def test_a_server_that_wants_nobody_is_not_passed_over(url: str) -> None:
    both = url.replace("127.0.0.1:", f"127.0.0.1:{free_port()},127.0.0.1:").replace("/postgres?", "/nowhere?")
    with pytest.raises(CouldNotStart, match='database "nowhere" does not exist'):
        await opens(both)


async def test_of_servers_of_which_none_is_there_each_is_told(url: str) -> None:
    ports = free_port(), free_port()
    with pytest.raises(Unavailable, match=f"is away: 127.0.0.1:{ports[0]}: .*; 127.0.0.1:{ports[1]}: "):
        await opens(on_all(*ports))
