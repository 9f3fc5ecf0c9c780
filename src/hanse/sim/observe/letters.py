"""Dead letters end once, in the order of their keys, and none is left behind or lost.

What happens to them shows in the files alone: a letter that goes has an outcome in the same commit, which says what
became of it; of one message and group there is one such end; and while a letter of an ordered key is there, no younger
one of that key is handled. In the end every letter that waits has an older one of its key to wait for.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from hanse.delivery.action import OUTCOMES
from hanse.delivery.deadletter import DEAD_LETTERS
from hanse.sim.check import Observer
from hanse.sim.observe.scene import Scene, look, shown
from hanse.store.base import Batch, Delete, Put
from hanse.store.sqlite.query import table_name

Where = tuple[str, str]
"""A file: its machine, and its path."""

_ENDS = frozenset({"succeeded", "dropped"})
_LETTERS = f"SELECT id, value FROM {table_name(DEAD_LETTERS)}"  # noqa: S608 - a name of ours
_OUTCOMES = f"SELECT value FROM {table_name(OUTCOMES)}"  # noqa: S608 - a name of ours


class _Letter(msgspec.Struct, frozen=True):
    """What of a dead letter is looked at."""

    group: str
    message_id: str
    key: str = ""
    order: int = 0
    drawer: int = -1
    waits_for: str = ""


class _Outcome(msgspec.Struct, frozen=True):
    letter: str
    message_id: str
    group: str
    what: str


_letter = msgspec.json.Decoder(_Letter).decode
_outcome = msgspec.json.Decoder(_Outcome).decode


class Seen(msgspec.Struct):
    """What was committed to one file: the letters that are there, and how often each message has come to an end."""

    letters: dict[str, _Letter]
    ended: Counter[tuple[str, str]]


class Letters(Observer):
    """Finds dead letters that end twice, out of order, without a word, or never."""

    name: str = "letters"

    def __init__(self, scene: Scene) -> None:
        """Look on from the first commit."""
        self._scene = scene
        self._seen: dict[Where, Seen] = {}

    def committed(self, machine: str, path: str, batch: Batch, positions: tuple[int, ...]) -> None:
        """A batch may park messages, or bring letters to their ends."""
        del positions
        outcomes: dict[str, _Outcome] = {}
        for write in batch.writes:
            if isinstance(write, Put) and write.collection == OUTCOMES:
                one = _outcome(write.value)
                outcomes[one.letter] = one
        for write in batch.writes:
            if not isinstance(write, Put | Delete) or write.collection != DEAD_LETTERS:
                continue
            seen = self._seen.setdefault((machine, path), Seen({}, Counter()))
            if isinstance(write, Put):
                self._parks((machine, path), write.id, _letter(write.value))
            elif (letter := seen.letters.pop(write.id, None)) is not None:
                self._ends((machine, path), letter, outcomes.get(write.id), write.id)

    def died(self, machine: str, *, dark: bool) -> None:
        """What a power cut took has not happened."""
        for (name, path), seen in self._seen.items():
            file = self._scene.machines[name].disk.files.get(path) if dark and name == machine else None
            if file is not None:
                seen.letters = {id: _letter(value) for id, value in look(file, _LETTERS)}
                left = [_outcome(value) for (value,) in look(file, _OUTCOMES)]
                seen.ended = Counter((one.group, one.message_id) for one in left if one.what in _ENDS)

    def finish(self) -> None:
        """Every letter that waits has an older one of its key to wait for, which failed."""
        for (machine, path), seen in self._seen.items():
            heads: dict[tuple[str, str], tuple[int, str]] = {}
            for id, letter in seen.letters.items():
                if letter.drawer >= 0:
                    spot = (letter.group, letter.key)
                    heads[spot] = min(heads.get(spot, (letter.order, id)), (letter.order, id))
            lost = [f"{id} of {spot[0]}, {spot[1]!r}" for spot, (_, id) in heads.items() if seen.letters[id].waits_for]
            if lost:
                self._violate(f"nothing is left that {shown(lost)} could wait for, in {path} on {machine}")

    def _parks(self, where: Where, id: str, letter: _Letter) -> None:
        letters = self._seen[where].letters
        spot = (letter.group, letter.key)
        if letter.waits_for and id not in letters and all((one.group, one.key) != spot for one in letters.values()):
            self._violate(
                f"{letter.group} has parked {letter.message_id} behind {letter.waits_for}, which is gone from "
                f"{where[1]}: nobody will ever handle it"
            )
        letters[id] = letter

    def _ends(self, where: Where, letter: _Letter, outcome: _Outcome | None, id: str) -> None:
        seen = self._seen[where]
        if outcome is None or outcome.what not in _ENDS:
            self._violate(f"the dead letter {id} of {letter.group} is gone from {where[1]}, and nothing says why")
            return
        spot = (letter.group, letter.message_id)
        seen.ended[spot] += 1
        if seen.ended[spot] == 2:  # noqa: PLR2004 - told once
            self._violate(f"{letter.group} has come to an end with the dead letter of {letter.message_id} twice")
        if letter.drawer < 0 or outcome.what != "succeeded":
            return
        older = [
            other
            for other, one in seen.letters.items()
            if (one.group, one.key) == (letter.group, letter.key) and one.order < letter.order
        ]
        if older:
            self._violate(
                f"{letter.group} has handled the dead letter {id} of the key {letter.key!r}, while {shown(older)}, "
                f"parked before it, is there yet"
            )

    def _violate(self, detail: str) -> None:
        self._scene.violate(self.name, detail)
