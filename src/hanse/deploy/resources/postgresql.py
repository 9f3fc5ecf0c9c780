"""What PostgreSQL wants before it starts the first time: a user who is not root, and files that only it can make."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hanse.control.servers import USER, Place, Program, as_account, database_of
from hanse.kernel.faults import CouldNotStart

MAKE_SECONDS_MAX = 120.0
"""How long a program may take to make the first files."""

PASSED_MODE = 0o711
"""Of folders through which another user reaches its own, and in which it sees nothing else."""

ACCOUNT = "postgres"
"""Whom it runs as where this process is root, as which it refuses to run."""


def account_for(name: str, folder: Path, account: str = ACCOUNT) -> str:
    """Whom a server runs as, where that is not this user; folders that are only ours let that user through.

    Args:
        name: Of the resource.
        folder: All that it keeps.
        account: Who that is, where this process is root.

    Raises:
        CouldNotStart: It may not run as this user, and there is no other who could.
    """
    if os.geteuid() != 0:
        return ""
    begin = f"resources.{name}: PostgreSQL does not run as root"
    if shutil.which(as_account(account)[0]) is None:
        raise CouldNotStart(f"{begin}, and there is no setpriv (util-linux) to run it as another user")
    try:
        _ = pwd.getpwnam(account)
    except KeyError:
        told = f"{begin}, and this machine has no user {account}"
        raise CouldNotStart(f"{told}: useradd --system {account}, or start this as another user") from None
    for one in _ours(folder):
        one.chmod(PASSED_MODE)
    if closed := closed_to(account, folder):
        advice = f"set resources.{name}.directory to one that it can, or start this as another user"
        raise CouldNotStart(f"{begin}, and user {account} cannot reach {folder}, as {closed} is closed; {advice}")
    return account


def closed_to(account: str, path: Path) -> str:
    """What keeps a user from a file or folder; empty where nothing does, or where this very user is meant."""
    if not account:
        return ""
    user = pwd.getpwnam(account)
    passed = (path, *path.parents, *path.resolve().parents)
    return next((str(one) for one in passed if not _lets_in(one, user)), "")


def reachable(name: str, account: str, programs: Sequence[Program]) -> Sequence[Program]:
    """Those of the programs that a user can run; all where this very user is meant.

    Raises:
        CouldNotStart: There are some, and none of these.
    """
    closed = [closed_to(account, Path(one.path)) for one in programs]
    if programs and all(closed):
        raise CouldNotStart(
            f"resources.{name}: user {account} cannot reach {programs[0].path}, as {closed[0]} is closed; "
            f"install one for all users of this machine, or start this as another user"
        )
    return [one for one, why in zip(programs, closed, strict=True) if not why]


def _ours(folder: Path) -> tuple[Path, ...]:
    """The folder, and those above it that were made for it."""
    parents = folder.parents
    return (folder, *parents[: next((at + 1 for at, one in enumerate(parents) if one.name == ".hanse"), 0)])


def _lets_in(path: Path, account: pwd.struct_passwd) -> bool:
    found = path.stat()
    group = found.st_gid in os.getgrouplist(account.pw_name, account.pw_gid)
    bits = 0o100 if found.st_uid == account.pw_uid else 0o010 if group else 0o001
    return bool(found.st_mode & bits)


def make(place: Place, program: Program) -> None:
    """Make what a server keeps, with one user, and one database of the name of the resource.

    Raises:
        CouldNotStart: It could not be made; says why.
    """
    data = Path(place.data)
    beside, word = data.with_name("data.new"), data.with_name("word")
    with suppress(FileNotFoundError):
        shutil.rmtree(beside)
    beside.mkdir(mode=0o700)
    word.touch(mode=0o600)
    _ = word.write_text(place.password)
    if place.account:
        for one in (beside, word):
            shutil.chown(one, place.account)
    file = Path(program.path)
    # Beside it, or beside what it is a link to.
    programs = next((one for one in (file.parent, file.resolve().parent) if (one / "initdb").exists()), file.parent)
    users = ("--username", USER, "--pwfile", str(word), "--auth", "scram-sha-256")
    _run(place, str(programs / "initdb"), "-D", str(beside), "--encoding", "UTF8", "--no-locale", *users)
    word.unlink()
    if database_of(place.name) == place.name:
        _run(place, program.path, "--single", "-D", str(beside), "postgres", said=f'CREATE DATABASE "{place.name}"\n')
    _ = beside.rename(data)


def _run(place: Place, *command: str, said: str = "") -> None:
    failed = f"resources.{place.name}: {Path(command[0]).name} could not make {place.data}"
    try:
        done = subprocess.run(  # noqa: S603 - a program that was found under the name of a server
            [*as_account(place.account), *command],
            input=said,
            cwd=place.folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=MAKE_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired:
        raise CouldNotStart(f"{failed} in {MAKE_SECONDS_MAX:g} s") from None
    except OSError as error:
        raise CouldNotStart(f"{failed}: {error.strerror or error}") from None
    if done.returncode or "ERROR:" in done.stderr:
        raise CouldNotStart(f"{failed}: {done.stderr.strip() or f'exit code {done.returncode}'}")
