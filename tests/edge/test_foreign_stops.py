"""Engines that others have made, told to stop while a process of theirs is being started: none is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from hanse.control.edge_table import EdgeRoute, Pool, Server, Share, Split, Table, Target
from hanse.deploy.edge.base import Engine, Place
from hanse.deploy.edge.driven import SOCKET, Serving
from hanse.deploy.edge.envoy import program as envoy
from hanse.deploy.edge.envoy.engine import EnvoyEngine
from hanse.deploy.edge.envoy.server import envoy_server
from hanse.deploy.edge.haproxy import program as haproxy
from hanse.deploy.edge.haproxy.engine import HaproxyEngine
from hanse.deploy.edge.haproxy.server import haproxy_server
from hanse.deploy.linux import children_of
from hanse.kernel.faults import CouldNotStart, Misconfigured
from hanse.kernel.host import Host
from hanse.kernel.tasks import Tasks

from .wire import PATIENCE

HANGS = """#!/bin/sh
if [ -e hangs ]; then touch came; exec sleep 600; fi
exec {program} "$@"
"""
"""The program, which does not come to anything any more once there is a file of this name where it works."""


class Kind(msgspec.Struct, frozen=True):
    """An engine that others have made, and what drives it."""

    name: str
    found: Callable[[], str]
    engine: Callable[[Place], Engine]
    serves: Callable[[Place, str, Host], Serving]

    def __str__(self) -> str:
        return self.name


ENVOY = Kind("envoy", envoy.found, EnvoyEngine, envoy_server)
HAPROXY = Kind("haproxy", haproxy.found, HaproxyEngine, haproxy_server)


class Driving:
    """What drives an engine, in this process."""

    def __init__(self, folder: Path, engine: Engine, server: Serving, run: asyncio.Task[None], there: set[int]) -> None:
        self.engine = engine
        self._folder = folder
        self._server = server
        self._run = run
        self._there = there

    @property
    def children(self) -> set[int]:
        """Processes that were started for it."""
        return set(children_of(os.getpid())) - self._there

    def hang(self) -> None:
        """Have whatever is started from now on come to nothing."""
        (self._folder / "hangs").touch()

    async def came(self) -> None:
        """Wait until something was started that comes to nothing."""
        while not (self._folder / "came").exists():  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Tell it to stop, and wait until it has."""
        self._server.stopped.set()
        await self._run


@asynccontextmanager
async def driving(kind: Kind) -> AsyncGenerator[Driving]:
    try:
        program = kind.found()
    except CouldNotStart as missing:
        pytest.skip(missing.detail)
    with tempfile.TemporaryDirectory(prefix="edge") as name:
        folder = Path(name)
        script = folder / "program"
        _ = script.write_text(HANGS.format(program=program))
        script.chmod(0o700)
        place, there = Place(folder=folder, port=0), set(children_of(os.getpid()))
        server = kind.serves(place, str(script), Host.system())
        async with Tasks(print) as tasks:
            run = tasks.start(server.run())
            driving = Driving(folder, kind.engine(place), server, run, there)
            try:
                while not (folder / SOCKET).exists():  # noqa: ASYNC110 - it is told by nothing else
                    await asyncio.sleep(0.01)
                yield driving
            finally:
                await tasks.cancel()
                for pid in driving.children:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


def table(attempts: int) -> Table:
    """One that needs another process of HAProxy than one with other attempts does."""
    pool = Pool(service="shop", release="1", servers=(Server(id="one", port=1),))
    target = Target(service="shop", split=Split(shares=(Share(release="1", points=10_000),)))
    target = msgspec.structs.replace(target, retries=msgspec.structs.replace(target.retries, attempts=attempts))
    return Table(revision=attempts, routes=(EdgeRoute(service="shop"),), targets=(target,), pools=(pool,))


@pytest.mark.parametrize("kind", [ENVOY, HAPROXY], ids=str)
async def test_what_is_started_again_ends_with_whoever_is_told_to_stop(kind: Kind) -> None:
    async with asyncio.timeout(PATIENCE), driving(kind) as driven:
        driven.hang()
        for pid in driven.children:
            os.kill(pid, signal.SIGKILL)
        await driven.came()
        await driven.stop()
        assert driven.children == set()


async def test_what_is_started_for_a_table_ends_with_whoever_is_told_to_stop() -> None:
    async with asyncio.timeout(PATIENCE), driving(HAPROXY) as driven:
        await driven.engine.apply(table(1))
        driven.hang()
        async with asyncio.TaskGroup() as group:
            refused = group.create_task(told(driven.engine, table(2)))
            await driven.came()
            await driven.stop()
        assert "told to stop" in refused.result()
        assert driven.children == set()


async def told(engine: Engine, table: Table) -> str:
    """What an engine says to a table that it does not take."""
    with pytest.raises(Misconfigured) as refused:
        await engine.apply(table)
    return str(refused.value)
