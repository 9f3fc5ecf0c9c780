"""What a shell is offered behind a verb: files and the names in them, operations, collections, topics, codes.

Nothing of the user's is imported. What a running system serves is asked for with little patience, and kept for a while
in a file, so that the next key that is pressed need not wait; where nobody answers, what was kept last will do.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import click
import msgspec
from click.shell_completion import CompletionItem

PATIENCE_SECONDS = 0.5
"""How long a running system may take to say what it serves."""

FRESH_SECONDS = 20.0
"""How long what it said is taken to be true."""

FILE_BYTES_MAX = 1024 * 1024
"""Largest source that is looked through, and largest file that is kept."""

_PLAIN = re.compile(r"[\w.-]+")
"""What is offered: whatever a system says, it is nothing that a shell could take for more than a word."""

_RUNS = frozenset({"App", "Service"})


class Kept(msgspec.Struct, frozen=True):
    """What a system serves, and when it said so."""

    at: float
    operations: list[str] = []
    collections: list[str] = []
    topics: list[str] = []


Part = Callable[[Kept], Iterable[str]]
Completes = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def targets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Python files, and behind a colon what is in them to be run."""
    del context, parameter
    file, colon, start = incomplete.rpartition(":")
    if not colon:
        return [CompletionItem(incomplete, type="file")]
    names = runnable_in(_source(file))
    return [CompletionItem(f"{file}:{name}") for name in names if name.startswith(start)]


def runnable_in(source: str) -> list[str]:
    r"""Names of apps, services and simulations that a source defines, as far as one can see without running it.

    Example:
        >>> runnable_in("class A(Service): ...\nclass B(C): ...\napp = App('a', A)\nx = 1")
        ['A', 'app']
    """
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    return [name for node in module.body for name in _runnable(node)]


def _runnable(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.ClassDef(name, bases) if any(_name(base) in _RUNS for base in bases):
            yield name
        case ast.Assign([ast.Name(name)], ast.Call(function)) if _name(function) in _RUNS:
            yield name
        case ast.AsyncFunctionDef(name) if any(_name(one) == "simulation" for one in node.decorator_list):
            yield name
        case _:
            pass


def _name(node: ast.expr) -> str:
    match node:
        case ast.Call(inner):
            return _name(inner)
        case ast.Name(name) | ast.Attribute(_, name):
            return name
        case _:
            return ""


def _source(file: str) -> str:
    path = Path(file) if file.endswith(".py") else Path(*file.split(".")).with_suffix(".py")
    try:
        return path.read_text(encoding="utf-8") if path.stat().st_size <= FILE_BYTES_MAX else ""
    except (OSError, ValueError):
        return ""


def codes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Codes that can be explained; those of the package that need nothing to be imported."""
    del context, parameter
    from hanse.cli.advice import EXIT_CODES, FAULTS, FLAWS, RUNS

    return [CompletionItem(code) for code in [*FAULTS, *FLAWS, *RUNS, *EXIT_CODES] if code.startswith(incomplete)]


def served(part: Part) -> Completes:
    """Completes with a part of what the running system serves that the command line so far means."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del parameter
        names = part(what_is_served(context.params))
        return [CompletionItem(name) for name in names if name.startswith(incomplete) and _PLAIN.fullmatch(name)]

    return complete


operations: Completes = served(lambda kept: kept.operations)
topics: Completes = served(lambda kept: kept.topics)
feeds: Completes = served(lambda kept: [*kept.collections, *kept.topics])


def what_is_served(given: Mapping[str, object]) -> Kept:
    """What the system at `--url` (or wherever it is) serves; nothing where that cannot be known."""
    from hanse.cli.options import Chosen
    from hanse.cli.remote import Remote
    from hanse.kernel.faults import Fault
    from hanse.kernel.host import Host

    now = Host.system().now()
    try:
        chosen = Chosen(str(given.get("env") or ""))
        url = Remote(str(given.get("url") or ""), chosen=chosen).base
        file = file_for(url, os.environ)
        kept = read(file)
        if kept is None or not 0 <= now - kept.at < FRESH_SECONDS:
            kept = _asked(url, now) or kept
            write(file, kept)
    except Fault:
        return Kept(now)
    return kept or Kept(now)


def _asked(url: str, now: float) -> Kept | None:
    from hanse.cli.remote import Remote
    from hanse.cli.running import document_of, with_operations
    from hanse.kernel.faults import Fault

    try:
        document = document_of(Remote(url, timeout=PATIENCE_SECONDS))
    except Fault:
        return None
    found = [one for service in with_operations(document.services, document.paths) for one in service.addresses]
    return Kept(now, found, list(document.collections), list(document.topics))


def file_for(url: str, environ: Mapping[str, str]) -> Path:
    """Where what a system serves is kept.

    Example:
        >>> file_for("http://localhost", {"XDG_CACHE_HOME": "/cache"}).parent.as_posix()
        '/cache/hanse/completion'
    """
    import hashlib

    folder = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME") or ".", ".cache"))
    return folder / "hanse" / "completion" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"


def read(file: Path) -> Kept | None:
    """What was kept; None where there is nothing that can be read."""
    with suppress(OSError, msgspec.DecodeError):
        if file.stat().st_size <= FILE_BYTES_MAX:
            return msgspec.json.decode(file.read_bytes(), type=Kept)
    return None


def write(file: Path, kept: Kept | None) -> None:
    """Keep it, whole or not at all; where nothing can be written, nothing is kept."""
    if kept is None:
        return
    import tempfile

    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as other:
            _ = other.write(msgspec.json.encode(kept))
        _ = Path(other.name).replace(file)
