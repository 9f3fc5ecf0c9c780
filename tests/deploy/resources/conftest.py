"""Real servers, prepared and started once for all tests; each test uses names of its own on them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from hanse.deploy.resources.look import look
from hanse.deploy.resources.prepare import Ready, prepare
from hanse.kernel.faults import CouldNotStart
from hanse.kernel.host import Host
from hanse.kernel.settings import ResourceSettings

LOOKS_MAX, LOOK_SECONDS, STOP_SECONDS_MAX = 600, 0.05, 60.0


class Server:
    """One server of a kind, as it was prepared, and its process."""

    def __init__(self, folder: Path, kind: str, name: str) -> None:
        self.folder = folder
        self.resources = {name: ResourceSettings(kind=kind)}  # type: ignore[arg-type]
        self.ready = self.prepare()
        self.log = folder / f"{name}.log"
        self.process = self._begun()

    def prepare(self, *running: str) -> Ready:
        return prepare(self.resources, self.folder, Host.system(), running=running)[0]

    def _begun(self) -> subprocess.Popen[bytes]:
        command = self.ready.desired.command
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command.line, cwd=command.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def wait_ready(self) -> None:
        why = "never asked"
        for _ in range(LOOKS_MAX):
            why = await look(self.ready.desired.probe.path, 5.0)
            if not why:
                return
            try:
                self.process.wait(LOOK_SECONDS)  # nothing tells when a server begins to listen
            except subprocess.TimeoutExpired:
                continue
            break
        raise AssertionError(f"{why}\n{self.log.read_text()}")

    async def restart(self) -> None:
        """End it as a supervisor does, and start what is there then."""
        self.stop()
        self.ready = self.prepare()
        self.process = self._begun()
        await self.wait_ready()

    def stop(self) -> int:
        self.process.send_signal(self.ready.desired.stop_signal)
        return self.process.wait(STOP_SECONDS_MAX)


@pytest.fixture(scope="module")
def servers() -> Iterator[Callable[[str], Server]]:
    """Those that were asked for; each is started once, in whatever order tests run."""
    with tempfile.TemporaryDirectory(prefix="hanse-resources-") as name:
        folder = Path(name)
        if os.geteuid() == 0:
            folder.chmod(0o711)  # pytest's own folder lets no other user in

        @cache
        def started(kind: str) -> Server:
            one = Server(folder, kind, f"my_{kind}")
            running.append(one)
            asyncio.run(one.wait_ready())
            return one

        running: list[Server] = []
        yield started
        for one in running:
            if one.process.poll() is None:
                one.stop()


@pytest.fixture(params=["nats", "postgresql", "redis"])
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    try:
        return servers(str(request.param))
    except CouldNotStart as error:
        pytest.skip(str(error))
