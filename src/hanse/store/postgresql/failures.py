"""What a failure of PostgreSQL means: a value that it cannot take, a store that is away, or a mistake of ours.

The codes are those of the SQL standard and PostgreSQL ("SQLSTATE"): five letters, of which two name the kind.
"""

from __future__ import annotations

from typing import NoReturn

from hanse.kernel.faults import Fault, Malformed, Misconfigured, Unavailable

_AWAY = frozenset({"08", "25", "28", "3D", "53", "55", "57", "58", "72", "F0", "XX"})
"""Connections, states such as read-only, logins, resources such as disks, operators who stop it, broken data."""

_GOING = frozenset({"08", "57"})
"""The connection broke, or an operator ends it."""

_VALUES = frozenset({"22", "54"})
"""Data that it cannot take, and what is beyond its limits."""

_AGAIN = frozenset({"40"})
"""A transaction that lost against another, and did nothing: it may be tried again at once."""

_NOT_ALLOWED = "42501"

_UNPREPARED = frozenset({"26000", "42P05"})
"""A statement that was prepared is not there, or one of its name is: another session has come in between."""


class LostError(Exception):
    """The connection broke, or was given up, while a statement was under way: whether that took effect is not known."""


def code_of(error: BaseException) -> str:
    """The SQLSTATE that the server gave; empty where the error is not one that it told."""
    code: object = getattr(error, "sqlstate", None)
    return code if isinstance(code, str) else ""


def is_again(error: BaseException) -> bool:
    """Whether a transaction was refused for the sake of another, and did nothing."""
    return code_of(error)[:2] in _AGAIN


def is_of_value(error: BaseException) -> bool:
    """Whether one of the values was refused, on the way or by the server; nothing was done then."""
    return (
        isinstance(error, (UnicodeError, OverflowError, RecursionError))
        or code_of(error)[:2] in _VALUES
        or _is_unsent(error)
    )


def is_lost(error: BaseException) -> bool:
    """Whether it is not known what became of a statement: the connection broke, or there was no answer in time."""
    return isinstance(error, (LostError, OSError, TimeoutError)) or code_of(error)[:2] in _GOING


def is_broken(error: BaseException) -> bool:
    """Whether a connection broke off that somebody had taken."""
    return isinstance(error, (LostError, ConnectionError)) and not isinstance(error, ConnectionRefusedError)


def meaning(error: Exception, place: str) -> Exception:
    """What to raise in place of an error: a fault where it is known what it means, else the error itself.

    Args:
        error: What came of a statement.
        place: Which store, without secrets.

    Example:
        >>> meaning(ConnectionResetError("reset by peer"), "postgresql://db/shop").detail
        'the store postgresql://db/shop is away: reset by peer; see to its server, then try again'
        >>> meaning(OverflowError("value out of int64 range"), "postgresql://db/shop").detail
        'a value cannot be stored or compared: value out of int64 range'
    """
    if isinstance(error, Fault):
        return error
    if is_of_value(error):
        return Malformed(f"a value cannot be stored or compared: {error}")
    code = code_of(error)
    if code in _UNPREPARED:
        return Misconfigured(
            f"the store {place} goes through a pooler that gives each transaction to another session ({error}): "
            "add prepared=no to its URL"
        )
    if code == _NOT_ALLOWED or code[:2] in _AWAY | _AGAIN or is_lost(error):
        said = str(error) or type(error).__name__
        return Unavailable(f"the store {place} is away: {said}; see to its server, then try again")
    return error


def raise_meaning(error: Exception, place: str) -> NoReturn:
    """Raise what an error means; see `meaning`."""
    meant = meaning(error, place)
    raise meant from (None if meant is error else error)


def _is_unsent(error: BaseException) -> bool:
    """Whether the driver could not write an argument; it calls that a `DataError` of its own, without a code."""
    return type(error).__name__ == "DataError"
