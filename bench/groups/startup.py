"""From the command to the first answer, and what is held in memory then."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from plan import Case, Column, Figures, Group
from process import CASES, VENV, Server, free_port, spent

PYTHON = sys.executable
HANSE = str(VENV / "bin" / "hanse")


def _command(*command: str) -> Callable[[float], Figures]:
    return lambda _seconds: spent(command)


def _hello(command: Callable[[int], list[str]]) -> Callable[[float], Figures]:
    def measure(_seconds: float) -> Figures:
        port = free_port()
        with tempfile.TemporaryDirectory() as folder, Server(command(port), port, folder=Path(folder)) as server:
            ready = server.wait_ready("/livez")
            return {"ready_ms": ready * 1000, "cpu_ms": server.cpu() * 1000, "rss_mb": server.rss()}

    return measure


def _uvicorn(module: str) -> Callable[[int], list[str]]:
    return lambda port: [
        *(PYTHON, "-m", "uvicorn", f"{module}:app", "--app-dir", str(CASES)),
        *("--port", str(port), "--log-level", "warning", "--no-access-log"),
    ]


def _hanse(port: int) -> list[str]:
    return [HANSE, "run", str(CASES / "greet.py"), "--port", str(port)]


GROUP = Group(
    "startup",
    "Start",
    "uvicorn + Starlette hello",
    (Column("ready_ms", "ready, ms", 0), Column("cpu_ms", "CPU ms", 0), Column("rss_mb", "memory, MB", 1)),
    (
        Case("python -c pass", _command(PYTHON, "-c", "pass"), "the interpreter alone", "python -c pass"),
        Case(
            "hanse --help", _command(HANSE, "--help"), "to the end of the process", "python -c pass", {"cpu_ms": 120.0}
        ),
        Case("uvicorn + Starlette hello", _hello(_uvicorn("hello_starlette")), "to the first GET /livez"),
        Case("uvicorn + FastAPI hello", _hello(_uvicorn("hello_fastapi")), "the same"),
        Case(
            "hanse run greet.py",
            _hello(_hanse),
            "the same; one service, three lines",
            "",
            {"ready_ms": 250.0, "rss_mb": 40.0},
        ),
    ),
    warm_up=True,
)
