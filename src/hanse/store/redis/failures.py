"""What a failure of Redis means: a value that it cannot take, a store that is away, or a mistake of ours.

The server's errors begin with a word that names their kind.
"""

from __future__ import annotations

from typing import NoReturn

from hanse.kernel.faults import Fault, Malformed, Unavailable
from hanse.kernel.resp import ReplyError

_ELSEWHERE = frozenset({"READONLY", "MOVED", "ASK", "CLUSTERDOWN", "TRYAGAIN", "CROSSSLOT", "LOADING", "MASTERDOWN"})
"""This server does not, or not yet, serve the keys: another one may."""

_AWAY = frozenset({"MISCONF", "NOREPLICAS", "BUSY", "NOPERM", "NOAUTH", "UNKILLABLE"})
"""It does not do what it is asked at the moment: its disk is full, replicas are away, somebody's script runs."""

_FULL = "OOM"


def kind_of(error: BaseException) -> str:
    """The word that an error of the server begins with; empty where it is not one that it told."""
    return str(error).split(" ", 1)[0] if isinstance(error, ReplyError) else ""


def is_lost(error: BaseException) -> bool:
    """Whether it is not known what became of a command: the connection broke, or there was no answer in time."""
    return isinstance(error, (OSError, TimeoutError))


def is_elsewhere(error: BaseException) -> bool:
    """Whether another server has to be asked; nothing was done."""
    return kind_of(error) in _ELSEWHERE


def is_of_value(error: BaseException) -> bool:
    """Whether a value cannot be written or compared; nothing was done."""
    return isinstance(error, (UnicodeError, OverflowError, RecursionError))


def meaning(error: Exception, place: str) -> Exception:
    """What to raise in place of an error: a fault where it is known what it means, else the error itself.

    Args:
        error: What came of a command.
        place: Which store, without secrets.

    Example:
        >>> meaning(ConnectionResetError("reset by peer"), "redis://db/0").detail
        'the store redis://db/0 is away: reset by peer; see to its server, then try again'
        >>> meaning(OverflowError("int too big"), "redis://db/0").detail
        'a value cannot be stored or compared: int too big'
    """
    if isinstance(error, Fault):
        return error
    if is_of_value(error):
        return Malformed(f"a value cannot be stored or compared: {error}")
    kind = kind_of(error)
    if kind == _FULL:
        return Unavailable(
            f"the store {place} is full, and did nothing: its server has used up maxmemory; give it more, or keep less "
            "of the log, then try again"
        )
    if kind in _ELSEWHERE | _AWAY or is_lost(error):
        said = str(error) or "it was too slow"
        return Unavailable(f"the store {place} is away: {said}; see to its server, then try again")
    return error


def raise_meaning(error: Exception, place: str) -> NoReturn:
    """Raise what an error means; see `meaning`."""
    meant = meaning(error, place)
    raise meant from (None if meant is error else error)
