"""What a failure of MongoDB means: a value that it cannot take, a store that is away, or a mistake of ours.

Beside its codes the server gives labels, which say what to do about a transaction: begin it anew, or ask once more
whether it was committed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn, cast

from bson.errors import BSONError
from pymongo.errors import (
    BulkWriteError,
    ClientBulkWriteException,
    ConnectionFailure,
    DocumentTooLarge,
    OperationFailure,
    PyMongoError,
)

from hanse.kernel.faults import Fault, Malformed, TooLarge, Unavailable

DOCUMENT_MAX = "16 MB"
"""What a document of MongoDB may have: a row with its keys, or an entry with the row before and after it."""

AGAIN = "TransientTransactionError"
UNKNOWN = "UnknownTransactionCommitResult"

_EXISTS = 48
_TWICE = 11000
_NO_TRANSACTION = 251
_WRITE_CONFLICT = 112
_TOO_LARGE = frozenset({257, 388, 10334, 17419, 17420, 17280})
_VALUES = frozenset({2, 9, 15, 22, 40415, 51091})
"""Values, nesting and patterns that it cannot take."""

_LOGIN = frozenset({13, 18, 8000})
"""A user that it does not know, or who may not do what is asked."""

_AWAY = frozenset(
    {6, 7, 24, 26, 46, 50, 64, 89, 91, 100, 133, 134, 189, 202, 246, 262, 292, 10107, 11600, 11601, 11602, 13435, 13436}
    | {14031, 9001, _WRITE_CONFLICT, _NO_TRANSACTION}
)
"""Connections, time that is over, elections, disks that are full, locks, writes that no majority takes."""


def _all_of(error: BaseException) -> Iterable[BaseException]:
    """An error, and the one within it: that of several writes wraps what the server said of one."""
    yield error
    if isinstance(error, ClientBulkWriteException) and isinstance(error.error, BaseException):
        yield error.error


def codes_of(error: BaseException) -> frozenset[int]:
    """The codes that the server gave; none where the error is not one that it told."""
    found = {one.code for one in _all_of(error) if isinstance(one, OperationFailure) and one.code is not None}
    if isinstance(error, ClientBulkWriteException):
        # Documents, whatever the driver's annotation says.
        of_each = cast("list[dict[str, object]]", error.write_errors or [])
        found |= {code for one in of_each if isinstance(code := one.get("code"), int)}
    return frozenset(found)


def _has_label(error: BaseException, label: str) -> bool:
    return any(isinstance(one, PyMongoError) and one.has_error_label(label) for one in _all_of(error))


def is_again(error: BaseException) -> bool:
    """Whether a transaction did nothing, and may be begun anew: somebody else wrote, or the connection broke early."""
    return _has_label(error, AGAIN) or not {_WRITE_CONFLICT, _NO_TRANSACTION}.isdisjoint(codes_of(error))


def is_conflict(error: BaseException) -> bool:
    """Whether somebody else's transaction was in the way."""
    return _WRITE_CONFLICT in codes_of(error)


def is_over(error: BaseException) -> bool:
    """Whether the server knows of no such transaction: it was given up, or is forgotten."""
    return _NO_TRANSACTION in codes_of(error)


def is_unknown(error: BaseException) -> bool:
    """Of a commit: whether it may have taken effect all the same."""
    return _has_label(error, UNKNOWN) or is_lost(error) or _timed_out(error)


def is_lost(error: BaseException) -> bool:
    """Whether the server cannot be reached."""
    return any(isinstance(one, ConnectionFailure) for one in _all_of(error))


def is_twice(error: BaseException) -> bool:
    """Whether a document was to be inserted that is there already."""
    if isinstance(error, BulkWriteError):
        written = cast("list[dict[str, object]]", error.details.get("writeErrors", []))
        return any(one.get("code") == _TWICE for one in written)
    return _TWICE in codes_of(error)


def is_there(error: BaseException) -> bool:
    """Whether what was to be created is there already."""
    return _EXISTS in codes_of(error)


def is_of_value(error: BaseException) -> bool:
    """Whether one of the values was refused, on the way or by the server; nothing was done then."""
    of_ours = (BSONError, UnicodeError, OverflowError, RecursionError)
    return isinstance(error, of_ours) or not (_TOO_LARGE | _VALUES).isdisjoint(codes_of(error))


def meaning(error: Exception, place: str) -> Exception:
    """What to raise in place of an error: a fault where it is known what it means, else the error itself.

    Args:
        error: What came of it.
        place: Which store, without secrets.

    Example:
        >>> meaning(ConnectionFailure("connection reset"), "mongodb://db/shop").detail
        'the store mongodb://db/shop is away: connection reset; see to its server, then try again'
        >>> meaning(OverflowError("8-byte ints"), "mongodb://db/shop").detail
        'a value cannot be stored or compared: 8-byte ints'
    """
    codes = codes_of(error)
    if isinstance(error, Fault):
        return error
    if isinstance(error, DocumentTooLarge) or not _TOO_LARGE.isdisjoint(codes):
        return TooLarge("a row with its keys, an entry with the row before and after, or a query", DOCUMENT_MAX)
    if is_of_value(error):
        return Malformed(f"a value cannot be stored or compared: {error}")
    if is_lost(error) or _has_label(error, AGAIN) or not (_AWAY | _LOGIN).isdisjoint(codes) or _timed_out(error):
        return Unavailable(f"the store {place} is away: {error}; see to its server, then try again")
    return error


def _timed_out(error: BaseException) -> bool:
    return any(isinstance(one, PyMongoError) and one.timeout for one in _all_of(error))


def is_refusal(error: BaseException) -> bool:
    """Whether the server does not want us: a user that it does not know, or who may not do this."""
    return not _LOGIN.isdisjoint(codes_of(error))


def raise_meaning(error: Exception, place: str) -> NoReturn:
    """Raise what an error means; see `meaning`."""
    meant = meaning(error, place)
    raise meant from (None if meant is error else error)
