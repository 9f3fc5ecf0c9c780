"""The files of a world's services, read past all code that they belong to: for checks and observers."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import TypeVar, cast, final

import msgspec

from hanse.contract.model import Resource, collection_of
from hanse.kernel.faults import Misconfigured
from hanse.service.shape import shape_of
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
        self._seen: dict[type[Resource], _Seen] = {}

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

    def rows(self, service: str, kind: type[R]) -> list[R]:
        """The rows of a resource, by id, as they stand in the file of the service that owns them."""
        file = self.of(service)
        if file is None:
            return []
        # Checks look after each commit, mostly at rows that it did not touch.
        state = (file.connection, file.connection.total_changes)
        seen = self._seen.get(kind)
        if seen is None or seen.state != state:
            known = _rows(file, kind, {} if seen is None else seen.known)
            seen = self._seen[kind] = _Seen(state, known, [row for _, _, row in known.values()])
        return cast("list[R]", [*seen.rows])


def _rows(file: File, kind: type[Resource], known: Mapping[str, _Known]) -> dict[str, _Known]:
    """The rows by id; one that says what it said before is not decoded anew."""
    try:
        statement = f"SELECT id, rev, CAST(value AS BLOB) FROM {table_name(collection_of(kind))} ORDER BY id"  # noqa: S608
        found: list[tuple[str, int, bytes]] = file.connection.execute(statement).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        # The service has not opened it yet.
        return {}
    read, rows = shape_of(kind).read, dict[str, _Known]()
    for id, rev, value in found:
        row = known.get(id)
        if row is None or row[0] != rev or row[1] != value:
            row = (rev, value, read(value, id, rev))
        rows[id] = row
    return rows
