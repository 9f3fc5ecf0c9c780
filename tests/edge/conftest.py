"""What tests of edges share: an engine in a process of its own, one for all tests of a process of pytest's."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hanse.control.edge_figures import Counts, total
from hanse.control.edge_table import EdgeRoute, Pool, Server, Share, Split, State, Table, Target
from hanse.deploy.edge.base import Engine, Place
from hanse.deploy.edge.builtin.engine import BuiltinEngine
from hanse.deploy.edge.envoy import program as envoy
from hanse.deploy.edge.envoy.engine import EnvoyEngine
from hanse.deploy.edge.haproxy import program as haproxy
from hanse.deploy.edge.haproxy.engine import HaproxyEngine
from hanse.kernel.faults import CouldNotStart

from .wire import Upstream

ENGINES = {"builtin": BuiltinEngine, "envoy": EnvoyEngine, "haproxy": HaproxyEngine}
PROGRAMS = {"envoy": envoy.found, "haproxy": haproxy.found}
"""What finds those that are no part of us."""

PURE = "builtin, on h11"
"""Our own engine where only the core is installed: tests of what goes over the wire run on it as well."""

_revisions = itertools.count(1)
_names = itertools.count(1)


class Edge:
    """An engine, and the tables of one test: each of services that no other test has."""

    def __init__(self, engine: Engine, url: str) -> None:
        self.engine = engine
        self.url = url
        self.features = engine.features
        self.service = f"s{next(_names)}"

    async def show(self, table: Table) -> Table:
        """Show a table, as the next revision."""
        table = msgspec.structs.replace(table, revision=next(_revisions))
        await self.engine.apply(table)
        return table

    def server(self, upstream: Upstream, state: State = "up", weight: int = 100) -> Server:
        return Server(id=f"{self.service}-{upstream.name}", port=upstream.port, state=state, weight=weight)

    def pool(self, *upstreams: Upstream, release: str = "1", **more: Any) -> Pool:  # noqa: ANN401 - fields of the struct
        servers = tuple(self.server(one) for one in upstreams)
        return Pool(service=self.service, release=release, servers=servers, **more)

    def target(self, shares: dict[str, int] | None = None, **more: Any) -> Target:  # noqa: ANN401 - fields of the struct
        split = {name: more.pop(name) for name in ("salt", "sticks_to", "cookie") if name in more}
        each = tuple(Share(release=name, points=points) for name, points in (shares or {"1": 10_000}).items())
        return Target(service=self.service, split=Split(shares=each, **split), **more)

    def table(self, *pools: Pool, target: Target | None = None, **more: Any) -> Table:  # noqa: ANN401 - fields of the struct
        routes = more.pop("routes", (EdgeRoute(service=self.service),))
        return Table(routes=routes, targets=(target or self.target(),), pools=pools, **more)

    async def show_one(self, *upstreams: Upstream, **more: Any) -> Table:  # noqa: ANN401 - fields of the struct
        """Show these servers as one release, with no retry that the test did not ask for."""
        return await self.show(self.table(self.pool(*upstreams), **more))

    async def counted(self) -> Counts:
        """What was counted of this test's service."""
        figures = await self.engine.figures()
        return total(line for line in figures.lines if line.key.service == self.service)


@asynccontextmanager
async def showing(edge: Edge, *upstreams: Upstream) -> AsyncGenerator[None]:
    """Show these servers before a connection is made: some engines ask those that were made before to connect anew."""
    _ = await edge.show_one(*upstreams)
    yield


@pytest.fixture(scope="session", params=sorted(ENGINES))
def running(request: pytest.FixtureRequest) -> Iterator[tuple[Engine, str]]:
    """An engine that runs, and where."""
    if find := PROGRAMS.get(request.param):
        try:
            _ = find()
        except CouldNotStart as missing:
            pytest.skip(missing.detail)
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        place = Place(folder=Path(folder), port=0, pure=request.param == PURE)
        engine = ENGINES[request.param.partition(",")[0]](place)
        # Its process outlives the loops of tests: whoever asks connects anew.
        with asyncio.Runner() as runner:
            url = runner.run(engine.start())
            yield engine, url
            runner.run(engine.stop(0.0))


@pytest.fixture
def edge(running: tuple[Engine, str]) -> Edge:
    """The engine, for one test."""
    return Edge(*running)
