"""What a batch comes to: decided before anything is written, the same way for every store.

A pure decision: it asks what is stored, checks every expectation, and gives the entries of the log and the rows as
they will be; or it refuses, and nothing has been touched. Writes of one batch see those before them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, cast

import msgspec

from hanse.kernel.faults import Conflict, Malformed, NotFound, PreconditionFailed
from hanse.store.base import AlreadyHandled, Batch, Delete, Emit, Entry, Mark, Op, Put, Row

Address = tuple[str, str]
"""Collection and id of a row, or scope and key of a mark."""

POSITION = "position"
"""What a `PreconditionFailed` names as its kind where a batch rested on a position."""

DEPTH_MAX = 500
"""Objects and lists within each other in one value: what every store, and Python, can go through."""

_object = msgspec.json.Decoder(dict[str, object])


class Stored(Protocol):
    """What is stored at the moment of the decision."""

    def row(self, collection: str, id: str, /) -> Row | None:
        """The row, or None. Raises `NotFound` where there is no such collection."""
        ...

    def at(self, name: str, /) -> int:
        """Where a named position is; 0 for one never seen."""
        ...

    def has_mark(self, scope: str, key: str, /) -> bool:
        """Whether the mark was made."""
        ...


class Plan(msgspec.Struct, frozen=True):
    """What will be written.

    Attributes:
        entries: Of the log, in order.
        rows: Each row touched as it will be; None for one that goes.
        marks: Marks by scope and key.
        positions: Of the batch's writes, in order.
    """

    entries: tuple[Entry, ...]
    rows: dict[Address, Row | None]
    marks: dict[Address, Mark]
    positions: tuple[int, ...]


def plan(batch: Batch, head: int, stored: Stored) -> Plan:
    """What a batch comes to, written right after position `head`.

    Raises:
        NotFound, Conflict, PreconditionFailed, AlreadyHandled: An expectation does not hold.
        Malformed: A value is not a JSON object.
    """
    marks: dict[Address, Mark] = {}
    for mark in batch.marks:
        if (mark.scope, mark.key) in marks or stored.has_mark(mark.scope, mark.key):
            raise AlreadyHandled(f"{mark.key!r} was handled already", mark.scope, mark.key)
        marks[mark.scope, mark.key] = mark
    for expected in batch.expects:
        if (seq := stored.at(expected.name)) != expected.seq:
            raise PreconditionFailed(POSITION, expected.name, str(expected.seq), str(seq))
    rows: dict[Address, Row | None] = {}
    entries: list[Entry] = []
    for seq, write in enumerate(batch.writes, head + 1):
        if isinstance(write, Emit):
            topic = write.topic
            entries.append(
                Entry(
                    seq, batch.at, Op.EMITTED, topic, write.key, write.message_id, None, write.value, 0, batch.headers
                )
            )
            continue
        address = (write.collection, write.id)
        before = rows[address] if address in rows else stored.row(*address)
        _expect(write, before)
        after = _after(write, seq)
        rows[address] = after
        entries.append(_entry(batch, write, before, after, seq))
    positions = tuple(range(head + 1, head + 1 + len(entries)))
    told = {address: mark.told(positions) for address, mark in marks.items()} if marks else marks
    return Plan(tuple(entries), rows, told, positions)


def _expect(write: Put | Delete, before: Row | None) -> None:
    expected = write.expected
    if before is None:
        if expected or isinstance(write, Delete):
            raise NotFound(write.collection, write.id)
    elif expected is not None and expected != before.rev:
        if expected == 0 and isinstance(write, Put):
            raise Conflict(f"{write.collection} {write.id!r} exists already; choose another id, or update it")
        raise PreconditionFailed(write.collection, write.id, str(expected), str(before.rev))


def _after(write: Put | Delete, seq: int) -> Row | None:
    if isinstance(write, Delete):
        return None
    try:
        value = _object.decode(write.value)
        # Where there are so few brackets, nothing can be nested so deeply.
        deep = write.value.count(b"{") + write.value.count(b"[") > DEPTH_MAX and _is_too_deep(value)
    except RecursionError:
        deep = True
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem = f"expected a JSON object as the value of {write.collection} {write.id!r}: {error}"
        raise Malformed(problem) from None
    if deep:
        expected = f"expected at most {DEPTH_MAX} objects and lists within each other"
        raise Malformed(f"{expected} in the value of {write.collection} {write.id!r}; it is nested more deeply")
    return Row(write.id, seq, write.value)


def _is_too_deep(value: object) -> bool:
    level: list[object] = [value]
    for _ in range(DEPTH_MAX):
        level = [item for one in level for item in _inside(one)]
        if not level:
            return False
    return any(isinstance(one, (dict, list)) for one in level)


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


def _entry(batch: Batch, write: Put | Delete, before: Row | None, after: Row | None, seq: int) -> Entry:
    op = Op.DELETED if after is None else Op.UPDATED if before else Op.CREATED
    return Entry(
        seq,
        batch.at,
        op,
        write.collection,
        write.id,
        write.message_id,
        before.value if before else None,
        after.value if after else None,
        before.rev if before else 0,
        batch.headers,
    )
