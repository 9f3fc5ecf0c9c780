"""A limit of memory that the kernel keeps for whoever is put under it, where it can be had."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
LOOK_SECONDS, LEFT_SECONDS_MAX = 0.05, 60.0


@contextmanager
def cgroup_of(memory: int) -> Generator[str]:
    """The file that a process writes its id to, so that it may use so much memory; empty where nobody can have one.

    Args:
        memory: Bytes.
    """
    is_old = (ROOT / "memory").is_dir()
    folder = (ROOT / "memory" if is_old else ROOT) / f"hanse-tests-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        yield ""
        return
    try:
        limited = folder / ("memory.limit_in_bytes" if is_old else "memory.max")
        if limited.exists():
            _ = limited.write_text(str(memory))
        yield str(folder / "cgroup.procs") if limited.exists() else ""
    finally:
        _left(folder / "cgroup.procs")
        folder.rmdir()


def _left(processes: Path) -> None:
    """Wait until whoever is in there yet has ended with its system."""
    never = threading.Event()
    for _ in range(round(LEFT_SECONDS_MAX / LOOK_SECONDS)):
        if not processes.read_text():
            return
        _ = never.wait(LOOK_SECONDS)
