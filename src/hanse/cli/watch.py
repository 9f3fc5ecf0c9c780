"""Which files of a project have changed: by the system's notices where watchfiles is installed, else by looking."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

FILES_MAX = 20_000
"""Files that are watched; those beyond change unnoticed, which is said."""
POLL_SECONDS = 0.25
"""How often files are looked at where watchfiles is not installed."""
GATHER_MS, STEP_MS = 200, 20
"""How long notices are gathered at most, and how long it has to be quiet for them to be told sooner."""

SUFFIXES = (".py", ".toml", ".env")
IGNORED = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})

Files = Mapping[str, int]
Names = tuple[str, ...]


def changes(before: Files, after: Files) -> tuple[str, ...]:
    """The files that came, went or differ, in order of name."""
    return tuple(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))


def files_in(folders: Iterable[Path]) -> Iterator[tuple[str, int]]:
    """The watched files below some folders, with the time of their last change; hidden folders are left out."""
    for folder in folders:
        for where, inner, names in os.walk(folder):
            inner[:] = [name for name in inner if not name.startswith(".") and name not in IGNORED]
            for name in names:
                if name.endswith(SUFFIXES):
                    path = Path(where, name)
                    try:
                        yield str(path), path.stat().st_mtime_ns
                    except OSError:
                        continue  # gone since it was listed: the same as not there


def snapshot(folders: Iterable[Path], limit: int = FILES_MAX) -> Files:
    """The watched files, at most `limit` of them."""
    found: dict[str, int] = {}
    for name, changed in files_in(folders):
        if len(found) >= limit:
            break
        found[name] = changed
    return found


def roots(folders: Iterable[Path]) -> list[Path]:
    """The folders without those that lie in another of them, so that nothing is looked at twice."""
    found = {folder.resolve() for folder in folders}
    return sorted(folder for folder in found if not any(other in folder.parents for other in found))


def watch(folders: Sequence[Path], put: Callable[[Names], object]) -> None:
    """Put the names of files whenever they have changed, for ever: by the system's notices, else by looking."""
    try:
        from watchfiles import watch as notices
    except ImportError:
        poll(folders, put, threading.Event())
        return
    try:
        for changed in notices(
            *folders,
            watch_filter=None,
            debounce=GATHER_MS,
            step=STEP_MS,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            if names := tuple(sorted(path for _kind, path in changed if is_watched(path, folders))):
                put(names)
    except OSError:
        # The system has a limit on what it gives notice of.
        poll(folders, put, threading.Event())


class Pause(Protocol):
    """What is waited on between two looks, such as a `threading.Event`."""

    def wait(self, seconds: float, /) -> bool:
        """Wait; whether that was the last time."""
        ...


def poll(folders: Sequence[Path], put: Callable[[Names], object], ended: Pause) -> None:
    """Put the names of files whenever a look finds them changed, until `ended`."""
    before = snapshot(folders)
    while not ended.wait(POLL_SECONDS):
        after = snapshot(folders)
        if names := changes(before, after):
            put(names)
        before = after


def is_watched(path: str, folders: Iterable[Path]) -> bool:
    """Whether a change of this file counts: a source or settings, not in a hidden folder below those watched.

    Example:
        >>> is_watched(".code/shop/app.py", [Path(".code")]), is_watched("shop/.venv/x.py", [Path("shop")])
        (True, False)
    """
    file = Path(path)
    inner = next((file.relative_to(folder).parts[:-1] for folder in folders if folder in file.parents), ())
    return path.endswith(SUFFIXES) and not any(name.startswith(".") or name in IGNORED for name in inner)
