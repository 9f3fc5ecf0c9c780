"""Typed values as keys: what stores compare and sort by, in place of the JSON that a field holds.

A key is a plain scalar whose own order is the order of the values, so that memory and any SQL database agree without
knowing the types: numbers order before strings, strings before booleans, booleans before lists and objects, and null
before everything. A Decimal, a date or a duration is a JSON string in the row and becomes a number or a string that
sorts as the value does; what cannot be read as the field's type is `OTHER`, which equals nothing.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import TypeGuard

import msgspec

Key = int | float | str | bytes | None
"""What is compared: null, a number, a string, or one of the three bytes below."""

FALSE, TRUE, OTHER = b"\x00", b"\x01", b"\x02"

_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UUID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
_EXPONENT_BIAS = 10**19
_COMPLEMENT = str.maketrans("0123456789", "9876543210")


def rank(key: Key) -> int:
    """The class that a key sorts in: nulls, numbers, strings, then booleans and the rest."""
    if key is None:
        return 0
    if isinstance(key, bytes):
        return 3
    return 2 if isinstance(key, str) else 1


def is_key(value: object) -> TypeGuard[Key]:
    """Whether a value from outside can have been made here."""
    if isinstance(value, int):
        return not isinstance(value, bool) and _INTEGER_MIN <= value <= _INTEGER_MAX
    return value is None or isinstance(value, (float, str)) or value in (FALSE, TRUE, OTHER)


def plain_key(value: object) -> Key:
    r"""The key of a JSON value as it stands; an integer beyond 64 bits compares as the nearest float.

    Example:
        >>> plain_key(7), plain_key("tea"), plain_key(True), plain_key([1])
        (7, 'tea', b'\x01', b'\x02')
    """
    if value is None or isinstance(value, (str, float)):
        return value
    if isinstance(value, bool):
        return TRUE if value else FALSE
    if isinstance(value, int):
        return value if _INTEGER_MIN <= value <= _INTEGER_MAX else _as_float(value)
    return OTHER


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def decimal_key(value: object) -> Key:
    """The key of a Decimal, exact at any precision; a JSON number stands for the Decimal of its digits.

    Example:
        >>> decimal_key("1.50") == decimal_key("1.5") == decimal_key(1.5)
        True
        >>> decimal_key("-10") < decimal_key("-9.99") < decimal_key("0") < decimal_key("9") < decimal_key("10")
        True
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return OTHER
    try:
        number = Decimal(value if isinstance(value, str) else repr(value))
    except (InvalidOperation, ValueError):
        return OTHER
    return _sortable(number) if number.is_finite() else OTHER


def _sortable(number: Decimal) -> str:
    """Text that sorts as the number does: sign, then exponent, then digits; all complemented for a negative one."""
    if not number:
        return "1"
    digits = "".join(map(str, number.as_tuple().digits)).strip("0")
    text = f"{number.adjusted() + _EXPONENT_BIAS:020d}{digits}"
    # The final ~ sorts above all digits: of two negative numbers, the longer one is the smaller.
    return f"0{text.translate(_COMPLEMENT)}~" if number < 0 else f"2{text}"


def _datetime(text: str) -> Key:
    moment = datetime.fromisoformat(text)
    return (moment.replace(tzinfo=UTC) - _EPOCH - (moment.utcoffset() or timedelta())) // _MICROSECOND


def _date(text: str) -> Key:
    return date.fromisoformat(text).toordinal()


def _time(text: str) -> Key:
    moment = time.fromisoformat(text)
    clock = timedelta(hours=moment.hour, minutes=moment.minute, seconds=moment.second, microseconds=moment.microsecond)
    return (clock - (moment.utcoffset() or timedelta())) // _MICROSECOND


def _duration(text: str) -> Key:
    # As text, since the longest have more microseconds than 64 bits count.
    return _sortable(Decimal(msgspec.convert(text, timedelta) // _MICROSECOND))


def _uuid(text: str) -> Key:
    return text.replace("-", "").lower() if _UUID.fullmatch(text) else OTHER


def _bytes(text: str) -> Key:
    return b64decode(text, validate=True).hex()


def _parsed(parse: Callable[[str], Key]) -> Callable[[object], Key]:
    def key(value: object) -> Key:
        if value is None:
            return None
        if not isinstance(value, str):
            return OTHER
        try:
            return parse(value)
        except (ValueError, OverflowError, binascii.Error, msgspec.ValidationError):
            return OTHER

    return key


KEYS: Mapping[str, Callable[[object], Key]] = {
    **dict.fromkeys(("string", "integer", "number", "boolean", "object", "array", "any"), plain_key),
    "decimal": decimal_key,
    "datetime": _parsed(_datetime),
    "date": _parsed(_date),
    "time": _parsed(_time),
    "duration": _parsed(_duration),
    "uuid": _parsed(_uuid),
    "bytes": _parsed(_bytes),
}
"""How each type of `CollectionSchema` becomes a key. A datetime or time without an offset counts as UTC."""
