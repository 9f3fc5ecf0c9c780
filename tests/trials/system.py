"""The system that is tried: a foreign service in several versions, of which some are bad."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from hanse.cli.system import until
from hanse.deploy.control_client import asked, asked_of_releases
from hanse.deploy.control_words import Ask, Status, is_settled
from hanse.deploy.home import Home
from hanse.deploy.release_words import ReleaseAsk, ReleasesTold, RolloutAsk

READY_SECONDS = 60.0

SERVER = """
import asyncio, os, sys

release = os.path.basename(os.getcwd())
fails, slow = float(os.environ.get("FAILS", 0)), float(os.environ.get("SLOW", 0))
if os.path.exists("how"):
    fails, slow = map(float, open("how").read().split())
count = 0

async def serve(reader, writer):
    global count
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            path = head.split(b" ", 2)[1]
            status = b"200 OK"
            if path != b"/":
                count += 1
                if int(count * fails) != int((count - 1) * fails):
                    status = b"500 Failed"
                await asyncio.sleep(slow)
            body = release.encode()
            writer.write(b"HTTP/1.1 %s\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (status, len(body), body))
    except (asyncio.IncompleteReadError, OSError):
        writer.close()

async def main():
    async with await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2])) as server:
        await server.serve_forever()

asyncio.run(main())
"""
"""Answers with the name of its folder. A file `how` there says which part fails, and how many seconds it takes."""

GOOD = {"a": "0 0.002", "b": "0 0.002"}
BAD = {"half of all fails": "0.5 0.002", "one of five fails": "0.2 0.002", "500 ms slower": "0 0.502"}

SETTINGS = """
[edge]
port = 0

[services.web]
command = "{python} -S -E ../serve.py {{host}} {{port}}"
directory = "a"
route = "/"
instances = {instances}
"""


class Tried:
    """A system that runs, asked as commands ask it."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)

    def status(self) -> Status:
        return asked(self.home, Ask("status"))

    def release(self, ask: ReleaseAsk) -> ReleasesTold:
        return asked_of_releases(self.home, Ask("release", release=ask))

    def rollout(self, ask: RolloutAsk | None = None) -> ReleasesTold:
        return asked_of_releases(self.home, Ask("rollout", rollout=ask or RolloutAsk(service="web")))

    def kill(self, number: int) -> int:
        """`kill -9` one of those that are ready; which process that was, 0 for none."""
        ready = [row for row in self.status().instances if row.phase == "ready"]
        if not ready:
            return 0
        pid = ready[number % len(ready)].pid
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return pid


@contextmanager
def tried(folder: Path, instances: int) -> Generator[Tried]:
    """A system in a folder, until it is over."""
    (folder / "serve.py").write_text(SERVER)
    for name, how in {**GOOD, **{f"bad{number}": how for number, how in enumerate(BAD.values())}}.items():
        (folder / name).mkdir()
        (folder / name / "how").write_text(how)
    (folder / "hanse.toml").write_text(SETTINGS.format(python=sys.executable, instances=instances))
    with subprocess.Popen(
        [sys.executable, "-m", "hanse", "up", "--quiet"], cwd=folder, stdout=subprocess.DEVNULL
    ) as process:
        try:
            _ = until(Home(folder), READY_SECONDS, lambda one: one is not None and is_settled(one), "all")
            yield Tried(folder)
        finally:
            process.send_signal(signal.SIGINT)
