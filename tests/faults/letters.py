"""So many dead letters that nobody looks at all of them: how long one waits for a page of them."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import ExitStack
from pathlib import Path

from tests.store.postgresql.server import started

from hanse import App, Event, Node, Service, Settings, Terminal, on, rpc
from hanse.delivery.action import Selection
from hanse.kernel.host import Host
from hanse.kernel.settings import NodeSettings
from hanse.sim.operator import OPERATOR

from .amount import Amount

BATCH = 500
PAGE = 50
STORES = ("sqlite", "postgresql")
PARK_SECONDS_MAX = 1_200.0


class Post(Event):
    number: int


class Office(Service, events=(Post,)):
    @rpc
    async def send(self, first: int, end: int) -> None:
        await self.emit(*(Post(number=number) for number in range(first, end)))


class Desk(Service):
    @on(Post)
    async def read(self, post: Post) -> None:
        raise Terminal(f"nobody can read number {post.number}")


async def listed(store: str, folder: Path, letters: int) -> Amount:
    """Have so many parked, and read the list of them page by page.

    Raises:
        AssertionError: Some were not in it, or twice.
    """
    with ExitStack() as stack:
        url = f"sqlite:///{folder}/data"
        if store == "postgresql":
            server = started()
            _ = stack.callback(server.remove)
            url = server.store()
        async with Node(App("post", Office, Desk), Settings(node=NodeSettings(store=url))) as node:
            for first in range(0, letters, BATCH):
                await node.client(Office).send(first, min(first + BATCH, letters))
            async with asyncio.timeout(PARK_SECONDS_MAX):
                await node.settle()
            with node.context(OPERATOR):
                seen, took = await _pages(node)
    assert (len(seen), len(set(seen))) == (letters, letters)
    milliseconds = [round(one * 1e3, 1) for one in took]
    worst = {"median_ms": statistics.median(milliseconds), "worst_ms": max(milliseconds)}
    figures = {"letters": letters, "a_page": PAGE} | worst
    return Amount("letters", store, figures)


async def _pages(node: Node) -> tuple[list[str], list[float]]:
    """The ids of all, and how long each page took."""
    cursor: str | None = None
    seen: list[str] = []
    took: list[float] = []
    clock = Host.system().monotonic
    while cursor is not None or not took:
        began = clock()
        page = await node.letters("desk").find(Selection(), limit=PAGE, cursor=cursor)
        took.append(clock() - began)
        seen += [line.id for line in page.items]
        cursor = page.next
    return seen, took
