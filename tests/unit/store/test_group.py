"""Batches that are committed together are planned one after the other, and each is refused or accepted on its own."""

from __future__ import annotations

from hanse.kernel.faults import NotFound, PreconditionFailed
from hanse.store.base import AlreadyHandled, Batch, Delete, Emit, Expect, Mark, Position, Put, Row
from hanse.store.group import Group, Known, Wanted


def known() -> Known:
    found = Known(["orders"])
    found.rows["orders", "1"] = Row("1", 5, b"{}")
    found.marks.add(("mail", "m0"))
    found.positions["relay"] = 3
    return found


def planned(*batches: Batch) -> Group:
    group = Group(known(), 7)
    group.plan(batches)
    return group


def put(id: str, expected: int | None = None) -> Batch:
    return Batch(0.0, (Put("orders", id, b"{}", "m", expected),))


def test_what_is_wanted_is_gathered_once() -> None:
    batch = Batch(
        0.0,
        (
            Put("orders", "1", b"{}", "m"),
            Delete("orders", "1", "n"),
            Put("others", "2", b"{}", "o"),
            Emit("t", "k", b"{}", "p"),
        ),
        marks=(Mark("mail", "m0"),),
        expects=(Expect("relay", 3),),
    )
    wanted = Wanted.of([batch, batch], ["orders"])
    assert wanted == Wanted({"orders": ["1"]}, [("mail", "m0")], ["relay"])
    assert not wanted.nothing
    assert Wanted.of([Batch(0.0, (Emit("t", "k", b"{}", "p"),))], ["orders"]).nothing


def test_a_batch_sees_the_rows_of_those_before_it() -> None:
    group = planned(put("2", 0), put("2", 8), put("2", 8), put("1", 5))
    assert group.outcomes[:2] == [(8,), (9,)]
    assert isinstance(group.outcomes[2], PreconditionFailed)
    assert group.outcomes[3] == (10,)
    assert group.head == 10
    assert group.rows == {("orders", "2"): Row("2", 9, b"{}"), ("orders", "1"): Row("1", 10, b"{}")}


def test_a_row_that_went_has_gone_for_the_next_batch() -> None:
    gone = Batch(0.0, (Delete("orders", "1", "m"),))
    group = planned(gone, gone)
    assert isinstance(group.outcomes[1], NotFound)
    assert group.rows == {("orders", "1"): None}


def test_a_mark_is_made_once_whether_it_is_stored_or_in_the_group() -> None:
    group = planned(*(Batch(0.0, marks=(Mark("mail", key),)) for key in ("m0", "m1", "m1")))
    assert [type(one) for one in group.outcomes] == [AlreadyHandled, tuple, AlreadyHandled]


def test_a_position_is_where_the_batch_before_has_moved_it() -> None:
    moved = Batch(0.0, positions=(Position("relay", 4),), expects=(Expect("relay", 3),))
    group = planned(moved, moved, Batch(0.0, expects=(Expect("other", 0),)))
    assert [type(one) for one in group.outcomes] == [tuple, PreconditionFailed, tuple]


def test_a_collection_that_nobody_declared_is_refused() -> None:
    group = planned(Batch(0.0, (Put("others", "1", b"{}", "m"),)), put("3"))
    assert isinstance(group.outcomes[0], NotFound)
    assert group.outcomes[1] == (8,)


def test_there_is_nothing_to_write_where_all_were_refused_or_only_asked() -> None:
    assert planned(put("1", 4), Batch(0.0, expects=(Expect("relay", 3),))).nothing
    assert not planned(Batch(0.0, marks=(Mark("mail", "m9"),))).nothing
