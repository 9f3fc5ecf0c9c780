"""The files of a world's services, read past all code that they belong to: for checks and observers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast, final

from hanse.contract.model import Resource, collection_of
from hanse.kernel.faults import Misconfigured
from hanse.service.shape import shape_of
from hanse.sim.disk import File
from hanse.sim.machine import Machine
from hanse.store.sqlite.query import table_name

R = TypeVar("R", bound=Resource)


@final
class Files:
    """What services keep on the disks of their machines."""

    def __init__(self, machines: Mapping[str, Machine]) -> None:
        """Look at the disks of some machines."""
        self._machines = machines
        self._seen: dict[type[Resource], tuple[object, list[Resource]]] = {}

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
        if seen is None or seen[0] != state:
            seen = self._seen[kind] = (state, cast("list[Resource]", _rows(file, kind)))
        return cast("list[R]", [*seen[1]])


def _rows(file: File, kind: type[R]) -> list[R]:
    table = table_name(collection_of(kind))
    there = file.connection.execute("SELECT 1 FROM pragma_table_list WHERE name = ?", (table.strip('"'),))
    if not there.fetchall():
        # The service has not opened it yet.
        return []
    read = shape_of(kind).read
    found = file.connection.execute(f"SELECT id, rev, CAST(value AS BLOB) FROM {table} ORDER BY id").fetchall()  # noqa: S608
    return [read(value, id, rev) for id, rev, value in found]
