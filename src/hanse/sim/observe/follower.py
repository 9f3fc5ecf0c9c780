"""One reader of a collection's feed: reads it as any service would, and holds what it is told against the log.

It leaves now and then, by a draw, and comes back with the cursor that it has; its connection breaks with the process at
the other end. From the moment that it has a cursor it expects each entry of the collection once, in order, and each as
the log has it. That it has to start anew (`Reset`) is right only where its cursor leads nowhere any more.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast, final

import msgspec

from hanse.contract.model import Resource, collection_of
from hanse.kernel.closing import closing
from hanse.kernel.codec import encode_json
from hanse.kernel.faults import Fault
from hanse.mesh.client import Caller
from hanse.node.app import Part
from hanse.node.hosted import rows_client
from hanse.service.change import Created, Deleted, Existing, Followed, Ready, Reset, Updated
from hanse.service.remote import RemoteCollection
from hanse.sim.chance import Draws
from hanse.sim.check import told_of
from hanse.sim.disk import File
from hanse.sim.observe.scene import Place, Scene, last_of, look, places_of, shown, trimmed_of
from hanse.store.sqlite.query import table_name

LEAVES = 0.05
"""Share of the changes after which a reader leaves."""

LEAVES_EARLY = 0.25
"""Share of the snapshots that a reader leaves before they are complete."""

EARLY_ROWS_MAX = 100
"""Rows after which it does, at most: somebody who never hears of all rows cannot miss any."""

AWAY_SECONDS_MAX = 3.0
"""How long it stays away at most."""

_ENTRIES = "SELECT seq, op, id FROM log WHERE name = ? AND op <> 'emitted' AND seq > ?"
_HEAD = "SELECT max(coalesce((SELECT max(seq) FROM log), 0), (SELECT value FROM meta WHERE name = 'base'))"
_REACHES = (
    "SELECT 1 FROM meta AS id, meta AS trimmed "
    "WHERE id.name = 'log_id' AND id.value = ? AND trimmed.name = 'trimmed' AND trimmed.value < ?"
)
_json = msgspec.json.Decoder(dict[str, object]).decode


class Spot(msgspec.Struct, frozen=True):
    """A cursor, taken apart: a log, and a position in it."""

    log_id: str
    seq: int

    @staticmethod
    def of(cursor: str) -> Spot:
        """Where a cursor stands."""
        log_id, _, seq = cursor.rpartition(".")
        return Spot(log_id, int(seq))


@final
class Follower:
    """Reads the feed of one collection for as long as the world lasts.

    Attributes:
        name: Of the collection.
        picture: The rows, as it was told of them.
        spot: Where its cursor stands; None where it has none.
    """

    def __init__(self, scene: Scene, kind: type[Resource], caller: Caller, violate: Callable[[str], None]) -> None:
        """Get ready; `run` reads.

        Args:
            scene: The world.
            kind: The resource, as the app has it.
            caller: Makes the calls.
            violate: Told of what does not hold.
        """
        self.name: str = collection_of(kind)
        self.picture: dict[str, Resource] = {}
        self.spot: Spot | None = None
        self._scene = scene
        self._kind = kind
        self._part: Part = scene.app.owners[kind]
        self._rows = rows_client(kind, caller)
        self._violate = violate
        self._draws = Draws(scene.seed, "feed", self.name)
        self._cursor: str | None = None
        self._live = False

    @property
    def place(self) -> Place | None:
        """The owner's file."""
        return next(places_of(self._scene, self._part.name), None)

    async def run(self) -> None:
        """Read, leave, come back, for ever."""
        while True:
            try:
                # Whoever serves it has gone away, or will say the same again: ask later.
                with suppress(Fault):
                    await self._read()
            except Exception as error:  # noqa: BLE001 - whatever it is that no reader can read
                self._violate(f"the feed of {self.name} cannot be read after {self._at()}: {told_of(error)}")
                return
            await asyncio.sleep(self._draws.between(0.0, AWAY_SECONDS_MAX))

    async def _read(self) -> None:
        self._live = self._cursor is not None
        if not self._live:
            self.picture, self.spot = {}, None
        early = self._draws.draw() < LEAVES_EARLY
        rest = int(self._draws.between(1, EARLY_ROWS_MAX)) if early else math.inf
        rows: RemoteCollection[Any] = RemoteCollection(self._version(), self._rows)
        async with closing(rows.follow(after=self._cursor)) as items:
            async for item in items:
                self._hear(item)
                rest -= 1
                if (self._draws.draw() < LEAVES) if self._live else rest <= 0:
                    return

    def _version(self) -> type[Resource]:
        """The resource as the owner has it now: a later version of the app may have changed it."""
        place = self.place
        kinds = () if place is None else place.machine.app.owners
        return next((kind for kind in kinds if collection_of(kind) == self.name), self._kind)

    def _hear(self, item: Followed[Resource]) -> None:
        match item:
            case Existing(value=row):
                if self._live:
                    self._violate(f"the feed of {self.name} tells of {row.id!r} as existing after {self._at()}")
                self.picture[row.id] = row
            case Ready(cursor=cursor):
                self._cursor, self.spot, self._live = cursor, Spot.of(cursor), True
            case Reset():
                self._check_reset()
                self.picture, self.spot, self._cursor, self._live = {}, None, None, False
            case Created(after=row) | Updated(after=row):
                self._change(item, "updated" if isinstance(item, Updated) else "created", row)
                self.picture[row.id] = row
            case Deleted(before=row):
                self._change(item, "deleted", row)
                _ = self.picture.pop(row.id, None)

    def _change(self, item: Created[Resource] | Updated[Resource] | Deleted[Resource], op: str, row: Resource) -> None:
        spot, place = Spot.of(item.cursor), self.place
        if place is not None and _reaches(place.file, spot) and not _lost(place.file, spot):
            self._check_change(place, spot, op, row)
        self._cursor, self.spot = item.cursor, spot

    def _check_change(self, place: Place, spot: Spot, op: str, row: Resource) -> None:
        """The next entry of the collection is what was told, and nothing is left out before it."""
        told = f"the feed of {self.name} told of {row.id!r}, {op} at {spot.seq},"
        was = self.spot
        if was is None or not self._live:
            # What came while the rows were read: whoever reads them has some of it already, and is not told again.
            if not look(place.file, f"{_ENTRIES} AND seq = ? AND id = ?", self.name, 0, spot.seq, row.id):
                self._violate(f"{told} and the log of {place.name} has no such entry")
            return
        if was.log_id != spot.log_id:
            self._violate(f"{told} after {self._at()} in another log, without a Reset")
        elif spot.seq <= was.seq:
            self._violate(f"{told} after {self._at()}: again, or in another order than the log's")
        else:
            due = look(place.file, f"{_ENTRIES} AND seq <= ? ORDER BY seq", self.name, was.seq, spot.seq)
            if due != [(spot.seq, op, row.id)]:
                expected = shown([f"{id!r}, {kind} at {seq}" for seq, kind, id in due]) or "nothing"
                self._violate(f"{told} after {self._at()}; the log of {place.name} has {expected}")

    def _check_reset(self) -> None:
        place, was = self.place, self.spot
        if place is None or was is None:
            return
        ((head,),) = look(place.file, _HEAD)
        if _log_id(place.file) == was.log_id and trimmed_of(place.file) <= was.seq <= head:
            self._violate(
                f"the feed of {self.name} starts anew, and {self._at()} is still in the log of {place.name}: "
                f"it is trimmed up to {trimmed_of(place.file)}, and reaches to {head}"
            )

    @property
    def astray(self) -> bool:
        """Whether it was told of a log that is not the file's any more, and has not come back to learn that."""
        place, was = self.place, self.spot
        return place is not None and was is not None and was.log_id != _log_id(place.file)

    def behind(self, upto: int | None = None) -> list[int]:
        """Positions of the entries that it was not told of, up to one; of all that there are, where none is given."""
        place = self.place
        if place is None:
            return []
        known = -1 if self.spot is None or self.spot.log_id != _log_id(place.file) else self.spot.seq
        seqs = [seq for seq, _, _ in look(place.file, _ENTRIES, self.name, known)]
        return [seq for seq in seqs if upto is None or seq <= upto]

    def differences(self) -> list[str]:
        """What is in the rows and not in its picture of them, or is there in another way."""
        place = self.place
        if place is None:
            return []
        statement = f"SELECT id, rev, CAST(value AS BLOB) FROM {table_name(self.name)} ORDER BY id"  # noqa: S608
        stored = {id: (rev, value) for id, rev, value in look(place.file, statement)}
        found = [f"{id!r}, which is no row" for id in self.picture if id not in stored]
        for id, (rev, value) in stored.items():
            row = self.picture.get(id)
            if row is None:
                found.append(f"nothing of the row {id!r} at {rev}")
            elif row.rev != rev:
                found.append(f"{id!r} at {row.rev}, not at {rev}")
            elif not _alike(_json(encode_json(row)), _json(value)):
                found.append(f"{id!r} as {encode_json(row).decode()}, not {value.decode()}")
        return found

    def _at(self) -> str:
        return "the beginning" if self.spot is None else f"position {self.spot.seq}"


def _reaches(file: File, spot: Spot) -> bool:
    """Whether a file's log is the one of a spot, and not trimmed beyond it."""
    return bool(look(file, _REACHES, spot.log_id, spot.seq))


def _lost(file: File, spot: Spot) -> bool:
    """Whether a power cut took what a spot stands for, after it was told: it may, where commits are not flushed."""
    return file.synchronous != "full" and spot.seq > last_of(file)


def _log_id(file: File) -> str:
    return next((str(value) for (value,) in look(file, "SELECT value FROM meta WHERE name = 'log_id'")), "")


def _alike(one: dict[str, object], other: dict[str, object]) -> bool:
    """Whether two rows say the same, as far as both versions of them know the fields; their revisions count alone."""
    return all(_plain(one[name]) == _plain(other[name]) for name in one.keys() & other.keys() - {"id", "rev"})


def _plain(value: object) -> object:
    """A value whose lists go by what is in them: those of a set come in any order."""
    if isinstance(value, list):
        return sorted(repr(_plain(item)) for item in cast("list[object]", value))
    if isinstance(value, dict):
        return sorted((name, repr(_plain(item))) for name, item in cast("dict[str, object]", value).items())
    return value
