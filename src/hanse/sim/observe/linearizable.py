"""Every row is linearizable: whoever asks is answered as if all calls had been made one after the other.

What was asked and answered is read from the messages of `rows/<collection>`; what was done, from the commits, by which
rows also change that no call of these led to. A commit is the moment at which a write takes effect, and its position
is the revision that it gives. So nothing has to be searched for: a read has to tell of one of the moments between its
question and its answer; a write has to fit the moment before its own commit, which has to lie between them; and what
was refused has to be something that one of these moments refuses. A call that got no answer is judged by its commit,
if there is one.

What counts as told is what leaves the owner: an answer that is lost on its way was given all the same.

Commits that are gone after a power cut are gone from here on too. Whether they may be is what `acknowledged` looks at.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hanse.contract.model import Resource, collection_of
from hanse.kernel.message import CALL, SEND, Message
from hanse.sim.check import Observer
from hanse.sim.disk import File
from hanse.sim.linear import UNKNOWN
from hanse.sim.linear_row import Deleted, Get, Patch, Refused, Written
from hanse.sim.observe.row_calls import VERBS, Answer, Asked, answer_in, asked_in, fields_of, named_by
from hanse.sim.observe.row_judge import answered, differing, spoilt, written
from hanse.sim.observe.scene import Scene, last_of, look, places_of, trimmed_of
from hanse.sim.observe.timeline import Moment, Timeline
from hanse.store.base import Batch, Delete as Deletion, Put as Insertion

CALLS_MAX = 100_000
"""Writes that are remembered, to tell what came of them, and what came of them twice; the last ones."""

_ASKS = (CALL, SEND)


class Kept(msgspec.Struct):
    """The rows of one collection.

    Attributes:
        name: Of the collection.
        owner: Name of the service that owns it.
        path: Of the file that they are in; empty where they are in memory, and nobody hears of their commits.
        own: Names, in JSON, of the fields that every row has: id and revision.
        rows: Each row that was ever written or asked for, by its id.
    """

    name: str
    owner: str
    path: str
    own: frozenset[str]
    rows: dict[str, Timeline] = {}

    def row(self, id: str) -> Timeline:
        """A row, there or not."""
        found = self.rows.get(id)
        if found is None:
            found = self.rows[id] = Timeline()
        return found

    def data(self, value: bytes | None) -> dict[str, object]:
        """The fields that a row has of its own."""
        return {name: field for name, field in fields_of(value).items() if name not in self.own}


class Linearizable(Observer):
    """Finds stale reads, lost updates, answers from before the commit, and repeats that take effect again.

    Attributes:
        judged: Answers and writes that were looked at.
        undecided: Those that could not be: a limit was reached before, or nobody knows what the row was.
    """

    name: str = "linearizable"

    def __init__(self, scene: Scene) -> None:
        """Look on from the first commit."""
        self._scene = scene
        self._kept = {collection_of(kind): _kept(scene, kind) for kind in scene.app.owners}
        self._addresses = {f"rows/{kept.name}.{verb}": kept for kept in self._kept.values() for verb in VERBS}
        self._calls: dict[str, Asked] = {}
        self._keys: dict[tuple[str, str], Asked] = {}
        self.judged: int = 0
        self.undecided: int = 0

    def said(self, source: str, target: str, message: Message, asked: Message | None) -> None:
        """A question leaves, or an answer."""
        del source, target
        kept = self._addresses.get(message.address if asked is None else asked.address)
        if kept is None or not kept.path:
            return
        if asked is None:
            self._begins(kept, message)
        else:
            self._ends(kept, asked, message)

    def committed(self, machine: str, path: str, batch: Batch, positions: tuple[int, ...]) -> None:
        """Rows change."""
        del machine, path
        for write, rev in zip(batch.writes, positions, strict=True):
            kept = self._kept.get(write.collection) if isinstance(write, Insertion | Deletion) else None
            if kept is None or not isinstance(write, Insertion | Deletion):
                continue
            row, value = kept.row(write.id), write.value if isinstance(write, Insertion) else None
            moment = Moment(self._scene.loop.now, rev, value)
            asked = self._calls.get(batch.headers.causation_id)
            if asked is not None:
                self._writes(kept, asked, write.id, row.last, moment)
            self.undecided += row.add(moment)

    def died(self, machine: str, *, dark: bool) -> None:
        """Nobody who was asked there will answer; and what was not flushed is gone."""
        there = self._scene.machines[machine]
        for kept in self._kept.values():
            if kept.owner not in there.services:
                continue
            for row in kept.rows.values():
                row.waiting.clear()
                row.tidy()
            file = there.disk.files.get(kept.path)
            if dark and file is not None:
                self._revert(kept, file)

    def _begins(self, kept: Kept, message: Message) -> None:
        """A call leaves."""
        asked = asked_in(message)
        if asked is None:
            return
        if not isinstance(asked.call, Get):
            again = self._calls.pop(message.id, None)
            if again is not None:
                again.tries, again.refused = again.tries + 1, ""
            self._calls[message.id] = again or asked
            _keep_last(self._calls)
        if asked.row:
            kept.row(asked.row).begin((message.id, message.headers.attempt), self._scene.loop.now)

    def _ends(self, kept: Kept, question: Message, reply: Message) -> None:
        """An answer leaves."""
        asked = self._calls.get(question.id) or asked_in(question)
        if asked is None:
            return
        row = kept.row(asked.row) if asked.row else None
        start = None if row is None else row.end((question.id, question.headers.attempt))
        moments = [] if row is None or start is None else row.since(start)
        answer = answer_in(asked, reply)
        if isinstance(answer.result, Refused):
            self._refused(asked, answer.result.code, answer, moments)
        elif answer.result is not UNKNOWN:
            self._told(kept, asked, answer, moments)
        if row is not None:
            row.tidy()

    def _told(self, kept: Kept, asked: Asked, answer: Answer, moments: list[Moment]) -> None:
        """An answer says what a row is, or that it was written."""
        if answer.row and asked.row not in {"", answer.row}:
            self._violate(asked, f"was answered with the row {answer.row!r}")
            return
        if isinstance(asked.call, Get):
            self._judge(asked, moments, answer)
        else:
            self._claimed(asked, answer)
        committed = kept.row(answer.row).at(answer.rev) if answer.row else None
        if committed is not None and (names := differing(kept.data(answer.value), kept.data(committed.value))):
            self._violate(asked, f"was told another {', '.join(names)} at {answer.rev} than was committed there")

    def _claimed(self, asked: Asked, answer: Answer) -> None:
        """An answer says that something was written: a commit has to have done that, and before it."""
        first = self._keys.get(asked.story) if asked.key else self._calls.get(asked.id)
        if first is None:
            self.undecided += 1
            return
        self.judged += 1
        wrote = [*asked.wrote, *first.wrote]
        if isinstance(answer.result, Deleted) and not wrote:
            self._violate(asked, "was told that the row is gone, and has deleted nothing by then")
        elif isinstance(answer.result, Written) and answer.rev not in wrote:
            at = f"what it wrote is at {wrote[0]}" if wrote else "it has written nothing by then"
            self._violate(asked, f"was told that it wrote revision {answer.rev}, but {at}")

    def _refused(self, asked: Asked, code: str, answer: Answer, moments: list[Moment]) -> None:
        """An answer says that nothing was done."""
        if not asked.key and asked.row:
            # Of a call under a key it may say that another one is under way, or has lost its answer.
            self._judge(asked, moments, answer)
        if asked.lone and not isinstance(asked.call, Get):
            asked.refused = code
            if asked.wrote:
                self._violate(asked, f"was refused with {code}, and has written at {asked.wrote[0]}")

    def _judge(self, asked: Asked, moments: list[Moment], answer: Answer) -> None:
        """Whether an answer fits what the row was between it and its question."""
        if answer.result is UNKNOWN:
            return
        wrong = answered(asked.call, answer.result, moments) if moments else UNKNOWN
        if wrong is UNKNOWN:
            self.undecided += 1
            return
        self.judged += 1
        if wrong:
            self._violate(asked, f"was {wrong}")

    def _writes(self, kept: Kept, asked: Asked, id: str, before: Moment, after: Moment) -> None:
        """A commit is what a call led to."""
        self.judged += 1
        if self._addresses.get(asked.address) is not kept or asked.row not in {"", id}:
            self._violate(asked, f"wrote {kept.name} {id!r}")
            return
        first = self._first(kept, asked)
        if first is not None:
            self._violate(asked, f"took effect at {first.wrote[0]}, and again at {after.rev}")
        if asked.refused:
            self._violate(asked, f"was refused with {asked.refused}, and wrote at {after.rev} later")
        if wrong := written(asked.call, before, after):
            self._violate(asked, f"was {wrong}")
        if isinstance(asked.call, Patch) and before.value is not None and after.value is not None:
            was = kept.data(before.value)
            names = spoilt(named_by(asked.changes, was), was, kept.data(after.value))
            if names:
                self._violate(asked, f"wrote at {after.rev} also {', '.join(names)}, which its patch does not name")
        asked.wrote.append(after.rev)

    def _first(self, kept: Kept, asked: Asked) -> Asked | None:
        """The call that has taken effect already, so that this one must not."""
        if not asked.key:
            return asked if asked.wrote and asked.lone else None
        first = self._keys.setdefault(asked.story, asked)
        file = next((place.file for place in places_of(self._scene, kept.owner)), None)
        if not first.wrote or file is None or first.wrote[0] <= trimmed_of(file):
            # What has become so old that its mark is forgotten may be done again.
            self._keys[asked.story] = asked
            _keep_last(self._keys)
            return None
        return first

    def _revert(self, kept: Kept, file: File) -> None:
        """What is gone from a file has not been."""
        last = last_of(file)
        statement = "SELECT seq, after FROM log WHERE name = ? AND id = ? ORDER BY seq DESC LIMIT 1"
        for id, row in kept.rows.items():
            if row.last.rev > last:
                found = look(file, statement, kept.name, id)
                rev, value = found[0] if found else (0, None)
                _ = row.add(Moment(self._scene.loop.now, rev, value, bool(found) or not trimmed_of(file)))
        for asked in self._calls.values():
            if self._addresses[asked.address] is kept:
                asked.wrote = [rev for rev in asked.wrote if rev <= last]

    def _violate(self, asked: Asked, detail: str) -> None:
        self._scene.violate(self.name, f"{asked.named} {detail}")


def _keep_last(calls: dict[Any, Asked]) -> None:
    if len(calls) > CALLS_MAX:
        del calls[next(iter(calls))]


def _kept(scene: Scene, kind: type[Resource]) -> Kept:
    owner = scene.app.owners[kind].name
    names = dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    return Kept(collection_of(kind), owner, scene.path_of(owner), frozenset({names["id"], names["rev"]}))
