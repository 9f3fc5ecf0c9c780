"""Real servers of PostgreSQL, each in a folder and a process of its own on the loopback, ended by their ids."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.store.server import FolderServer, ready

USER = "hanse"
_INITDB = ("initdb", "--no-sync", "-U", USER, "--auth=trust", "-E", "UTF8", "--locale=C")
# The version of the protocol, then names and values: what a client says first.
_HELLO = b"\x00\x03\x00\x00user\x00%s\x00database\x00postgres\x00\x00" % USER.encode()


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


@cache
def _pristine(programs: Path, user: str | None) -> Path:
    """What a server has that nobody has used, for as long as these tests run."""
    folder = Path(tempfile.mkdtemp(prefix="hanse-pristine-"))
    _ = atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if user is not None:
        shutil.chown(folder, user)
    _run(str(programs / _INITDB[0]), *_INITDB[1:], "-D", str(folder / "data"), user=user)
    return folder / "data"


def _run(*command: str, user: str | None) -> None:
    done = subprocess.run(command, capture_output=True, check=False, user=user, text=True)
    assert done.returncode == 0, done.stderr


class Server(FolderServer):
    """One server, from its start until it is killed."""

    title = "PostgreSQL"
    scheme = "postgresql"
    apart = "schema"
    stops = signal.SIGINT
    # One that was killed may have to be started again, for its last children.
    insists = True

    def __init__(
        self,
        *settings: str,
        copy_of: Server | None = None,
        folder: Path | None = None,
        within: Sequence[str] = (),
    ) -> None:
        """Make its folder.

        Args:
            settings: As `name=value`.
            copy_of: A server that runs, which this one follows.
            folder: One that is there already, in place of a new one.
            within: What its commands go behind, such as that of a mount namespace; these run as root there.
        """
        # Not in pytest's folder, into which another user cannot go.
        super().__init__("postgresql", folder)
        found = binaries()
        assert found is not None
        self._programs = found
        self._user = _account()
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._within = list(within)
        if within and self._user is not None:
            self._within += ["setpriv", f"--reuid={self._user}", f"--regid={self._user}", "--clear-groups", "--"]
            self._user = None
        self._settings = settings
        self._data = self.folder / "data"
        if "fsync=off" in settings:
            self.usual = {"synchronous": "off"}
        if copy_of is not None:
            place = ("-h", "127.0.0.1", "-p", str(copy_of.port), "-U", USER)
            wanted = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync", "-D", str(self._data))
            self.run("pg_basebackup", *place, *wanted)
        elif within:
            self.run(*_INITDB, "-D", str(self._data))
        else:
            # To copy what was made once costs an eighth of making it.
            _run("cp", "-a", "--reflink=auto", str(_pristine(found, self._user)), str(self._data), user=self._user)

    @property
    def database(self) -> str:
        return f"{self.scheme}://{USER}@127.0.0.1:{self.port}/postgres"

    def promote(self) -> None:
        """Have one that follows lead, and return once it does."""
        self.run("pg_ctl", "promote", "-D", str(self._data))

    def run(self, program: str, *arguments: str) -> None:
        """Run one of its programs."""
        _run(*self._within, str(self._programs / program), *arguments, user=self._user)

    def _begun(self) -> subprocess.Popen[bytes]:
        # After a kill, all files of the folder would be flushed one by one: a second, in which nothing is tested.
        usual = (f"port={self.port}", "listen_addresses=127.0.0.1", "recovery_init_sync_method=syncfs")
        settings = (*usual, "unix_socket_directories=", *self._settings)
        command = [*self._within, str(self._programs / "postgres"), "-D", str(self._data)]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*command, *(part for one in settings for part in ("-c", one))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
            )

    def _answers(self, client: socket.socket) -> bool:
        """Whether it asks who this is; while it reads what it kept, it says that it is not ready."""
        client.sendall((len(_HELLO) + 4).to_bytes(4, "big") + _HELLO)
        return client.recv(1) == b"R"


def started(
    *settings: str, copy_of: Server | None = None, folder: Path | None = None, within: Sequence[str] = ()
) -> Server:
    """A server that is ready."""
    return ready(Server(*settings, copy_of=copy_of, folder=folder, within=within))
