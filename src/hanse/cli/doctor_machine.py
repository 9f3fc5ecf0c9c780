"""What the doctor looks at on a machine: Python, packages, SQLite, clocks, limits.

Each check judges plain values, which `machine` gathers.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from hanse.cli.finding import FAIL, OK, WARN, Finding
from hanse.kernel.host import Host

TESTED = ((3, 11), (3, 14))
"""Pythons that Hanse is tested on: from this one, to before that one."""

QUICK = ("uvloop", "httptools", "websockets", "watchfiles")
"""Packages of the extra `standard`."""

FILES_WANTED = 4_096
"""File descriptors below which a server runs out of them early: each connection is one."""

DRIFT_SECONDS_MAX = 2.0
"""How far the clock of a file system may be from the machine's."""

_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)\s*(?:\[[^]]*])?\s*(?:>=(?P<least>[\d.]+))?[^;]*(?:;(?P<marker>.*))?"
)
_EXTRA = re.compile(r"extra\s*==\s*['\"](?P<extra>[^'\"]+)['\"]")


class Requirement(msgspec.Struct, frozen=True):
    """What Hanse wants of a package, and the extra that it belongs to; empty for the core."""

    name: str
    least: str = ""
    extra: str = ""


def machine() -> Iterator[Finding]:
    """Look at this machine."""
    yield python_check(sys.version_info[:2], platform.python_implementation())
    installed = {one.name: version_of(one.name) for one in requirements()}
    yield from package_checks(requirements(), installed)
    yield server_check({name for name in QUICK if installed.get(name)}, sys.platform)
    yield sqlite_check(*sqlite_versions())
    yield clock_check(Host.system().now(), *_file_times())
    yield files_check(_files_max())


def python_check(version: tuple[int, int], implementation: str) -> Finding:
    """Whether Hanse is tested on this Python.

    Example:
        >>> python_check((3, 12), "CPython").state, python_check((3, 12), "PyPy").state
        ('ok', 'warn')
    """
    says = f"{implementation} {version[0]}.{version[1]}"
    if TESTED[0] <= version < TESTED[1] and implementation == "CPython":
        return Finding("python", OK, says)
    known = f"CPython from {TESTED[0][0]}.{TESTED[0][1]} to {TESTED[1][0]}.{TESTED[1][1] - 1}"
    return Finding("python", WARN, says, f"Hanse is tested on {known}.", "Use one of these where it matters.")


def requirements() -> list[Requirement]:
    """What Hanse wants installed, as its own metadata tells."""
    return [requirement_of(text) for text in importlib.metadata.requires("hanse") or []]


def requirement_of(text: str) -> Requirement:
    """A line of a package's metadata.

    Example:
        >>> requirement_of("uvloop>=0.21; (sys_platform != 'win32') and extra == 'standard'")
        Requirement(name='uvloop', least='0.21', extra='standard')
    """
    found = _REQUIREMENT.fullmatch(text.strip())
    assert found is not None, text
    extra = _EXTRA.search(found["marker"] or "")
    return Requirement(found["name"], found["least"] or "", extra["extra"] if extra else "")


