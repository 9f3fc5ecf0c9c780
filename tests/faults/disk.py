"""A small disk that can be filled: a tmpfs in a mount namespace of its own, which only whoever is led there sees."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

DISK_MB = 24
"""Enough for files of SQLite."""


class SmallDisk(NamedTuple):
    """One that is mounted.

    Attributes:
        within: What the command of a process goes behind that is to see it, beside the folder that it is over.
        place: Where.
    """

    within: Sequence[str]
    place: Path

    def fill(self) -> None:
        """Take all the room that is left."""
        command = [*self.within, "sh", "-c", f"cat /dev/zero > '{self.place}/ballast'"]
        done = subprocess.run(command, capture_output=True, check=False)
        assert b"No space left" in done.stderr, done.stderr

    def free(self) -> None:
        """Give it back."""
        _ = subprocess.run([*self.within, "rm", str(self.place / "ballast")], check=True)


def why_not() -> str:
    """Why there can be none here; empty where there can."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "only root can mount a small disk, with unshare and nsenter"
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "no mount namespace can be made here"


@contextmanager
def small_disk(place: Path, megabytes: int = DISK_MB) -> Generator[SmallDisk]:
    """One over a folder that is there."""
    lines = (
        f"mount -t tmpfs -o size={megabytes}m,mode=777 tmpfs '{place}'",
        "echo ready",
        "exec sleep 3600",
    )
    with subprocess.Popen(["unshare", "-m", "sh", "-e", "-c", "\n".join(lines)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            inside = ("nsenter", "-m", "-t", str(holder.pid))
            # Who enters a namespace is at its root.
            yield SmallDisk((*inside, "sh", "-c", 'cd "$0" && exec "$@"', str(place.parent)), place)
        finally:
            holder.kill()
