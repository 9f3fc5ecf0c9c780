"""A handler is a unit of work: what it wrote and emitted commits together, or not at all.

Writes are staged in memory and committed as one `Batch` when the handler has returned. Reads in between see them. No
transaction is held open while a handler waits for somebody else, so one slow handler blocks no other; whoever lost a
race is told at the commit, by the revisions that it had read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import msgspec

from hanse.contract.model import Resource
from hanse.kernel.codec import encode, stored_json
from hanse.kernel.context import Context, current
from hanse.kernel.fault_point import fault_point
from hanse.kernel.faults import Conflict, NotFound, PreconditionFailed, TooLarge
from hanse.kernel.message import Headers
from hanse.service.shadow import written
from hanse.store.base import Batch, Delete, Emit, Expect, Mark, Position, Put, Store, Write

WRITES_MAX = 10_000
"""Rows and events that one unit of work writes at most."""

COMMIT = "commit"
"""What a rehearsal is asked for where something would last; no address is called so."""


class Staged(msgspec.Struct):
    """A row as the unit of work will leave it.

    Attributes:
        value: The row; None where it is deleted.
        expected: Revision that the stored row has to be at; 0 for "must not exist", None for "whatever is there".
        insisted: Whether the caller asked for that revision; otherwise it is the one that was read.
        message_id: Id of the event that will tell of it.
        more: Fields that the stored row has and the class does not, which it keeps.
    """

    value: Resource | None
    expected: int | None
    insisted: bool
    message_id: str
    more: Mapping[str, msgspec.Raw] = {}


class Unit:
    """What one handler has staged so far.

    Attributes:
        store: Where it will be.
        first: The mark of the call's idempotency key, until it is committed; the answer is committed with it.
        marks: What was handled, once this is committed.
        positions: How far readers have come, once this is committed.
        fences: What it rests on, such as the row of a lease, which somebody else may have by the time of the commit.
    """

    __slots__ = ("_brought", "_context", "_emits", "_rows", "_seen", "fences", "first", "marks", "positions", "store")

    def __init__(self, store: Store, context: Context) -> None:
        self.store: Store = store
        self.first: Mark | None = None
        self.marks: list[Mark] = []
        self.positions: list[Position] = []
        self.fences: list[Expect] = []
        self._context = context
        self._rows: dict[tuple[str, str], Staged] = {}
        self._emits: list[Emit] = []
        self._seen: dict[tuple[str, str], int] = {}
        self._brought: dict[tuple[str, str], Mapping[str, msgspec.Raw]] = {}

    def saw(self, collection: str, id: str, rev: int) -> None:
        """The handler has read a stored row, at a revision; 0 where there was none. What it writes rests on that."""
        self._seen[collection, id] = rev

    def seen(self, collection: str, id: str) -> int | None:
        """The revision that the handler last read of a stored row; None where it did not."""
        return self._seen.get((collection, id))

    def brought(self, collection: str, id: str, more: Mapping[str, msgspec.Raw]) -> None:
        """A stored row that was read has fields which its class does not: whatever is written in its place keeps them.

        Two releases may share a store. The older would else take from rows what the newer has written into them.
        """
        self._brought[collection, id] = more

    def staged(self, collection: str, id: str) -> Staged | None:
        """The row as this unit will leave it, if it touched it."""
        return self._rows.get((collection, id))

    def rows(self, collection: str) -> dict[str, Staged]:
        """All rows of a collection that this unit touched, by id."""
        return {id: staged for (name, id), staged in self._rows.items() if name == collection}

    def put(self, collection: str, value: Resource, expected: int | None, *, insisted: bool = False) -> None:
        """Stage a row. What an earlier write of this unit expected of the stored row still holds."""
        self._stage(collection, value.id, value, expected, insisted=insisted)

    def delete(self, collection: str, id: str, expected: int | None, *, stored: bool = True) -> None:
        """Stage a deletion; a row that only this unit knows (`stored` says that the store has it) is forgotten."""
        earlier = self.staged(collection, id)
        if earlier is not None and (earlier.expected == 0 or not stored):
            del self._rows[collection, id]
            return
        self._stage(collection, id, None, expected, insisted=False)

    @property
    def insists(self) -> bool:
        """Whether a caller asked for a revision (or an absence), so that trying again cannot help."""
        return any(staged.insisted for staged in self._rows.values())

    @property
    def writes(self) -> tuple[Write, ...]:
        """All that it will write, rows first."""
        return (*(_write(collection, id, staged) for (collection, id), staged in self._rows.items()), *self._emits)

    def emit(self, topic: str, key: str, value: bytes) -> str:
        """Stage an event; the id of the message that will tell of it."""
        self._check_limit()
        id = self._context.host.new_id()
        self._emits.append(Emit(topic, key, value, id))
        return id

    def _stage(self, collection: str, id: str, value: Resource | None, expected: int | None, *, insisted: bool) -> None:
        self._check_limit()
        earlier = self.staged(collection, id)
        if earlier is not None:
            expected, insisted = earlier.expected, earlier.insisted
        if value is None:
            self._brought.pop((collection, id), None)  # should the id come back, it is another row
        more = self._brought.get((collection, id), _NO_MORE)
        self._rows[collection, id] = Staged(value, expected, insisted, self._context.host.new_id(), more)

    def _check_limit(self) -> None:
        if len(self._rows) + len(self._emits) >= WRITES_MAX:
            raise TooLarge("a unit of work", f"{WRITES_MAX} writes")

    def revise(self, rev: Callable[[int, int], int]) -> list[int]:
        """Give the rows that it will write other revisions to be told by; the ones that they had.

        Args:
            rev: Of a row, by its place among the writes and how many rows there are; one that is deleted has none.
        """
        values = [staged.value for staged in self._rows.values()]
        had = [0 if value is None else value.rev for value in values]
        for place, value in enumerate(values):
            if value is not None:
                msgspec.structs.force_setattr(value, "rev", rev(place, len(values)))
        return had

    async def commit(self, answer: Callable[[], object] | None = None) -> None:
        """Make it all durable at once, and give the rows their new revisions.

        Args:
            answer: What the caller is told, asked for when the rows know their revisions; kept with the mark of an
                idempotency key. None where the handler goes on.

        Raises:
            Conflict, PreconditionFailed, NotFound: Somebody else was first; nothing was written.
            AlreadyHandled: The message that led here was handled before; nothing was written.

        Under the shadow mark all of this is so, but that nothing is written; see `hanse.service.shadow`.
        """
        if not (self._rows or self._emits or self.first or self.marks or self.positions):
            return
        if self._context.rehearsal is not None:
            self._context.rehearsal(COMMIT)
        rows = list(self._rows.items())
        kept = () if self.first is None else (_telling(self.first, rows, answer),)
        batch = Batch(
            at=self._context.host.now(),
            writes=self.writes,
            marks=(*self.marks, *kept),
            positions=tuple(self.positions),
            headers=_headers(self._context),
            expects=tuple(self.fences),
        )
        fault_point("unit.before_commit")
        try:
            positions = await written(self.store, batch, shadow=self._context.shadow)
        except (PreconditionFailed, NotFound) as fault:
            insisted = [staged.insisted for (_, id), staged in rows if id == fault.id]
            if any(insisted) or not insisted:
                raise
            raise Conflict(f"somebody else changed {fault.kind} {fault.id!r} while this was being done") from None
        fault_point("unit.after_commit")
        _revise(rows, positions)
        self.clear()
        self.first = None
        self.marks.clear()
        self.positions.clear()

    def clear(self) -> None:
        """Forget the writes and events, to stage them again."""
        self._rows.clear()
        self._emits.clear()
        self._seen.clear()
        self._brought.clear()


_NO_MORE: Mapping[str, msgspec.Raw] = {}
_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_Rows = list[tuple[tuple[str, str], Staged]]


def _revise(rows: _Rows, positions: tuple[int, ...]) -> None:
    """Whoever holds a row of this unit finds the revision that it is committed under."""
    for (_, staged), seq in zip(rows, positions, strict=False):
        if staged.value is not None:
            msgspec.structs.force_setattr(staged.value, "rev", seq)


def _telling(first: Mark, rows: _Rows, answer: Callable[[], object] | None) -> Mark:
    """The mark of a key, with the answer as its caller will be told it."""
    if answer is None:
        return first

    def tell(positions: tuple[int, ...]) -> bytes:
        _revise(rows, positions)
        return encode(answer())

    return msgspec.structs.replace(first, tell=tell)


def _write(collection: str, id: str, staged: Staged) -> Put | Delete:
    if staged.value is None:
        return Delete(collection, id, staged.message_id, staged.expected)
    value = stored_json(staged.value)
    if staged.more:
        value = msgspec.json.encode({**_parts(value), **dict(sorted(staged.more.items()))})
    return Put(collection, id, value, staged.message_id, staged.expected)


def _headers(context: Context) -> Headers:
    """The context as its entries remember it: what led to them, and the first message of the whole story."""
    headers = context.headers
    if not context.message_id:
        return headers
    return msgspec.structs.replace(
        headers,
        causation_id=context.message_id,
        correlation_id=headers.correlation_id or context.message_id,
        idempotency_key="",
        attempt=1,
    )


def unit_for(store: Store) -> Unit | None:
    """The unit of work that the calling handler is, for this store; None where each write commits by itself."""
    context = current()
    if context.store is not store:
        return None
    if context.work is None:
        context.work = Unit(store, context)
    return cast("Unit", context.work)
