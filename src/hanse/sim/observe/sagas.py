"""Every saga does its steps once and comes to its end, or undoes them once, the last one first.

What a saga did shows in the file of its service alone, in the rows of its journal. So each commit is looked at for such
rows: a step that has an end gets no other, what is undone took effect and comes before what took effect earlier, and
nothing happens after the end. When the world has healed, no saga is left that nobody works on, and none is stuck,
unless the world is said to have what nobody can handle (`Setup.dead_letters`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import msgspec

from hanse.delivery.saga_rows import SAGA_STEPS, SAGAS
from hanse.sim.check import Observer
from hanse.sim.observe.scene import Place, Scene, look, places_of
from hanse.store.base import Batch, Put
from hanse.store.sqlite.query import table_name

Where = tuple[str, str]
"""A file: its machine, and its path."""

_UNDO = "undo:"
_SETTLED = "settled:"
_OVER = ("done", "undone")


class _Step(msgspec.Struct, frozen=True):
    """What a row of a journal says, and where in the log it was written."""

    saga: str
    name: str
    kind: str
    closed: bool = True
    fault: str = ""
    unsettled: bool = False
    seq: int = 0


class _Saga(msgspec.Struct, frozen=True):
    name: str
    state: str = "running"
    step: str = ""
    why: str = ""


class _Seen(msgspec.Struct):
    """What was committed to one file: steps by saga and name, and sagas, by id."""

    steps: dict[str, dict[str, _Step]] = {}
    sagas: dict[str, _Saga] = {}


_step = msgspec.json.Decoder(_Step).decode
_saga = msgspec.json.Decoder(_Saga).decode


@final
class Sagas(Observer):
    """Finds sagas that did something twice, undid it wrongly, or were left."""

    name: str = "sagas"

    def __init__(self, scene: Scene, *, stuck: bool = False) -> None:
        """Look on from the first commit.

        Args:
            scene: The world.
            stuck: Whether sagas may get stuck.
        """
        self._scene = scene
        self._stuck = stuck
        self._files: dict[Where, _Seen] = {}

    def committed(self, machine: str, path: str, batch: Batch, positions: tuple[int, ...]) -> None:
        """A batch may be what became of a step, or of a saga."""
        for write, seq in zip(batch.writes, positions, strict=False):
            if not isinstance(write, Put):
                continue
            seen = self._files.setdefault((machine, path), _Seen({}, {}))
            if write.collection == SAGA_STEPS:
                step = msgspec.structs.replace(_step(write.value), seq=seq)
                steps = seen.steps.setdefault(step.saga, {})
                if problem := _problem(step, steps, seen.sagas.get(step.saga)):
                    self._violate(f"the saga {step.saga} on {machine} {problem}")
                steps[step.name] = step
            elif write.collection == SAGAS:
                seen.sagas[write.id] = _saga(write.value)

    def died(self, machine: str, *, dark: bool) -> None:
        """What a power cut took has not happened."""
        for where in [where for where in self._files if dark and where[0] == machine]:
            file = self._scene.machines[machine].disk.files.get(where[1])
            seen = self._files[where] = _Seen({}, {})
            if file is None:
                continue
            for value, rev in look(file, f"SELECT CAST(value AS BLOB), rev FROM {table_name(SAGA_STEPS)}"):  # noqa: S608
                step = msgspec.structs.replace(_step(value), seq=rev)
                seen.steps.setdefault(step.saga, {})[step.name] = step
            for id, value in look(file, f"SELECT id, CAST(value AS BLOB) FROM {table_name(SAGAS)}"):  # noqa: S608
                seen.sagas[id] = _saga(value)

    def finish(self) -> None:
        """No saga is left."""
        for part in self._scene.app.parts:
            for place in places_of(self._scene, part.name):
                self._all_ended(place)

    def _all_ended(self, place: Place) -> None:
        rows = look(place.file, f"SELECT id, CAST(value AS BLOB) FROM {table_name(SAGAS)}")  # noqa: S608
        steps = self._files.get((place.machine.name, place.path), _Seen({}, {})).steps
        for id, value in rows:
            saga = _saga(value)
            waits = any(not step.closed for step in steps.get(id, {}).values())
            if saga.state == "stuck" and not self._stuck:
                self._violate(f"the saga {id} ({saga.name}) in {place.name} is stuck at {saga.step}: {saga.why}")
            elif saga.state == "undoing" or (saga.state == "running" and not waits):
                self._violate(f"the saga {id} ({saga.name}) in {place.name} is {saga.state}, and waits for nothing")

    def _violate(self, detail: str) -> None:
        self._scene.violate(self.name, detail)


def _problem(step: _Step, known: Mapping[str, _Step], saga: _Saga | None) -> str:
    """What is wrong with a step, given what was committed before it."""
    before = known.get(step.name)
    if before is not None and before.closed:
        return f"has done {step.name} twice: see the entries {before.seq} and {step.seq}"
    if saga is not None and saga.state in _OVER:
        return f"is {saga.state}, and still does {step.name}"
    if step.name.startswith(_UNDO):
        return _problem_of_undo(step, known, saga)
    return ""


def _problem_of_undo(step: _Step, known: Mapping[str, _Step], saga: _Saga | None) -> str:
    name = step.name.removeprefix(_UNDO)
    done = known.get(name)
    if saga is None or saga.state != "undoing":
        return f"undoes {name}, but is {'unknown' if saga is None else saga.state}"
    settled = known.get(f"{_SETTLED}{name}")
    if done is None or not done.closed or (done.fault and (settled is None or settled.fault)):
        return f"undoes {name}, which did not take effect"
    for other in known.values():
        if other.name.startswith(_UNDO):
            earlier = known.get(other.name.removeprefix(_UNDO))
            if earlier is not None and earlier.seq < done.seq:
                return f"undoes {name} after {earlier.name}, which was done before it"
    return ""
