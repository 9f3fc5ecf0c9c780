"""Real servers of PostgreSQL, each in a folder and a process of its own on the loopback, ended by their ids."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

READY_TRIES_MAX = 1_500
STOP_SECONDS_MAX = 60.0
USER = "hanse"

# Never those that the kernel gives to clients; elsewhere for each worker of the tests.
_ports = itertools.count(13_000 + os.getpid() % 400 * 16)


def binaries() -> Path | None:
    """Where the programs of a server are: on the path, or where Debian has them."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    return max(folders, key=lambda path: int(path.parent.name), default=None)


def why_not() -> str:
    """Why no server can be started here; empty where one can."""
    if binaries() is None:
        return "there is no PostgreSQL on this machine: apt-get install postgresql"
    if os.geteuid() == 0 and _account() is None:
        return "PostgreSQL does not run as root, and there is no user postgres"
    return ""


def _account() -> str | None:
    """Whom the server runs as, where it may not be this user."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return None


def free_port() -> int:
    """A port on the loopback that nobody listens on."""
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


class Server:
    """One server, from its start until it is killed; it comes back at the same port with what it has kept."""

    def __init__(self, *settings: str, folder: Path | None = None, within: Sequence[str] = ()) -> None:
        """Make its folder, which `remove` removes.

        Args:
            settings: As `name=value`.
            folder: One that is there already, in place of a new one.
            within: What its commands go behind, such as that of a mount namespace; these run as root there.
        """
        found = binaries()
        assert found is not None
        self._programs = found
        self._user = _account()
        # Not in pytest's folder, into which another user cannot go.
        self.folder = folder or Path(tempfile.mkdtemp(prefix="hanse-postgresql-"))
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._within = list(within)
        if within and self._user is not None:
            self._within += ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--clear-groups", "--"]
            self._user = None
        self.port: int = free_port()
        self._log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = settings
        self._run(
            *("initdb", "--no-sync", "-D", str(self.folder / "data"), "-U", USER, "--auth=trust"),
            *("-E", "UTF8", "--locale=C"),
        )

    def url(self, schema: str = "", **options: str) -> str:
        """Of a store on it."""
        wanted = ({"schema": schema} if schema else {}) | options
        query = "&".join(f"{name}={value}" for name, value in wanted.items())
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres" + (f"?{query}" if query else "")

    @property
    def pid(self) -> int:
        """The id of its process, as long as it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        settings = (f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", *self._settings)
        command = [*self._within, str(self._programs / "postgres"), "-D", str(self.folder / "data")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *(part for one in settings for part in ("-c", one))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
            )

    def wait_ready(self) -> None:
        """Return when it takes connections; one that was killed may have to be started again for its last children."""
        for _ in range(READY_TRIES_MAX):
            assert self._process is not None
            if self._process.poll() is not None:
                self.start()
            if self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), check=False) == 0:
                return
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)  # nothing tells when a server is ready
        raise AssertionError(f"PostgreSQL was not ready:\n{self._log.read_text()}")

    def kill(self) -> None:
        """End it as kill -9 does; its children see that, and end."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it at once, but in order: whoever is connected is told."""
        self._end(signal.SIGINT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(STOP_SECONDS_MAX)
        self._process = None

    def restart(self) -> None:
        """Kill it, and start it again."""
        self.kill()
        self.start()
        self.wait_ready()

    def remove(self) -> None:
        """Kill it, and remove its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        done = subprocess.run(
            [*self._within, str(self._programs / program), *arguments],
            capture_output=True,
            check=False,
            user=self._user,
            text=True,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.returncode


def started(*settings: str, folder: Path | None = None, within: Sequence[str] = ()) -> Server:
    """A server that is ready."""
    one = Server(*settings, folder=folder, within=within)
    try:
        one.start()
        one.wait_ready()
    except BaseException:
        one.remove()
        raise
    return one
