"""From the last byte of a changed file to the first answer of the new code."""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from plan import Case, Column, Figures, Group
from process import VENV, Server, free_port

CHANGES = 3
"""Changes of one run; its figure is their median."""
WATCH_SECONDS = 1.0
"""How long a server has to begin to watch after its first answer, and to rest after each change."""
ANSWER_SECONDS_MAX = 20.0
POLL_SECONDS = 0.002

HANSE = """
from hanse import App, Gateway, Service, rpc

class Greeter(Service):
    @rpc
    async def hello(self, name: str) -> str:
        return f"Hello, {name}!"

gateway = Gateway().rpc(Greeter)

@gateway.get("/version")
async def version() -> str:
    return "version 0"

app = App("greet", Greeter, gateway=gateway)
"""
STARLETTE = """
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def version(request: Request) -> PlainTextResponse:
    return PlainTextResponse("version 0")

app = Starlette(routes=[Route("/version", version)])
"""


def _changed(source: str, command: Callable[[int], list[str]]) -> Callable[[float], Figures]:
    def measure(_seconds: float) -> Figures:
        port = free_port()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "greet.py")
            file.write_text(source)
            with Server(command(port), port, folder=Path(folder)) as server:
                server.wait_ready("/version")
                found = [_change(file, source, port, number) for number in range(1, CHANGES + 1)]
        return {"reload_ms": statistics.median(found) * 1000, "worst_ms": max(found) * 1000}

    return measure


def _change(file: Path, source: str, port: int, number: int) -> float:
    """Seconds from a change to its first answer."""
    time.sleep(WATCH_SECONDS)
    file.write_text(source.replace("version 0", f"version {number}"))
    began = time.monotonic()
    while (waited := time.monotonic() - began) < ANSWER_SECONDS_MAX:
        with contextlib.suppress(OSError, HTTPException):
            answer = urlopen(f"http://127.0.0.1:{port}/version", timeout=ANSWER_SECONDS_MAX)
            if f"version {number}".encode() in answer.read():
                return time.monotonic() - began
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"the change was not served after {waited:.1f} s")


def _hanse(port: int) -> list[str]:
    return [str(VENV / "bin" / "hanse"), "dev", "greet.py", "--port", str(port)]


def _uvicorn(port: int) -> list[str]:
    return [sys.executable, "-m", "uvicorn", "greet:app", "--reload", "--port", str(port), "--log-level", "warning"]


GROUP = Group(
    "reload",
    "A change of the code",
    "uvicorn --reload, Starlette",
    (Column("reload_ms", "median, ms", 0), Column("worst_ms", "slowest of three, ms", 0)),
    (
        Case("uvicorn --reload, Starlette", _changed(STARLETTE, _uvicorn), "to the first answer of the new code"),
        Case("hanse dev", _changed(HANSE, _hanse), "the same", "", {"reload_ms": 1000.0}),
    ),
    warm_up=True,
)
