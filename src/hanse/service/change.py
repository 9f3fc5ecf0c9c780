"""What happened to rows: typed changes, and the cursor to go on from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from hanse.contract.model import Resource
from hanse.kernel.faults import Malformed
from hanse.kernel.message import Headers
from hanse.store.base import Entry, Op

R = TypeVar("R", bound=Resource)

POSITION_DIGITS_MAX = 18
"""Digits of a position in a cursor; more is no position of any log."""


class Created(msgspec.Struct, Generic[R], frozen=True):
    """A row came to be (or came to match the filter).

    Attributes:
        after: The row.
        cursor: Where to go on from after this change.
        at: Wall-clock second of the commit.
        headers: Who and what led to it.
    """

    after: R
    cursor: str
    at: float = 0.0
    headers: Headers = Headers()


class Updated(msgspec.Struct, Generic[R], frozen=True):
    """A row was written anew: what it was `before`, what it is `after`; else as `Created`."""

    before: R
    after: R
    cursor: str
    at: float = 0.0
    headers: Headers = Headers()


class Deleted(msgspec.Struct, Generic[R], frozen=True):
    """A row is gone (or does not match the filter any more): what it was `before`; else as `Created`."""

    before: R
    cursor: str
    at: float = 0.0
    headers: Headers = Headers()


class Existing(msgspec.Struct, Generic[R], frozen=True):
    """A row that was there when `follow` began."""

    value: R


class Ready(msgspec.Struct, frozen=True):
    """The rows that were there have been told; from here on, changes follow.

    Attributes:
        cursor: Where to go on from after this.
    """

    cursor: str


class Reset(msgspec.Struct, frozen=True):
    """The log does not reach back to the cursor any more: what follows is a new snapshot, forget the old one."""


Change = Created[R] | Updated[R] | Deleted[R]
"""What happened to a row: match on it exhaustively."""

Followed = Existing[R] | Ready | Reset | Created[R] | Updated[R] | Deleted[R]
"""What `Collection.follow` tells: the rows that are there, `Ready`, then changes."""


def change_of(entry: Entry, read: Callable[[bytes, str, int], R], cursor: str) -> Change[R]:
    """A log entry about a row, as a typed change.

    Args:
        entry: The entry; not one of an emitted event.
        read: Makes a row of its JSON value, id and revision.
        cursor: The cursor after it.
    """
    before = None if entry.before is None else read(entry.before, entry.id, entry.before_rev)
    after = None if entry.after is None else read(entry.after, entry.id, entry.seq)
    if entry.op is Op.CREATED and after is not None:
        return Created(after, cursor, entry.at, entry.headers)
    if entry.op is Op.UPDATED and before is not None and after is not None:
        return Updated(before, after, cursor, entry.at, entry.headers)
    assert before is not None, entry.op
    return Deleted(before, cursor, entry.at, entry.headers)


def seen_through(change: Change[R], matches: Callable[[R], bool]) -> Change[R] | None:
    """The change as a filtered view sees it: a row that comes to match is created in it, one that ceases, deleted."""
    if isinstance(change, Created):
        return change if matches(change.after) else None
    if isinstance(change, Deleted):
        return change if matches(change.before) else None
    was, is_now = matches(change.before), matches(change.after)
    if was and is_now:
        return change
    if is_now:
        return Created(change.after, change.cursor, change.at, change.headers)
    return Deleted(change.before, change.cursor, change.at, change.headers) if was else None


def cursor_of(log_id: str, seq: int) -> str:
    """The cursor after a position of a log; opaque to clients."""
    return f"{log_id}.{seq}"


def position_of(log_id: str, cursor: str) -> int | None:
    """The position that a cursor stands for; None where it belongs to another log (start anew).

    Raises:
        Malformed: It is no cursor.
    """
    name, seq = parts_of(cursor)
    return seq if name == log_id else None


def parts_of(cursor: str) -> tuple[str, int]:
    """The log that a cursor belongs to, and the position that it stands for.

    Raises:
        Malformed: It is no cursor.
    """
    name, dot, seq = cursor.rpartition(".")
    if not dot or not seq.isascii() or not seq.isdigit() or len(seq) > POSITION_DIGITS_MAX:
        raise Malformed(f"expected a cursor as this server gave it, got {cursor[:100]!r}; start without one")
    return name, int(seq)
