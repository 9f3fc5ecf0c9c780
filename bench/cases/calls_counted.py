"""So many calls with both ends in this process, for who counts instructions rather than time: a busy machine adds none.

    valgrind --tool=cachegrind --cache-sim=no python bench/cases/calls_counted.py raw|hanse|routed tcp|unix COUNT

What one call costs is the difference of two counts, by the difference of these. `routed` is as `hanse`, but that the
nodes find one another in a folder and choose whom to ask, as those of a system do.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import meter
from calls import HEADERS, Operation, ask_hanse, ask_raw, direct_of
from calls_raw import RawServer
from calls_straight import Straight
from shop import ORDER, Desk, desk, post

from hanse import Node, Settings
from hanse.kernel.context import FOREVER, Context, ambient
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings


async def raw(opened: AsyncExitStack, url: str) -> Operation:
    loop = asyncio.get_running_loop()
    if url.startswith("unix:"):
        await opened.enter_async_context(await loop.create_unix_server(RawServer, url[5:]))
        return await opened.enter_async_context(ask_raw(url, ORDER))
    server = await opened.enter_async_context(await loop.create_server(RawServer, "127.0.0.1"))
    address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    return await opened.enter_async_context(ask_raw(address, ORDER))


async def hanse(opened: AsyncExitStack, url: str) -> Operation:
    direct = direct_of(url, Host.system())
    await opened.enter_async_context(Node(desk, transport=Straight(direct)))
    return await opened.enter_async_context(ask_hanse(direct.address, ORDER))


async def routed(opened: AsyncExitStack, url: str) -> Operation:
    if not url.startswith("unix:"):
        raise SystemExit("nodes find one another in a folder over unix: alone")
    folder = f"unix:{Path(url[5:]).parent}/nodes"
    nodes = [
        await opened.enter_async_context(Node(post, Settings(node=NodeSettings(services=[name], transport=folder))))
        for name in ("desk", "mailer")
    ]
    ambient.set(Context(Host.system(), HEADERS, FOREVER))
    client = nodes[1].client(Desk)
    return lambda: client.check(ORDER)


CASES = {"raw": raw, "hanse": hanse, "routed": routed}


async def counted(operation: Operation, count: int) -> None:
    left = count

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await operation()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(meter.IN_FLIGHT):
            tasks.create_task(work())


async def main(case: str, scheme: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as opened:
            operation = await CASES[case](opened, f"unix:{folder}/served.sock" if scheme == "unix" else f"{scheme}://")
            assert await operation() == ORDER
            await counted(operation, count)
            os._exit(0)  # nothing of the end is counted


if __name__ == "__main__":
    meter.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
