"""Starts the processes that are measured, reads what they print, and what the kernel says they used."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from plan import Figures, SkippedError

HERE = Path(__file__).parent
CASES = HERE / "cases"
VENV = Path(sys.prefix)

CASE_SECONDS_MAX = 120.0
READY_SECONDS_MAX = 20.0
STOP_SECONDS_MAX = 10.0
POLL_SECONDS = 0.001
PORTS = range(21_000, 32_000)

_taken = iter(PORTS)


# Whoever uses a program has it compiled; a setting of this shell's must not make each start compile it again.
ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def python_case(script: str, *arguments: str, python: Path | None = None) -> Callable[[float], Figures]:
    """Measures by a script of `cases`, which prints its figures as one line of JSON."""
    return lambda seconds: run([str(python or sys.executable), str(CASES / script), *arguments, str(seconds)])


def run(command: Sequence[str], *, environ: Mapping[str, str] | None = None) -> Figures:
    """The figures that a process prints. Raises as `said` does."""
    return _figures(said(command, environ=environ))


def said(command: Sequence[str], *, environ: Mapping[str, str] | None = None) -> str:
    """The last line that a process prints.

    Raises:
        SkippedError: It says why it cannot run here, or there is no such program.
        RuntimeError: It failed.
    """
    if not Path(command[0]).exists():
        raise SkippedError(f"there is no {Path(command[0]).name} for it here")
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=CASE_SECONDS_MAX,
        env={**ENVIRON, **(environ or {})},
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    line = done.stdout.splitlines()[-1]
    if line.startswith('{"skipped"'):
        raise SkippedError(json.loads(line)["skipped"])
    return line


def _figures(line: str) -> Figures:
    return {name: float(value) for name, value in json.loads(line).items()}


def spent(command: Sequence[str]) -> Figures:
    """CPU of a command from its start to its end, children included."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRON)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return {"cpu_ms": (usage.ru_utime + usage.ru_stime) * 1000}


def free_port() -> int:
    """A port on the loopback that nobody listens on; never one that the kernel gives to clients."""
    for port in _taken:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"no free port in {PORTS}")


class Server:
    """A server process of its own, from its start until the end of a `with` block."""

    def __init__(self, command: Sequence[str], port: int, *, folder: Path) -> None:
        self.port: int = port
        self._started = time.monotonic()
        self._log = folder / f"server-{port}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=ENVIRON)

    def wait_ready(self, path: str) -> float:
        """Seconds from the start until the path was first answered with 200."""
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()

        def answered(client: socket.socket) -> bool:
            client.sendall(request)
            return b" 200 " in client.recv(100)

        return self._wait(answered)

    def wait_listening(self) -> float:
        """Seconds from the start until it first took a connection: for servers that speak WebSocket alone."""
        return self._wait(lambda client: client.fileno() >= 0)

    def _wait(self, is_ready: Callable[[socket.socket], bool]) -> float:
        while (waited := time.monotonic() - self._started) < READY_SECONDS_MAX:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                if is_ready(client):
                    return time.monotonic() - self._started
            if self._process.poll() is not None:
                break
            time.sleep(POLL_SECONDS)
        said = self._log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self._process.args!r} was not ready after {waited:.1f} s:\n{said}")

    def cpu(self) -> float:
        """Seconds of CPU that it has used, in all of its threads and worker processes."""
        used = 0
        for pid in self._pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(FileNotFoundError):  # a thread may end while we look
                    used += int((task / "schedstat").read_text().split()[0])
        return used / 1e9

    def rss(self) -> float:
        """Megabytes of memory that it holds, its workers among it."""
        held = 0
        for pid in self._pids():
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            held += next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        return held / 1024

    def _pids(self) -> list[int]:
        pids = [self._process.pid]
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        return pids

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