def version_of(package: str) -> str:
    """Which version of a package is installed; empty for none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def package_checks(wanted: Iterable[Requirement], installed: Mapping[str, str]) -> Iterator[Finding]:
    """For the core and each extra, whether its packages are installed, and new enough."""
    by_extra: dict[str, list[Requirement]] = {}
    for one in wanted:
        by_extra.setdefault(one.extra, []).append(one)
    for extra, parts in by_extra.items():
        yield _packages(extra, parts, installed)


def _packages(extra: str, parts: Iterable[Requirement], installed: Mapping[str, str]) -> Finding:
    parts = list(parts)
    title = f"packages of hanse[{extra}]" if extra else "packages"
    missing = [one.name for one in parts if not installed.get(one.name)]
    old = [
        f"{one.name} {installed[one.name]} (expected {one.least} or later)"
        for one in parts
        if installed.get(one.name) and numbers(installed[one.name]) < numbers(one.least)
    ]
    install = f"pip install --upgrade 'hanse[{extra}]'" if extra else "pip install --upgrade hanse"
    if old:
        return Finding(title, FAIL, f"too old: {', '.join(old)}", "What was tested is newer.", install)
    if not missing:
        names = ", ".join(f"{one.name} {installed[one.name]}" for one in parts)
        return Finding(title, OK, names)
    if not extra:
        return Finding(title, FAIL, f"missing: {', '.join(missing)}", "Hanse does not run without.", install)
    return Finding(
        title, OK, f"not installed: {', '.join(missing)}", "It is optional.", f"Where it is wanted: {install}"
    )


def numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with, to be compared.

    Example:
        >>> numbers("1.10.0rc1") > numbers("1.9"), numbers("")
        (True, ())
    """
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def server_check(quick: set[str], platform: str) -> Finding:
    """Which loop and which parser serve.

    Example:
        >>> server_check({"uvloop", "httptools", "websockets", "watchfiles"}, "linux").says
        'uvloop, httptools'
    """
    wanted = set(QUICK) - ({"uvloop"} if platform == "win32" else set[str]())
    says = f"{'uvloop' if 'uvloop' in quick else 'asyncio'}, {'httptools' if 'httptools' in quick else 'h11'}"
    missing = sorted(wanted - quick)
    if not missing:
        return Finding("server", OK, says)
    why = "Without uvloop and httptools it serves fewer requests, without websockets no WebSocket."
    return Finding("server", WARN, f"{says}; missing: {', '.join(missing)}", why, "pip install 'hanse[standard]'")


def sqlite_versions() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which SQLite is here, and which is needed."""
    from hanse.store.sqlite.probe import version

    return version()


def sqlite_check(got: tuple[int, ...], least: tuple[int, ...]) -> Finding:
    """Whether SQLite is new enough.

    Example:
        >>> sqlite_check((3, 45, 0), (3, 38, 0)).state, sqlite_check((3, 31, 1), (3, 38, 0)).state
        ('ok', 'fail')
    """
    says = ".".join(map(str, got))
    if got >= least:
        return Finding("sqlite", OK, says)
    why = f"Stores need {'.'.join(map(str, least))} or later."
    return Finding("sqlite", FAIL, says, why, "Use a newer build of Python; it brings SQLite along.")


def clock_check(now: float, newest: float, written: float) -> Finding:
    """Whether the clock can be right.

    Args:
        now: Second of the machine's clock.
        newest: When the newest file of Hanse was written, as far as is known: it cannot have been later.
        written: The time of a file that was written just now.

    Example:
        >>> clock_check(100.0, 90.0, 100.5).state, clock_check(50.0, 90.0, 50.0).state
        ('ok', 'fail')
    """
    why = "Schedules, leases, tokens and certificates go by it."
    if now < newest - DRIFT_SECONDS_MAX:
        says = f"it is {newest - now:,.0f} s behind files that are there already"
        return Finding("clock", FAIL, says, why, "Set it, and keep it right with NTP (timedatectl set-ntp true).")
    drift = abs(written - now)
    if drift > DRIFT_SECONDS_MAX:
        says = f"the file system's is {drift:,.1f} s off the machine's"
        return Finding("clock", WARN, says, why, "Keep both right with NTP; a network drive has a clock of its own.")
    return Finding("clock", OK, f"within {DRIFT_SECONDS_MAX:g} s of the file system's")


def _file_times() -> tuple[float, float]:
    newest = max(path.stat().st_mtime for path in Path(__file__).parent.glob("*.py"))
    with tempfile.NamedTemporaryFile() as file:
        return newest, Path(file.name).stat().st_mtime


def files_check(soft: int) -> Finding:
    """Whether a server may open enough files.

    Example:
        >>> files_check(1024).state, files_check(65536).state
        ('warn', 'ok')
    """
    says = f"{soft:,} at once" if soft >= 0 else "unlimited"
    if soft < 0 or soft >= FILES_WANTED:
        return Finding("open files", OK, says)
    why = "Each connection is one; past the limit nobody gets in."
    return Finding("open files", WARN, says, why, "ulimit -n 65536, or LimitNOFILE=65536 with systemd.")


def _files_max() -> int:
    try:
        import resource
    except ImportError:
        return -1
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
