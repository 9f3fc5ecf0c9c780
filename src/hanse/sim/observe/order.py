"""Messages of one key are handled in order, and none overtakes one that was parked.

The order is that of the log that told of them; the key is what their envelope says on the wire; and that a message was
handled shows as the mark that is committed with its effects. So the marks of one group, for one key and one log,
have to be committed in the order of the log. While a dead letter of a key is there, what follows is parked behind it,
unless the subscription lets it pass.

Methods that share a group are left out: each has a key of its own, and whichever is first handles the message.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from hanse.delivery.deadletter import DEAD_LETTERS
from hanse.kernel.message import EVENT, Message
from hanse.node.app import App
from hanse.service.reaction import On
from hanse.service.service import reactions_of
from hanse.sim.check import Observer
from hanse.sim.observe.per_app import per_app
from hanse.sim.observe.scene import Scene, look
from hanse.store.base import Batch, Delete, Mark, Put
from hanse.store.sqlite.query import table_name

Where = tuple[str, str]
"""A file: its machine, and its path."""

About = tuple[str, str, Where | None]
"""What is parked, or handled: for which group, of which key, told by which log."""

_LETTERS = f"SELECT id FROM {table_name(DEAD_LETTERS)}"  # noqa: S608 - a name of ours
_letter = msgspec.json.Decoder(dict[str, object]).decode


class Order(Observer):
    """Finds messages that were handled before others of their key that came first."""

    name: str = "order"

    def __init__(self, scene: Scene) -> None:
        """Look on from the first commit."""
        self._scene = scene
        self._entries: dict[str, tuple[Where, int]] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._last: dict[tuple[Where, str, Where, str], tuple[int, str]] = {}
        self._parked: dict[Where, dict[str, About]] = {}

    def said(self, source: str, target: str, message: Message, asked: Message | None) -> None:
        """An event is delivered: its envelope says what it is in order with."""
        del source, asked
        key = message.headers.key
        if key and message.kind is EVENT and target in self._scene.machines:
            group = _groups_of(self._scene.machines[target].app).get(message.address)
            if group is not None:
                self._keys[group, message.id] = key

    def committed(self, machine: str, path: str, batch: Batch, positions: tuple[int, ...]) -> None:
        """A mark says that a message was handled, or parked; whichever it is, its turn has come."""
        where = (machine, path)
        for write, seq in zip(batch.writes, positions, strict=True):
            self._entries[write.message_id] = (where, seq)
        parks = self._note_letters(where, batch)
        for mark in batch.marks:
            key, entry = self._keys.get((mark.scope, mark.key)), self._entries.get(mark.key)
            if key is not None and entry is not None:
                self._check_turn(where, mark, key, entry)
                if not parks and mark.scope not in _passing(self._scene.machines[machine].app):
                    self._check_parked(where, mark, (mark.scope, key, entry[0]))

    def died(self, machine: str, *, dark: bool) -> None:
        """What a power cut took has not happened."""
        if not dark:
            return
        self._last = {spot: last for spot, last in self._last.items() if spot[0][0] != machine}
        for where, letters in self._parked.items():
            file = self._scene.machines[machine].disk.files.get(where[1]) if where[0] == machine else None
            if file is not None:
                left = {id for (id,) in look(file, _LETTERS)}
                self._parked[where] = {id: about for id, about in letters.items() if id in left}

    def _check_turn(self, where: Where, mark: Mark, key: str, entry: tuple[Where, int]) -> None:
        log, seq = entry
        spot = (where, mark.scope, log, key)
        last, last_id = self._last.get(spot, (0, ""))
        if seq < last:
            self._violate(
                f"{mark.scope} has handled {mark.key}, entry {seq} of {log[1]} on {log[0]}, after {last_id}, entry "
                f"{last}: both are of the key {key!r}, and this is not the order of the log"
            )
        else:
            self._last[spot] = (seq, mark.key)

    def _check_parked(self, where: Where, mark: Mark, about: About) -> None:
        before = [id for id, parked in self._parked.get(where, {}).items() if parked == about]
        if before:
            self._violate(
                f"{mark.scope} has handled {mark.key}, while the dead letter {before[0]}, which is of the key "
                f"{about[1]!r} as well, is parked in {where[1]} on {where[0]}: it has to wait behind it"
            )

    def _note_letters(self, where: Where, batch: Batch) -> bool:
        """Keep what is parked in a file; whether a batch parks something."""
        parks = False
        for write in batch.writes:
            if isinstance(write, Put) and write.collection == DEAD_LETTERS:
                letter = _letter(write.value)
                log, _ = self._entries.get(str(letter["message_id"]), (None, 0))
                self._parked.setdefault(where, {})[write.id] = (str(letter["group"]), str(letter.get("key", "")), log)
                parks = True
            elif isinstance(write, Delete) and write.collection == DEAD_LETTERS:
                _ = self._parked.get(where, {}).pop(write.id, None)
        return parks

    def _violate(self, detail: str) -> None:
        self._scene.violate(self.name, detail)


@per_app
def _groups_of(app: App) -> dict[str, str]:
    """The group behind each address that events go to, but those that several methods share."""
    own = {
        f"{part.name}.{method}": reaction.group
        for part in app.parts
        for method, reaction in reactions_of(part.cls).items()
        if isinstance(reaction, On)
    }
    sizes = Counter(group for group in own.values() if group)
    return {
        f"on/{group}/{name}.handle" if group else f"on/{name}.handle": group or name
        for name, group in own.items()
        if sizes[group] <= 1
    }


@per_app
def _passing(app: App) -> frozenset[str]:
    """The groups whose messages may overtake those of their key that are parked."""
    return frozenset(
        reaction.group or f"{part.name}.{method}"
        for part in app.parts
        for method, reaction in reactions_of(part.cls).items()
        if isinstance(reaction, On) and not reaction.ordered
    )
