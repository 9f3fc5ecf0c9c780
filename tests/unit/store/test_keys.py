"""Keys sort as the values that they stand for."""

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, strategies as st

from hanse.store.keys import KEYS, OTHER, Key, decimal_key, is_key, plain_key, rank


def ordered(one: Key, other: Key) -> bool:
    return (rank(one), one) < (rank(other), other)


@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_decimal_keys_sort_as_decimals_do(one: Decimal, other: Decimal) -> None:
    assert ordered(decimal_key(str(one)), decimal_key(str(other))) == (one < other)
    assert (decimal_key(str(one)) == decimal_key(str(other))) == (one == other)


@given(st.datetimes(timezones=st.timezones()), st.datetimes(timezones=st.timezones()))
def test_datetimes_with_different_offsets_compare_as_instants(one: datetime, other: datetime) -> None:
    left, right = (msgspec.to_builtins(moment) for moment in (one, other))
    # Python compares aware datetimes of one time zone by their clocks, so the instants are compared here.
    instants = [datetime.fromisoformat(text) for text in (left, right)]
    assert ordered(KEYS["datetime"](left), KEYS["datetime"](right)) == (instants[0] < instants[1])


@given(st.timedeltas(), st.timedeltas())
def test_durations_compare_by_their_length(one: timedelta, other: timedelta) -> None:
    left, right = (KEYS["duration"](msgspec.to_builtins(length)) for length in (one, other))
    assert ordered(left, right) == (one < other)


@pytest.mark.parametrize("length", [timedelta.max, timedelta.min, timedelta()])
def test_no_duration_is_too_long_for_a_key(length: timedelta) -> None:
    assert is_key(KEYS["duration"](msgspec.to_builtins(length)))


@given(st.binary(max_size=5), st.binary(max_size=5))
def test_bytes_compare_as_bytes_and_not_as_base64(one: bytes, other: bytes) -> None:
    left, right = (KEYS["bytes"](msgspec.to_builtins(value)) for value in (one, other))
    assert ordered(left, right) == (one < other)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("decimal", "1.50", 1.5),
        ("decimal", "-0.0", 0),
        ("datetime", "2026-01-01T12:00:00Z", "2026-01-01T14:00:00+02:00"),
        ("datetime", "2026-01-01T12:00:00", "2026-01-01T12:00:00Z"),
        ("time", "12:00:00+01:00", "11:00:00Z"),
        ("duration", "PT1M", "PT60S"),
        ("uuid", "0190A0A0-0000-7000-8000-00000000000A", "0190a0a000007000800000000000000a"),
        ("integer", 1, 1.0),
        ("integer", 10**400, 10**401),
    ],
)
def test_values_written_differently_are_equal(kind: str, one: object, other: object) -> None:
    assert KEYS[kind](one) == KEYS[kind](other) != OTHER


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("decimal", "NaN"),
        ("decimal", "Infinity"),
        ("decimal", "ten"),
        ("decimal", True),
        ("decimal", []),
        ("datetime", "soon"),
        ("datetime", 5),
        ("date", "2026-02-30"),
        ("time", "25:00"),
        ("duration", "one hour"),
        ("uuid", "x"),
        ("bytes", "!"),
        ("string", {}),
    ],
)
def test_what_cannot_be_read_as_the_type_is_other(kind: str, value: object) -> None:
    assert KEYS[kind](value) == OTHER


def test_null_is_null_in_every_type() -> None:
    assert {kind: key(None) for kind, key in KEYS.items()} == dict.fromkeys(KEYS)


def test_kinds_sort_in_the_documented_order() -> None:
    kinds: list[object] = [None, -(10**400), 3, 3.5, "", "a", False, True, []]
    keys = [plain_key(value) for value in kinds]
    assert all(ordered(one, other) for one, other in pairwise(keys))


def test_an_integer_beyond_64_bits_is_a_float() -> None:
    assert plain_key(2**63) == float(2**63)
    assert plain_key(10**400) == float("inf")
    assert plain_key(-(10**400)) == float("-inf")


@pytest.mark.parametrize(
    ("value", "expected"), [(2**64, False), (True, False), (b"xx", False), ([], False), (1.5, True)]
)
def test_only_what_a_store_can_bind_is_taken_for_a_key(value: object, expected: bool) -> None:
    assert is_key(value) is expected
