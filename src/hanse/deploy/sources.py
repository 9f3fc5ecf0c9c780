"""Where the files of a release come from: a folder as it is, a revision of git, or whatever the service's command says.

A revision is laid out in a folder of its own, beside those of others, so that several releases run side by side and a
way back needs nothing but the old folder. Nobody's working tree is touched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from hanse.control.desired import Command
from hanse.kernel.faults import Misconfigured

RELEASE = "{release}"
"""Stands in a command for the release: such a command finds its files by itself, as that of an image does."""

LEFT_OUT = frozenset(
    {".git", ".hanse", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv", "__pycache__", "node_modules"}
)
"""Folders that say nothing of what a release is."""

FILES_MAX = 100_000
"""Files of one release; more is a folder that somebody named by mistake."""

GIT_SECONDS_MAX = 120.0
"""How long one command of git may take."""

_CHUNK = 1 << 20


class Source(msgspec.Struct, frozen=True):
    """The files of one release.

    Attributes:
        release: How it is called.
        digest: What it consists of: the same where the files are the same, whatever it is called.
        directory: Where the service is started; None for where it always is.
        image: What it is started from instead, by a name that means the same for good.
    """

    release: str
    digest: str
    directory: Path | None = None
    image: str = ""


def source_of(wanted: str, command: Command, releases: Path) -> Source:
    """The files that somebody means by a word.

    Args:
        wanted: What they wrote: a folder, a revision of git (a tag, a branch, a commit), or a tag of an image where the
            command has `{release}` in it.
        command: Of the service; its directory is where folders and revisions are looked for.
        releases: Folder in which revisions are laid out.

    Raises:
        Misconfigured: It is none of these; says what was tried.
    """
    if not wanted or wanted.startswith("-"):
        raise Misconfigured(f"expected a release, such as a folder, a tag or a commit, got {wanted!r}")
    if any(RELEASE in word for word in (*command.line, *command.environment.values())):
        return Source(wanted, "named:" + wanted)
    base = Path(command.directory or ".")
    folder = base / wanted
    if folder.is_dir():
        return Source(_name_of(folder), digest_of(folder), folder.resolve())
    commit = _git(base, "rev-parse", "--verify", "--quiet", "--end-of-options", wanted + "^{commit}")
    if commit is None:
        raise Misconfigured(
            f"expected a folder, a revision of git or, where the command has {RELEASE}, a tag, got {wanted!r}: "
            f"there is no folder {folder}, and {base.resolve()} knows no such revision"
        )
    return Source(wanted, "git:" + commit, _laid_out(base, commit, releases))


def digest_of(folder: Path, *, files_max: int = FILES_MAX) -> str:
    """What a folder holds, in few letters: names and contents of its files, and nothing of when they were written.

    Args:
        folder: Looked through, but for what is left out.
        files_max: How many files it may hold.

    Raises:
        Misconfigured: It holds more.
    """
    whole = hashlib.blake2b(digest_size=16)
    for count, path in enumerate(_files(folder), 1):
        if count > files_max:
            raise Misconfigured(f"expected the folder of a release, got {folder} with more than {files_max:,} files")
        whole.update(os.fsencode(path.relative_to(folder)) + b"\0")
        if path.is_symlink():
            whole.update(b"l" + os.fsencode(path.readlink()))
            continue
        one = hashlib.blake2b(digest_size=16)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                one.update(chunk)
        whole.update((b"x" if os.access(path, os.X_OK) else b"f") + one.digest())
    return "files:" + whole.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder, in an order that does not depend on the disk."""
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            if entry.name not in LEFT_OUT:
                yield from _files(entry)
        elif entry.is_symlink() or entry.is_file():
            yield entry


def _laid_out(base: Path, commit: str, releases: Path) -> Path:
    """The part of a revision that belongs to a folder, in a folder of its own; the same one each time."""
    prefix = (_git(base, "rev-parse", "--show-prefix") or "").rstrip("/")
    top = Path(_git(base, "rev-parse", "--show-toplevel") or base)
    name = commit[:12] + (f"-{hashlib.blake2b(prefix.encode(), digest_size=4).hexdigest()}" if prefix else "")
    place = releases.resolve() / name
    if place.is_dir():
        return place
    releases.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".laying-", dir=releases) as folder:
        files = Path(folder) / "files"
        files.mkdir()
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        for words in (
            ("read-tree", f"{commit}:{prefix}"),
            ("checkout-index", "--all", f"--prefix={files.resolve()}/"),
        ):
            if _git(top, *words, environment=index) is None:
                raise Misconfigured(f"git cannot lay out {commit[:12]} of {base.resolve()}: `git {words[0]}` failed")
        with suppress(FileExistsError, OSError):
            files.rename(place)  # whoever else laid it out meanwhile has laid out the same
    if not place.is_dir():
        raise Misconfigured(f"{place} cannot be written")
    return place


def _git(directory: Path, *words: str, environment: dict[str, str] | None = None) -> str | None:
    """What git says; None where it fails, or is not there, or the folder is none."""
    git = shutil.which("git")
    if git is None or not directory.is_dir():
        return None
    try:
        done = subprocess.run(  # noqa: S603 - words of ours, and a revision that cannot be taken for an option
            [git, "-C", str(directory), *words],
            capture_output=True,
            check=False,
            timeout=GIT_SECONDS_MAX,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def _name_of(folder: Path) -> str:
    return folder.resolve().name
