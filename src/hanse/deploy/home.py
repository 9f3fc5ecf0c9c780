"""The folder of a running system, `.hanse`: its control socket, its logs, and the lock that only one system has."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

import msgspec

from hanse.kernel.faults import CouldNotStart
from hanse.kernel.host import Host
from hanse.transport.stream.socket_file import BACKLOG, FILE_MODE, FOLDER_MODE, short

NAME = ".hanse"


class Home(msgspec.Struct, frozen=True):
    """Where what belongs to one system is.

    Attributes:
        project: The folder of its settings.
    """

    project: Path

    @property
    def folder(self) -> Path:
        """All of it."""
        return self.project / NAME

    @property
    def run(self) -> Path:
        """What is there only while the system runs."""
        return self.folder / "run"

    @property
    def control(self) -> Path:
        """The socket by which commands reach the system."""
        return self.run / "control.sock"

    @property
    def logs(self) -> Path:
        """What services print."""
        return self.folder / "logs"

    def log_of(self, service: str) -> Path:
        """What one service prints."""
        return self.logs / f"{service}.log"

    def system(self, host: Host) -> str:
        """What tells this system from all others that a container engine knows, as long as there is this folder.

        Args:
            host: Its ids.
        """
        file = self.folder / "system"
        with suppress(FileNotFoundError):
            return file.read_text().strip()
        _ = file.write_text(host.new_id() + "\n")
        return file.read_text().strip()

    def make(self) -> None:
        """Make the folders, for this user alone; version control is not to take them along.

        Raises:
            CouldNotStart: They cannot be made.
        """
        try:
            for folder in (self.folder, self.run, self.logs):
                folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
            ignored = self.folder / ".gitignore"
            if not ignored.exists():
                _ = ignored.write_text("*\n")
        except OSError as error:
            raise CouldNotStart(f"cannot make {self.folder}: {error.strerror or error}; see who owns it") from None

    def lock(self) -> int:
        """Take the folder for one system; it is held as long as any process has the file that is returned open.

        Raises:
            CouldNotStart: Another system has it.
        """
        fd = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.read(fd, 20).decode(errors="replace").strip()
            os.close(fd)
            raise CouldNotStart(
                f"a system runs in {self.project} already (process {pid or 'unknown'}); see it with `hanse ps`, "
                f"or end it with `hanse down`"
            ) from None
        os.truncate(fd, 0)
        _ = os.write(fd, f"{os.getpid()}\n".encode())
        return fd

    def listen(self) -> socket.socket:
        """Make the control socket; whoever has the lock may, and what the last system left behind is removed.

        Raises:
            CouldNotStart: It cannot be made.
        """
        listening = socket.socket(socket.AF_UNIX)
        beside = self.control.with_suffix(".new")
        try:
            with suppress(FileNotFoundError):
                beside.unlink()
            with short(beside) as name:
                listening.bind(name)
            beside.chmod(FILE_MODE)
            listening.listen(BACKLOG)
            _ = beside.rename(self.control)
        except OSError as error:
            listening.close()
            raise CouldNotStart(f"cannot listen at {self.control}: {error.strerror or error}") from None
        return listening
