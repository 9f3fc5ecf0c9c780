"""What a platform costs and how quick it is: `supervise.py hanse|supervisord SECONDS`.

A system of one server with two instances is started, one of them is killed, and its route is changed; then one of 50
servers stands still, and what its supervisor takes of the machine is looked at. Servers are the same for all; who has
no edge has no rotation and no routes, and is asked straight.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import meter

from hanse.deploy.control_client import asked
from hanse.deploy.control_words import Ask, Status, is_settled
from hanse.deploy.home import Home
from hanse.deploy.linux import children_of
from hanse.kernel.faults import Unavailable

MANY = 50
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.002
SETTLE_SECONDS = 3.0
"""Between the start of the 50 and the look at what their supervisor takes."""

SERVER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    link, _ = server.accept()
    with link:
        link.recv(65536)
        link.sendall(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 2\\r\\n\\r\\nhi")
"""
COMMAND = f"{sys.executable} -S -E server.py"


def until(true: Callable[[], bool]) -> float:
    """Milliseconds until something is so."""
    began = time.perf_counter()
    while not true():
        if time.perf_counter() - began > PATIENCE_SECONDS:
            raise TimeoutError(f"not in {PATIENCE_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)
    return (time.perf_counter() - began) * 1e3


def answers(port: int, path: str = "/") -> bool:
    """Whether there is a good answer."""
    link = HTTPConnection("127.0.0.1", port, timeout=5.0)
    with suppress(OSError, HTTPException):
        link.request("GET", path)
        return link.getresponse().status == HTTPStatus.OK
    return False


def free_ports(count: int) -> list[int]:
    """So many that nobody listens at."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def ran(folder: Path, *words: str) -> Iterator[int]:
    """A process that is asked to end at the end; its id."""
    (folder / "server.py").write_text(SERVER)
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                _ = process.wait(PATIENCE_SECONDS)
            process.kill()


def taken(pids: list[int]) -> tuple[float, float]:
    """Seconds of CPU that processes have used, and MB that they hold, with shared pages divided among their users."""
    cpu = memory = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        memory += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return cpu, memory


def rested(pids: list[int], seconds: float) -> tuple[float, float]:
    """Share of one processor, in per cent, and MB, of processes over some seconds."""
    time.sleep(SETTLE_SECONDS)
    before, began = taken(pids)[0], time.perf_counter()
    time.sleep(seconds)
    after, memory = taken(pids)
    return (after - before) / (time.perf_counter() - began) * 100, memory


# Hanse


def status(folder: Path) -> Status | None:
    try:
        return asked(Home(folder), Ask("status"))
    except Unavailable:
        return None


def settled(folder: Path) -> bool:
    found = status(folder)
    return found is not None and bool(found.instances) and is_settled(found)


def out_of_rotation(folder: Path, instance: str) -> bool:
    """Whether the edge goes by a table without it."""
    found = status(folder)
    gone = found and next(one for one in found.instances if one.instance == instance).phase != "ready"
    return bool(found and gone and found.seen >= found.shown)


def hanse(seconds: float) -> None:
    (port,) = free_ports(1)
    web = f'[edge]\nport = {port}\n[services.web]\ncommand = "{COMMAND} {{port}}"\ninstances = 2\nroute = "%s"\n'
    up = [sys.executable, "-m", "hanse", "up", "--quiet"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "hanse.toml").write_text(web % "/one")
        with ran(folder, *up):
            start = until(lambda: answers(port, "/one"))
            _ = until(lambda: settled(folder))
            found = status(folder)
            assert found is not None
            victim = found.instances[0]
            os.kill(victim.pid, signal.SIGKILL)
            crash = until(lambda: out_of_rotation(folder, victim.instance))
            again = crash + until(lambda: settled(folder))
            (folder / "hanse.toml").write_text(web % "/two")
            route = until(lambda: answers(port, "/two"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        services = [f'[services.s{number}]\ncommand = "{COMMAND} {{port}}"\n' for number in range(MANY)]
        (folder / "hanse.toml").write_text(f"[edge]\nport = {port}\n" + "".join(services))
        with ran(folder, *up) as guard:
            _ = until(lambda: settled(folder))
            found = status(folder)
            assert found is not None
            others = set(children_of(found.keeper)) - {one.pid for one in found.instances}
            cpu, memory = rested([guard, found.keeper, *others], seconds)
    meter.tell(start_ms=start, crash_ms=crash, again_ms=again, route_ms=route, cpu=cpu, memory_mb=memory)


# supervisord


def supervisord(seconds: float) -> None:
    program = Path(sys.prefix) / "bin" / "supervisord"
    if not program.exists():
        meter.tell(skipped="there is no supervisord here")
        return
    head = "[supervisord]\nnodaemon=true\nlogfile=log\npidfile=pid\n"
    up = [str(program), "-c", "supervisord.conf"]
    with tempfile.TemporaryDirectory() as name:
        folder, ports = Path(name), free_ports(2)
        (folder / "supervisord.conf").write_text(head + programs(ports))
        with ran(folder, *up) as pid:
            start = until(lambda: answers(ports[0]))
            _ = until(lambda: answers(ports[1]))
            victim = next(one for one in children_of(pid) if str(ports[0]) in Path(f"/proc/{one}/cmdline").read_text())
            os.kill(victim, signal.SIGKILL)
            again = until(lambda: answers(ports[0]))
    with tempfile.TemporaryDirectory() as name:
        folder, ports = Path(name), free_ports(MANY)
        (folder / "supervisord.conf").write_text(head + programs(ports))
        with ran(folder, *up) as pid:
            _ = until(lambda: all(answers(port) for port in ports))
            cpu, memory = rested([pid], seconds)
    meter.tell(start_ms=start, again_ms=again, cpu=cpu, memory_mb=memory)


def programs(ports: list[int]) -> str:
    return "".join(f"[program:s{port}]\ncommand={COMMAND} {port}\nautorestart=true\n" for port in ports)


if __name__ == "__main__":
    # What processes take in a second is mostly chance.
    {"hanse": hanse, "supervisord": supervisord}[sys.argv[1]](10.0 * float(sys.argv[2]))
