"""HAProxy started again, while tables come: there is one process that takes connections, and it shows the last."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hanse.control.edge_table import EdgeRoute, Pool, Server, Share, Split, Table, Target
from hanse.deploy.edge.base import Place
from hanse.deploy.edge.driven import BACKLOG
from hanse.deploy.edge.haproxy.config import files
from hanse.deploy.edge.haproxy.edge import HaproxyEdge
from hanse.deploy.edge.haproxy.layout import Layout
from hanse.deploy.edge.haproxy.log_pipe import LogPipe
from hanse.deploy.edge.haproxy.program import found
from hanse.deploy.edge.haproxy.shown import Shown
from hanse.deploy.edge.haproxy.worker import Worker, started
from hanse.gateway.listen import bound, url_of
from hanse.kernel.faults import CouldNotStart
from hanse.kernel.host import Host

from .wire import PATIENCE, Upstream, ask, serving

TURNS = 100
"""Of the loop, after which nothing goes on that waits for nobody."""


class Held:
    """Starts HAProxy, and keeps whoever asked for it waiting, while it takes connections already."""

    def __init__(self, program: str, folder: Path, listener: int, told: int) -> None:
        self.workers: list[Worker] = []
        self.go = asyncio.Event()
        self._program = program
        self._place = Place(folder=folder, port=0)
        self._inherited = (listener, told)

    async def __call__(self, layout: Layout, now: Shown) -> Worker:
        name = f"haproxy-{len(self.workers)}.sock"
        listener, told = self._inherited
        read = files(self._place, layout, now, listener=listener, told=told, socket=name)
        worker = await started(self._program, self._place.folder, self._inherited, read, name)
        self.workers.append(worker)
        _ = await self.go.wait()
        return worker

    async def kill(self) -> Worker:
        """Kill the one that was started last, and have the next one wait."""
        self.go.clear()
        worker = self.workers[-1]
        worker.process.kill()
        _ = await worker.process.wait()
        return worker


@asynccontextmanager
async def held() -> AsyncGenerator[tuple[HaproxyEdge, Held, str]]:
    try:
        program = found()
    except CouldNotStart as missing:
        pytest.skip(missing.detail)
    with (
        tempfile.TemporaryDirectory(prefix="edge") as folder,
        bound("127.0.0.1", 0) as listener,
        LogPipe() as told,
    ):
        listener.listen(BACKLOG)
        starts = Held(program, Path(folder), listener.fileno(), told.end)
        starts.go.set()
        edge = HaproxyEdge(Host.system(), starts, told)
        try:
            await edge.start()
            yield edge, starts, url_of(listener)
        finally:
            starts.go.set()
            for worker in starts.workers:
                await worker.end()


def showing(upstream: Upstream, revision: int) -> Table:
    split = Split(shares=(Share(release="1", points=10_000),))
    return Table(
        revision=revision,
        routes=(EdgeRoute(service="shop"),),
        targets=(Target(service="shop", split=split),),
        pools=(Pool(service="shop", release="1", servers=(Server(id=upstream.name, port=upstream.port),)),),
    )


async def test_a_table_that_comes_while_it_is_started_again_is_what_all_processes_show() -> None:
    one, other = Upstream("one"), Upstream("other")
    async with held() as (edge, starts, url), serving(one, other), asyncio.timeout(PATIENCE):
        await edge.apply(showing(one, 1))
        ended = await starts.kill()
        async with asyncio.TaskGroup() as group:
            _ = group.create_task(edge.start(ended))
            assert (await ask(url)).body == b"one"
            _ = group.create_task(edge.apply(showing(other, 2)))
            # The change gets as far as it can meanwhile.
            for _ in range(TURNS):
                await asyncio.sleep(0)
            starts.go.set()
        assert [edge.is_current(worker) for worker in starts.workers if worker.lives] == [True]
        assert {(await ask(url)).body for _ in range(20)} == {b"other"}


async def test_where_a_table_has_started_another_there_is_no_third() -> None:
    one = Upstream("one")
    async with held() as (edge, starts, url), serving(one), asyncio.timeout(PATIENCE):
        await edge.apply(showing(one, 1))
        ended = await starts.kill()
        starts.go.set()
        await edge.apply(showing(one, 2))
        await edge.start(ended)
        assert (await ask(url)).body == b"one"
        assert [edge.is_current(worker) for worker in starts.workers if worker.lives] == [True]
