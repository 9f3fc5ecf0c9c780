"""Real processes that are killed and stopped: what was asked of them ends, and they are known to have gone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import pytest
from tests.planted.unmeasured import unmeasured

from hanse.kernel.closing import closing
from hanse.kernel.faults import Unavailable
from hanse.kernel.message import NO_HEADERS, Kind, Message
from hanse.kernel.tasks import Tasks
from hanse.transport.discovery import Announcement
from hanse.transport.folder import FolderDiscovery
from hanse.transport.stream.direct import StreamDirect

from .node import direct_of

WAIT_SECONDS = 60.0


def call(operation: str, timeout: float = WAIT_SECONDS) -> Message:
    return Message(Kind.CALL, "1", f"things.{operation}", timeout, NO_HEADERS)


class Watcher:
    """The node of this process, and what it is told of others."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.direct: StreamDirect = direct_of(url, "watcher")
        self.discovery: FolderDiscovery = FolderDiscovery(folder)
        self.found: asyncio.Queue[Announcement] = asyncio.Queue()
        self.gone: asyncio.Queue[str] = asyncio.Queue()
        self.lost: asyncio.Queue[str] = asyncio.Queue()

    async def serve(self, message: Message, /) -> Message:
        raise NotImplementedError

    async def serve_stream(self, message: Message, /) -> AsyncIterator[Message]:
        yield message

    async def __aenter__(self) -> Self:
        await self.direct.open(self, self.lost.put_nowait)
        here = Announcement("watcher", self.direct.address)
        await self.discovery.open(here, self.found.put_nowait, self.gone.put_nowait)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.discovery.close()
        await self.direct.close()

    async def read(self, to: str) -> None:
        message = Message(Kind.STREAM, "1", "things.count")
        async with closing(self.direct.stream(message, to)) as replies:
            async for _ in replies:
                pass

    @contextlib.asynccontextmanager
    async def process(self, instance: str) -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
        """Another node, and its address; killed in the end."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(Path(__file__).with_name("node.py")), self.url, str(self.folder), instance),
            env=unmeasured(),
        )
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                yield process, (await self.found.get()).address
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            _ = await process.wait()


@pytest.fixture(params=["unix:{}", "tcp://", "zmq://", "zmq+ipc:{}"], ids=["unix", "tcp", "zmq", "ipc"])
async def watcher(request: pytest.FixtureRequest) -> AsyncIterator[Watcher]:
    with TemporaryDirectory(prefix="hs-", dir="/tmp") as folder:
        async with Watcher(request.param.format(folder), Path(folder)) as watcher:
            yield watcher


def unheard() -> Tasks:
    return Tasks(lambda _: None)


async def test_a_process_that_is_killed_is_known_to_have_gone(watcher: Watcher) -> None:
    async with watcher.process("other") as (process, address), unheard() as tasks:
        assert (await watcher.direct.request(call("pid"), address)).body == b"%d" % process.pid
        held = tasks.start(_asked(watcher, address))
        reading = tasks.start(watcher.read(address))
        process.kill()
        for ended in (held, reading):
            with pytest.raises(Unavailable):
                await ended
        assert await watcher.gone.get() == "other"
        assert await watcher.lost.get() == address


async def test_another_takes_the_place_of_one_that_was_killed(watcher: Watcher) -> None:
    async with watcher.process("other") as (process, _):
        process.kill()
        assert await watcher.gone.get() == "other"
    async with watcher.process("other") as (process, address):
        assert (await watcher.direct.request(call("pid"), address)).body == b"%d" % process.pid


async def test_a_process_that_is_stopped_is_noticed_and_comes_back(watcher: Watcher) -> None:
    async with watcher.process("other") as (process, address), unheard() as tasks:
        held = tasks.start(_asked(watcher, address))
        assert (await watcher.direct.request(call("pid"), address)).body == b"%d" % process.pid
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(Unavailable, match="was silent for"):
            await held
        assert await watcher.lost.get() == address
        watcher.discovery.suspect("other")
        assert await watcher.gone.get() == "other"
        process.send_signal(signal.SIGCONT)
        again = (await watcher.found.get()).address
        assert (await watcher.direct.request(call("pid"), again)).body == b"%d" % process.pid


async def _asked(watcher: Watcher, address: str) -> Message:
    return await watcher.direct.request(call("hold"), address)
