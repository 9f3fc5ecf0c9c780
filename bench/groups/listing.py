"""A page of 100 rows out of 112,000 on SQLite: CPU of the server per request."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from plan import Case, Column, Figures, Group
from process import CASES, ENVIRON, VENV, Server, free_port

from groups.rest import Command, load_on

FILTERS = {"indexed": "region=near", "not indexed": "country=near"}
PAGES = {"first": "first page of 100", "thousandth": "the thousandth"}


def _listed(command: Command, whose: str, filter_: str, page: str) -> Callable[[float], Figures]:
    def measure(seconds: float) -> Figures:
        port = free_port()
        with tempfile.TemporaryDirectory() as folder:
            fill = [sys.executable, str(CASES / "list_fill.py"), whose]
            subprocess.run(fill, cwd=folder, env=ENVIRON, check=True)
            with Server(command(port), port, folder=Path(folder)) as server:
                server.wait_ready("/livez")
                return load_on(server, "list_load.py", [filter_, page, str(seconds)])

    return measure


def _peer(port: int) -> list[str]:
    command = [sys.executable, "-m", "uvicorn", "rest_sqlalchemy:app", "--app-dir", str(CASES)]
    return [*command, "--port", str(port), "--log-level", "warning", "--no-access-log"]


def _hanse(port: int) -> list[str]:
    run = [str(VENV / "bin" / "hanse"), "run", str(CASES / "list_hanse.py")]
    return [*run, "--port", str(port), "--store", "sqlite:///data"]


def _cases(kind: str, page: str) -> tuple[Case, ...]:
    base = f"{page}, {kind}, SQLAlchemy"
    about = f"{PAGES[page]}, filter {kind}; 8 connections"
    return (
        Case(base, _listed(_peer, "peer", FILTERS[kind], page), f"{about}; FastAPI, SQLAlchemy async, keyset", base),
        Case(f"{page}, {kind}, Hanse", _listed(_hanse, "hanse", FILTERS[kind], page), "the same, by its cursor", base),
    )


GROUP = Group(
    "list",
    "Lists of 100 rows out of 112,000",
    "",
    (Column("cpu_us", "server CPU µs", 0), Column("per_second", "a second", 0), Column("rss_mb", "memory, MB", 0)),
    tuple(case for kind in FILTERS for page in PAGES for case in _cases(kind, page)),
)
