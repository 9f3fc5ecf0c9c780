"""No acknowledged write is lost.

Whoever was told that something is stored finds it, after every crash and in the end. Two have been told: the caller of
a store, by the positions that its commit returned; and the caller of an operation, by a row with a revision, which
names the entry of the log that wrote it. Both are looked up in the `log` table of the file, by SQL of our own.

What may go: entries that were trimmed; and where commits do not wait for the disk (`synchronous=normal`), in a power
cut, the newest: all after some position, and none before. A disk that lies about its flushes (`LostFlush`) is no
excuse: that is then what this observer says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec

from hanse.contract.model import Resource, collection_of
from hanse.kernel.message import REPLY, Message
from hanse.service.service import descriptions_of
from hanse.sim.check import Observer
from hanse.sim.disk import File
from hanse.sim.observe.scene import Place, Scene, last_of, look, places_of, shown, trimmed_of
from hanse.store.base import Batch

Named = tuple[str, str]
"""A row: its collection, and its id."""

Written = Callable[[object], "tuple[Named, int] | None"]
"""What an answer says was written: the row, and its revision; None where it says nothing of that kind."""

_decode = msgspec.msgpack.Decoder().decode
_WRITES = ("create", "put", "patch")


class Told(msgspec.Struct):
    """What somebody was told of the log of one file.

    Attributes:
        ids: The message id of each entry, by its position.
        rows: The row that an entry wrote, by its position, as a reply named it.
    """

    ids: dict[int, str] = {}
    rows: dict[int, Named] = {}

    def __len__(self) -> int:
        return len(self.ids) + len(self.rows)

    @property
    def first(self) -> int:
        """The oldest position of all."""
        return min((*self.ids, *self.rows), default=0)

    def add(self, other: Told) -> None:
        """Somebody was told more."""
        self.ids |= other.ids
        self.rows |= other.rows

    def forget(self, after: int) -> None:
        """Expect no entry after a position any more."""
        self.ids = {seq: id for seq, id in self.ids.items() if seq <= after}
        self.rows = {seq: row for seq, row in self.rows.items() if seq <= after}


class Account(msgspec.Struct):
    """What was told of one file.

    Attributes:
        old: What was there when it was last looked.
        new: What was told since.
    """

    old: Told
    new: Told

    def close(self) -> Told:
        """All that was told; from now on it is old."""
        self.old.add(self.new)
        self.new = Told()
        return self.old


class Acknowledged(Observer):
    """Finds what was acknowledged and is gone."""

    name: str = "acknowledged"

    def __init__(self, scene: Scene) -> None:
        """Look on from the first commit."""
        self._scene = scene
        self._accounts: dict[tuple[str, str], Account] = {}
        self._answers = _answers(scene)

    def acknowledged(self, machine: str, path: str, batch: Batch, positions: tuple[int, ...]) -> None:
        """A store told its caller that a batch is stored."""
        ids = self._of(machine, path).new.ids
        for write, seq in zip(batch.writes, positions, strict=True):
            ids[seq] = write.message_id

    def said(self, source: str, target: str, message: Message, asked: Message | None) -> None:
        """An answer may say that a row was written."""
        if asked is None or message.kind is not REPLY or source not in self._scene.machines:
            return
        answer = self._answers.get(asked.address)
        if answer is None:
            return
        owner, written = answer
        found = written(_decode(message.body))
        if found is not None:
            self._named(owner, found, f"the answer to {asked.address} {asked.id}, told to {target},")

    def died(self, machine: str, *, dark: bool) -> None:
        """What was told has to be in the files that a process leaves."""
        for (name, path), account in self._accounts.items():
            file = self._scene.machines[name].disk.files.get(path) if name == machine else None
            if file is None:
                continue
            if not dark:
                # The end of a process is no danger to what was there when the one before it ended.
                new = account.new
                self._check(name, file, new, "after the end of its process")
                _ = account.close()
                continue
            told = account.close()
            if file.synchronous != "full":
                told.forget(last_of(file))
            self._check(name, file, told, "after the power cut")

    def finish(self) -> None:
        """What was told has to be there in the end."""
        for (machine, path), account in self._accounts.items():
            file = self._scene.machines[machine].disk.files.get(path)
            if file is not None:
                self._check(machine, file, account.close(), "in the end")

    def _of(self, machine: str, path: str) -> Account:
        account = self._accounts.get((machine, path))
        if account is None:
            account = self._accounts[machine, path] = Account(Told(), Told())
        return account

    def _named(self, owner: str, found: tuple[Named, int], where: str) -> None:
        """A reply names a row at a revision: the log has that entry already."""
        row, rev = found
        places = list(places_of(self._scene, owner))
        for place in places:
            if rev <= trimmed_of(place.file) or _row_at(place.file, rev) == row:
                self._of(place.machine.name, place.path).new.rows[rev] = row
                return
        if places:
            self._violate(f"{where} names {_text(row)} at {rev}, but {_found_at(places[0], rev)}")

    def _check(self, machine: str, file: File, told: Told, when: str) -> None:
        if not told:
            return
        log = look(file, "SELECT seq, message_id, name, id FROM log WHERE seq >= ?", told.first)
        ids = {seq: id for seq, id, _, _ in log}
        rows = {seq: (name, id) for seq, _, name, id in log}
        trimmed = trimmed_of(file)
        gone = {seq: id for seq, id in told.ids.items() - ids.items() if seq > trimmed}
        gone |= {seq: _text(row) for seq, row in told.rows.items() - rows.items() if seq > trimmed}
        if not gone:
            return
        named = shown([f"{seq} ({what})" for seq, what in sorted(gone.items())])
        self._violate(
            f"{file.path} on {machine} has lost what it had acknowledged, {when}: its log, which reaches to "
            f"{last_of(file)}, lacks {named}"
        )
        # Once is enough: the next look tells of what is lost from here on.
        told.ids = dict(told.ids.items() & ids.items())
        told.rows = dict(told.rows.items() & rows.items())

    def _violate(self, detail: str) -> None:
        self._scene.violate(self.name, detail)


def _answers(scene: Scene) -> dict[str, tuple[str, Written]]:
    """For each operation whose answers tell of writes: the service that owns the rows, and how to read an answer."""
    owners = scene.app.owners
    found: dict[str, tuple[str, Written]] = {}
    for kind, owner in owners.items():
        name = collection_of(kind)
        for verb in _WRITES:
            found[f"rows/{name}.{verb}"] = (owner.name, _reader(name, "id", "rev"))
    for part in scene.app.parts:
        for operation in (one for description in descriptions_of(part.cls) for one in description.operations.values()):
            result = cast("type[Resource]", operation.result)
            if result in owners and not operation.stream:
                names = dict(zip(result.__struct_fields__, result.__struct_encode_fields__, strict=True))
                reader = _reader(collection_of(result), names["id"], names["rev"])
                found[operation.address] = (owners[result].name, reader)
    return found


def _reader(collection: str, id_field: str, rev_field: str) -> Written:
    def written(answer: object) -> tuple[Named, int] | None:
        if not isinstance(answer, dict):
            return None
        values = cast("dict[str, object]", answer)
        id, rev = values.get(id_field), values.get(rev_field)
        return ((collection, id), rev) if isinstance(id, str) and isinstance(rev, int) and rev > 0 else None

    return written


def _row_at(file: File, seq: int) -> Named | None:
    return next(((name, id) for name, id in look(file, "SELECT name, id FROM log WHERE seq = ?", seq)), None)


def _found_at(place: Place, seq: int) -> str:
    row = _row_at(place.file, seq)
    reaches = f"the log of {place.name}, which reaches to {last_of(place.file)}"
    return f"there is no such entry in {reaches}" if row is None else f"that entry is of {_text(row)} in {reaches}"


def _text(row: Named) -> str:
    return f"{row[0]} {row[1]!r}"
