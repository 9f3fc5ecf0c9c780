"""Rows and queries drawn by hypothesis: what an adapter's answers are compared on with the reference.

Few different values of every type, awkward ones among them, so that conditions hit, orders tie, and whoever parses
numbers, quotes strings or compares dates as text is found out.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from hanse.store.base import CollectionSchema, FieldSchema, Inside
from hanse.store.evaluate import item_type, type_of
from hanse.store.query import And, Compare, Holds, Not, OneOf, Or, Order, Path, Query, Scalar, Text, Where

_DEFAULTS = {"text": b'"none"', "whole": b"5", "price": b'"1.50"', "nested": b'{"city":"Bonn","zip":7}', "many": b"[1]"}
_TYPES = {
    "text": "string",
    "whole": "integer",
    "real": "number",
    "price": "decimal",
    "flag": "boolean",
    "at": "datetime",
    "day": "date",
    "clock": "time",
    "span": "duration",
    "ref": "uuid",
    "blob": "bytes",
    "nested": "object",
    "many": "array",
    "prices": "array",
    "seen": "object",
    "loose": "any",
}
_INSIDES = {
    "nested": {
        "price": Inside("decimal"),
        "at": Inside("datetime"),
        "deep": Inside("object", {"span": Inside("duration")}),
    },
    "prices": {"": Inside("decimal")},
    "seen": {"": Inside("datetime")},
}

THINGS = CollectionSchema(
    "things",
    {
        name: FieldSchema(kind, required=False, default=_DEFAULTS.get(name, b"null"), inside=_INSIDES.get(name, {}))
        for name, kind in _TYPES.items()
    },
    indexed=("text", "whole", "real", "price", "at"),
)
"""A collection with a field of every type, and types inside some; some have indexes, some have defaults."""

_REF = "0190a0a0-0000-7000-8000-00000000000a"
_POOLS: dict[str, Sequence[Scalar]] = {
    "string": [
        "",
        "a",
        "A",
        "ab",
        "none",
        "Straße",
        "STRASSE",
        "İ",
        "é",
        "😀",
        "\uffff",
        "a\x00b",
        '"',
        "\\",
        "%",
        "_",
        "1",
    ],
    "integer": [0, 1, -1, 5, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**400],
    "number": [0, 0.1, 1, 1.5, -0.0, 5e-324, 1.7976931348623157e308, 9.958e-32, 2**53 + 1, float(2**53)],
    "decimal": ["0", "-0", "1.5", "1.50", "-1.5", "-1.55", "9", "10", "1E+30", "0.1", 0.1, 3, "NaN", "Infinity", "x"],
    "boolean": [True, False],
    "datetime": [
        "2026-01-01T12:00:00Z",
        "2026-01-01T13:00:00+01:00",
        "2026-01-01T12:30:00+01:00",
        "2026-01-01T12:00:00.000001Z",
        "2026-01-01T12:00:00",
        "0001-01-01T00:00:00+14:00",
        "soon",
    ],
    "date": ["2026-01-01", "0999-12-31", "9999-12-31", "x"],
    "time": ["12:00:00", "12:00:00+02:00", "11:00:00Z", "00:00:00.5", "x"],
    "duration": ["PT1S", "PT60S", "PT1M", "-PT0.5S", "P1DT1S", "P999999999D", "-P999999999D", "x"],
    "uuid": [_REF, _REF.upper(), _REF.replace("-", ""), "f" * 32, "x"],
    "bytes": ["", "AA==", "AAA=", "/w==", "YQ==", "!"],
}
_ALL: list[Scalar] = [None, *(one for pool in _POOLS.values() for one in pool)]
_INSIDE: list[Path] = [
    ("nested", "city"),
    ("nested", "zip"),
    ("nested", "it's"),
    ("nested", "a b", "ü.x"),
    ("nested", "price"),
    ("nested", "at"),
    ("nested", "deep", "span"),
    ("seen", "Bonn"),
    ("prices", "x"),
    ("text", "x"),
    ("nowhere",),
]
_PATHS: list[Path] = [*((name,) for name in THINGS.fields), *_INSIDE, ("id",), ("rev",)]

_loose = st.one_of(
    st.sampled_from(_ALL), st.text(max_size=3), st.integers(), st.floats(allow_nan=False, allow_infinity=False)
)
_lists = st.lists(_loose, max_size=3)
_prices, _times, _spans = (st.sampled_from(_POOLS[kind]) for kind in ("decimal", "datetime", "duration"))
_objects = st.fixed_dictionaries(
    {},
    optional={
        "city": _loose,
        "zip": _loose,
        "it's": _loose,
        "a b": st.one_of(_loose, st.fixed_dictionaries({"ü.x": _loose})),
        "price": _prices,
        "at": _times,
        "deep": st.one_of(_loose, st.fixed_dictionaries({"span": _spans})),
    },
)


def _of_type(kind: str) -> st.SearchStrategy[object]:
    """Mostly values of the type; nulls and strangers too, as an older version may have stored them."""
    pool = st.sampled_from(_POOLS[kind]) if kind in _POOLS else {"object": _objects, "array": _lists}.get(kind, _loose)
    return st.one_of(pool, pool, pool, st.none(), _loose, _lists, _objects)


_values = st.fixed_dictionaries(
    {},
    optional={
        **{name: _of_type(kind) for name, kind in _TYPES.items()},
        "prices": st.one_of(st.lists(_prices, max_size=3), _of_type("array")),
        "seen": st.one_of(st.fixed_dictionaries({"Bonn": _times}), _of_type("object")),
    },
)


def stored_rows() -> st.SearchStrategy[dict[str, bytes]]:
    """Values of `THINGS` as JSON, by id."""
    ids = st.one_of(
        st.sampled_from(["1", "2", "10", "a", "A", "é", "a\x00", "'", "%"]), st.text(min_size=1, max_size=3)
    )
    return st.dictionaries(ids, _values.map(msgspec.json.encode), max_size=8)


@st.composite
def _leaves(draw: st.DrawFn) -> Where:
    path = draw(st.sampled_from(_PATHS))
    kind = item_type(path, THINGS) if path == ("prices",) else type_of(path, THINGS)
    values = st.one_of(st.sampled_from(_POOLS.get(kind, _ALL)), st.none(), _loose)
    match draw(st.sampled_from(["compare", "compare", "one_of", "text", "holds"])):
        case "compare":
            return Compare(draw(st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"])), path, draw(values))
        case "one_of":
            return OneOf(path, tuple(draw(st.lists(values, max_size=3))))
        case "text":
            needle = draw(
                st.sampled_from(["", "a", "S", "ss", "ß", "i", "\x00", "%", "_", "é", "\uffff", "😀", '"', "5"])
            )
            return Text(draw(st.sampled_from(["starts", "ends", "contains"])), path, needle, draw(st.booleans()))
        case _:
            return Holds(draw(st.sampled_from([("many",), ("prices",), ("loose",), path])), draw(values))


def _branches(inner: st.SearchStrategy[Where]) -> st.SearchStrategy[Where]:
    parts = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(parts.map(And), parts.map(Or), inner.map(Not))


def conditions() -> st.SearchStrategy[Where]:
    """Trees over the fields of `THINGS`."""
    return st.recursive(_leaves(), _branches, max_leaves=5)


def queries() -> st.SearchStrategy[Query]:
    """Queries on `THINGS`, in pages of one to four rows."""
    order = st.builds(Order, st.sampled_from(_PATHS), st.booleans())
    return st.builds(
        Query,
        where=st.one_of(st.none(), conditions()),
        order=st.lists(order, max_size=3).map(tuple),
        limit=st.integers(1, 4),
    )
