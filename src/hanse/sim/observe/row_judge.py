"""Whether a row could be answered, or written, like this: decided from what it was, moment by moment.

Values stand apart: whether there is a row, and at which revision, is up to the model of a row; that a revision has one
value, and that a patch leaves alone what it does not name, is looked at here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from hanse.sim.linear import UNKNOWN, Unknown
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
from hanse.sim.observe.timeline import Moment

Fields = Mapping[str, object]

_model = RowModel()


def answered(call: RowCall, result: RowResult, moments: Sequence[Moment]) -> str | Unknown:
    """Why an answer fits none of some moments of a row; empty where it fits one, `UNKNOWN` where nobody knows.

    Args:
        call: A read, or a write that was refused; without the values.
        result: The answer.
        moments: What the row was when it was called, and has been until it was answered.

    Example:
        >>> moments = [Moment(2.0, 7, b"{}"), Moment(3.5, 9)]
        >>> answered(Get(), Read({}, 7), moments), answered(Get(), Refused("not_found"), moments)
        ('', '')
        >>> answered(Get(), Read({}, 8), moments)
        'told revision 8, but it was at 7 since 2, not there since 3.5 (deleted at 9)'
    """
    if any(_model.step(_state(moment), call, result) is not None for moment in reversed(moments) if moment.known):
        return ""
    if not all(moment.known for moment in moments):
        return UNKNOWN
    return f"{_told(result)}, but it was {', '.join(map(_was, moments))}"


def written(call: RowCall, before: Moment, after: Moment) -> str:
    """Why a write cannot be what a call led to; empty where it can.

    Example:
        >>> written(Patch({}, if_match=7), Moment(2.0, 8, b"{}"), Moment(3.0, 9, b"{}"))
        'to be written at 7 only, and written at 9 when it was at 8 since 2'
    """
    result = Deleted() if after.value is None else Written(after.rev)
    if not before.known or _model.step(_state(before), call, result) is not None:
        return ""
    done = "deleted" if after.value is None else "written"
    return f"{_wanted(call)}, and {done} at {after.rev} when it was {_was(before)}"


def differing(told: Fields, kept: Fields) -> list[str]:
    """The fields in which what was told of a revision differs from what was committed under it.

    One may have fields that the other has not: another version of the class adds defaults.

    Example:
        >>> differing({"left": 3, "price": 5}, {"left": 4, "price": 5})
        ['left']
    """
    return sorted(name for name in told.keys() & kept.keys() if told[name] != kept[name])


def spoilt(named: Collection[str], before: Fields, after: Fields) -> list[str]:
    """The fields that a patch does not name, and that have changed with it.

    Example:
        >>> spoilt({"left"}, {"left": 4, "price": 5}, {"left": 3, "price": 4})
        ['price']
    """
    return [name for name in differing(before, after) if name not in named]


def _state(moment: Moment) -> RowState:
    return RowState(None, 0, moment.rev) if moment.value is None else RowState("{}", moment.rev, moment.rev)


def _told(result: RowResult) -> str:
    match result:
        case Read(rev=rev) | Written(rev=rev):
            return f"told revision {rev}"
        case Deleted():
            return "told that it is gone"
        case Refused(code=code, rev=rev):
            return f"told {code}" if rev is None else f"told {code} and revision {rev or 'none'}"


def _wanted(call: RowCall) -> str:
    if isinstance(call, Create) or (isinstance(call, Put) and call.if_match == 0):
        return "to be made anew"
    if not isinstance(call, Get) and call.if_match is not None:
        return f"to be written at {call.if_match} only"
    return "to be written where it is" if isinstance(call, Patch | Delete) else "to be written"


def _was(moment: Moment) -> str:
    if moment.value is None:
        return f"not there since {moment.at:g}" + (f" (deleted at {moment.rev})" if moment.rev else "")
    return f"at {moment.rev} since {moment.at:g}"
