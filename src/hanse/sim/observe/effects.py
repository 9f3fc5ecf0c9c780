"""No event takes effect twice, and none is lost.

What a group wants follows from the app: every entry of every log that is of the event, or of the collection, that one
of its methods reacts to. That it was handled shows in the subscriber's file alone: as the mark of the group and the
message, committed with the effects. So each commit is looked at for marks, and for writes that an event led to; and in
the end each entry that was there when the world healed has to have one mark.

A message that was parked is not lost: it is told, and marked as handled. But what it should have led to has not
happened, so a dead letter is something that does not hold, unless the world is said to have some (`Setup.dead_letters`:
for apps that are sent what nobody can handle). Either way it needs a cause: a handler that failed as often as it says,
or another dead letter that it waits for.

What may happen again: what a power cut took, mark and effects together. That the effects of the last moments are gone
where commits do not wait for the disk is what was asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from hanse.contract.model import Resource, collection_of, topic_of
from hanse.delivery.deadletter import DEAD_LETTERS
from hanse.kernel.message import EVENT, Message
from hanse.node.app import App
from hanse.service.reaction import On
from hanse.service.service import reactions_of
from hanse.sim.check import Observer
from hanse.sim.observe.scene import Place, Scene, last_of, look, places_of, shown
from hanse.store.base import Batch, Delete, Emit, Mark, Put, Write
from hanse.store.sqlite.query import table_name

Where = tuple[str, str]
"""A file: its machine, and its path."""

Shape = tuple[str, ...]
"""What a batch writes, without ids: two of one shape may be one thing done twice."""

_FAILED = "handler_failed"
_decode = msgspec.json.Decoder(dict[str, object]).decode


class Wanted(msgspec.Struct, frozen=True):
    """What one method wants, and how it tells that it has handled it.

    Attributes:
        part: Name of its service.
        method: Its name.
        group: Scope of its marks.
        name: The collection or topic, as entries have it.
        emitted: Whether that is a topic.
        type: What its messages say that they are.
    """

    part: str
    method: str
    group: str
    name: str
    emitted: bool
    type: str

    @property
    def address(self) -> str:
        """Where its messages go."""
        own = f"{self.part}.{self.method}"
        return f"on/{own}.handle" if self.group == own else f"on/{self.group}/{own}.handle"


class Seen(msgspec.Struct):
    """What was committed to one file.

    Attributes:
        marks: How often each mark was made, by scope and key.
        bare: Where in the log the first write of each batch is that an event led to and no mark was made with.
        letters: Ids of the dead letters that there ever were.
        excused: Marks that a power cut took, as it may.
    """

    marks: Counter[tuple[str, str]]
    bare: dict[tuple[str, Shape], list[int]]
    letters: set[str]
    excused: set[tuple[str, str]]


class Effects(Observer):
    """Finds events that were handled twice, or never."""

    name: str = "effects"

    def __init__(self, scene: Scene, *, dead_letters: bool = False) -> None:
        """Look on from the first commit.

        Args:
            scene: The world.
            dead_letters: Whether messages may end as dead letters.
        """
        self._scene = scene
        self._dead_letters = dead_letters
        self._seen: dict[Where, Seen] = {}
        self._events: dict[str, str] = {}
        self._failures: Counter[tuple[str, str]] = Counter()
        self._heads: dict[Where, int] = {}
        self._told: set[str] = set()
        self._wants: dict[tuple[App, str], list[Wanted]] = {}
        self._all_seen = False

    def begin(self) -> None:
        """See whether each service has a file: what others tell of, nobody can look up."""
        self._all_seen = all(list(places_of(self._scene, part.name)) for part in self._scene.app.parts)

    def committed(self, machine: str, path: str, batch: Batch, positions: tuple[int, ...]) -> None:
        """A batch may handle a message: for the first time, as it has to be."""
        seen = self._of((machine, path))
        self._told.update(write.message_id for write in batch.writes)
        for mark in batch.marks:
            self._marked((machine, path), mark)
        seen.letters.update(write.id for write in batch.writes if isinstance(write, Put) and _is_letter(write))
        cause = batch.headers.causation_id
        if positions and not batch.marks and cause in self._events:
            self._unmarked((machine, path), cause, batch, positions[0])

    def said(self, source: str, target: str, message: Message, asked: Message | None) -> None:
        """An event is delivered, or its handler has failed."""
        del source, target
        if message.kind is EVENT:
            self._events[message.id] = message.headers.type
        elif asked is not None and asked.kind is EVENT and message.headers.type == _FAILED:
            self._failures[asked.address, asked.id] += 1

    def died(self, machine: str, *, dark: bool) -> None:
        """What a power cut took has not happened."""
        for (name, path), seen in self._seen.items():
            file = self._scene.machines[name].disk.files.get(path) if dark and name == machine else None
            if file is None:
                continue
            left = {(scope, key) for scope, key in look(file, "SELECT scope, key FROM marks")}
            if file.synchronous != "full":
                seen.excused |= seen.marks.keys() - left
            seen.marks = Counter({key: count for key, count in seen.marks.items() if key in left})
            last = last_of(file)
            seen.bare = {key: [seq for seq in found if seq <= last] for key, found in seen.bare.items()}

    def healed(self) -> None:
        """What is in the logs by now will have been handled."""
        for part in self._scene.app.parts:
            for place in places_of(self._scene, part.name):
                self._heads[place.machine.name, place.path] = last_of(place.file)

    def finish(self) -> None:
        """Every entry was handled; and there are no dead letters but those that may be."""
        for part in self._scene.app.parts:
            for place in places_of(self._scene, part.name):
                for wanted in self._wanted(place.machine.app, part.name):
                    self._all_handled(place, wanted)
                self._all_letters_have_causes(place)

    def _of(self, where: Where) -> Seen:
        seen = self._seen.get(where)
        if seen is None:
            seen = self._seen[where] = Seen(Counter(), {}, set(), set())
        return seen

    def _marked(self, where: Where, mark: Mark) -> None:
        """A mark says that a message was handled: one that there is, and for the first time."""
        seen, key = self._of(where), (mark.scope, mark.key)
        seen.marks[key] += 1
        if seen.marks[key] == 2:  # noqa: PLR2004 - told once
            self._violate(f"{mark.scope} has handled {mark.key} twice: its mark was made anew in {_file(where)}")
        groups = {one.group for one in self._wanted_on(where[0])}
        if self._all_seen and mark.scope in groups and mark.key not in self._told:
            self._violate(f"{mark.scope} has handled {mark.key}, of which no log tells; see its mark in {_file(where)}")

    def _unmarked(self, where: Where, cause: str, batch: Batch, seq: int) -> None:
        """A batch without a mark: every handler of the event may have written one such."""
        found = self._of(where).bare.setdefault((cause, _shape(batch)), [])
        found.append(seq)
        allowed = max(1, sum(one.type == self._events[cause] for one in self._wanted_on(where[0])))
        if len(found) == allowed + 1:
            self._violate(
                f"the event {cause} has taken effect {len(found)} times in {_file(where)}, where {allowed} of its "
                f"handlers may write: see the entries {', '.join(map(str, found))}, committed without a mark"
            )

    def _all_handled(self, place: Place, wanted: Wanted) -> None:
        seen = self._of((place.machine.name, place.path))
        missing: list[str] = []
        for source, seq, id in self._entries(wanted):
            if (wanted.group, id) not in seen.marks and (wanted.group, id) not in seen.excused:
                missing.append(f"{id} (entry {seq} of {source.name})")
        if missing:
            self._violate(
                f"{wanted.part}.{wanted.method} has never handled {shown(missing)}, and has not parked it: "
                f"expected a mark of {wanted.group!r} in {place.name}"
            )

    def _entries(self, wanted: Wanted) -> Iterator[tuple[Place, int, str]]:
        """What the logs of all services tell of what a method wants, as far as it has to be handled by now."""
        statement = "SELECT seq, message_id FROM log WHERE name = ? AND (op = 'emitted') = ? AND seq <= ? ORDER BY seq"
        for part in self._scene.app.parts:
            for source in places_of(self._scene, part.name):
                # Whoever runs another version of the app may not know of the method, and then tells it nothing.
                if wanted in self._wanted(source.machine.app, wanted.part):
                    head = self._heads.get((source.machine.name, source.path), 0)
                    for seq, id in look(source.file, statement, wanted.name, wanted.emitted, head):
                        yield source, seq, id

    def _all_letters_have_causes(self, place: Place) -> None:
        letters = [
            (id, _decode(value))
            for id, value in look(place.file, f"SELECT id, CAST(value AS BLOB) FROM {table_name(DEAD_LETTERS)}")  # noqa: S608
        ]
        for id, letter in letters:
            problem = self._problem(place, letter)
            if problem:
                self._violate(f"the dead letter {id} in {place.name} has no cause: {problem}")
        if letters and not self._dead_letters:
            told = [f"{_text(letter)}" for _, letter in letters]
            self._violate(
                f"{place.name} has {len(letters)} dead letters: {shown(told)}; what they should have led to has not "
                f"happened. Try them more often (attempts=), or write Setup(dead_letters=True) if that is all right"
            )

    def _problem(self, place: Place, letter: dict[str, object]) -> str:
        behind = letter.get("waits_for")
        if behind:
            known = behind in self._of((place.machine.name, place.path)).letters
            return "" if known else f"it waits for {behind}, which never was"
        group, id, attempts = letter["group"], letter["message_id"], letter.get("attempts", 0)
        addresses = {one.address for one in self._wanted_on(place.machine.name) if one.group == group}
        failures = 1 + sum(self._failures[address, str(id)] for address in addresses)
        if isinstance(attempts, int) and 1 <= attempts <= failures:
            return ""
        return f"it tells of {attempts} attempts at {id}, and {failures} can have failed"

    def _wanted_on(self, machine: str) -> list[Wanted]:
        """What the services of a machine want, in the version that it runs."""
        found = self._scene.machines[machine]
        return [one for service in found.services for one in self._wanted(found.app, service)]

    def _wanted(self, app: App, service: str) -> list[Wanted]:
        known = self._wants.get((app, service))
        if known is None:
            known = self._wants[app, service] = _wanted(app, service)
        return known

    def _violate(self, detail: str) -> None:
        self._scene.violate(self.name, detail)


def _wanted(app: App, service: str) -> list[Wanted]:
    """What the methods of a service want, in a version of the app."""
    found: list[Wanted] = []
    for part in app.parts:
        for method, reaction in reactions_of(part.cls).items() if part.name == service else ():
            if isinstance(reaction, On):
                kind, group = reaction.kind, reaction.group or f"{part.name}.{method}"
                rows = collection_of(kind) if issubclass(kind, Resource) else ""
                topic = topic_of(kind)
                found.append(Wanted(part.name, method, group, rows or topic, not rows, topic))
    return found


def _file(where: Where) -> str:
    return f"{where[1]} on {where[0]}"


def _is_letter(write: Put) -> bool:
    return write.collection == DEAD_LETTERS


def _shape(batch: Batch) -> Shape:
    return tuple(sorted(_what(write) for write in batch.writes))


def _what(write: Write) -> str:
    match write:
        case Put():
            return f"put {write.collection}"
        case Delete():
            return f"delete {write.collection}"
        case Emit():
            return f"emit {write.topic}"


def _text(letter: dict[str, object]) -> str:
    why = f"it waits for {letter['waits_for']}" if letter.get("waits_for") else f"{letter['code']}: {letter['text']}"
    return f"{letter['group']} parked {letter['topic']} {letter['message_id']} ({why})"
