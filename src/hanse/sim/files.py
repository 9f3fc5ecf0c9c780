"""The files of a world's services, read past all code that they belong to: for checks and observers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast, final

from hanse.contract.model import Resource, collection_of
from hanse.kernel.faults import Misconfigured
from hanse.kernel.settings import Settings
from hanse.node.stores import store_url
from hanse.service.shape import shape_of
from hanse.sim.disk import File
from hanse.sim.machine import Machine
from hanse.store.sqlite.query import table_name
from hanse.store.sqlite.url import parse_url

R = TypeVar("R", bound=Resource)


@final
class Files:
    """What services keep on the disks of their machines."""

    def __init__(self, machines: Mapping[str, Machine], settings: Settings) -> None:
        """Look at the disks of some machines, whose services have the stores of some settings."""
        self._machines = machines
        self._settings = settings
        self._paths: dict[str, str] = {}
        self._seen: dict[type[Resource], tuple[object, list[Resource]]] = {}

    def path_of(self, service: str) -> str:
        """The file of a service, by its name, on the disk of its machine; empty where its store is none."""
        path = self._paths.get(service)
        if path is None:
            wanted = self._settings.services.get(service)
            url = (wanted.store if wanted else "") or store_url(self._settings.node.store, service)
            path = self._paths[service] = parse_url(url).path if url.startswith("sqlite:") else ""
        return path

    def of(self, service: str) -> File | None:
        """The file of a service; None as long as there is none.

        Raises:
            Misconfigured: The service keeps its rows in no file.
        """
        path = self.path_of(service)
        if not path:
            raise Misconfigured(f"{service} keeps its rows in memory, where no check can look; give it a sqlite: store")
        machine = next((one for one in self._machines.values() if service in one.services), None)
        return None if machine is None else machine.disk.files.get(path)

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
