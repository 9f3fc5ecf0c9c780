"""What a replica has to write for what its owner's feed told. A pure machine: lines come in, rows and a cursor go out.

A copy is in one of two states. It *follows*: each change moves the cursor. Or it *snapshots*: rows come that are there,
changes among them, and no cursor counts until `ready`; then whatever the snapshot did not tell of is gone. A copy that
breaks off amid a snapshot begins it anew. The rows of the copy before stay readable meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import msgspec

from hanse.service.rows import Line


class Step(msgspec.Struct, frozen=True):
    """What some lines come to; to be committed together.

    Attributes:
        rows: Rows as the owner has them, by id, as JSON; None for one that is gone.
        cursor: Where to go on from; empty amid a snapshot.
        keep: With the end of a snapshot, the ids that it told of: all other rows are gone. Otherwise None.
    """

    rows: dict[str, bytes | None]
    cursor: str
    keep: frozenset[str] | None = None


@final
class Copy:
    """Where a copy is.

    Example:
        >>> copy = Copy("")
        >>> step = copy.take([Line("existing", id="1", value=b"{}"), Line("ready", "log.7")])
        >>> step.rows, step.cursor, step.keep
        ({'1': b'{}'}, 'log.7', frozenset({'1'}))
        >>> copy.take([Line("deleted", "log.8", id="1")]).rows
        {'1': None}
    """

    def __init__(self, cursor: str) -> None:
        """Begin where a feed begins.

        Args:
            cursor: The one that it is read after; empty for a snapshot.
        """
        self._cursor = cursor
        self._told: set[str] | None = None if cursor else set()

    def take(self, lines: Iterable[Line]) -> Step:
        """What lines come to that were told in this order."""
        rows: dict[str, bytes | None] = {}
        keep: frozenset[str] | None = None
        for line in lines:
            if line.event == "reset":
                # What was told before it holds no longer, and nobody may go on from there.
                rows.clear()
                self._cursor, self._told = "", set()
            elif line.event == "ready":
                if self._told is not None:
                    keep = frozenset(self._told)
                self._cursor, self._told = line.cursor, None
            else:
                self._note(line)
                rows[line.id] = None if line.event == "deleted" else line.value
        if keep is not None:
            # Lines after `ready` speak for themselves.
            keep = keep.union(rows)
        return Step(rows, self._cursor, None if self._told is not None else keep)

    def _note(self, line: Line) -> None:
        if self._told is None:
            self._cursor = line.cursor
        elif line.event == "deleted":
            self._told.discard(line.id)
        else:
            self._told.add(line.id)
