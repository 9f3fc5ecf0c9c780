"""The system that is tried: a foreign service in several versions, of which some are bad."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from hanse.cli.system import until
from hanse.deploy.control_client import asked, asked_of_releases
from hanse.deploy.control_words import Ask, Row, Status, is_settled
from hanse.deploy.edge.base import Place
from hanse.deploy.edge.builtin.engine import BuiltinEngine
from hanse.deploy.edge.driver import Driver
from hanse.deploy.home import Home
from hanse.deploy.release_words import ReleaseAsk, ReleasesTold, RolloutAsk

READY_SECONDS = 60.0

SERVER = """
import asyncio, json, os, sys

release = os.path.basename(os.getcwd())
how = json.load(open("how"))
fails, slow, leaks = how.get("fails", 0), how.get("slow", 0.002), how.get("leaks", 0)
body = json.dumps({"release": release} | ({} if how.get("lacks") else {"price": 3})).encode()
count, kept = 0, []

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
                if leaks:
                    kept.append(b"x" * leaks)
                await asyncio.sleep(slow)
            told = b"Content-Type: application/json\\r\\nContent-Length: %d" % len(body)
            writer.write(b"HTTP/1.1 %s\\r\\n%s\\r\\n\\r\\n%s" % (status, told, body))
    except (asyncio.IncompleteReadError, OSError):
        writer.close()

async def main():
    async with await asyncio.start_server(serve, sys.argv[1], int(sys.argv[2])) as server:
        await server.serve_forever()

asyncio.run(main())
"""
"""Answers with the name of its folder, and a price. The file `how` there says which part `fails`, how many seconds it
takes, how many bytes each request leaves behind, and whether the price is missing."""

GOOD: dict[str, dict[str, object]] = {"a": {}, "b": {}}
BAD: dict[str, dict[str, object]] = {
    "half of all fails": {"fails": 0.5},
    "one of five fails": {"fails": 0.2},
    "500 ms slower": {"slow": 0.502},
    "leaks 200 KB a request": {"leaks": 200_000},
    "lacks a field": {"lacks": True},
}
"""What is bad about a release, and how it is made so."""

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

    def edge(self) -> Driver:
        """Its edge, to be asked what it has counted."""
        return BuiltinEngine(Place(folder=self.home.run / "edge"))

    def victim(self, number: int) -> Row | None:
        """One of the instances; None where not all of them are ready."""
        status = self.status()
        return status.instances[number % len(status.instances)] if is_settled(status) else None


@contextmanager
def tried(folder: Path, instances: int) -> Generator[Tried]:
    """A system in a folder, until it is over."""
    (folder / "serve.py").write_text(SERVER)
    for name, how in {**GOOD, **{f"bad{number}": how for number, how in enumerate(BAD.values())}}.items():
        (folder / name).mkdir()
        (folder / name / "how").write_text(json.dumps(how))
    (folder / "hanse.toml").write_text(SETTINGS.format(python=sys.executable, instances=instances))
    with subprocess.Popen(
        [sys.executable, "-m", "hanse", "up", "--quiet"], cwd=folder, stdout=subprocess.DEVNULL
    ) as process:
        try:
            _ = until(Home(folder), READY_SECONDS, lambda one: one is not None and is_settled(one), "all")
            yield Tried(folder)
        finally:
            process.send_signal(signal.SIGINT)
