"""A real PgBouncer between a store and its server, in a folder and a process of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.transport.process import READY_TRIES_MAX, free_port

from .server import USER, Server

_CONFIG = """[databases]
postgres = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 4
"""


def program() -> str | None:
    """Where it is; Debian has it beside the programs of root."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def pooled(server: Server, *settings: str) -> Generator[int]:
    """A pooler in mode "transaction" with four connections to the server; its port.

    Args:
        server: Where it connects to.
        settings: Lines that are added to its own.
    """
    found = program()
    assert found is not None
    user = None if os.geteuid() else pwd.getpwnam("postgres").pw_name
    folder, port = Path(tempfile.mkdtemp(prefix="hanse-pgbouncer-")), free_port()
    (folder / "users").write_text(f'"{USER}" ""\n')
    lines = "\n".join(settings)
    (folder / "ini").write_text(_CONFIG.format(server=server.port, port=port, folder=folder) + lines + "\n")
    for path in (folder, *folder.iterdir()):
        if user is not None:
            shutil.chown(path, user)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([found, "-q", str(folder / "ini")], stdout=log, stderr=log, user=user)
    try:
        _wait(process, port, folder / "log")
        yield port
    finally:
        process.terminate()
        _ = process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(READY_TRIES_MAX):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        with suppress(subprocess.TimeoutExpired):
            _ = process.wait(0.02)  # nothing tells when it is ready
            break
    raise AssertionError(f"PgBouncer was not ready:\n{log.read_text()}")
