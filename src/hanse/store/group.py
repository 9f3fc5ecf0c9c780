"""What a group of batches comes to: planned one after the other, each of them refused or accepted on its own.

A store writes all that waits in one transaction. Every batch is planned on what is stored plus what the batches before
it in the group come to; only then is anything written. So a batch that is refused spoils nothing, and a group costs one
transaction and a few statements.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

import msgspec

from hanse.kernel.faults import Fault, NotFound, PreconditionFailed
from hanse.store.base import Batch, Emit, Row
from hanse.store.plan import POSITION, Address, Plan, Stored, plan

Outcome = tuple[int, ...] | Exception
"""What became of a batch: the positions of its writes, or why it was refused."""


def is_late(batch: Batch, outcome: object) -> bool:
    """Whether a batch was refused as somebody else has by now what it rests on, such as a lease.

    Who tries to get that for itself was not late, only second.

    Example:
        >>> from hanse.store.base import Expect, Position
        >>> refused = PreconditionFailed(POSITION, "lease/a", "1", "3")
        >>> is_late(Batch(0.0, expects=(Expect("lease/a", 1),)), refused)
        True
        >>> is_late(Batch(0.0, positions=(Position("lease/a", 5),), expects=(Expect("lease/a", 2),)), refused)
        False
    """
    return (
        isinstance(outcome, PreconditionFailed)
        and outcome.kind == POSITION
        and all(position.name != outcome.id for position in batch.positions)
    )


class Wanted(msgspec.Struct, frozen=True):
    """What has to be known to plan some batches, each thing once.

    Attributes:
        rows: Ids, by collection.
        marks: Scopes and keys.
        positions: Names.
    """

    rows: dict[str, list[str]]
    marks: list[Address]
    positions: list[str]

    @classmethod
    def of(cls, batches: Iterable[Batch], collections: Container[str]) -> Wanted:
        """Gather it.

        Args:
            batches: To be planned.
            collections: Those that are known; a write to another one will be refused.

        Example:
            >>> from hanse.store.base import Delete
            >>> Wanted.of([Batch(0.0, (Delete("orders", "7", "m"),))], ["orders"]).rows
            {'orders': ['7']}
        """
        rows: dict[str, dict[str, None]] = {}
        marks: dict[Address, None] = {}
        positions: dict[str, None] = {}
        for batch in batches:
            for write in batch.writes:
                if not isinstance(write, Emit) and write.collection in collections:
                    rows.setdefault(write.collection, {})[write.id] = None
            marks.update(((mark.scope, mark.key), None) for mark in batch.marks)
            positions.update((expect.name, None) for expect in batch.expects)
        return cls({name: list(ids) for name, ids in rows.items()}, list(marks), list(positions))

    @property
    def nothing(self) -> bool:
        """Whether the batches rest on nothing that is stored: then it is enough to know the head."""
        return not (self.rows or self.marks or self.positions)


class Known:
    """What was looked up of all that is wanted: whatever is not here is not stored."""

    def __init__(self, collections: Iterable[str]) -> None:
        """Know of nothing that is stored.

        Args:
            collections: Those that may be written.
        """
        self.rows: dict[Address, Row] = {}
        self.marks: set[Address] = set()
        self.positions: dict[str, int] = {}
        self._collections = frozenset(collections)

    def row(self, collection: str, id: str, /) -> Row | None:
        """As `hanse.store.plan` asks for it."""
        if collection not in self._collections:
            raise NotFound("collection", collection)
        return self.rows.get((collection, id))

    def at(self, name: str, /) -> int:
        """As `hanse.store.plan` asks for it."""
        return self.positions.get(name, 0)

    def has_mark(self, scope: str, key: str, /) -> bool:
        """As `hanse.store.plan` asks for it."""
        return (scope, key) in self.marks


class Group:
    """What some batches come to, and what is stored as the next of them sees it.

    Example:
        >>> from hanse.store.base import Emit
        >>> group = Group(Known(["orders"]), 7)
        >>> group.plan([Batch(0.0, (Emit("paid", "1", b"{}", "m1"),)), Batch(0.0, (Emit("paid", "2", b"{}", "m2"),))])
        >>> group.outcomes, group.head
        ([(8,), (9,)], 9)
    """

    def __init__(self, stored: Stored, head: int) -> None:
        """Begin.

        Args:
            stored: What is stored before the first of them.
            head: The newest position then.
        """
        self.outcomes: list[Outcome] = []
        """What each batch is told, in order."""
        self.accepted: list[tuple[Batch, Plan]] = []
        """Those that take effect."""
        self.rows: dict[Address, Row | None] = {}
        """Each row touched, as it will be; None for one that goes."""
        self.head: int = head
        """The newest position afterwards."""
        self._stored = stored
        self._marks: set[Address] = set()
        self._positions: dict[str, int] = {}

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to write: all were refused, or only asked whether what they rest on holds."""
        return not any(planned.entries or batch.marks or batch.positions for batch, planned in self.accepted)

    @property
    def told(self) -> list[Batch]:
        """The batches that take effect with entries, which listeners hear of."""
        return [batch for batch, planned in self.accepted if planned.entries]

    def plan(self, batches: Sequence[Batch]) -> None:
        """Plan batches, one after the other."""
        for batch in batches:
            try:
                planned = plan(batch, self.head, self)
            except Fault as refused:
                self.outcomes.append(refused)
                continue
            self._positions.update((one.name, one.seq) for one in batch.positions)
            self.rows.update(planned.rows)
            self._marks.update(planned.marks)
            self.accepted.append((batch, planned))
            self.outcomes.append(planned.positions)
            self.head += len(planned.entries)

    def row(self, collection: str, id: str, /) -> Row | None:
        """As `hanse.store.plan` asks for it."""
        address = (collection, id)
        return self.rows[address] if address in self.rows else self._stored.row(collection, id)

    def at(self, name: str, /) -> int:
        """As `hanse.store.plan` asks for it."""
        return self._positions[name] if name in self._positions else self._stored.at(name)

    def has_mark(self, scope: str, key: str, /) -> bool:
        """As `hanse.store.plan` asks for it."""
        return (scope, key) in self._marks or self._stored.has_mark(scope, key)
