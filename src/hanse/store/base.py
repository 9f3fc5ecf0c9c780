"""The port to a store: rows, and one log of their changes, written together.

A `Batch` is everything that one unit of work wrote: rows, emitted events, and the mark that its message was handled.
`commit` makes all of it durable at once, or nothing. Each row written and each event emitted is one `Entry` in the
log; its position (`seq`) is the row's new revision. The log *is* the outbox, the change feed and the audit trail, so
there is nothing that a crash could leave half-told.

Promises that every adapter keeps, and `hanse.testing.store` checks:
- Positions only grow. A reader that has seen position n never later finds a new entry at or below n (no gap appears).
- A batch whose expectations do not hold changes nothing, and says which one.
- What `commit` has returned is seen by every later read.
- Values are opaque JSON bytes to the log, and queryable by the tree of `hanse.store.query`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import msgspec

from hanse.kernel.faults import Conflict
from hanse.kernel.message import NO_HEADERS, Headers
from hanse.store.query import Query

CHANGES_MAX = 1_000
"""Entries in one piece of the log at most, whatever the reader asks for."""

WINDOW_MAX = 10_000
"""Positions that one piece of the log spans at most, where most entries are of other names."""


class AlreadyHandled(Conflict, detail="{key!r} was handled by {scope} already"):
    """The mark of a batch is there already: its message was handled, and this second delivery has no effect."""

    problem: str
    scope: str
    key: str


class Features(msgspec.Struct, frozen=True):
    """What adapters may differ in; the conformance suite reads it.

    Attributes:
        durable: A commit survives the end of the process.
        shared: Other processes may write to the same store at the same time.
    """

    durable: bool
    shared: bool


class Row(msgspec.Struct, frozen=True, gc=False):
    """A stored resource: its value as JSON, and its revision (the position of the log entry that wrote it)."""

    id: str
    rev: int
    value: bytes


class Put(msgspec.Struct, frozen=True, gc=False):
    """Write a row, if it is where the writer thinks it is.

    Attributes:
        expected: Revision that the row has to be at: 0 for "must not exist", None for "whatever is there".
        message_id: Id of the event that tells of this write, minted by the writer.
    """

    collection: str
    id: str
    value: bytes
    message_id: str
    expected: int | None = None


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Remove a row. It has to exist (at the expected revision, where one is given)."""

    collection: str
    id: str
    message_id: str
    expected: int | None = None


class Emit(msgspec.Struct, frozen=True, gc=False):
    """Tell of an event that is not a row: `topic` names its type, `key` its order."""

    topic: str
    key: str
    value: bytes
    message_id: str


class Mark(msgspec.Struct, frozen=True, gc=False):
    """Remember that something was handled, in the same commit as its effects; a second one is refused.

    Attributes:
        scope: Who handled it, such as a subscriber group or an operation.
        key: What was handled: a message id or an idempotency key.
        digest: Hash of what came, to tell a repeat from another request under the same key.
        result: The answer that was given, for repeats.
        tell: Makes the result instead, from the positions of the batch's writes, once they are known: an answer may
            name a revision. Called amid the commit, maybe on another thread and more than once; it waits for nothing.
    """

    scope: str
    key: str
    digest: bytes = b""
    result: bytes = b""
    tell: Callable[[tuple[int, ...]], bytes] | None = None

    def told(self, positions: tuple[int, ...]) -> Mark:
        """The mark as it is stored, with its result."""
        return self if self.tell is None else Mark(self.scope, self.key, self.digest, self.tell(positions))


class Position(msgspec.Struct, frozen=True, gc=False):
    """How far a named reader of some log has come; kept with the reader's own effects."""

    name: str
    seq: int


class Expect(msgspec.Struct, frozen=True, gc=False):
    """What a batch rests on: a named position that has to be where it was (0 for one never seen).

    A batch that rests on the position of a lease is refused once somebody else has that: the lease fences it.
    """

    name: str
    seq: int


Write = Put | Delete | Emit


class Batch(msgspec.Struct, frozen=True):
    """Everything that one unit of work wrote.

    Attributes:
        at: Wall-clock second of the commit, from the writer's host.
        headers: The context that led to it (trace, identity, tags, causation); kept with each entry.
        expects: What it rests on, looked at before anything is written.
    """

    at: float
    writes: tuple[Write, ...] = ()
    marks: tuple[Mark, ...] = ()
    positions: tuple[Position, ...] = ()
    headers: Headers = NO_HEADERS
    expects: tuple[Expect, ...] = ()


class Op(enum.StrEnum):
    """What an entry tells of."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    EMITTED = "emitted"


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One line of the log.

    Attributes:
        seq: Its position, and the row's revision after it.
        at: Wall-clock second of the commit.
        op: What happened.
        name: The collection of the row, or the topic of the event.
        id: The row's id, or the event's key.
        message_id: Id of the event message that tells of it.
        before: The row's value until then, as JSON; None where there was none (and for events).
        after: The row's value since, or the event's value; None for a deletion.
        before_rev: The row's revision until then; 0 where there was none.
        headers: The context that led to it.
    """

    seq: int
    at: float
    op: Op
    name: str
    id: str
    message_id: str
    before: bytes | None
    after: bytes | None
    before_rev: int
    headers: Headers


