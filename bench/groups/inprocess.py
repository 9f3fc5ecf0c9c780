"""A call where caller and service share a process: everything is on, and nothing is shared by reference."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from plan import Case, Column, Figures, Group, SkippedError
from process import CASES, VENV, python_case, run

CALL_MAX = {"cpu_us": 4.0}


def _case(name: str, case: str, about: str, base: str = "", limits: Figures | None = None) -> Case:
    return Case(name, python_case("inprocess.py", case), about, base, limits or {})


def _moleculerpy(seconds: float) -> Figures:
    python = VENV / "moleculerpy" / "bin" / "python"
    return run([str(python), str(CASES / "moleculerpy_call.py"), str(seconds)])


def _moleculer(which: str, seconds: float) -> Figures:
    node = shutil.which("node")
    modules = VENV / "node" / "node_modules"
    if node is None or not modules.is_dir():
        raise SkippedError("needs node, and npm at the time of `make bench`")
    environ = {name: value for name, value in os.environ.items() if name != "NODE_OPTIONS"}
    return run([node, str(Path(CASES / "moleculer_call.js")), str(modules), which, str(seconds)], environ=environ)


GROUP = Group(
    "inprocess",
    "In one process",
    "plain await",
    (Column("cpu_us", "CPU µs", 2),),
    (
        _case("plain await", "plain_await", "the method itself; no copy, no check"),
        _case("msgspec by hand", "by_hand", "arguments and result encoded and decoded, nothing else"),
        _case("pydantic validate", "pydantic_validate", "one model from a dictionary"),
        _case("task per call", "task_per_call", "asyncio.create_task, awaited"),
        _case(
            "Hanse call",
            "call",
            "typed client to service: copy, validation, context, deadline, breaker, limit",
            limits=CALL_MAX,
        ),
        Case("moleculerpy call", _moleculerpy, "local, parameters validated, no copy"),
        Case("Node plain await", lambda seconds: _moleculer("plain", seconds), "Node.js"),
        Case(
            "Moleculer 0.14 call", lambda seconds: _moleculer("call", seconds), "local, parameters validated, no copy"
        ),
        _case("Hanse stream item", "stream", "one of 1,000 items", "Hanse call"),
        _case("Hanse unit, memory", "unit_memory", "a call that creates a row; 64 in flight", "Hanse call"),
        _case("Hanse unit, SQLite", "unit_sqlite", "the same, durable", "Hanse call"),
        _case("Hanse event", "event", "a call that emits, relayed to a handler, marked as handled", "Hanse call"),
    ),
)
