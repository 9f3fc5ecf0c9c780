"""One group of batches: what is known or taken for granted of what is stored, and what writes all of it.

What a batch says it rests on (a row that must not be there, a mark that was not made, a position) is taken for granted
at first, so that most groups need one turn to the server: `COMMIT` checks whatever was, and changes nothing where it
does not hold. Then all of it is read, and the group planned anew.

Positions are written as distances from the head, as others may commit in between; only an answer that tells of its
revisions rests on the head itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import final

import msgspec

from hanse.kernel.codec import canonical
from hanse.kernel.faults import NotFound
from hanse.store.base import Batch, Emit, Entry, Row
from hanse.store.group import Group, Wanted
from hanse.store.plan import Address, Plan
from hanse.store.redis.names import Names
from hanse.store.redis.packed import lua

_SEQ_MAX = 2**63 - 1
_pack = msgspec.msgpack.Encoder().encode


def needed(batches: Iterable[Batch], collections: Collection[str]) -> Wanted:
    """What has to be read at least to plan some batches: rows that they change, or may.

    Example:
        >>> from hanse.store.base import Delete, Put
        >>> writes = (Put("orders", "1", b"{}", "m1", expected=0), Delete("orders", "2", "m2"))
        >>> needed([Batch(0.0, writes)], ["orders"]).rows
        {'orders': ['2']}
    """
    rows: dict[str, dict[str, None]] = {}
    for batch in batches:
        for write in batch.writes:
            if not isinstance(write, Emit) and write.expected != 0 and write.collection in collections:
                rows.setdefault(write.collection, {})[write.id] = None
    return Wanted({name: list(ids) for name, ids in rows.items()}, [], [])


def commands(wanted: Wanted, names: Names) -> list[tuple[bytes, ...]]:
    """What asks for it: rows, marks, positions, and where the store is, which has to come last.

    Raises:
        UnicodeError: A text cannot be written.
    """
    asked = [(b"HMGET", names.rows(name), *map(str.encode, ids)) for name, ids in wanted.rows.items()]
    if wanted.marks:
        asked.append((b"HMGET", names.marks, *(mark_field(*mark) for mark in wanted.marks)))
    if wanted.positions:
        asked.append((b"HMGET", names.positions, *map(str.encode, wanted.positions)))
    return [*asked, (b"HMGET", names.meta, b"head", b"shape", b"log_id")]


def mark_field(scope: str, key: str) -> bytes:
    """What a mark is called within its hash."""
    return _pack((scope, key))


def row_of(id: str, stored: bytes) -> Row:
    """A row, from what is stored of it.

    Example:
        >>> row_of("1", b'7 {"sku":"tea"}')
        Row(id='1', rev=7, value=b'{"sku":"tea"}')
    """
    rev, _, value = stored.partition(b" ")
    return Row(id, int(rev), value)


@final
class Granted:
    """What was read of a store, and what is taken for granted of it where nothing was.

    Attributes:
        rows: Each row that was read, or taken not to be there.
        marks: Whether each mark was made.
        positions: Where each position is.
        is_read: Whether nothing was taken for granted.
    """

    def __init__(self, collections: Collection[str], batches: Iterable[Batch]) -> None:
        """Take for granted what some batches say.

        Args:
            collections: Those that may be written.
            batches: To be planned.
        """
        self.rows: dict[Address, Row | None] = {}
        self.marks: dict[Address, bool] = {}
        self.positions: dict[str, int] = {}
        self.is_read: bool = True
        self._collections = collections
        self._said = {one.name: one.seq for batch in batches for one in batch.expects}

    def read(self, wanted: Wanted, replies: Sequence[Sequence[bytes | None]]) -> None:
        """Take what was read.

        Args:
            wanted: What was asked for.
            replies: In the order of `commands`, without where the store is.
        """
        answers = iter(replies)
        for collection, ids in wanted.rows.items():
            for id, stored in zip(ids, next(answers), strict=True):
                self.rows[collection, id] = None if stored is None else row_of(id, stored)
        if wanted.marks:
            self.marks = {one: found is not None for one, found in zip(wanted.marks, next(answers), strict=True)}
        if wanted.positions:
            self.positions = {name: int(seq or 0) for name, seq in zip(wanted.positions, next(answers), strict=True)}

    def row(self, collection: str, id: str, /) -> Row | None:
        """As `hanse.store.plan` asks for it."""
        if collection not in self._collections:
            raise NotFound("collection", collection)
        address = (collection, id)
        if address not in self.rows:
            self.is_read, self.rows[address] = False, None
        return self.rows[address]

    def at(self, name: str, /) -> int:
        """As `hanse.store.plan` asks for it."""
        if name not in self.positions:
            self.is_read, self.positions[name] = False, self._said[name]
        return self.positions[name]

    def has_mark(self, scope: str, key: str, /) -> bool:
        """As `hanse.store.plan` asks for it."""
        address = (scope, key)
        if address not in self.marks:
            self.is_read, self.marks[address] = False, False
        return self.marks[address]


def is_sure(group: Group, granted: Granted) -> bool:
    """Whether what was decided holds as it is, or will be looked at when it is written."""
    refused = any(isinstance(outcome, Exception) for outcome in group.outcomes)
    return granted.is_read or not (refused or group.nothing)


class Written(msgspec.Struct, frozen=True):
    """What one batch adds to its group, as `COMMIT` takes it.

    Attributes:
        entries: Name, second, revision before and the rest of each.
        marks: Field, second and what is kept of each.
        positions: Names with positions.
        rests_on_head: Whether an answer tells of revisions.
    """

    entries: list[tuple[str, str, str | int, msgspec.Raw]]
    marks: list[tuple[msgspec.Raw, str, msgspec.Raw]]
    positions: list[tuple[str, str]]
    rests_on_head: bool


def written(batch: Batch, planned: Plan, base: int) -> Written:
    """What a batch adds to its group.

    Args:
        batch: What was asked for.
        planned: What it comes to.
        base: The position that its group begins behind.

    Raises:
        UnicodeError, OverflowError: A value cannot be written.
    """
    packed = canonical(batch.headers) if planned.entries else b""
    for one in batch.positions:
        if not -_SEQ_MAX <= one.seq <= _SEQ_MAX:
            raise OverflowError(f"the position {one.name!r} does not fit into 64 bits")
    return Written(
        [_entry(one, packed, base) for one in planned.entries],
        [
            (lua(mark_field(mark.scope, mark.key)), repr(batch.at), lua(_pack((mark.digest, mark.result))))
            for mark in planned.marks.values()
        ],
        [(_checked(one.name), str(one.seq)) for one in batch.positions],
        any(mark.tell is not None for mark in batch.marks),
    )


def _entry(one: Entry, headers: bytes, base: int) -> tuple[str, str, str | int, msgspec.Raw]:
    before = one.before_rev - base if one.before_rev > base else str(one.before_rev)
    rest = _pack((str(one.op), one.id, one.message_id, one.before, one.after, headers))
    return _checked(one.name), repr(one.at), before, lua(rest)


def _checked(text: str) -> str:
    """A text that can be written."""
    _ = text.encode()
    return text
