"""What observers see of a world: its app, its files, its clock; and where they tell what they found."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from hanse.node.app import App
from hanse.sim.disk import File
from hanse.sim.lane import Lane
from hanse.sim.loop import Loop
from hanse.sim.machine import Machine
from hanse.sim.network import Network
from hanse.sim.twin import Medium

SHOWN_MAX = 10
"""Things that one violation names."""


class Scene(Protocol):
    """A world, as observers see it; see `hanse.sim.world.World`."""

    @property
    def app(self) -> App:
        """The services."""
        ...

    @property
    def seed(self) -> int:
        """Decides what is left to chance."""
        ...

    @property
    def loop(self) -> Loop:
        """The clock."""
        ...

    @property
    def net(self) -> Network:
        """The network."""
        ...

    @property
    def medium(self) -> Medium:
        """What carries the messages."""
        ...

    @property
    def machines(self) -> Mapping[str, Machine]:
        """By name."""
        ...

    @property
    def onlookers(self) -> list[Lane]:
        """Processes of observers; who starts one adds it, so that it ends with the world."""
        ...

    def path_of(self, service: str) -> str:
        """The file of a service, by its name."""
        ...

    def violate(self, check: str, detail: str) -> None:
        """Something does not hold."""
        ...


class Place(msgspec.Struct, frozen=True):
    """A file of a service: on which machine, and under which path."""

    machine: Machine
    path: str
    file: File

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.path} on {self.machine.name}"


def places_of(scene: Scene, service: str) -> Iterator[Place]:
    """The files that a service has now; none where it keeps its rows in memory, or a fake has taken its place."""
    for machine in scene.machines.values():
        if service in machine.services:
            path = machine.path_of(service)
            file = machine.disk.files.get(path)
            if file is not None:
                yield Place(machine, path, file)


def look(file: File, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows that a statement of our own finds in a file; none where it lacks the table, as a new file does."""
    try:
        found: list[tuple[Any, ...]] = file.connection.execute(statement, values).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        return []
    return found


def last_of(file: File) -> int:
    """Position of the newest entry in a file's log; 0 where there is none."""
    return max((seq or 0 for (seq,) in look(file, "SELECT max(seq) FROM log")), default=0)


def trimmed_of(file: File) -> int:
    """Position up to which entries of a file's log were forgotten, because they were old."""
    return max((seq for (seq,) in look(file, "SELECT value FROM meta WHERE name = 'trimmed'")), default=0)


def shown(items: Sequence[str], most: int = SHOWN_MAX) -> str:
    """Some of many, for a violation.

    Example:
        >>> shown(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return f"{', '.join(items[:most])}{more}"
