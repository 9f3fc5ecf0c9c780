"""A store in a Redis Cluster: all of it is in one slot, and found wherever that is."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.store.on_server import WAIT_SECONDS, handled

from hanse.kernel.resp import ReplyError
from hanse.store.query import Compare, Query

from .helpers import opened, wired
from .server import Server, running

pytestmark = pytest.mark.timeout(120)


async def test_a_store_is_found_on_whichever_server_of_a_cluster_it_belongs_to(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    with ExitStack() as stack:
        servers: list[Server] = []
        for folder in folders:
            folder.mkdir()
            asked = ("--appendonly", "yes", "--appendfsync", "always", "--cluster-enabled", "yes")
            servers.append(stack.enter_context(running(folder, *asked)))
        for server, slots in zip(servers, ((b"0", b"8191"), (b"8192", b"16383")), strict=True):
            async with wired(server) as wire:
                await wire.ask(b"CLUSTER", b"ADDSLOTSRANGE", *slots)
                await wire.ask(b"CLUSTER", b"MEET", b"127.0.0.1", b"%d" % servers[0].port)
        for server in servers:
            await _whole(server)
        # Of a few prefixes, some are in the slots of either.
        for prefix in "pqrstu":
            async with opened(servers[0].store(prefix)) as store, opened(servers[1].store(prefix)) as other:
                assert await store.commit(handled("1")) == (1, 2)
                assert await other.commit(handled("2")) == (3, 4)
                woken = asyncio.Event()
                other.listen(woken.set)
                assert await store.commit(handled("3")) == (5, 6)
                await asyncio.wait_for(woken.wait(), WAIT_SECONDS)
                assert await store.count("orders", Query(where=Compare("eq", ("sku",), "tea"))) == 3
                assert await other.trim(5.0, keep_after=4) == 4


async def _whole(server: Server) -> None:
    """Return when a server knows that all slots are served; nothing tells of it."""
    async with asyncio.timeout(WAIT_SECONDS), wired(server) as wire:
        while True:
            info = await wire.ask(b"CLUSTER", b"INFO")
            known = info if isinstance(info, bytes) else str(info).encode()
            nodes = await wire.ask(b"CLUSTER", b"SLOTS")
            if b"cluster_state:ok" in known and isinstance(nodes, list) and len(nodes) == 2:
                return
            await asyncio.sleep(0.05)


async def test_a_database_other_than_the_first_is_refused_in_a_cluster(tmp_path: Path) -> None:
    with running(tmp_path, "--cluster-enabled", "yes") as server:
        async with wired(server) as wire:
            with pytest.raises(ReplyError):
                await wire.ask(b"SELECT", b"99")
