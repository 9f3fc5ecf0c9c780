"""What a call of Moleculer costs between two processes: `calls_moleculer.py tcp|nats small|10k SECONDS`.

CPU is that of caller, service and server, which the caller reads. Its modules are those that `make bench` installs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import meter
import msgspec
from calls import SIZES
from calls_nats import NATS_SERVER, broker, free_port

SCRIPT = Path(__file__).with_suffix(".js")
MODULES = Path(sys.prefix) / "node" / "node_modules"
LAST_SECONDS_MAX = 60.0


def over_tcp() -> dict[str, str]:
    """How each of the two reaches the other, with nobody to be found."""
    ports = {"serve": free_port(), "ask": 0}
    with contextlib.closing(socket.create_server(("127.0.0.1", ports["serve"]))):
        ports["ask"] = free_port()
    urls = [f"tcp://127.0.0.1:{port}/{role}" for role, port in ports.items()]
    return {
        role: msgspec.json.encode(
            {"type": "TCP", "options": {"udpDiscovery": False, "port": port, "urls": urls}}
        ).decode()
        for role, port in ports.items()
    }


def run(node: str, url: dict[str, str], pids: list[int], size: str, seconds: float) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "NODE_OPTIONS"}
    command = [node, str(SCRIPT), str(MODULES), "serve", url["serve"]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            tags = msgspec.json.encode(SIZES[size].tags).decode()
            told = [str(seconds), str(server.pid), *map(str, pids)]
            command = [node, str(SCRIPT), str(MODULES), "ask", url["ask"], tags, *told]
            subprocess.run(command, check=True, env=environ, timeout=seconds + LAST_SECONDS_MAX)
        finally:
            server.kill()


def main(kind: str, size: str, seconds: float) -> None:
    node = shutil.which("node")
    if node is None or not MODULES.is_dir():
        meter.tell(skipped="needs node, and npm at the time of `make bench`")
    elif kind == "tcp":
        run(node, over_tcp(), [], size, seconds)
    elif not NATS_SERVER.exists():
        meter.tell(skipped="there is no wheel of nats-server for this machine")
    else:
        with broker() as (url, pid):
            run(node, {"serve": url, "ask": url}, [pid], size, seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
