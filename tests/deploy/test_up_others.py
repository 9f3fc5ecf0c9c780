"""What others have made, under `hanse up`: HAProxy at the edge, PostgreSQL as a resource, releases named by a tag."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hanse.control.servers import Kind
from hanse.deploy.edge.haproxy.program import found
from hanse.deploy.resources.programs import installed
from hanse.kernel.faults import CouldNotStart

from .systems import PYTHON, SETTINGS, Running, doors, running

TOLD = """
import asyncio, os, sys
import asyncpg

async def counted():
    link = await asyncpg.connect(os.environ["DATABASE"])
    await link.execute("create table if not exists seen (at int)")
    await link.execute("insert into seen values (1)")
    number = await link.fetchval("select count(*) from seen")
    await link.close()
    return number

async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    body = str(await counted()).encode()
    writer.write(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    await writer.drain()
    writer.close()

async def main():
    server = await asyncio.start_server(answer, sys.argv[1], int(sys.argv[2]))
    await server.serve_forever()

asyncio.run(main())
"""
"""Writes a row for each request, and tells how many there are."""


def pid_of(system: Running, service: str) -> int:
    (found,) = (one.pid for one in system.ready().instances if one.service == service)
    return found


def needs(kind: Kind) -> None:
    if not installed(kind):
        pytest.skip(f"there is no server of {kind} for this machine")


def test_haproxy_is_the_edge_of_a_system_and_is_kept_running(tmp_path: Path) -> None:
    try:
        _ = found()
    except CouldNotStart as missing:
        pytest.skip(missing.detail)
    with running(tmp_path, SETTINGS.replace("port = 0", 'port = 0\nengine = "haproxy"', 1)) as system:
        _ = system.ready()
        assert system.get("/api/x").endswith(" - /api/x")
        assert system.hanse("scale", "web=3").returncode == 0
        web = {one.instance for one in system.ready().instances if one.service == "web"}
        assert {system.get("/api/").split()[0] for _ in range(9)} == web
        os.kill(pid_of(system, "store"), signal.SIGKILL)
        assert system.hanse("restart", "web", "-q").returncode == 0
        assert system.hanse("wait", "-q").returncode == 0
        assert system.get("/api/x").startswith("web-")
        assert len(doors(system, "edge")) >= 1
        refused = system.hanse("release", "web", "--to", "../later", "--strategy", "mirror")
        assert refused.returncode == 1
        assert "the edge that runs makes no copies" in refused.stderr
        assert system.end() == 0


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users reach as well: PostgreSQL runs as one of its own, where root starts it."""
    with tempfile.TemporaryDirectory(prefix="hanse-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_postgresql_is_made_once_and_keeps_what_was_written(open_folder: Path) -> None:
    needs("postgresql")
    settings = f"""
[edge]
port = 0

[resources.db]
kind = "postgresql"

[services.web]
command = "{sys.executable} told.py {{host}} {{port}}"
route = "/"
health = "/"
environment = {{ DATABASE = "resource:db" }}
"""
    (open_folder / "told.py").write_text(TOLD)
    with running(open_folder, settings) as system:
        assert system.until("web-1 starts") > system.until("db-1 is ready")
        _ = system.ready()
        before = int(system.get("/"))
        seen = len(system.lines)
        os.kill(pid_of(system, "db"), signal.SIGKILL)
        _ = system.until("db-1 is ready", after=seen)
        _ = system.ready()
        assert int(system.get("/")) > before, "what was committed is there after a kill"
        assert system.end() == 0
    with running(open_folder, settings) as system:
        _ = system.ready()
        assert int(system.get("/")) > before + 1, "and after all has ended"
        assert system.end() == 0


def test_a_release_is_named_by_a_tag_where_the_command_finds_it(tmp_path: Path) -> None:
    settings = f"""
[edge]
port = 0

[services.web]
command = "{PYTHON} web.py {{host}} {{port}} {{release}}"
route = "/api"
environment = {{ GREETING = "{{release}}" }}
"""
    with running(tmp_path, settings) as system:
        _ = system.ready()
        assert system.get("/api/").split()[1] == "base"
        words = ("--strategy", "rolling", "--every", "0", "--bake", "0", "--wait")
        done = system.hanse("release", "web", "--to", "registry.example/web:1.5", *words)
        assert done.returncode == 0, done.stderr
        assert system.get("/api/").split()[1] == "registry.example/web:1.5"
        assert system.end() == 0
