"""Real servers and real frameworks: a Hanse app under each of them, inside some, and around others."""

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2 as httpx
import pytest
from tests.planted.unmeasured import unmeasured
from tests.transport.process import free_port
from websockets.asyncio.client import connect

PROGRAM = """
from contextlib import asynccontextmanager

import django
from django.conf import settings
from fastapi import FastAPI, Request, WebSocket
from flask import Flask, request

from hanse import App, Collection, Gateway, Resource, Service, asgi, rpc


class Note(Resource):
    text: str


class Notes(Service):
    notes: Collection[Note]

    @rpc
    async def count(self) -> int:
        return await self.notes.count()

    async def started(self) -> None:
        print("service started", flush=True)

    async def stopping(self) -> None:
        print("service stopped", flush=True)


@asynccontextmanager
async def life(app):
    print("fastapi started", flush=True)
    yield
    print("fastapi stopped", flush=True)


fast = FastAPI(lifespan=life)


@fast.get("/count")
async def count(request: Request) -> int:
    return await request.state.hanse.client(Notes).count()


@fast.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(await socket.receive_text())


flask = Flask("flask")


@flask.post("/upper/<name>")
def upper(name: str) -> str:
    return f"{request.script_root} {name} {request.get_data(as_text=True).upper()}"


settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
django.setup()

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path


def hello(request, name):
    return HttpResponse(f"{request.path} {name} {request.META['SCRIPT_NAME']} {request.body.decode()}")


hello.csrf_exempt = True
urlpatterns = [path("hello/<name>", hello)]

gateway = Gateway().resources(Note).rpc(Notes).mount("/fast", fast).mount("/flask", flask)
gateway.mount("/django", get_asgi_application()).mount("/django-wsgi", get_wsgi_application())


@gateway.get("/double/{number}")
def double(number: int) -> int:
    return number * 2


app = App("notes", Notes, gateway=gateway)
door = asgi(app)

inside = FastAPI(lifespan=door.lifespan)
inside.mount("/inner", door)

site = get_asgi_application()


async def beside(scope, receive, send):
    if scope["type"] == "lifespan":
        await door(scope, receive, send)
    elif scope["path"].startswith("/inner/"):
        await door({**scope, "root_path": "/inner"}, receive, send)
    else:
        await site(scope, receive, send)
"""

SECONDS_MAX = 90


class Server:
    """A server process: where it is, and all that it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = ""
        self.printed = ""

    async def read_until(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout is not None
        while (found := re.search(pattern, self.printed)) is None:
            line = await self.process.stdout.readline()
            assert line, f"expected {pattern!r}, but it ended after printing:\n{self.printed}"
            self.printed += line.decode()
        return found

    async def stop(self) -> int:
        """Ask it to stop; its exit code. What it still prints is kept."""
        self.process.send_signal(signal.SIGTERM)
        rest, _ = await self.process.communicate()
        self.printed += rest.decode()
        return await self.process.wait()


COMMANDS = {
    "hanse": (("hanse.__main__", "run", "door.py:app", "--port", "{port}"), r"http://127"),
    "uvicorn": (("uvicorn", "door:{name}", "--port", "{port}"), r"running on http"),
    "granian": (("granian", "door:{name}", "--interface", "asgi", "--port", "{port}"), r"Started worker"),
    "hypercorn": (("hypercorn", "door:{name}", "--bind", "127.0.0.1:{port}"), r"Running on http"),
}


@contextlib.asynccontextmanager
async def serving(folder: Path, server: str, name: str = "door") -> AsyncIterator[Server]:
    (folder / "door.py").write_text(PROGRAM)
    command, ready = COMMANDS[server]
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *(part.format(name=name, port=port) for part in command)),
        cwd=folder,
        env=unmeasured(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    running = Server(process)
    running.url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(SECONDS_MAX):
            await running.read_until(ready)
            yield running
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def speak(url: str, below: str = "") -> None:
    """Use the app: write, list, follow, call."""
    async with httpx.AsyncClient(base_url=url + below, timeout=SECONDS_MAX) as client:
        made = await client.post("/notes", json={"text": "tea"})
        assert (made.status_code, made.headers["location"]) == (201, f"{below}/notes/{made.json()['id']}")
        assert (await client.get("/notes")).json()["items"] == [made.json()]
        assert (await client.get("/double/21")).json() == 42
        async with client.stream("GET", "/notes", headers={"accept": "text/event-stream"}) as stream:
            lines = stream.aiter_lines()
            while not (line := await anext(lines)).startswith("event:"):
                pass
        assert line == "event: snapshot"


@pytest.mark.parametrize("server", ["uvicorn", "granian", "hypercorn"])
async def test_an_app_is_served_by_any_server(tmp_path: Path, server: str) -> None:
    async with serving(tmp_path, server) as running:
        await speak(running.url)
        status = await running.stop()

    assert status in {0, -signal.SIGTERM}
    order = [running.printed.index(told) for told in ("service started", "fastapi started")]
    assert order == sorted(order)
    assert running.printed.index("fastapi stopped") < running.printed.index("service stopped")


@pytest.mark.parametrize("name", ["inside", "beside"], ids=["in FastAPI", "beside Django"])
async def test_an_app_is_a_part_of_another_framework(tmp_path: Path, name: str) -> None:
    async with serving(tmp_path, "uvicorn", name) as running:
        await speak(running.url, "/inner")
        async with httpx.AsyncClient(base_url=running.url) as client:
            other = await client.get("/openapi.json" if name == "inside" else "/hello/Ada")
        await running.stop()

    assert other.status_code == 200
    assert "service stopped" in running.printed


async def test_other_frameworks_are_a_part_of_an_app(tmp_path: Path) -> None:
    async with serving(tmp_path, "hanse") as running:
        await speak(running.url)
        async with httpx.AsyncClient(base_url=running.url) as client:
            counted = await client.get("/fast/count")
            upper = await client.post("/flask/upper/tea", content=b"leaves")
            chunks = await client.post("/flask/upper/tea", content=pieces())
            django = await client.post("/django/hello/Ada", content=b"tea")
            wsgi = await client.post("/django-wsgi/hello/Ada", content=pieces())
            large = [
                await client.post(f"{path}/x", content=b"x" * 1024 * 1025) for path in ("/fast", "/flask", "/django")
            ]
        async with connect(running.url.replace("http", "ws") + "/fast/echo") as socket:
            await socket.send("tea")
            echoed = await socket.recv()
        status = await running.stop()

    assert counted.json() == 1
    assert (upper.text, chunks.text) == ("/flask tea LEAVES", "/flask tea LEAVES")
    assert django.text == "/django/hello/Ada Ada /django tea"
    assert wsgi.text == "/django-wsgi/hello/Ada Ada /django-wsgi leaves"
    assert [answer.status_code for answer in large] == [413, 413, 413]
    assert echoed == "tea"
    assert status == 0
    assert running.printed.index("fastapi stopped") < running.printed.index("service stopped")


async def pieces() -> AsyncIterator[bytes]:
    yield b"lea"
    yield b"ves"