class Inside(msgspec.Struct, frozen=True, omit_defaults=True):
    """What lies inside a field and does not compare as JSON has it.

    Attributes:
        type: One of the names that `CollectionSchema` lists.
        inside: What lies inside it in turn: by name, and by "" for any item of a list or a mapping.
    """

    type: str = "any"
    inside: dict[str, Inside] = {}


class FieldSchema(msgspec.Struct, frozen=True):
    """A field as the store has to know it.

    Attributes:
        type: One of the names that `CollectionSchema` lists.
        required: Every row must have it. A field that is not required has a `default`.
        default: Its default as JSON, seen by queries in rows that were written before the field existed.
        inside: What lies inside it and does not compare as JSON has it, such as the Decimal of a nested model.
    """

    type: str
    required: bool
    default: bytes = b"null"
    inside: dict[str, Inside] = {}


class CollectionSchema(msgspec.Struct, frozen=True):
    """A collection as the store has to know it: to compare with what is stored, and to order by the right type.

    `type` names: string, integer, number, decimal, boolean, datetime, date, time, duration, uuid, bytes, object,
    array, any. `indexed` fields get an index where the adapter has any.
    """

    name: str
    fields: dict[str, FieldSchema]
    indexed: tuple[str, ...] = ()


class Found(msgspec.Struct, frozen=True):
    """A page of rows, and where the next one starts (None at the end)."""

    rows: tuple[Row, ...]
    next: str | None


class Changes(msgspec.Struct, frozen=True):
    """A piece of the log.

    Attributes:
        entries: In order of position.
        upto: Position that the piece reaches to, entries of other names included: continue after it.
        trimmed: Whether entries after the position asked for have been trimmed away; the reader has to start anew.
        more: Whether the log went on after `upto` already; if not, there is nothing to read before the next wake.
    """

    entries: tuple[Entry, ...]
    upto: int
    trimmed: bool = False
    more: bool = False


@runtime_checkable
class CountsCommits(Protocol):
    """What a store may say about itself beside what every store can.

    Attributes:
        commits: Batches that this process has committed.
    """

    commits: int


@runtime_checkable
class CountsLate(Protocol):
    """What a store may say about what it refused.

    Attributes:
        late: Batches of this process that it refused, as somebody else has by now what they rest on, such as a lease.
    """

    late: int


class Store(Protocol):
    """A place for the rows of one service.

    All verbs raise `Unavailable` when the store cannot be reached, and `Malformed` for a value that it cannot take:
    the first opens breakers and is tried again, the second says nothing about the store.
    """

    @property
    def features(self) -> Features:
        """What this adapter can do."""
        ...

    @property
    def log_id(self) -> str:
        """Names this log for ever: a cursor of another store is told apart by it. Known once open."""
        ...

    async def open(self, collections: Sequence[CollectionSchema]) -> None:
        """Get ready, creating what is missing.

        Raises:
            CouldNotStart: What is stored was written by a newer format, or cannot be read as these collections (a
                field changed its type, or a new field has no default): it says which, and nothing was changed.
        """
        ...

    async def close(self) -> None:
        """Finish commits in flight and let go."""
        ...

    async def load(self, collection: str, id: str, /) -> Row | None:
        """One row, or None."""
        ...

    async def find(self, collection: str, query: Query, /) -> Found:
        """A page of matching rows. Raises `Malformed` on a cursor that is not this query's."""
        ...

    async def count(self, collection: str, query: Query, /) -> int:
        """How many rows match."""
        ...

    async def commit(self, batch: Batch, /) -> tuple[int, ...]:
        """Write it all, or nothing; the positions of its writes, in order and without one in between.

        Raises:
            NotFound: A row to delete, or to put at a revision, is not there.
            Conflict: A row that must not exist does.
            AlreadyHandled: A mark is there already.
            PreconditionFailed: A row is at another revision than expected, or a position is not where it was.
        """
        ...

    async def marked(self, scope: str, key: str, /) -> Mark | None:
        """The mark, if it was made."""
        ...

    async def position(self, name: str, /) -> int:
        """How far the named reader has come; 0 for one never seen."""
        ...

    async def head(self) -> int:
        """Position of the newest entry; 0 in an empty log."""
        ...

    async def changes(self, after: int, *, limit: int, names: Sequence[str] | None = None) -> Changes:
        """Entries after a position, at most `limit` and `CHANGES_MAX`, of the given names or of all.

        It spans at most `WINDOW_MAX` positions, so it may give nothing and yet reach on: go on from `upto`.
        """
        ...

    def listen(self, wake: Callable[[], None], /, *, names: Sequence[str] | None = None) -> Callable[[], None]:
        """Have `wake` called on the event loop soon after each commit that wrote an entry, also one by another process.

        Where names are given, a commit without an entry of one of them may be told some seconds later, so that
        whoever waits for others is not woken for nothing; it has to be told, or its reader could not tell how much of
        the log it needs no more. One wake may stand for several commits. Returns what stops it.
        """
        ...

    async def trim(self, before: float, /, *, keep_after: int) -> int:
        """Forget entries and marks from before a wall-clock second, but no entry after position `keep_after`.

        Entries go from the oldest on, up to the first that stays. Returns how many went. Rows are never touched.
        """
        ...
