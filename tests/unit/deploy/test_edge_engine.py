"""What whoever drives the built-in edge is told when something is wrong."""

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from hanse.control.edge_table import Table
from hanse.deploy.edge.base import Place
from hanse.deploy.edge.builtin.engine import BuiltinEngine
from hanse.deploy.edge.builtin.server import EdgeServer
from hanse.deploy.edge.driven import SOCKET
from hanse.kernel.faults import CouldNotStart, Misconfigured, Unavailable
from hanse.kernel.host import Host


@asynccontextmanager
async def running() -> AsyncGenerator[tuple[EdgeServer, BuiltinEngine, Path]]:
    """An edge in this process, and what drives it."""
    with tempfile.TemporaryDirectory(prefix="edge") as name:
        place = Place(folder=Path(name), port=0)
        server, engine = EdgeServer(place, Host.system()), BuiltinEngine(place)
        async with asyncio.TaskGroup() as group:
            _ = group.create_task(server.run())
            async with asyncio.timeout(10):
                while not (place.folder / SOCKET).exists():  # noqa: ASYNC110 - it begins when the loop likes
                    await asyncio.sleep(0)
            yield server, engine, place.folder
            await engine.stop(0.0)


async def asked(folder: Path, line: bytes) -> dict[str, object]:
    reader, writer = await asyncio.open_unix_connection(folder / SOCKET)
    writer.write(line)
    answer = await reader.readuntil(b"\n")
    writer.close()
    await writer.wait_closed()
    return cast("dict[str, object]", json.loads(answer))


async def test_an_engine_that_does_not_run_is_unavailable(tmp_path: Path) -> None:
    engine = BuiltinEngine(Place(folder=tmp_path, port=0))
    for verb in (engine.figures(), engine.pairs(), engine.cut("a"), engine.drained("a", 0.0), engine.apply(Table())):
        with pytest.raises(Unavailable, match="does not answer"):
            await verb
    await engine.stop(0.0)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"nonsense\n", "expected a question"),
        (b'{"do": "dance"}\n', "the edge knows no 'dance' like this"),
        (b'{"do": "apply"}\n', "the edge knows no 'apply' like this"),
        (b'{"do": "apply", "table": {"revision": 1, "rowtes": []}}\n', "rowtes"),
    ],
)
async def test_a_question_that_is_none_is_told_as_that(line: bytes, told: str) -> None:
    async with running() as (_, engine, folder):
        assert told in str((await asked(folder, line))["problem"])
        assert (await engine.figures()).revision == 0


async def test_an_engine_takes_over_what_runs_and_starts_nothing() -> None:
    async with running() as (server, engine, _):
        assert await engine.start() == server.url
        assert await engine.cut("nobody") == 0
        assert (await engine.pairs()).pairs == ()
        assert await engine.drained("nobody", 0.0)


async def test_an_edge_without_a_table_says_that_nothing_runs_yet() -> None:
    async with running() as (server, _, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b"nothing runs yet" in got


async def test_a_process_that_ends_without_a_word_is_told(tmp_path: Path) -> None:
    async def starts(_: object) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec("false")

    with pytest.raises(CouldNotStart, match="see its log"):
        _ = await BuiltinEngine(Place(folder=tmp_path, port=0), starts).start()


async def test_a_certificate_has_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="expected a certificate and its key"):
        _ = EdgeServer(Place(folder=tmp_path, certificate=str(tmp_path / "none.pem")), Host.system())
