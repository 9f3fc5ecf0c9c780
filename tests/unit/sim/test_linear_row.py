"""The model of a row agrees with rows as a store keeps them, whatever answers got lost on the way."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import assume, given, strategies as st

from hanse.sim.linear import UNKNOWN, Op, Unknown, check
from hanse.sim.linear_row import (
    Create,
    Delete,
    Deleted,
    Get,
    Patch,
    Put,
    Read,
    Refused,
    RowCall,
    RowModel,
    RowResult,
    RowState,
    Written,
)

RowOp = Op[RowCall, RowResult]
NONE = RowState()
GONE = RowState(None, 0, 9)
TEA = RowState('{"name":"tea"}', 5, 5)
LOST = RowState('{"name":"tea"}', None, 5)
NAME = {"name": "tea"}
MATE = RowState('{"name":"mate"}', 8, 8)


@pytest.mark.parametrize(
    ("state", "call", "result", "after"),
    [
        (NONE, Get(), Refused("not_found"), NONE),
        (NONE, Get(), Read(NAME, 5), None),
        (TEA, Get(), Read(NAME, 5), TEA),
        (TEA, Get(), Read(NAME, 6), None),
        (TEA, Get(), Read({"name": "mate"}, 5), None),
        (TEA, Get(), Refused("not_found"), None),
        (TEA, Get(), Refused("overloaded"), TEA),
        (TEA, Get(), Written(6), None),
        (TEA, Get(), UNKNOWN, TEA),
        (LOST, Get(), Read(NAME, 7), RowState(TEA.value, 7, 7)),
        (LOST, Get(), Read(NAME, 5), None),
        (NONE, Create(NAME), Written(5), TEA),
        (GONE, Create(NAME), Written(9), None),
        (GONE, Create(NAME), Written(10), RowState(TEA.value, 10, 10)),
        (TEA, Create(NAME), Written(6), None),
        (TEA, Create(NAME), Refused("conflict"), TEA),
        (NONE, Create(NAME), Refused("conflict"), None),
        (NONE, Create(NAME), Refused("not_found"), None),
        (NONE, Create(NAME), Refused("precondition_failed"), None),
        (NONE, Create(NAME), UNKNOWN, RowState(TEA.value, None, 0)),
        (TEA, Create({}), UNKNOWN, TEA),
        (TEA, Put({"name": "mate"}), Written(8), MATE),
        (NONE, Put({"name": "mate"}), Written(8), MATE),
        (TEA, Put({"name": "mate"}), Written(5), None),
        (TEA, Put({"name": "mate"}), Read(NAME, 5), None),
        (TEA, Put({"name": "mate"}, 5), Written(8), MATE),
        (TEA, Put({"name": "mate"}, 4), Written(8), None),
        (TEA, Put({"name": "mate"}, 0), Written(8), None),
        (NONE, Put({"name": "mate"}, 0), Written(8), MATE),
        (TEA, Put({"name": "mate"}, 0), Refused("conflict"), TEA),
        (NONE, Put({"name": "mate"}, 5), Refused("not_found"), NONE),
        (NONE, Put({"name": "mate"}), Refused("not_found"), None),
        (NONE, Put({"name": "mate"}, 5), Refused("precondition_failed"), NONE),
        (NONE, Put({"name": "mate"}, 5), Refused("precondition_failed", 0), NONE),
        (NONE, Put({"name": "mate"}, 5), Refused("precondition_failed", 3), None),
        (NONE, Put({"name": "mate"}, 0), Refused("precondition_failed"), None),
        (TEA, Put({"name": "mate"}, 4), Refused("precondition_failed", 5), TEA),
        (TEA, Put({"name": "mate"}, 4), Refused("precondition_failed", 3), None),
        (TEA, Put({"name": "mate"}, 4), Refused("precondition_failed"), TEA),
        (TEA, Put({"name": "mate"}, 5), Refused("precondition_failed"), None),
        (TEA, Put({"name": "mate"}), Refused("precondition_failed"), None),
        (TEA, Put({"name": "mate"}), Refused("conflict"), TEA),
        (TEA, Put({"name": "mate"}), Refused("overloaded"), TEA),
        (LOST, Put({"name": "mate"}, 7), Written(8), MATE),
        (LOST, Put({"name": "mate"}, 8), Written(8), None),
        (LOST, Put({"name": "mate"}, 5), Written(8), None),
        (LOST, Put({"name": "mate"}, 7), Refused("precondition_failed"), LOST),
        (LOST, Put({"name": "mate"}, 7), Refused("precondition_failed", 6), RowState(TEA.value, 6, 6)),
        (LOST, Put({"name": "mate"}, 7), Refused("precondition_failed", 7), None),
        (LOST, Put({"name": "mate"}, 7), UNKNOWN, RowState(MATE.value, None, 7)),
        (TEA, Patch({"size": 2}), Written(8), RowState('{"name":"tea","size":2}', 8, 8)),
        (TEA, Patch({"name": "mate"}, 5), Written(8), MATE),
        (TEA, Patch({"name": "mate"}, 4), Written(8), None),
        (NONE, Patch({"name": "mate"}), Written(8), None),
        (NONE, Patch({"name": "mate"}, 0), Written(8), None),
        (NONE, Patch({"name": "mate"}), Refused("not_found"), NONE),
        (TEA, Patch({"name": "mate"}), Refused("not_found"), None),
        (NONE, Patch({"name": "mate"}), UNKNOWN, NONE),
        (TEA, Patch({"name": "mate"}, 4), UNKNOWN, TEA),
        (TEA, Delete(), Deleted(), RowState(None, 0, 5)),
        (TEA, Delete(), Written(8), None),
        (TEA, Delete(), UNKNOWN, RowState(None, 0, 5)),
        (LOST, Delete(7), Deleted(), RowState(None, 0, 7)),
        (NONE, Delete(), Deleted(), None),
        (NONE, Delete(), Refused("not_found"), NONE),
        (TEA, Put(NAME), Deleted(), None),
    ],
)
def test_a_row_answers_as_a_collection_does(
    state: RowState, call: RowCall, result: RowResult | Unknown, after: RowState | None
) -> None:
    assert RowModel().step(state, call, result) == after


def test_the_order_of_fields_does_not_matter() -> None:
    row = RowModel()
    state = row.step(row.initial, Create({"a": 1, "b": {"c": 2, "d": 3}}), Written(1))
    assert state is not None
    assert row.step(state, Get(), Read({"b": {"d": 3, "c": 2}, "a": 1}, 1)) == state


@pytest.mark.parametrize(
    ("state", "text"),
    [(NONE, "no row"), (TEA, '{"name":"tea"} at 5'), (LOST, '{"name":"tea"} at some revision above 5')],
)
def test_a_state_tells_what_is_known(state: RowState, text: str) -> None:
    assert str(state) == text


def test_a_write_that_was_acknowledged_and_lost_is_explained() -> None:
    history: list[RowOp] = [
        Op("a", "orders/1", 0.0, 1.0, Create({"status": "new"}), Written(3)),
        Op("b", "orders/1", 2.0, 3.0, Patch({"status": "paid"}), Written(4)),
        Op("a", "orders/1", 4.0, 5.0, Get(), Read({"status": "new"}, 3)),
    ]
    verdict = check(history, RowModel())
    assert verdict.outcome == "broken"
    assert 'which leaves: {"status":"paid"} at 4' in verdict.explanation


def test_the_same_revision_for_two_writes_is_broken() -> None:
    history: list[RowOp] = [
        Op("a", "k", 0.0, 1.0, Create({"n": 0}), Written(3)),
        Op("a", "k", 1.5, 3.0, Put({"n": 1}, 3), Written(4)),
        Op("b", "k", 1.5, 3.0, Put({"n": 2}, 3), Written(5)),
    ]
    assert check(history, RowModel()).outcome == "broken"


class Stored:
    """A row as a store keeps it, written apart from the model; other rows move the log on."""

    def __init__(self) -> None:
        self.value: dict[str, object] | None = None
        self.rev = 0
        self.head = 0

    def answer(self, call: RowCall, skip: int) -> RowResult:
        self.head += skip
        if isinstance(call, Get):
            return Read(dict(self.value), self.rev) if self.value is not None else Refused("not_found")
        if self.value is None and isinstance(call, Patch | Delete):
            return Refused("not_found")
        if isinstance(call, Create):
            return Refused("conflict") if self.value is not None else self._write(call.value)
        if call.if_match is not None and call.if_match != self.rev:
            return Refused("precondition_failed", self.rev)
        if isinstance(call, Delete):
            self.value, self.rev = None, 0
            self.head += 1
            return Deleted()
        return self._write(call.value if isinstance(call, Put) else {**(self.value or {}), **call.changes})

    def _write(self, value: Mapping[str, object]) -> Written:
        self.head += 1
        self.value, self.rev = dict(value), self.head
        return Written(self.rev)


VALUES = st.sampled_from([{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3, "m": 0}, {"n": 0, "m": 1}])


KINDS: st.SearchStrategy[type[RowCall]] = st.sampled_from([Get, Create, Put, Patch, Delete])
STALE = st.sampled_from([None, 0, 1])


def call_of(kind: type[RowCall], value: Mapping[str, object], if_match: int | None) -> RowCall:
    if issubclass(kind, Get):
        return Get()
    if issubclass(kind, Create):
        return Create(value)
    return Delete(if_match) if issubclass(kind, Delete) else kind(value, if_match)


@st.composite
def runs(draw: st.DrawFn) -> list[RowOp]:
    """What a real row answered, each call seen from before until after its moment; some answers never came."""
    row = Stored()
    history: list[RowOp] = []
    for number in range(draw(st.integers(1, 25))):
        stale = draw(STALE)
        call = call_of(draw(KINDS), draw(VALUES), None if stale is None else row.rev + stale)
        fate = draw(st.integers(0, 9))
        result = UNKNOWN if fate == 1 else row.answer(call, draw(st.integers(0, 2)))
        lost = fate <= 1
        start = number - draw(st.floats(0.0, 2.5))
        end = math.inf if lost else number + draw(st.floats(0.0, 2.5))
        history.append(Op(f"p{number}", "k", start, end, call, UNKNOWN if lost else result))
    return history


@given(runs())
def test_what_a_real_row_answered_is_linearizable(history: list[RowOp]) -> None:
    assert check(history, RowModel()).outcome == "linearizable"


@given(runs(), st.data())
def test_a_value_that_nobody_wrote_is_found(history: list[RowOp], data: st.DataObject) -> None:
    reads = [place for place, op in enumerate(history) if isinstance(op.result, Read)]
    assume(reads)
    place = data.draw(st.sampled_from(reads))
    op = history[place]
    assert isinstance(op.result, Read)
    history[place] = Op(op.process, op.key, op.start, op.end, op.call, Read({"n": 99}, op.result.rev))
    assert check(history, RowModel()).outcome == "broken"


@given(runs())
def test_a_revision_that_was_given_before_is_found(history: list[RowOp]) -> None:
    revs = [op.result.rev for op in history if isinstance(op.result, Written)]
    assume(revs)
    twice: RowOp = Op("late", "k", 90.0, 91.0, Put({"n": 0}), Written(revs[0]))
    assert check([*history, twice], RowModel()).outcome == "broken"


@given(runs())
def test_a_row_that_is_there_again_after_its_deletion_is_found(history: list[RowOp]) -> None:
    late: list[RowOp] = [
        *history,
        Op("late", "k", 90.0, 91.0, Put({"n": 0}), Written(1000)),
        Op("late", "k", 92.0, 93.0, Delete(), Deleted()),
    ]
    ghost: RowOp = Op("late", "k", 94.0, 95.0, Get(), Read({"n": 0}, 1000))
    assert check(late, RowModel()).outcome == "linearizable"
    late.append(ghost)
    verdict = check(late, RowModel())
    assert verdict.outcome == "broken"
    assert verdict.explanation.splitlines()[1] == f"  late [94, 95] {ghost.call} -> {ghost.result}"
