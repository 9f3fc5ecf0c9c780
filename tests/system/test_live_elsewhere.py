"""Live views under servers of others, which lend no connections: the same to clients, by ASGI alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.planted.unmeasured import unmeasured
from tests.transport.process import free_port
from websockets.asyncio.client import ClientConnection, connect

PROGRAM = """
import hanse
from hanse import App, Collection, Gateway, Resource, Service
from hanse.gateway.limits import Limits

class Note(Resource):
    text: str

class Notes(Service):
    notes: Collection[Note]

door = hanse.asgi(App("notes", Notes, gateway=Gateway(limits=Limits(streams=3)).resources(Note)))
"""

COMMANDS = {
    "uvicorn": (("uvicorn", "door:door", "--port", "{port}"), rb"running on http"),
    "granian": (("granian", "door:door", "--interface", "asgi", "--port", "{port}"), rb"Started worker"),
    "hypercorn": (("hypercorn", "door:door", "--bind", "127.0.0.1:{port}"), rb"Running on http"),
}
SECONDS_MAX = 90


async def listens(port: int) -> bool:
    """Whether somebody does; some say so before."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.fixture(params=sorted(COMMANDS))
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Where a server of another kind serves the notes."""
    (tmp_path / "door.py").write_text(PROGRAM)
    command, ready = COMMANDS[request.param]
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *(part.format(port=port) for part in command)),
        cwd=tmp_path,
        env=unmeasured(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # some have processes of their own, which would outlive them
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SECONDS_MAX):
            while (line := await process.stdout.readline()) and not re.search(ready, line):
                pass
            while not await listens(port):
                pass
        yield f"127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        _ = await process.communicate()


@contextlib.asynccontextmanager
async def following(place: str, last_id: str = "") -> AsyncGenerator[AsyncIterator[dict[str, Any]]]:
    """The events of a stream, as their data."""
    async with (
        httpx.AsyncClient(timeout=SECONDS_MAX) as client,
        client.stream(
            "GET", f"http://{place}/notes", headers={"accept": "text/event-stream", "last-event-id": last_id}
        ) as response,
    ):
        assert response.status_code == 200

        async def events() -> AsyncIterator[dict[str, Any]]:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    yield msgspec.json.decode(line[6:])

        yield events()


async def write(place: str, *texts: str) -> None:
    async with httpx.AsyncClient(timeout=SECONDS_MAX) as client:
        for text in texts:
            (await client.put(f"http://{place}/notes/{text}", json={"text": text})).raise_for_status()


async def hear(talk: ClientConnection) -> dict[str, Any]:
    heard: dict[str, Any] = msgspec.json.decode(await talk.recv())
    return heard


async def test_streams_are_followed_and_resumed(place: str) -> None:
    async with following(place) as events:
        ready = await anext(events)
        await write(place, "one", "two")
        told = [await anext(events) for _ in range(2)]
    async with following(place, last_id=told[0]["cursor"]) as events:
        assert (await anext(events))["key"] == "two"
    async with following(place, last_id=ready["cursor"]) as events:
        assert [await anext(events) for _ in range(2)] == told


async def test_who_has_gone_frees_its_place(place: str) -> None:
    for _ in range(3):
        async with following(place) as events, following(place), following(place):
            assert "cursor" in await anext(events)
        async with asyncio.timeout(SECONDS_MAX), httpx.AsyncClient() as client:
            while True:
                async with client.stream(
                    "GET", f"http://{place}/notes", headers={"accept": "text/event-stream"}
                ) as answer:
                    if answer.status_code == 200:
                        break


async def test_sockets_talk_and_follow(place: str) -> None:
    async with connect(f"ws://{place}/live") as talk:
        await talk.send('{"op": "subscribe", "id": 1, "collection": "notes"}')
        assert (await hear(talk))["event"] == "ready"
        await write(place, "one", "two")
        assert [(await hear(talk))["key"] for _ in range(2)] == ["one", "two"]
        await talk.send('{"op": "ping", "id": 2}')
        assert await hear(talk) == {"id": 2, "result": "pong"}
