"""Requests with a body that is validated, and nothing on a disk: what the way through the server itself costs."""

from __future__ import annotations

import sys
from collections.abc import Callable

from plan import Case, Column, Group
from process import CASES, VENV

from groups.rest import Command, loaded

_SERVERS = ("uvicorn", "granian")


def _peer(server: str) -> Command:
    return _uvicorn if server == "uvicorn" else _granian("post_starlette")


def _ours(server: str) -> Command:
    return _hanse if server == "uvicorn" else _granian("post_hanse")


def _uvicorn(port: int) -> list[str]:
    command = [sys.executable, "-m", "uvicorn", "post_starlette:application", "--app-dir", str(CASES)]
    return [*command, "--port", str(port), "--log-level", "warning", "--no-access-log"]


def _hanse(port: int) -> list[str]:
    run = [str(VENV / "bin" / "hanse"), "run", str(CASES / "post_hanse.py")]
    return [*run, "--port", str(port), "--store", "memory:"]


def _granian(module: str) -> Callable[[int], list[str]]:
    granian = [str(VENV / "bin" / "granian"), "--interface", "asgi", "--workers", "1", "--loop", "uvloop", "--no-log"]
    return lambda port: [*granian, "--port", str(port), "--working-dir", str(CASES), f"{module}:application"]


def _cases(what: str, about: str, ours: str) -> tuple[Case, ...]:
    cases: list[Case] = []
    for server in _SERVERS:
        base = f"{what}, Starlette, {server}"
        cases += (
            Case(base, loaded(_peer(server), what), f"{about}; msgspec by hand", base),
            Case(f"{what}, Hanse, {server}", loaded(_ours(server), what), ours, base),
        )
    return tuple(cases)


GROUP = Group(
    "post",
    "POST with validation",
    "",
    (Column("cpu_us", "server CPU µs", 0), Column("per_second", "a second", 0), Column("rss_mb", "memory, MB", 0)),
    (
        *_cases(
            "call",
            "an operation; 64 connections",
            "the same: deadline, guard, limits, tracing, breaker; a call as any other",
        ),
        *_cases("create", "a row in memory; 64 connections", "the same, with ETag, revision and change log"),
    ),
)
