"""What a row of a collection answers, were its calls made one after the other: a model for `hanse.sim.linear`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import msgspec

from hanse.sim.linear import UNKNOWN, Unknown


class Get(msgspec.Struct, frozen=True):
    """Read a row."""


class Create(msgspec.Struct, frozen=True):
    """Add a row that is not there."""

    value: Mapping[str, object]


class Put(msgspec.Struct, frozen=True):
    """Write a row whole, there or not; or over a revision only (0 for "not there")."""

    value: Mapping[str, object]
    if_match: int | None = None


class Patch(msgspec.Struct, frozen=True):
    """Change some fields of a row that is there."""

    changes: Mapping[str, object]
    if_match: int | None = None


class Delete(msgspec.Struct, frozen=True):
    """Remove a row that is there."""

    if_match: int | None = None


class Read(msgspec.Struct, frozen=True):
    """A row as it was read, without its id and revision among the fields."""

    value: Mapping[str, object]
    rev: int


class Written(msgspec.Struct, frozen=True):
    """A row was written, and has a new revision."""

    rev: int


class Deleted(msgspec.Struct, frozen=True):
    """A row was removed."""


class Refused(msgspec.Struct, frozen=True):
    """Nothing was done.

    Attributes:
        code: Of the fault. `not_found`, `conflict` and `precondition_failed` say something about the row; any other
            is possible at any time.
        rev: Revision that the row is at instead, where the fault tells; 0 for none.
    """

    code: str
    rev: int | None = None


RowCall = Get | Create | Put | Patch | Delete
RowResult = Read | Written | Deleted | Refused


class RowState(msgspec.Struct, frozen=True):
    """A row, as far as it is known.

    Attributes:
        value: Its fields as JSON; None where it is not there.
        rev: Its revision; None where it was written by a call that had no answer, until an answer tells it.
        floor: Its revision is not below this one, and the next that is written is above.
    """

    value: str | None = None
    rev: int | None = 0
    floor: int = 0

    def __str__(self) -> str:
        if self.value is None:
            return "no row"
        return f"{self.value} at " + (f"some revision above {self.floor}" if self.rev is None else f"{self.rev}")


@final
class RowModel:
    """A model of one row of a `Collection`: what it holds, and which revision it is at.

    Revisions are the store's choice; they only grow, also past a deletion. Writes to a row that was deleted are told
    `not_found` or `precondition_failed`, as different ways to the row tell it. Any write but a creation may be refused
    with `conflict`: it lost a race.

    Example:
        >>> row = RowModel()
        >>> made = row.step(row.initial, Create({"name": "tea"}), Written(7))
        >>> print(made, row.step(made, Put({"name": "mate"}, if_match=6), Written(8)))
        {"name":"tea"} at 7 None
    """

    @property
    def initial(self) -> RowState:
        """No row."""
        return RowState()

    def step(self, state: RowState, call: RowCall, result: RowResult | Unknown, /) -> RowState | None:
        """See `Model.step`."""
        if isinstance(call, Get):
            return _read(state, result)
        if isinstance(result, Refused):
            return _refused(state, call, result)
        matched = _matched(state, call)
        if matched is None:
            return state if result is UNKNOWN else None
        return _written(matched, call, result)


def _read(state: RowState, result: RowResult | Unknown) -> RowState | None:
    match result:
        case Read(value=value, rev=rev):
            known = _at(state, rev)
            return known if known is not None and _text(value) == state.value else None
        case Refused(code="not_found"):
            return state if state.value is None else None
        case Written() | Deleted():
            return None
        case _:
            return state


def _at(state: RowState, rev: int) -> RowState | None:
    """The row if it is at this revision, which is known from now on; None where it cannot be."""
    can = rev > state.floor if state.rev is None else rev == state.rev
    return RowState(state.value, rev, rev) if can and state.value is not None else None


def _matched(state: RowState, call: Create | Put | Patch | Delete) -> RowState | None:
    """The row, if it is as a call wants to find it."""
    if isinstance(call, Create) or call.if_match == 0:
        return state if state.value is None and not isinstance(call, Patch | Delete) else None
    if call.if_match is not None:
        return _at(state, call.if_match)
    return state if state.value is not None or isinstance(call, Put) else None


def _written(state: RowState, call: Create | Put | Patch | Delete, result: RowResult | Unknown) -> RowState | None:
    if isinstance(call, Delete):
        return RowState(None, 0, state.floor) if result is UNKNOWN or isinstance(result, Deleted) else None
    value = _patched(state, call) if isinstance(call, Patch) else _text(call.value)
    if result is UNKNOWN:
        return RowState(value, None, state.floor)
    if not isinstance(result, Written) or result.rev <= state.floor:
        return None
    return RowState(value, result.rev, result.rev)


def _refused(state: RowState, call: Create | Put | Patch | Delete, result: Refused) -> RowState | None:
    if_match = None if isinstance(call, Create) else call.if_match
    match result.code:
        case "conflict":
            can = state.value is not None or not isinstance(call, Create)
        case "not_found":
            can = state.value is None and (isinstance(call, Patch | Delete) or bool(if_match))
        case "precondition_failed":
            return None if if_match is None else _elsewhere(state, if_match, result.rev)
        case _:
            can = True
    return state if can else None


def _elsewhere(state: RowState, expected: int, actual: int | None) -> RowState | None:
    """The row, if it can be at another revision than was expected, and at the one that is told."""
    if state.value is None:
        return state if expected and not actual else None
    if actual is None:
        # Where the revision is not known, it is known now that it is not this one; too little to remember.
        return state if state.rev != expected else None
    return _at(state, actual) if actual != expected else None


def _text(value: Mapping[str, object]) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def _patched(state: RowState, call: Patch) -> str:
    fields: dict[str, object] = msgspec.json.decode(state.value or "{}")
    return _text({**fields, **call.changes})
