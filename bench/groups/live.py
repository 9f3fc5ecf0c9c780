"""Telling many clients of a change: one server process, a process with all the clients."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from plan import Case, Column, Figures, Group, SkippedError
from process import CASES, ENVIRON, VENV, Server, free_port

CLIENTS = 1_000
IDLE = 10_000
"""As many as the usual limit of open files lets one process have, with something to spare."""

Command = Callable[[int], list[str]]


def _measured(command: Command, kind: str, clients: int, needs: str = "") -> Callable[[float], Figures]:
    def measure(seconds: float) -> Figures:
        if needs and find_spec(needs) is None:
            raise SkippedError(f"{needs} is not installed here")
        port = free_port()
        with tempfile.TemporaryDirectory() as folder, Server(command(port), port, folder=Path(folder)) as server:
            server.wait_listening()
            return _load(server, kind, clients, seconds)

    return measure


def _load(server: Server, kind: str, clients: int, seconds: float) -> Figures:
    command = [sys.executable, str(CASES / "live_load.py"), str(server.port), kind, str(clients), str(seconds)]
    empty = server.rss()
    cpu: dict[str, float] = {}
    rss: dict[str, float] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRON) as client:
        assert client.stdout is not None
        while "end" not in cpu:
            phase = client.stdout.readline().strip()
            if not phase:
                raise RuntimeError(f"the load on {kind} ended with {client.wait()}")
            cpu[phase], rss[phase] = server.cpu(), server.rss()
        told: Figures = json.loads(client.stdout.readline())
    figures = {"kb_client": (rss["idle"] - empty) * 1024 / clients}
    if "one" not in cpu:
        return figures
    return {
        **figures,
        "last_ms": told["last_ms"],
        "cpu_us": (cpu["burst"] - cpu["one"]) / told["ones"] * 1e6,
        "burst_per_second": told["burst_per_second"],
        "burst_cpu_us": (cpu["end"] - cpu["burst"]) / told["bursts"] * 1e6,
    }


def _script(name: str) -> Command:
    return lambda port: [sys.executable, str(CASES / name), str(port)]


def _starlette(port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "uvicorn", "live_starlette:app", "--app-dir", str(CASES)),
        *("--port", str(port), "--log-level", "warning", "--no-access-log"),
        *("--ws", "websockets-sansio", "--ws-per-message-deflate", "false"),
    ]


def _hanse(port: int) -> list[str]:
    return [str(VENV / "bin" / "hanse"), "run", str(CASES / "live_hanse.py"), "--port", str(port)]


BROADCAST = "websockets' broadcast"
BEATS = "signs of life, Starlette"

GROUP = Group(
    "live",
    "A change to 1,000 clients",
    BROADCAST,
    (
        Column("last_ms", "until the last has it, ms"),
        Column("cpu_us", "server CPU µs a delivery"),
        Column("burst_per_second", "deliveries a second in bursts of 20", 0),
        Column("burst_cpu_us", "server CPU µs a delivery in bursts", 2),
        Column("kb_client", "server memory a client, KB"),
    ),
    (
        Case(BROADCAST, _measured(_script("live_websockets.py"), "peer", CLIENTS), "WebSocket; a set of connections"),
        Case(
            "picows", _measured(_script("live_picows.py"), "peer", CLIENTS, "picows"), "WebSocket; a set of connections"
        ),
        Case("Starlette", _measured(_starlette, "peer", CLIENTS), "WebSocket; a set of connections, under uvicorn"),
        Case(
            "Hanse, WebSocket",
            _measured(_hanse, "hanse", CLIENTS),
            "rows committed, read from the log, filtered, with their cursor",
            limits={"kb_client": 30.0},
            least={"burst_per_second": 300_000.0},
        ),
        Case(
            "Hanse, events of a topic",
            _measured(_hanse, "topic", CLIENTS),
            "events committed, read from the log, each as a CloudEvent, over WebSocket",
            limits={"kb_client": 30.0},
        ),
        Case("Hanse, event stream", _measured(_hanse, "events", CLIENTS), "the same over Server-Sent Events"),
        Case(BEATS, _measured(_starlette, "beats", IDLE), f"{IDLE:,} event streams, idle", BEATS),
        Case(
            "event streams, Hanse",
            _measured(_hanse, "events", IDLE),
            f"{IDLE:,} of them, idle; then told",
            BEATS,
            limits={"kb_client": 30.0},
        ),
    ),
)
