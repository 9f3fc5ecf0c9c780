"""Makes what a server needs before it is started the first time: its folder, port, password and first files.

Once made, they are kept, so that services find the same server with the same data at the same place each time.
Nothing is made half: what takes a while is made beside its place, and then gets that name.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from hanse.control.desired import Desired
from hanse.control.resources import checked
from hanse.control.servers import (
    HOST,
    Kind,
    Place,
    Program,
    Version,
    chosen,
    configuration,
    desired_command,
    desired_server,
    served_at,
    url_of,
)
from hanse.deploy.resources import postgresql
from hanse.deploy.resources.programs import installed
from hanse.kernel.faults import CouldNotStart
from hanse.kernel.host import Host
from hanse.kernel.settings import ResourceSettings

PORTS = range(20_000, 32_000)
"""Those that are taken: below the ones that the system gives to connections."""

PORT_TRIES_MAX = 200
"""Ports that are tried; then the machine has none to give."""

PASSWORD_BYTES = 16

KEPT = "kept.json"
FOLDER_MODE, FILE_MODE = 0o700, 0o600


class Ready(msgspec.Struct, frozen=True):
    """A server that can be started.

    Attributes:
        name: Of the resource.
        url: Where it will be.
        desired: What starts it.
        told: What was made, in words; empty where all was there.
    """

    name: str
    url: str
    desired: Desired
    told: str = ""


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a server, beside what it keeps itself."""

    port: int
    password: str
    version: Version | None = None


def prepare(
    resources: Mapping[str, ResourceSettings], project: Path, host: Host, *, running: Collection[str] = ()
) -> list[Ready]:
    """Make the servers that have to be started ready for that; those that are elsewhere are left out.

    Whoever calls this has the lock of the folder, so that nobody else does the same.

    Args:
        resources: As the settings have them.
        project: The folder of the settings.
        host: Whose chance gives ports and passwords.
        running: Names of those that run now, whose ports are theirs.

    Raises:
        Misconfigured: One cannot be.
        CouldNotStart: Something is missing on this machine; says what to do.
    """
    return [
        _prepared(name, resource, _folder(name, resource, project), host, name in running)
        for name, resource in checked(resources).items()
    ]


def _prepared(name: str, resource: ResourceSettings, folder: Path, host: Host, runs: bool) -> Ready:  # noqa: FBT001
    kept = _read(name, folder)
    _make_folders(name, folder)
    port = _port(name, resource, kept, host, runs)
    place = Place(name, str(folder), port, kept.password if kept else host.entropy(PASSWORD_BYTES).hex())
    if resource.command or not resource.kind:
        _keep(folder, _Kept(port, place.password))
        return Ready(name, served_at(resource, place), desired_command(resource, place))
    if resource.kind == "postgresql":
        if kept is None and Path(place.data).exists():
            raise CouldNotStart(
                f"resources.{name}: there is {place.data}, but not {KEPT} beside it, which has its password; bring "
                f"that back, or move the folder away to begin anew"
            )
        place = replace(place, account=postgresql.account_for(name, folder))
    programs = postgresql.reachable(name, place.account, installed(resource.kind))
    program = chosen(name, resource.kind, programs, _version(resource.kind, place, kept))
    _keep(folder, _Kept(port, place.password, program.version))
    told = _made(resource.kind, place, program)
    file, text = configuration(resource.kind, place)
    if file:
        _write(folder / file, text.encode())
    return Ready(name, url_of(resource.kind, place), desired_server(resource.kind, place, program), told)


def _made(kind: Kind, place: Place, program: Program) -> str:
    """Make the folder of what a server keeps, where there is none yet; says what was made."""
    data = Path(place.data)
    if data.exists():
        return ""
    if kind == "postgresql":
        postgresql.make(place, program)
    else:
        data.mkdir(mode=FOLDER_MODE)
    return f"made {data} for {program.version}"


# What is kept


def _folder(name: str, resource: ResourceSettings, project: Path) -> Path:
    return (project / (resource.directory or f".hanse/resources/{name}")).absolute()


def _read(name: str, folder: Path) -> _Kept | None:
    file = folder / KEPT
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Kept)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        problem = f"resources.{name}: cannot read {file}: {error}; "
        raise CouldNotStart(f"{problem}bring it back from a backup, or move {folder} away to begin anew") from None


def _keep(folder: Path, kept: _Kept) -> None:
    _write(folder / KEPT, msgspec.json.encode(kept))


def _write(file: Path, data: bytes) -> None:
    """Write all of a file or nothing, for this user alone."""
    beside = file.with_suffix(".new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb") as opened:  # noqa: PTH123 - its mode
        _ = opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    _ = beside.replace(file)


def _make_folders(name: str, folder: Path) -> None:
    try:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir(mode=FOLDER_MODE, exist_ok=True)
        ignored = folder.parent.parent / ".gitignore"
        if folder.parent.parent.name == ".hanse" and not ignored.exists():
            _ = ignored.write_text("*\n")
    except OSError as error:
        raise CouldNotStart(
            f"resources.{name}: cannot make {folder}: {error.strerror or error}; see who owns it, or set "
            f"resources.{name}.directory"
        ) from None


def _version(kind: Kind, place: Place, kept: _Kept | None) -> Version | None:
    """By which version what is there was written."""
    if kind != "postgresql":
        return kept.version if kept else None
    try:
        return Version("PostgreSQL", (int((Path(place.data) / "PG_VERSION").read_text()),))
    except (OSError, ValueError):
        return None


# Ports


def _port(name: str, resource: ResourceSettings, kept: _Kept | None, host: Host, runs: bool) -> int:  # noqa: FBT001
    if resource.port:
        if not runs and not _is_free(resource.port):
            raise CouldNotStart(
                f"resources.{name}.port: somebody listens on {resource.port} already; end that, or leave `port` away"
            )
        return resource.port
    if kept and (runs or _is_free(kept.port)):
        return kept.port
    for _ in range(PORT_TRIES_MAX):
        port = host.chance.choice(PORTS)
        if _is_free(port):
            return port
    raise CouldNotStart(f"resources.{name}: found no free port of {PORT_TRIES_MAX}; name one: resources.{name}.port")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False
