"""The files of a world's services, read past all code that they belong to: for checks and observers."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, TypeVar, cast, final

import msgspec

from hanse.contract.model import Resource, collection_of
from hanse.kernel.faults import Misconfigured
from hanse.node.app import Part
from hanse.service.replicated import ReplicaShape, replica_schemas
from hanse.service.shape import Shape, shape_of
from hanse.sim.disk import File
from hanse.sim.machine import Machine
from hanse.store.sqlite.query import table_name

R = TypeVar("R", bound=Resource)
_Known = tuple[int, bytes, Resource]
"""A row: its revision, its bytes, and what they say."""


class _Seen(msgspec.Struct, frozen=True):
    """What was seen of a collection at the last look, and in what state the file was."""

    state: object
    known: dict[str, _Known]
    rows: list[Resource]


@final
class Files:
    """What services keep on the disks of their machines."""

    def __init__(self, machines: Mapping[str, Machine]) -> None:
        """Look at the disks of some machines."""
        self._machines = machines
        self._seen: dict[tuple[str, str], _Seen] = {}
        """By the name of the service, and that of the collection."""

    def path_of(self, service: str) -> str:
        """The file of a service, by its name, on the disk of its machine; empty where its store is none.

        What a fake has taken the place of has none.
        """
        machine = self._machine_of(service)
        return "" if machine is None else machine.path_of(service)

    def of(self, service: str) -> File | None:
        """The file of a service; None as long as there is none.

        Raises:
            Misconfigured: The service keeps its rows in no file.
        """
        machine = self._machine_of(service)
        if machine is None:
            return None
        path = machine.path_of(service)
        if not path:
            raise Misconfigured(f"{service} keeps its rows in memory, where no check can look; give it a sqlite: store")
        return machine.disk.files.get(path)

    def _machine_of(self, service: str) -> Machine | None:
        return next((one for one in self._machines.values() if service in one.services), None)

    def rows(self, service: str, kind: type[R], collection: str = "", shape: Shape[R] | None = None) -> list[R]:
        """The rows of a resource, by id, as they stand in the file of a service.

        Args:
            service: Its name.
            kind: What they are read as.
            collection: Where they are; by default that of the resource.
            shape: How they are read, where it is not as of an owner.
        """
        collection = collection or collection_of(kind)
        file = self.of(service)
        if file is None:
            return []
        # Checks look after each commit, mostly at rows that it did not touch.
        state = (file.connection, file.connection.total_changes)
        seen = self._seen.get((service, collection))
        if seen is None or seen.state != state:
            known = _rows(file, collection, shape or shape_of(kind), {} if seen is None else seen.known)
            seen = self._seen[service, collection] = _Seen(state, known, [row for _, _, row in known.values()])
        return cast("list[R]", [*seen.rows])

    def copied(self, part: Part, kind: type[R]) -> list[R]:
        """The rows of a replica, by id, as they stand in the file of the service that has it.

        Raises:
            Misconfigured: It has none that is read as this.
        """
        for field in part.fields:
            if field.replica is not None and field.replica.kind is kind:
                name = replica_schemas(field.name, field.replica)[0].name
                return self.rows(part.name, kind, name, ReplicaShape(kind, name))
        raise Misconfigured(f"{part.name} has no Replica[{kind.__name__}]; leave `of` out for the rows of their owner")


def _rows(file: File, collection: str, shape: Shape[Any], known: Mapping[str, _Known]) -> dict[str, _Known]:
    """The rows by id; one that says what it said before is not decoded anew."""
    try:
        statement = f"SELECT id, rev, CAST(value AS BLOB) FROM {table_name(collection)} ORDER BY id"  # noqa: S608
        found: list[tuple[str, int, bytes]] = file.connection.execute(statement).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        # The service has not opened it yet.
        return {}
    read, rows = shape.read, dict[str, _Known]()
    for id, rev, value in found:
        row = known.get(id)
        if row is None or row[0] != rev or row[1] != value:
            row = (rev, value, read(value, id, rev))
        rows[id] = row
    return rows
