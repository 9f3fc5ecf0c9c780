"""What a failure of SQLite means: a value that it cannot take, a store that is away, or a mistake of ours.

The difference matters far from here. A store that is away is tried again and, when it stays away, left alone by the
breakers of all callers; a value that cannot be stored says nothing about anybody else's, and no other try will help.
"""

from __future__ import annotations

import sqlite3
from typing import NoReturn

from hanse.kernel.faults import Fault, Malformed, Unavailable

_PRIMARY = 0xFF
"""Bits of an error's code that name its kind; those above tell more of it."""

_OF_VALUES = frozenset({sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE})
_OURS = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_INTERNAL, sqlite3.SQLITE_CONSTRAINT})


def meaning(error: Exception) -> Exception:
    """What to raise in place of an error: a fault where it is known what it means, else the error itself.

    `Unavailable` where the file or its disk failed, `Malformed` where a value was refused. What is neither, such as
    an error in a statement, is a mistake in this program, and nobody's outage: it stays what it is.

    Example:
        >>> meaning(sqlite3.OperationalError("disk I/O error")).detail
        'the store failed and did nothing: disk I/O error; see to its disk, then try again'
        >>> meaning(OverflowError("Python int too large to convert to SQLite INTEGER")).detail
        'a value cannot be stored or compared: Python int too large to convert to SQLite INTEGER'
    """
    if isinstance(error, Fault):
        return error
    if not isinstance(error, sqlite3.Error):
        return _malformed(error) if isinstance(error, (OverflowError, UnicodeError)) else error
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return _without_code(error)
    if code == sqlite3.SQLITE_CONSTRAINT_NOTNULL or code & _PRIMARY in _OF_VALUES:
        # SQLite keeps no NaN: it is null to it.
        return _malformed(error)
    return error if code & _PRIMARY in _OURS else _unavailable(error)


def raise_meaning(error: Exception) -> NoReturn:
    """Raise what an error means; see `meaning`."""
    meant = meaning(error)
    raise meant from (None if meant is error else error)


def _without_code(error: sqlite3.Error) -> Exception:
    """The module's own errors, and those of simulated disks."""
    if isinstance(error, sqlite3.DataError):
        return _malformed(error)
    return _unavailable(error) if isinstance(error, sqlite3.OperationalError) else error


def _malformed(error: Exception) -> Malformed:
    return Malformed(f"a value cannot be stored or compared: {error}")


def _unavailable(error: Exception) -> Unavailable:
    return Unavailable(f"the store failed and did nothing: {error}; see to its disk, then try again")
