"""Rows as they were at a moment, whatever was changed before or after each piece of them was read."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from hanse.kernel.faults import Unavailable
from hanse.kernel.message import NO_HEADERS
from hanse.store.base import Entry, Op, Row
from hanse.store.undoing import UNDONE_BYTES_MAX, Undoing

_IDS = "abcdefgh"
_Changes = list[tuple[str, bool]]
_NOTHING: tuple[_Changes, _Changes] = ([], [])


class _Table:
    """Rows and what changed them, as any store has them."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.log: list[Entry] = []

    def change(self, id: str, *, removes: bool) -> None:
        before = self.rows.pop(id, None)
        seq = len(self.log) + 1
        if not removes:
            self.rows[id] = Row(id, seq, b"%d" % seq)
        elif before is None:
            return
        op = Op.DELETED if removes else Op.UPDATED if before else Op.CREATED
        after = None if removes else self.rows[id].value
        was, rev = (before.value, before.rev) if before else (None, 0)
        self.log.append(Entry(seq, 1.0, op, "orders", id, "m", was, after, rev, NO_HEADERS))


_changes = st.lists(st.tuples(st.sampled_from(_IDS), st.booleans()), max_size=12)


@given(_changes, st.lists(st.tuples(_changes, _changes), min_size=1, max_size=8), st.integers(1, 4))
def test_rows_are_what_they_were_at_the_moment(
    first: _Changes, meanwhile: list[tuple[_Changes, _Changes]], size: int
) -> None:
    table = _Table()
    for id, removes in first:
        table.change(id, removes=removes)
    was, undoing = [table.rows[id] for id in sorted(table.rows)], Undoing(len(table.log))
    found: list[Row] = []
    last: str | None = ""
    turns = iter(meanwhile)
    while last is not None:
        before, after = next(turns, _NOTHING)
        for id, removes in before:
            table.change(id, removes=removes)
        rows = [table.rows[id] for id in sorted(table.rows) if id > last]
        last, rows = (rows[size - 1].id if len(rows) > size else None), rows[:size]
        # What is seen may be newer than the piece.
        for id, removes in after:
            table.change(id, removes=removes)
        undoing.saw(table.log[undoing.upto :], len(table.log))
        found += undoing.rows("orders", rows, last)
    assert found == was


def test_events_and_other_collections_undo_nothing() -> None:
    undoing = Undoing(1)
    undoing.saw(
        [
            Entry(2, 1.0, Op.EMITTED, "orders", "a", "m", None, b"{}", 0, NO_HEADERS),
            Entry(3, 1.0, Op.DELETED, "notes", "a", "m", b"{}", None, 1, NO_HEADERS),
        ],
        3,
    )
    row = Row("a", 1, b"{}")
    assert undoing.rows("orders", [row], None) == [row]
    assert undoing.rows("notes", [], None) == [row]


def test_more_changes_than_it_may_hold_are_refused_and_passed_ones_cost_nothing() -> None:
    before = bytes(UNDONE_BYTES_MAX // 64)

    def changes(ids: range) -> list[Entry]:
        return [Entry(id + 2, 1.0, Op.UPDATED, "orders", f"{id:03}", "m", before, b"{}", 1, NO_HEADERS) for id in ids]

    undoing = Undoing(1)
    undoing.saw(changes(range(60)), 61)
    assert len(undoing.rows("orders", [], "059")) == 60
    undoing.saw(changes(range(120)), 121)
    with pytest.raises(Unavailable, match="256 MiB of rows were changed while they were read"):
        undoing.saw(changes(range(60, 130)), 131)
