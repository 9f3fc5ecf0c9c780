"""REST on SQLite, under uvicorn with uvloop and httptools, one process: CPU of the server per request."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from plan import Case, Column, Figures, Group
from process import CASES, ENVIRON, VENV, Server, free_port

Command = Callable[[int], list[str]]


def loaded(command: Command, what: str) -> Callable[[float], Figures]:
    """Measures a server under a load of `cases/load.py`."""

    def measure(seconds: float) -> Figures:
        port = free_port()
        with tempfile.TemporaryDirectory() as folder, Server(command(port), port, folder=Path(folder)) as server:
            server.wait_ready("/livez")
            return load_on(server, "load.py", [what, str(seconds)])

    return measure


def load_on(server: Server, script: str, arguments: Sequence[str]) -> Figures:
    """What a server spends while a script of `cases` loads it, from when it prints `begin` to its figures."""
    command = [sys.executable, str(CASES / script), str(server.port), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRON) as client:
        assert client.stdout is not None
        if client.stdout.readline() != "begin\n":
            raise RuntimeError(f"the load {' '.join(arguments)} ended with {client.wait()}")
        before = server.cpu()
        line = client.stdout.readline()
        used = server.cpu() - before
    figures: Figures = json.loads(line)
    return {"cpu_us": used / figures["done"] * 1e6, "per_second": figures["per_second"], "rss_mb": server.rss()}


def _uvicorn(module: str) -> Command:
    return lambda port: [
        *(sys.executable, "-m", "uvicorn", f"{module}:app", "--app-dir", str(CASES)),
        *("--port", str(port), "--log-level", "warning", "--no-access-log"),
    ]


def _hanse(port: int) -> list[str]:
    run = [str(VENV / "bin" / "hanse"), "run", str(CASES / "rest_hanse.py")]
    return [*run, "--port", str(port), "--store", "sqlite:///data"]


def _cases(what: str, about: str, ours: str, *, stored: bool = True) -> tuple[Case, ...]:
    base = f"{what}, FastAPI"
    orm = Case(f"{what}, SQLAlchemy", loaded(_uvicorn("rest_sqlalchemy"), what), "FastAPI, SQLAlchemy async", base)
    return (
        Case(base, loaded(_uvicorn("rest_fastapi"), what), about, base),
        *((orm,) if stored else ()),
        Case(f"{what}, Starlette", loaded(_uvicorn("rest_starlette"), what), "the same; msgspec by hand", base),
        Case(f"{what}, Hanse", loaded(_hanse, what), ours, base),
    )


_KEPT = "the same, with ETag, revision and change log"


GROUP = Group(
    "rest",
    "REST on SQLite",
    "",
    (Column("cpu_us", "server CPU µs", 0), Column("per_second", "a second", 0), Column("rss_mb", "memory, MB", 0)),
    (
        *_cases("get", "one row by id; 64 connections; plain sqlite3", _KEPT),
        *_cases("create", "one row, committed; 64 connections; plain sqlite3", _KEPT),
        *_cases(
            "route",
            "a function with path, query and body; 64 connections",
            "the same, unknown parameters refused",
            stored=False,
        ),
    ),
)
