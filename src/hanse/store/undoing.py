"""Rows as they were at an earlier moment, where a store shows only what they are.

The log tells what every change found: of a row that was changed since, the first entry after the moment has what it
was. So rows are read in pieces, beside whoever writes, and what was changed since is undone, whether a piece was read
before that or after.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import final

from hanse.kernel.faults import Unavailable
from hanse.store.base import Entry, Op, Row

UNDONE_BYTES_MAX = 256 * 1024 * 1024
"""Of rows as they were before they were changed, held until their piece is read."""


@final
class Undoing:
    """Undoes what was changed since a moment.

    Attributes:
        upto: Position of the newest entry that it has seen, or of the moment.

    Example:
        >>> from hanse.kernel.message import NO_HEADERS
        >>> undoing = Undoing(7)
        >>> undoing.saw([Entry(8, 1.0, Op.UPDATED, "orders", "1", "m", b"1", b"2", 5, NO_HEADERS)], 8)
        >>> undoing.rows("orders", [Row("1", 8, b"2")], None)
        [Row(id='1', rev=5, value=b'1')]
    """

    def __init__(self, head: int) -> None:
        """Have seen nothing yet.

        Args:
            head: Position of the newest entry at the moment.
        """
        self.upto: int = head
        self._changed: dict[str, dict[str, Row | None]] = {}
        self._ids: dict[str, list[str]] = {}
        self._passed: dict[str, str | None] = {}
        self._bytes = 0

    def saw(self, entries: Iterable[Entry], upto: int) -> None:
        """Take the next entries after the moment.

        Args:
            entries: In order.
            upto: Position that they reach to.

        Raises:
            Unavailable: They changed more than `UNDONE_BYTES_MAX` of what was not read yet.
        """
        for one in entries:
            if one.op is not Op.EMITTED and not self._is_passed(one.name, one.id):
                self._note(one)
        self.upto = upto
        if self._bytes > UNDONE_BYTES_MAX:
            raise Unavailable(
                f"more than {UNDONE_BYTES_MAX // 2**20} MiB of rows were changed while they were read for a dump; "
                "dump the store while less is written"
            )

    def rows(self, collection: str, found: Sequence[Row], last: str | None) -> list[Row]:
        """What the rows of the next piece were, in the order of their ids.

        All that was changed before the piece was read has to be seen by now.

        Args:
            collection: Whose.
            found: All rows that there are after the last piece, up to the end of this one, in that order.
            last: The id that this piece ends with; None at the end of the collection.
        """
        ids, changed = self._ids.get(collection, []), self._changed.get(collection, {})
        undone: dict[str, Row | None] = {}
        while ids and (last is None or ids[0] <= last):
            id = heapq.heappop(ids)
            undone[id] = changed.pop(id)
            self._bytes -= _size(id, undone[id])
        self._passed[collection] = last
        kept = [row for row in found if row.id not in undone]
        return sorted([*kept, *(row for row in undone.values() if row)], key=_id) if undone else kept

    def _is_passed(self, collection: str, id: str) -> bool:
        if collection not in self._passed:
            return False
        last = self._passed[collection]
        return last is None or id <= last

    def _note(self, entry: Entry) -> None:
        changed = self._changed.setdefault(entry.name, {})
        if entry.id in changed:
            return
        before = None if entry.before is None else Row(entry.id, entry.before_rev, entry.before)
        changed[entry.id] = before
        heapq.heappush(self._ids.setdefault(entry.name, []), entry.id)
        self._bytes += _size(entry.id, before)


def _id(row: Row) -> str:
    return row.id


def _size(id: str, before: Row | None) -> int:
    return len(id) + (len(before.value) if before else 0)
